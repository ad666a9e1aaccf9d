"""Why a session is stuck: what the tables say of it, and what stands in the way of more.

Belongs here: reading and judging one session. Not here: showing it (`cli/debug.py`), locks (`contention.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .contention import Contention, contention
from .json_access import former_generated, text_at
from .tables import SQL_TABLES
from .text_access import visible
from .types import read_moment

TABLES = ("raw_events", "session_summaries", "command_stats", "files", "dead_letter_events", "ingest_cursors")
GAP_SECONDS = 300.0
"""Silence within a session worth a line: Cowrie closes an idle connection after 300 s (its default idle_timeout)."""
EVENT_LIMIT = 50_000
"""Events of a session that are read; the largest sessions of the production database stay below."""
RANGE_LIMIT = 200_000
"""Lines of a source, between a session's first and last, that are looked through for missing ones."""
LETTER_LIMIT = 100
CLOSED = "cowrie.session.closed"

_EVENTS, _SESSIONS, _LETTERS, _CURSORS = (
    SQL_TABLES[name] for name in ("raw_events", "session_summaries", "dead_letter_events", "ingest_cursors")
)


@dataclass(frozen=True)
class Event:
    """An event of the session; `at` is its own time, None where that is no date."""

    id: int
    at: datetime | None
    event_type: str | None
    source: str
    inode: str | None
    generation: int
    offset: int | None
    quarantined: bool


@dataclass(frozen=True)
class SourceState:
    """A log file that the session's events came from.

    Attributes:
        first, last: the session's lowest and highest offset there.
        missing: offsets between them that are neither events nor dead letters; None where that was not checked.
        examples: the first few of them.
        cursor: the loader's position, None where it has none for this source.
        cursor_at: when the loader was last there.
        rotated: the cursor stands in another file of that name.
    """

    source: str
    inode: str | None
    first: int | None
    last: int | None
    missing: int | None
    examples: tuple[int, ...]
    cursor: int | None
    cursor_at: datetime | None
    rotated: bool


@dataclass(frozen=True)
class Letter:
    """A dead letter; `own` where its payload names the session, else it only lies between the session's lines."""

    id: int
    source: str | None
    offset: int | None
    reason: str
    resolved: bool
    own: bool
    stored: bool


@dataclass(frozen=True)
class SessionState:
    """All that was found.

    Attributes:
        summary: the row of session_summaries, or None.
        gaps: pairs of events between which more than `GAP_SECONDS` passed.
        searched_letters: whether dead letters were searched by payload over the whole table.
        stuck: whether the verdict is a complaint.
        verdict: one line.
    """

    session: str
    summary: dict[str, Any] | None
    events: tuple[Event, ...]
    gaps: tuple[tuple[Event, Event, float], ...]
    sources: tuple[SourceState, ...]
    letters: tuple[Letter, ...]
    searched_letters: bool
    contention: Contention
    stuck: bool = False
    verdict: str = ""


def session_state(connection: sa.Connection, session: str, *, deep: bool = False) -> SessionState:
    """Look at one session.

    Args:
        connection: on either backend; nothing is written.
        session: its id.
        deep: search all dead letters for the session by payload: reads the whole table.
    """
    events = _events(connection, session)
    sources = tuple(_source(connection, part) for part in _by_source(events))
    state = SessionState(
        session=session,
        summary=_summary(connection, session),
        events=events,
        gaps=_gaps(events),
        sources=sources,
        letters=_letters(connection, session, sources, deep),
        searched_letters=deep,
        contention=contention(connection, TABLES),
    )
    stuck, verdict = _verdict(state)
    return replace(state, stuck=stuck, verdict=verdict)


def _summary(connection: sa.Connection, session: str) -> dict[str, Any] | None:
    names = ("first_event_at", "last_event_at", "event_count", "command_count", "file_downloads", "login_attempts")
    columns = [_SESSIONS.c[name] for name in (*names, "updated_at")]
    stored = visible(_SESSIONS.c.session_id) if _escaped(connection, session) else _SESSIONS.c.session_id
    row = connection.execute(sa.select(*columns).where(stored == session)).mappings().first()
    return dict(row) if row else None


def _escaped(connection: sa.Connection, session: str) -> bool:
    r"""Whether SQLite may hold the id in other bytes, a NUL for `\x00`: no index finds it then, the table is read."""
    return connection.dialect.name == "sqlite" and "\\" in session


def _events(connection: sa.Connection, session: str) -> tuple[Event, ...]:
    c = _EVENTS.c
    # The two arms of OR each have an index; where session_id is NULL in every row, the second reads them all.
    named = sa.or_(c.session_id == session, sa.and_(c.session_id.is_(None), text_at(c.payload, "session") == session))
    if _escaped(connection, session):
        named = visible(former_generated(c.session_id, c.payload, "session")) == session
    query = sa.select(
        c.id,
        text_at(c.payload, "timestamp").label("at"),
        text_at(c.payload, "eventid").label("event_type"),
        c.source,
        c.source_inode,
        c.source_generation,
        c.source_offset,
        c.quarantined,
    )
    rows = connection.execute(query.where(named).order_by(c.id).limit(EVENT_LIMIT))
    events = [Event(r[0], read_moment(r[1]), *r[2:7], bool(r[7])) for r in rows]
    return tuple(sorted(events, key=lambda e: (e.source, e.inode or "", e.generation, e.offset or 0, e.id)))


def _gaps(events: Sequence[Event]) -> tuple[tuple[Event, Event, float], ...]:
    dated = sorted(((event.at, event.id, event) for event in events if event.at), key=lambda item: item[:2])
    pairs = zip(dated, dated[1:], strict=False)
    return tuple((a, b, s) for (t, _, a), (u, _, b) in pairs if (s := (u - t).total_seconds()) > GAP_SECONDS)


def _by_source(events: Sequence[Event]) -> list[list[Event]]:
    parts: dict[tuple[str, str | None, int], list[Event]] = {}
    for event in events:
        parts.setdefault((event.source, event.inode, event.generation), []).append(event)
    return list(parts.values())


def _source(connection: sa.Connection, events: Sequence[Event]) -> SourceState:
    source, inode, generation = events[0].source, events[0].inode, events[0].generation
    offsets = [event.offset for event in events if event.offset is not None]
    first, last = min(offsets, default=None), max(offsets, default=None)
    missing: int | None = None
    examples: tuple[int, ...] = ()
    if first is not None and last is not None and last - first <= RANGE_LIMIT:
        c, d = _EVENTS.c, _LETTERS.c
        of_file = (c.source == source, c.source_inode == inode, c.source_generation == generation)
        stored = sa.select(c.source_offset).where(*of_file, c.source_offset.between(first, last))
        dead = sa.select(d.source_offset).where(d.source == source, d.source_offset.between(first, last))
        present = set(connection.execute(sa.union_all(stored, dead)).scalars())
        absent = [offset for offset in range(first, last + 1) if offset not in present]
        missing, examples = len(absent), tuple(absent[:5])
    cursor = connection.execute(
        sa.select(_CURSORS.c.inode, _CURSORS.c.last_offset, _CURSORS.c.last_ingest_at).where(
            _CURSORS.c.source == source
        )
    ).first()
    rotated = cursor is not None and cursor.inode is not None and inode is not None and cursor.inode != inode
    position, at = (cursor.last_offset, cursor.last_ingest_at) if cursor else (None, None)
    return SourceState(source, inode, first, last, missing, examples, position, at, rotated)


def _letters(connection: sa.Connection, session: str, sources: Sequence[SourceState], deep: bool) -> tuple[Letter, ...]:
    c, e = _LETTERS.c, _EVENTS.c
    own = sa.func.coalesce(text_at(c.payload, "session") == session, sa.false())
    stored = sa.exists().where(e.source == c.source, e.source_offset == c.source_offset)
    near = [
        sa.and_(c.source == s.source, c.source_offset.between(s.first, s.last)) for s in sources if s.last is not None
    ]
    query = sa.select(c.id, c.source, c.source_offset, c.reason, c.resolved, own, stored).order_by(c.id)
    which = sa.or_(own, *near) if deep else sa.or_(sa.false(), *near)
    rows = connection.execute(query.where(which).limit(LETTER_LIMIT))
    return tuple(Letter(*row[:4], *map(bool, row[4:])) for row in rows)


def _verdict(state: SessionState) -> tuple[bool, str]:
    """Whether the session is stuck, and the line that says so; the first cause in order of what blocks the rest."""
    events, summary = state.events, state.summary
    lost = [letter for letter in state.letters if letter.own and not letter.stored and not letter.resolved]
    missing = [s for s in state.sources if s.missing]
    obstacle = state.contention.obstacle
    if not events and not summary and not lost:
        where = "" if state.searched_letters else " (dead letters by payload: NOT CHECKED, use --deep)"
        return True, f"Unknown: no event, no summary, no dead letter{where}."
    if obstacle:
        return True, f"Blocked: {obstacle}."
    if lost:
        return True, f"Incomplete: {len(lost)} of its lines are dead letters ({lost[0].reason}) and no events."
    if not events:
        return True, "Summary without events: they were deleted, or never stored."
    if not summary:
        return (
            True,
            f"Not summarised: {len(events)} events, no row in session_summaries. Run the processor's summary again.",
        )
    if summary["event_count"] != len(events) and len(events) < EVENT_LIMIT:
        return True, f"Summary and events differ: it counts {summary['event_count']}, {len(events)} are stored."
    if not any(event.event_type == CLOSED for event in events):
        return True, f"Open: no {CLOSED} yet. {_loader(state.sources)}"
    if missing:
        s = missing[0]
        return True, f"Lines missing: {s.missing} between {s.first} and {s.last} of {s.source}, first {s.examples[0]}."
    return False, f"Complete: {len(events)} events from first to {CLOSED}, and the summary agrees."


def _loader(sources: Sequence[SourceState]) -> str:
    for s in sources:
        if s.rotated:
            return f"The loader went on to a new file of the name {s.source}: the rest may be in the old one."
        if s.cursor is not None and s.last is not None and s.cursor < s.last:
            return f"The cursor of {s.source} stands at {s.cursor}, before the session's last line {s.last}."
        if s.cursor is not None:
            return f"The loader was last at line {s.cursor} of {s.source}, at {s.cursor_at}."
    return "No cursor for its sources: they were loaded in bulk, and nothing follows them."
