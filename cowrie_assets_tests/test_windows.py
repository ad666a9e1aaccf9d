"""Windows: grain, bounds, keys, and which one an instant falls in.

Not here: Dagster's spelling of the keys (`test_dagster.py`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.errors import PlanError, SettingsError
from cowrie_assets.planning.windows import Windows, choose_windows, floor, following
from cowrie_assets.settings import Grain

TODAY = date(2026, 11, 24)


def choose(*days: date, **options: object) -> Windows:
    chosen = {"today": TODAY, "grain": None, "start": None, "end": None} | options
    return choose_windows(days, **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("days", "grain"),
    [(120, Grain.DAY), (121, Grain.WEEK), (120 * 7 - 6, Grain.WEEK), (120 * 7 + 7, Grain.MONTH)],
)
def test_auto_is_the_finest_with_at_most_120_windows(days: int, grain: Grain) -> None:
    windows = choose(TODAY - timedelta(days=days - 1), TODAY)
    assert windows.grain is grain
    assert len(windows.starts) <= 120


def test_bounds_are_aligned_outward_and_end_is_inclusive() -> None:
    week = choose(grain=Grain.WEEK, start=date(2026, 11, 4), end=date(2026, 11, 11))
    assert (week.start, week.end) == (date(2026, 11, 2), date(2026, 11, 16))
    assert week.keys == ("w2026-11-02", "w2026-11-09")
    month = choose(grain=Grain.MONTH, start=date(2026, 1, 31), end=date(2026, 2, 1))
    assert month.keys == ("m2026-01", "m2026-02")
    assert choose(grain=Grain.DAY, start=TODAY, end=TODAY).keys == ("2026-11-24",)


def test_implausible_dates_make_no_windows() -> None:
    windows = choose(date(1, 1, 1), date(1970, 1, 1), date(2026, 11, 20), date(2026, 11, 25), date(9999, 12, 31))
    assert (windows.start, windows.end) == (date(2026, 11, 20), date(2026, 11, 21))
    assert choose(date(9999, 12, 31)).keys == ("2026-11-24",)


def test_under_two_thousand_windows() -> None:
    windows = choose(date(2014, 1, 1), TODAY, grain=Grain.DAY)
    assert len(windows.starts) == 1_999
    assert windows.end == date(2026, 11, 25)
    with pytest.raises(SettingsError, match="under 2,000"):
        choose(grain=Grain.DAY, start=date(2014, 1, 1), end=TODAY)


@pytest.mark.parametrize("grain", [None, *Grain])
def test_an_end_that_would_push_the_windows_off_the_rows_is_refused(grain: Grain | None) -> None:
    with pytest.raises(SettingsError, match="COWRIE_END_DATE"):
        choose(date(2026, 1, 1), grain=grain, end=date(9999, 12, 31))
    with pytest.raises(SettingsError, match="COWRIE_END_DATE"):
        choose(date(2026, 1, 1), grain=Grain.DAY, end=date(2040, 1, 1))


@given(
    st.sampled_from(list(Grain)),
    st.dates(date(2014, 1, 1), TODAY),
    st.integers(0, 400),
    st.lists(st.none() | st.datetimes(datetime(2013, 1, 1), datetime(2028, 1, 1)), max_size=30),
)
def test_place_is_the_window_that_holds_the_instant(
    grain: Grain, first: date, span: int, moments: list[datetime | None]
) -> None:
    windows = Windows(grain, floor(first, grain), following(floor(first + timedelta(days=span), grain), grain))
    utc = [None if m is None else m.replace(tzinfo=UTC) for m in moments]
    placed = windows.place(pa.array(utc, pa.timestamp("us", "UTC"))).tolist()
    for moment, index in zip(moments, placed, strict=True):
        holding = [
            i
            for i, start in enumerate(windows.starts)
            if moment is not None and start <= moment.date() < following(start, grain)
        ]
        assert [index] == (holding or [-1])


def test_a_selection_is_whole_partitions() -> None:
    windows = choose(date(2026, 9, 1), TODAY, grain=Grain.WEEK)
    assert windows.select(date(2026, 11, 4), date(2026, 11, 9)) == ("w2026-11-02", "w2026-11-09")
    assert windows.select(None, None) == windows.keys
    with pytest.raises(PlanError, match="reversed"):
        windows.select(date(2026, 11, 9), date(2026, 11, 4))
    with pytest.raises(PlanError, match="No window"):
        windows.select(date(2027, 11, 9), None)
