"""Events and sessions as the queries see them: computed columns, within a window.

Belongs here: reading columns alike on both backends, windows, what is left out. Not here: the queries.

**The date.** An event's is its own time (`event_timestamp`, else the payload's `timestamp`), not when it was loaded; a
session's is `first_event_at`. Both columns are indexed on both backends. The event's is text in any form that is a date
to the migration, so the index only narrows the search, to the day before and after (offsets reach 15:59 hours), and the
instant decides. Texts of that form begin with the day in digits: they sort by it under every collation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from ...db.json_access import moment_of, not_empty, text_at
from ...db.json_sql import SoundText
from ...db.tables import SQL_TABLES
from ...db.text_access import flagged, hour_key, instant_of, visible, whole

DEFAULT_LIMIT, MOST = 20, 10_000
LOGIN_SUCCESS, LOGIN_FAILED = "cowrie.login.success", "cowrie.login.failed"
COMMAND, DOWNLOAD = "cowrie.command.input", "cowrie.session.file_download"
LOGINS = (LOGIN_SUCCESS, LOGIN_FAILED)

_DAY = timedelta(days=1)
_FORMER = {"event_type": "eventid", "event_timestamp": "timestamp", "session_id": "session"}
_MEMBERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sensor": (("sensor",), ()),
    "src_ip": (("src_ip",), ()),
    "username": (("username",), LOGINS),
    "password": (("password",), LOGINS),
    # The processor's loader moves the line to input_safe, with |, ; and $ spelled out ([PIPE], [SC], …).
    "command": (("input", "input_safe"), (COMMAND,)),
    "shasum": (("shasum",), (DOWNLOAD,)),
    "url": (("url",), (DOWNLOAD,)),
}
"""Column -> the payload's members, first found counts, and the kinds of event that have it (none: all)."""


@dataclass(frozen=True)
class Window:
    """What a report is restricted to.

    Attributes:
        first, last: days in UTC, inclusive; None: open.
        sensor: only of this sensor.
        limit: most rows, up to `MOST`.
    """

    first: date | None = None
    last: date | None = None
    sensor: str | None = None
    limit: int = DEFAULT_LIMIT

    def __post_init__(self) -> None:
        """ValueError for a limit out of range."""
        if not 1 <= self.limit <= MOST:
            raise ValueError(f"The limit {self.limit} is not between 1 and {MOST}.")

    def holds(self, instant: Any) -> list[sa.ColumnElement[bool]]:
        """Conditions: the instant lies in the window; none for an open one."""
        return [
            *([instant >= datetime.combine(self.first, time.min, UTC)] if self.first else []),
            *([instant <= datetime.combine(self.last, time.max, UTC)] if self.last else []),
        ]

    def near(self, text: Any) -> list[sa.ColumnElement[bool]]:
        """Conditions that an index serves: a date's text within the window, and at most a day beside it."""
        text = sa.type_coerce(text, sa.Text())
        # Years 1 and 9999 have no day before or after.
        first = None if self.first in (None, date.min) else self.first - _DAY
        after = None if self.last is None or self.last >= date.max - _DAY else self.last + 2 * _DAY
        return [
            *([text >= first.isoformat()] if first else []),
            *([text < after.isoformat()] if after else []),
        ]


def _first(ask: Callable[[Any, str], Any], document: Any, members: Sequence[str]) -> Any:
    texts = [ask(document, member) for member in members]
    return texts[0] if len(texts) == 1 else sa.func.coalesce(*texts)


class Facts:
    """Events and sessions of a database, whatever its backend and schema version."""

    def __init__(self, connection: sa.Connection, left_out: Mapping[str, sa.ColumnElement[bool]] | None = None) -> None:
        """Look which columns there are.

        Args:
            connection: open for as long as this is used.
            left_out: table -> condition that its rows must meet.
        """
        self.connection = connection
        self._left_out = dict(left_out or {})
        self._sqlite = connection.dialect.name == "sqlite"
        inspector = sa.inspect(connection)
        present = set(inspector.get_table_names())
        self._columns = {
            name: {column["name"] for column in inspector.get_columns(name)} if name in present else set()
            for name in ("raw_events", "session_summaries")
        }
        self._plain = not self._sqlite or not connection.scalar(sa.text("SELECT cowrie_generated()"))
        self._kept: sa.Table | None = None

    def has(self, table: str) -> bool:
        """Whether the database has that table."""
        return bool(self._columns[table])

    def _former(self, ask: Callable[[Any, str], Any]) -> dict[str, Any]:
        """The columns that old schemas generate: as stored, and the payload's member where that is NULL.

        A generated one is not even named: it fails on damaged JSON, also where the query goes another way, and its
        index holds what SQLite makes of a member.
        """
        payload = SQL_TABLES["raw_events"].c.payload
        texts = {name: ask(payload, member) for name, member in _FORMER.items()}
        if not self._plain:
            return texts
        return {n: sa.func.coalesce(visible(self._column("raw_events", n)), text) for n, text in texts.items()}

    def _computed(self) -> dict[str, Any]:
        """The columns of events over raw_events."""
        raw = SQL_TABLES["raw_events"].c
        former = self._former(text_at)
        return {
            "kind": former["event_type"],
            "hour": hour_key(former["event_timestamp"]),
            "session_id": former["session_id"],
        } | {name: _first(text_at, raw.payload, members) for name, (members, _) in _MEMBERS.items()}

    def events(self, window: Window, names: Sequence[str], *kinds: str, dated: bool = True) -> sa.Subquery:
        """Events in the window.

        Args:
            window: days and sensor.
            names: columns: kind, hour (`hour_key` of the time), session_id, sensor, src_ip; username, password,
                command, shasum and url of the kinds that have them.
            kinds: values of `eventid`; none: all.
            dated: False only narrows the days, for who tests the hour after grouping by it.
        """
        found = self._computed() if self._kept is None else dict(self._kept.c)
        dated = dated and bool(window.first or window.last)
        query = sa.select(*(found[name].label(name) for name in {*names, *(["hour"] if dated else [])}))
        if self._kept is None:
            query = query.where(*self._kept_rows("raw_events"))
            stored = SQL_TABLES["raw_events"].c.event_timestamp
            if self._plain and (near := window.near(stored)):
                # NULL where the loader left the column to the payload.
                query = query.where(sa.or_(sa.and_(*near), stored.is_(None)))
        if kinds:
            query = query.where(found["kind"].in_(kinds))
        if window.sensor is not None:
            query = query.where(found["sensor"] == window.sensor)
        if self._sqlite:
            return query.where(*(window.holds(instant_of(found["hour"])) if dated else [])).subquery("events")
        if not dated:
            # OFFSET keeps PostgreSQL from carrying documents through its sorts.
            return query.offset(0).subquery("events")
        # To read a time takes PostgreSQL 6 us (its pattern); so it reads the hours that occur, not the events' times.
        near_events = query.cte("near_events")
        hours = sa.select(near_events.c.hour).group_by(near_events.c.hour).offset(0).subquery("hours")
        within = sa.select(hours.c.hour).where(*window.holds(instant_of(hours.c.hour)))
        return sa.select(near_events).where(near_events.c.hour.in_(within)).subquery("events")

    def keep_events(self) -> None:
        """Read all events once, into a temporary table of this connection that the queries use from now on.

        For who asks all reports, and leaves out the events whose documents the migration repairs: SQLite's own JSON
        functions read the others, a million in 4 s instead of 2 to 10 s a report. It takes some 100 bytes an event
        where the database keeps temporary files (SQLite: SQLITE_TMPDIR). Where PostgreSQL grants no TEMPORARY,
        nothing is kept: the answers are the same, and take a reading of the table each.
        """
        if not self._sqlite and not self.connection.scalar(
            sa.select(sa.func.has_database_privilege(sa.func.current_database(), "TEMPORARY"))
        ):
            return
        raw = SQL_TABLES["raw_events"].c
        former = [text.label(name) for name, text in self._former(SoundText).items()]
        # OFFSET keeps SQLite from repeating these wherever the outer query names them.
        read = sa.select(*former, raw.payload).where(*self._kept_rows("raw_events")).offset(0).subquery("read").c
        found: dict[str, Any] = {
            "kind": read.event_type,
            "hour": hour_key(read.event_timestamp),
            "session_id": read.session_id,
        }
        for name, (members, kinds) in _MEMBERS.items():
            text = _first(SoundText, read.payload, members)
            found[name] = sa.case((read.event_type.in_(kinds), text), else_=None) if kinds else text
        kept = sa.Table("kept_events", sa.MetaData(), *(sa.Column(n, sa.Text()) for n in found), prefixes=["TEMPORARY"])
        kept.create(self.connection)
        self.connection.execute(sa.insert(kept).from_select(list(found), sa.select(*found.values())))
        self._kept = kept

    def sessions(self, window: Window) -> sa.Subquery:
        """Sessions that began in the window, with the columns of `EnrichedSession` and the loader's counts."""
        stored = {
            column.name: self._column(column.table.name, column.name) for column in SQL_TABLES["session_summaries"].c
        }
        began, sensor, enrichment = stored["first_event_at"], visible(stored["matcher"]), stored["enrichment"]
        counts = ("event_count", "command_count", "file_downloads", "login_attempts", "risk_score")
        query = sa.select(
            visible(stored["session_id"]).label("session_id"),
            sensor.label("sensor"),
            began.label("first_event_at"),
            *(whole(stored[name]).label(name) for name in counts),
            *(flagged(stored[name]).label(name) for name in ("vt_flagged", "dshield_flagged")),
            enrichment.label("enrichment"),
            not_empty(enrichment).label("enriched"),
        ).where(*self._kept_rows("session_summaries"), *window.holds(moment_of(began)))
        if self._sqlite and (near := window.near(began)):
            # Numbers, which sort before all text, may be epochs.
            query = query.where(sa.or_(sa.and_(*near), sa.type_coerce(began, sa.Text()) < ""))
        if window.sensor is not None:
            query = query.where(sensor == window.sensor)
        return query.subquery("sessions")

    def _column(self, table: str, name: str) -> Any:
        """The column, or NULL where an old schema lacks it."""
        column = SQL_TABLES[table].c[name]
        return column if name in self._columns[table] else sa.cast(sa.null(), column.type)

    def _kept_rows(self, table: str) -> list[sa.ColumnElement[bool]]:
        return [self._left_out[table]] if table in self._left_out else []
