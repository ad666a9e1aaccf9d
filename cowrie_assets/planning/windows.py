"""Time windows: the partitions of all dated tables.

Belongs here: grain, bounds, keys and which window an instant falls in. Not here: what dates a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import PlanError, SettingsError
from ..settings import Grain

MAX_AUTO_WINDOWS = 120
MAX_WINDOWS = 2_000
MAX_YEARS_AHEAD = 100
"""Years a stated end may lie ahead of the plan's day."""
EARLIEST_PLAUSIBLE = date(2014, 1, 1)
"""Cowrie's first year: an earlier date is a broken clock, not an event."""

FORMATS = {Grain.DAY: "%Y-%m-%d", Grain.WEEK: "w%Y-%m-%d", Grain.MONTH: "m%Y-%m"}
"""Keys differ by grain, so that a change of grain does not hit earlier materializations."""


def floor(day: date, grain: Grain) -> date:
    """The first day of the window that holds `day`; weeks start on Monday."""
    if grain is Grain.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if grain is Grain.MONTH else day


def following(start: date, grain: Grain) -> date:
    """The first day of the next window."""
    if grain is Grain.MONTH:
        return (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=7 if grain is Grain.WEEK else 1)


@dataclass(frozen=True)
class Windows:
    """Consecutive windows from `start` to `end` (exclusive), both aligned to the grain."""

    grain: Grain
    start: date
    end: date

    @cached_property
    def starts(self) -> tuple[date, ...]:
        """The first day of each window."""
        days, day = [], self.start
        while day < self.end:
            days.append(day)
            day = following(day, self.grain)
        return tuple(days)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The partition key of each window, as Dagster spells it."""
        return tuple(day.strftime(FORMATS[self.grain]) for day in self.starts)

    @cached_property
    def _bounds(self) -> npt.NDArray[np.int64]:
        days = (*self.starts, self.end)
        return np.array([_micros(day) for day in days], dtype=np.int64)

    def place(self, instants: pa.TimestampArray) -> npt.NDArray[np.int32]:
        """For each instant the index of its window, or -1 (NULL, or outside all windows)."""
        micros = instants.cast(pa.int64())
        valid = np.asarray(micros.is_valid())
        values = micros.fill_null(0).to_numpy(zero_copy_only=False)
        index = np.searchsorted(self._bounds, values, side="right") - 1
        index[(index >= len(self.starts)) | ~valid] = -1
        placed: npt.NDArray[np.int32] = index.astype(np.int32)
        return placed

    def select(self, first: date | None, last: date | None) -> tuple[str, ...]:
        """The keys of the windows that touch the days from `first` to `last`, both inclusive.

        Raises:
            PlanError: where the range is reversed or touches no window.
        """
        if first and last and last < first:
            raise PlanError(f"The range from {first} to {last} is reversed.", hint="Swap --from and --to.")
        chosen = tuple(
            key
            for key, start in zip(self.keys, self.starts, strict=True)
            if (last is None or start <= last) and (first is None or following(start, self.grain) > first)
        )
        if not chosen:
            raise PlanError(
                f"No window lies between {first or self.start} and {last or self.end}; the plan's windows run from "
                f"{self.start} to {self.end - timedelta(days=1)}.",
                hint="Run `cowrie-assets plan` to see them.",
            )
        return chosen


def _micros(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def choose_windows(
    days: Iterable[date], *, today: date, grain: Grain | None, start: date | None, end: date | None
) -> Windows:
    """The windows that hold the days seen, clipped to plausible dates.

    The clip rule: from 2014-01-01 to the plan's own day, and under 2,000 windows (the oldest are left out). What lies
    outside is undated. Stated bounds replace the clip; both ends are aligned outward.

    Args:
        days: the days on which rows lie.
        today: the plan's day.
        grain: None for the finest of day, week, month that gives at most 120 windows.
        start: first day, or None as the data say.
        end: last day (inclusive), or None as the data say.
    """
    plausible = [d for d in days if EARLIEST_PLAUSIBLE <= d <= today]
    first = start or min((d for d in plausible if end is None or d <= end), default=end or today)
    last = end or max((d for d in plausible if d >= first), default=max(first, today))
    if last.year - today.year > MAX_YEARS_AHEAD:
        raise SettingsError(f"COWRIE_END_DATE={last} lies too far ahead.", hint="Set an earlier day, or none.")
    for candidate in (grain,) if grain else tuple(Grain):
        windows = Windows(candidate, floor(first, candidate), following(floor(last, candidate), candidate))
        if grain or len(windows.starts) <= MAX_AUTO_WINDOWS:
            break
    if len(windows.starts) >= MAX_WINDOWS:
        # A stated start is not moved; nor may an end that lies ahead push the windows off the rows.
        if start or last > today:
            raise SettingsError(
                f"From {first} to {last} (COWRIE_START_DATE, COWRIE_END_DATE) the grain {windows.grain} gives"
                f" {len(windows.starts):,} windows; under {MAX_WINDOWS:,} are allowed.",
                hint="Set a later start or an earlier end, or COWRIE_PARTITION_GRAIN=month.",
            )
        windows = Windows(windows.grain, windows.starts[-(MAX_WINDOWS - 1)], windows.end)
    return windows
