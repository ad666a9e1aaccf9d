"""The reports by name.

Belongs here: which there are. Not here: their queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import events, rows, sessions
from .facts import DEFAULT_LIMIT, Facts, Window


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        title: for people.
        find: the query.
        row: the class of its rows.
        table: what it reads.
        labels, measure: the columns that name a bar of its plot, and the one that is its length.
        limit: most rows by default.
        series: its rows are in order of time.
    """

    title: str
    find: Callable[[Facts, Window], Sequence[Any]]
    row: type
    table: str
    labels: tuple[str, ...]
    measure: str
    limit: int = DEFAULT_LIMIT
    series: bool = False


REPORTS: dict[str, Report] = {
    "sessions": Report(
        "Sessions by sensor", sessions.sessions, rows.SensorSessions, "session_summaries", ("sensor",), "sessions"
    ),
    "commands": Report("Top commands", events.commands, rows.Command, "raw_events", ("command",), "times"),
    "downloads": Report("Top downloads", events.downloads, rows.Download, "raw_events", ("shasum", "url"), "times"),
    "sensors": Report("Sensors", events.sensors, rows.Sensor, "raw_events", ("sensor",), "events"),
    "enriched": Report(
        "Enriched sessions",
        sessions.enriched,
        rows.EnrichedSession,
        "session_summaries",
        ("session_id",),
        "risk_score",
    ),
    "credentials": Report(
        "Credentials tried", events.credentials, rows.Credential, "raw_events", ("username", "password"), "tries"
    ),
    "hours": Report("Activity by hour", events.hours, rows.Hour, "raw_events", ("hour",), "events", 24 * 31, True),
    "days": Report("Activity by day", events.days, rows.Day, "raw_events", ("day",), "events", 366, True),
    "sources": Report("Sources by events", events.sources, rows.Source, "raw_events", ("src_ip",), "events"),
}
