"""Reports over sessions: sums by sensor, and what the services said of them.

Belongs here: these queries. Not here: sessions and windows (`facts.py`), events (`events.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...db.json_value import JSON_NULL
from ...db.text_access import bytewise
from ...db.types import Json
from .facts import Facts, Window
from .rows import EnrichedSession, SensorSessions

_HALF = 32
_BITS = sa.literal_column(str(_HALF), sa.Integer())
_COUNTS = ("event_count", "command_count", "file_downloads", "login_attempts")


def sessions(facts: Facts, window: Window) -> list[SensorSessions]:
    """Sums over the sessions that began in the window, by sensor; most sessions first."""
    if not facts.has("session_summaries"):
        return []
    found = facts.sessions(window).c
    number = sa.func.count()
    query = (
        sa.select(
            found.sensor,
            number,
            # In two halves: SQLite's sum fails beyond 64 bits.
            *(sa.func.sum(found[n].bitwise_rshift(_BITS)) for n in _COUNTS),
            *(sa.func.sum(found[n].bitwise_and(2**_HALF - 1)) for n in _COUNTS),
            number.filter(found.vt_flagged),
            number.filter(found.dshield_flagged),
            sa.func.max(found.risk_score),
        )
        .group_by(found.sensor)
        .order_by(number.desc(), bytewise(found.sensor).asc().nulls_last())
        .limit(window.limit)
    )
    return [_sums(*row) for row in facts.connection.execute(query)]


def _sums(sensor: str | None, number: int, *rest: Any) -> SensorSessions:
    events, commands, downloads, logins = map(_joined, rest[:4], rest[4:8])
    return SensorSessions(sensor, number, events, commands, downloads, logins, *rest[8:])


def _joined(high: Any, low: Any) -> int:
    return (int(high or 0) << _HALF) + int(low or 0)


def enriched(facts: Facts, window: Window) -> list[EnrichedSession]:
    """Sessions with an enrichment that is not empty, or a flag; highest risk first, then by their ids' bytes."""
    if not facts.has("session_summaries"):
        return []
    found = facts.sessions(window).c
    names = ("session_id", "sensor", "first_event_at", "event_count", "vt_flagged", "dshield_flagged", "risk_score")
    query = (
        sa.select(*(found[name] for name in names), sa.type_coerce(found.enrichment, Json()))
        .where(sa.or_(found.enriched, found.vt_flagged, found.dshield_flagged))
        .order_by(found.risk_score.desc().nulls_last(), bytewise(found.session_id))
        .limit(window.limit)
    )
    return [_enriched(*row) for row in facts.connection.execute(query)]


def _enriched(name: str, sensor: str | None, began: datetime | None, events: int | None, *rest: Any) -> EnrichedSession:
    vt_flagged, dshield_flagged, risk, document = rest
    known = None if document is JSON_NULL else document
    return EnrichedSession(name, sensor, began, events or 0, bool(vt_flagged), bool(dshield_flagged), risk, known)
