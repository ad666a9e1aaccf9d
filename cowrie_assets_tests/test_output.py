"""Progress on the terminal and in a log: rates and times to go only where they mean something.

Not here: what is counted.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from cowrie_assets.cli import output
from cowrie_assets.cli.output import StageBars


class Time:
    """A clock that only moves when it is told."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    time = Time()
    monkeypatch.setattr("time.monotonic", time)
    yield time


def test_what_was_skipped_at_once_has_no_rate(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    bars = StageBars({"staging": 3_000})
    time.seconds += 11  # the plan took that long
    bars("staging", "raw_events", 1_525, None)
    assert capsys.readouterr().out == "staging raw_events: 1,525 of 3,000 rows\n"


def test_work_that_took_its_time_has_one(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    bars = StageBars({"staging": 3_000})
    bars("staging", "raw_events", 0, None)
    time.seconds += 10.5
    bars("staging", "raw_events", 1_050, None)
    assert capsys.readouterr().out == "staging raw_events: 1,050 of 3,000 rows, 100 rows/s, about 20 s to go\n"


@pytest.mark.parametrize(("pause", "rated"), [(0.001, False), (2.0, True)])
def test_the_bar_on_a_terminal_too(time: Time, monkeypatch: pytest.MonkeyPatch, pause: float, rated: bool) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        output,
        "console",
        lambda: Console(file=screen, force_terminal=True, width=120, get_time=time, color_system=None),
    )
    bars = StageBars({"staging": 3_000})
    with bars.shown():
        for _ in range(3):
            bars("staging", "raw_events", 1_000, None)
            time.seconds += pause
    assert "3000/3000" in screen.getvalue()
    assert ("rows/s" in screen.getvalue()) is rated
