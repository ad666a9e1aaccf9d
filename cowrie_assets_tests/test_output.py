"""What commands show: tables that fit their terminal, progress with rates only where they mean something.

Not here: what is counted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from cowrie_assets.cli import output
from cowrie_assets.cli.output import StageBars, print_table


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


def test_a_stages_rows_are_the_sum_over_its_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cowrie_assets.cli.output.HEARTBEAT_SECONDS", -1.0)
    bars = StageBars({"staging": 70})
    for stage, table, rows, expected in (
        ("plan", "schema_state", 1, 1),
        ("plan", "raw_events", 20, 50),
        ("plan", "raw_events", 30, 50),
        ("staging", "raw_events", 20, 50),
    ):
        bars(stage, table, rows, expected)
    said = [line.partition(" rows")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "plan schema_state: 1 of 1",
        "plan raw_events: 21 of 51",
        "plan raw_events: 51 of 51",
        "staging raw_events: 20 of 70",
    ]


def test_ids_stay_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table as long as its short cells fit, else a block a row, as psql does."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    header, row = ("session", "is it so", "what"), ("0040a319e75e", 1234, "word " * 12)
    monkeypatch.setenv("COLUMNS", "45")
    print_table(header, [row])
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["session", "0040a319e75e", "word"]
    monkeypatch.setenv("COLUMNS", "40")
    print_table(header, [row, row])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["session   0040a319e75e", "is it so  1,234", "what      " + ("word " * 12).strip() + " ", ""]
    assert len(lines) == 8
