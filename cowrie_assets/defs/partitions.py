"""The plan's windows as Dagster's partitions.

Belongs here: the TimeWindowPartitionsDefinition. Not here: how windows are chosen (`planning/windows.py`).

See https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from ..planning.windows import FORMATS, MAX_AUTO_WINDOWS, Windows, floor, following
from ..settings import Grain, Settings

CRON = {Grain.DAY: "0 0 * * *", Grain.WEEK: "0 0 * * 1", Grain.MONTH: "0 0 1 * *"}
"""Windows begin at midnight UTC, weeks on Monday."""


def provisional_windows(settings: Settings, today: date) -> Windows:
    """Windows for a location that has no plan yet: the settings' bounds, else the last 120 windows of a day."""
    grain = settings.grain or Grain.DAY
    last = settings.end or today
    first = settings.start or last - timedelta(days=MAX_AUTO_WINDOWS - 1)
    return Windows(grain, floor(first, grain), following(floor(last, grain), grain))


def partitions_of(windows: Windows, now: datetime | None = None) -> dg.TimeWindowPartitionsDefinition:
    """One Dagster partition for each window, those too that have not ended."""
    now = now or datetime.now(UTC)
    ends = [*windows.starts[1:], windows.end]
    # Dagster offers a window once it has ended; the offset adds those that have not, and never passes `end`.
    open_windows = sum(_midnight(end) > now for end in ends)
    return dg.TimeWindowPartitionsDefinition(
        start=_midnight(windows.start),
        end=_midnight(windows.end),
        cron_schedule=CRON[windows.grain],
        fmt=FORMATS[windows.grain],
        end_offset=open_windows,
    )


def newest_closed(windows: Windows, moment: datetime) -> str | None:
    """The key of the last window that has ended at that moment, or None where none has."""
    ends = [*windows.starts[1:], windows.end]
    closed = [key for key, end in zip(windows.keys, ends, strict=True) if _midnight(end) <= moment]
    return closed[-1] if closed else None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
