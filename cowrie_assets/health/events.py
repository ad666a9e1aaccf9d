"""How old the newest event is, found by indexes alone.

Belongs here: the newest rows. Not here: how many there are, which would read them all.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from ..db.json_access import text_at
from ..db.migrations.database import Database
from ..db.tables import SQL_TABLES
from .report import Check, Status, duration
from .settings import HealthSettings

LAST_ROWS = 20
"""Rows with the highest ids that are looked at: a loader's last batch, and few enough to parse large payloads."""
LAST_DATES = 50
"""Entries at the end of the index on event_timestamp: enough to pass texts there that are no dates."""
AHEAD = timedelta(days=1)
"""A sensor's clock may be wrong by that much; what claims to be later is no date of an event."""


def check_events(connection: sa.Connection, settings: HealthSettings, now: datetime) -> Check:
    """Whether new events arrive."""
    database = Database(connection)
    if not database.columns("raw_events"):
        return Check.skipped("events", "there is no table raw_events")
    leading = {columns.split(", ")[0] for columns, _ in database.indexes("raw_events").values()}
    if database.is_postgres and "id" not in leading:
        return Check.skipped("events", "the key of raw_events is not built yet, looking would read the whole table")
    c = SQL_TABLES["raw_events"].c
    newest_first = c.id if database.is_postgres else sa.literal_column("rowid")
    last = sa.select(text_at(c.payload, "timestamp"), sa.cast(c.ingest_at, sa.Text))
    rows = connection.execute(last.order_by(newest_first.desc()).limit(LAST_ROWS)).all()
    if not rows:
        return Check("events", Status.WARNING, "there are none")
    dates = [row[0] for row in rows]
    if "event_timestamp" in leading:
        bound = (now + AHEAD).date().isoformat()
        ended = sa.select(c.event_timestamp).where(c.event_timestamp <= bound)
        dates += connection.execute(ended.order_by(c.event_timestamp.desc()).limit(LAST_DATES)).scalars()
    event = _newest(dates, now)
    loaded = _newest([row[1] for row in rows], now)
    if event is None:
        return Check("events", Status.WARNING, f"none of the last {len(rows)} has a date that can be read")
    hours = (now - event).total_seconds() / 3600
    critical = settings.event_critical_hours
    status = Status.WARNING if hours > settings.event_hours else Status.OK
    if critical and hours > critical:
        status = Status.CRITICAL
    details = {
        "newest": event.isoformat(),
        "age_seconds": round(hours * 3600),
        "loaded": loaded.isoformat() if loaded else None,
    }
    text = f"the newest is of {event:%Y-%m-%d %H:%M:%S} UTC, {duration(max(hours, 0) * 3600)} ago"
    return Check("events", status, text, details=details)


def _newest(texts: list[object], now: datetime) -> datetime | None:
    """The latest of the texts that are dates, as ISO 8601 writes them; one without an offset is UTC."""
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            at = datetime.fromisoformat(str(text))
            found.append(at if at.tzinfo else at.replace(tzinfo=UTC))
    return max((at.astimezone(UTC) for at in found if at <= now + AHEAD), default=None)
