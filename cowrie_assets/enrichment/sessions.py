"""Sessions: the address each came from, and the member of `enrichment` that each service has.

`session_summaries.enrichment` is one JSON object with a member a service, named as the service:

    {"dshield": {"ip": {"attacks": 120, "asname": "…", …}, "value": "198.51.100.7", "found": true, "flagged": true,
                 "asked_at": "2026-11-24T12:00:00+00:00"},
     "virustotal": {"positives": 5, "total": 90, …, "value": …, "found": …, "flagged": …, "asked_at": …},
     "urlhaus": {"url_count": 12, "tags": [], …}, "spur": {"infrastructure": "DATACENTER", …}}

The service's own members come first (see each client), then `value` (what was asked), `found`, `flagged` and
`asked_at` (UTC). A refresh replaces the member of its service and no other, in SQL, so that what another process has
written meanwhile stays. An enrichment that is no object (but NULL or `null`) is left as it is. `vt_flagged` and
`dshield_flagged` are raised where the service flags the value, never lowered: others raise them too.

Belongs here: reading addresses, writing members. Not here: files (`files.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from ..db.tables import SQL_TABLES
from .answers import Answer, Kind
from .refresh import PAGE, Row

_SESSIONS = SQL_TABLES["session_summaries"]
_EVENTS = SQL_TABLES["raw_events"]
_FLAGS = {"virustotal": "vt_flagged", "dshield": "dshield_flagged"}
_CONNECT = "cowrie.session.connect"
FIRST_EVENTS = 20
"""Events of a session without a connect event that are looked through for an address; nearly all of them carry it."""
SCAN_PAGE = 5_000


class Sessions:
    """The sessions as a `Subject`."""

    table = "session_summaries"
    kind = Kind.IP

    def __init__(self) -> None:
        """Know no address yet."""
        self._unindexed: dict[str, str] | None = None

    def count(self, connection: sa.Connection) -> int:
        """See `Subject`."""
        return connection.execute(sa.select(sa.func.count()).select_from(_SESSIONS)).scalar_one()

    def page(
        self, connection: sa.Connection, service: str, after: str | int | None, fresh_since: datetime
    ) -> tuple[int, Sequence[Row], str | int | None]:
        """See `Subject`."""
        place = _place(connection)
        query = sa.select(_SESSIONS.c.session_id, _SESSIONS.c.enrichment, place.label("place")).order_by(place)
        beyond = _SESSIONS.c.session_id.is_not(None) if after is None else place > after
        rows = connection.execute(query.where(beyond).limit(PAGE)).all()
        due = [row.session_id for row in rows if not _fresh(row.enrichment, service, fresh_since)]
        addresses = self._addresses(connection, due)
        return len(rows), [Row(key, addresses.get(key)) for key in due], rows[-1].place if rows else None

    def write(self, connection: sa.Connection, answers: Sequence[tuple[str | int, Answer]], now: datetime) -> int:
        """See `Subject`."""
        service = answers[0][1].service
        member = sa.bindparam("member", type_=sa.Text)
        values: dict[str, Any] = {"enrichment": _merged(connection, service, member), "updated_at": now}
        if service in _FLAGS:
            column = _SESSIONS.c[_FLAGS[service]]
            values[column.name] = sa.case((sa.bindparam("flagged", type_=sa.Boolean), sa.true()), else_=column)
        update = (
            sa.update(_SESSIONS)
            .where(_SESSIONS.c.session_id == sa.bindparam("key"), _mergeable(connection))
            .values(values)
        )
        written = 0
        for key, answer in answers:
            parameters = {"key": key, "member": orjson.dumps(_member(answer)).decode()}
            if service in _FLAGS:
                parameters["flagged"] = answer.flagged
            written += connection.execute(update, parameters).rowcount
        return written

    def _addresses(self, connection: sa.Connection, sessions: Sequence[str]) -> dict[str, str]:
        """The source address of each session that has one, as its events have it."""
        found: dict[str, str] = {}
        if not sessions:
            return found
        # Ordered by the session too: with a LIMIT, a planner would else go through the whole key in search of it.
        events = sa.select(_EVENTS.c.session_id, _EVENTS.c.payload).order_by(_EVENTS.c.session_id, _EVENTS.c.id)
        of_these = _EVENTS.c.session_id.in_(sessions)
        for row in connection.execute(events.where(of_these, _EVENTS.c.event_type == _CONNECT)):
            _take(found, row.session_id, row.payload)
        for session in sessions:
            if session not in found:
                for row in connection.execute(events.where(_EVENTS.c.session_id == session).limit(FIRST_EVENTS)):
                    _take(found, session, row.payload)
        missing = [session for session in sessions if session not in found]
        if missing and self._unindexed is None:
            self._unindexed = _scan(connection)
        scanned = self._unindexed or {}
        return found | {session: scanned[session] for session in missing if session in scanned}


def _place(connection: sa.Connection) -> sa.ColumnElement[Any]:
    # A SQLite cell may hold text that Python cannot show as it is: paged by it, rows would be missed or met again.
    sqlite = connection.dialect.name == "sqlite"
    return sa.literal_column("session_summaries.rowid", sa.Integer) if sqlite else _SESSIONS.c.session_id


def _scan(connection: sa.Connection) -> dict[str, str]:
    """Session to address from the events whose session_id is NULL; read once, some 150 bytes of memory a session.

    New databases at version 5 and later hold NULL in every row: a search by session would read the table each time.
    """
    found: dict[str, str] = {}
    query = sa.select(_EVENTS.c.id, _EVENTS.c.payload).where(_EVENTS.c.session_id.is_(None)).order_by(_EVENTS.c.id)
    after = None
    while True:
        beyond = query if after is None else query.where(_EVENTS.c.id > after)
        rows = connection.execute(beyond.limit(SCAN_PAGE)).all()
        if not rows:
            return found
        after = rows[-1].id
        for row in rows:
            if isinstance(row.payload, dict) and isinstance(session := row.payload.get("session"), str):
                _take(found, session, row.payload)


def _take(found: dict[str, str], session: str, payload: Any) -> None:
    address = payload.get("src_ip") if isinstance(payload, dict) else None
    if isinstance(address, str) and address:
        found.setdefault(session, address)


def _fresh(enrichment: Any, service: str, since: datetime) -> bool:
    member = enrichment.get(service) if isinstance(enrichment, dict) else None
    try:
        return isinstance(member, dict) and datetime.fromisoformat(member["asked_at"]) > since
    except (KeyError, TypeError, ValueError):  # not ours: the processor's members have no such time
        return False


def _member(answer: Answer) -> dict[str, Any]:
    own = {"value": answer.value, "found": answer.found, "flagged": answer.flagged}
    return dict(answer.data) | own | {"asked_at": answer.asked_at.isoformat(timespec="seconds")}


def _json_type(connection: sa.Connection) -> sa.ColumnElement[str]:
    cell = sa.type_coerce(_SESSIONS.c.enrichment, sa.Text)
    if connection.dialect.name == "sqlite":
        # json_type raises an error on malformed text: CASE keeps it away from there.
        known = sa.case((sa.func.json_valid(cell) == 1, sa.func.json_type(cell)), else_="malformed")
        return sa.case((cell.is_(None), "null"), else_=known)
    return sa.func.coalesce(sa.func.jsonb_typeof(_jsonb()), "null")


def _jsonb() -> sa.ColumnElement[Any]:
    # Tables that the processor made itself may have it as json.
    return sa.cast(sa.type_coerce(_SESSIONS.c.enrichment, sa.JSON), JSONB)


def _mergeable(connection: sa.Connection) -> sa.ColumnElement[bool]:
    return _json_type(connection).in_(["object", "null"])


def _merged(connection: sa.Connection, service: str, member: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
    """The enrichment with that member in place of an older one; the other members stay, to the last digit."""
    cell = sa.type_coerce(_SESSIONS.c.enrichment, sa.Text)
    if connection.dialect.name == "sqlite":
        whole = sa.case((_json_type(connection) == "object", cell), else_="{}")
        return sa.func.json_set(whole, f"$.{service}", sa.func.json(member))
    whole = sa.case((_json_type(connection) == "object", _jsonb()), else_=sa.text("'{}'::jsonb"))
    added = sa.func.jsonb_build_object(sa.cast(service, sa.Text), sa.cast(member, JSONB))
    return sa.type_coerce(whole, JSONB).op("||")(added)
