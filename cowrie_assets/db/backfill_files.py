"""Fills `files` from the events of downloads and uploads, and lists it.

Belongs here: which event says what of a file, and adding it. Not here: what services say of a file (`enrichment/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from .engine import use_wal
from .json_access import former_generated, text_at
from .tables import SQL_TABLES
from .types import read_moment

PAGE = 1_000
"""Events of files to a transaction; two parameters each stay below SQLite's limit of 32,766."""
EVENTS = ("cowrie.session.file_download", "cowrie.session.file_upload")

_RAW, _FILES = SQL_TABLES["raw_events"], SQL_TABLES["files"]
Key = tuple[str, str]


@dataclass
class Backfill:
    """What was done, or would be.

    Attributes:
        events: events of files that were read.
        added: new rows.
        completed: rows that lacked a name or URL, or were seen earlier than they said.
        unusable: events without session or SHA-256, with the ids of the first few.
        last_id: the last event whose batch is committed; a later run may go on after it.
    """

    events: int = 0
    added: int = 0
    completed: int = 0
    unusable: int = 0
    examples: list[int] = field(default_factory=list)
    last_id: int = 0


def backfill_files(
    engine: sa.Engine, *, dry_run: bool = False, after: int = 0, progress: Callable[[Backfill], None] | None = None
) -> Backfill:
    """Add what the events tell and `files` lacks; nothing that is there is overwritten, enrichment least of all.

    Run again it adds nothing: an interrupted run is just started again.

    Args:
        engine: the database.
        dry_run: only count.
        after: begin behind this event's id.
        progress: told after each batch.
    """
    done = Backfill(last_id=after)
    planned: set[Key] = set()
    while True:
        with engine.connect() as connection:
            rows = connection.execute(_page(done.last_id)).all()
        if not rows:
            return done
        found = _files_of(rows, done)
        options = {} if dry_run else {"cowrie_begin": "BEGIN IMMEDIATE"}
        with engine.connect().execution_options(**options) as connection, connection.begin():
            new, better = _lacking(connection, found)
            done.added += len(new.keys() - planned)
            done.completed += len(better)
            if dry_run:
                planned |= new.keys()
            else:
                _write(connection, new, better)
        if (new or better) and not dry_run:
            use_wal(engine)  # for the batches to come
        done.events += len(rows)
        done.last_id = rows[-1].id
        if progress:
            progress(done)


def _page(after: int) -> sa.Select[Any]:
    payload = _RAW.c.payload
    kind = former_generated(_RAW.c.event_type, payload, "eventid")
    members = ("session", "shasum", "url", "filename", "destfile", "outfile", "timestamp")
    return (
        sa.select(_RAW.c.id, _RAW.c.ingest_at, *(text_at(payload, m).label(m) for m in members))
        .where(_RAW.c.id > after, kind.in_(EVENTS))
        .order_by(_RAW.c.id)
        .limit(PAGE)
    )


def _files_of(rows: Any, done: Backfill) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {}
    for row in rows:
        if not row.session or not row.shasum:
            done.unusable += 1
            done.examples = [*done.examples, row.id][:5]
            continue
        at = read_moment(row.timestamp) or row.ingest_at or datetime.now(UTC)
        values = {"filename": _name(row), "download_url": row.url or None, "first_seen": at}
        known = found.setdefault((row.session, row.shasum), values)
        for column in ("filename", "download_url"):
            known[column] = known[column] or values[column]
        known["first_seen"] = min(known["first_seen"], at)
    return found


def _name(row: Any) -> str | None:
    """An upload's name, a redirection's target; what Cowrie stored it as, where that is not just its SHA-256."""
    stored = row.outfile if row.outfile and not row.outfile.endswith(row.shasum) else None
    return row.filename or row.destfile or stored or None


def _lacking(
    connection: sa.Connection, found: dict[Key, dict[str, Any]]
) -> tuple[dict[Key, dict[str, Any]], dict[Key, dict[str, Any]]]:
    """What is to be added, and what of rows that are there is to be completed."""
    if not found:
        return {}, {}
    c = _FILES.c
    query = sa.select(c.session_id, c.shasum, c.filename, c.download_url, c.first_seen)
    rows = connection.execute(query.where(sa.tuple_(c.session_id, c.shasum).in_(list(found)))).all()
    there = {(row.session_id, row.shasum): row for row in rows}
    better: dict[Key, dict[str, Any]] = {}
    for key, row in there.items():
        told = found[key]
        changes = {n: told[n] for n in ("filename", "download_url") if told[n] and not getattr(row, n)}
        if row.first_seen is None or told["first_seen"] < row.first_seen:
            changes["first_seen"] = told["first_seen"]
        if changes:
            better[key] = changes
    return {key: values for key, values in found.items() if key not in there}, better


def _write(connection: sa.Connection, new: dict[Key, dict[str, Any]], better: dict[Key, dict[str, Any]]) -> None:
    now = datetime.now(UTC)
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    if new:
        rows = [{"session_id": s, "shasum": h, "last_updated": now, **values} for (s, h), values in new.items()]
        # One that the loader has added meanwhile stays as the loader wrote it.
        statement = insert(_FILES).on_conflict_do_nothing(index_elements=["session_id", "shasum"])
        connection.execute(statement, rows)
    for (session, shasum), changes in better.items():
        connection.execute(
            sa.update(_FILES)
            .where(_FILES.c.session_id == session, _FILES.c.shasum == shasum)
            .values(**changes, last_updated=now)
        )


def list_files(
    connection: sa.Connection,
    *,
    malicious: bool = False,
    pending: bool = False,
    session: str | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The files, newest first.

    Args:
        connection: the database.
        malicious: only those that a service called so.
        pending: only those that no service was asked about.
        session: only those of a session.
        limit: at most so many.
    """
    query = sa.select(_FILES).order_by(_FILES.c.id.desc()).limit(limit)
    if malicious:
        query = query.where(_FILES.c.vt_malicious.is_(sa.true()))
    if pending:
        query = query.where(_FILES.c.enrichment_status == "pending")
    if session is not None:
        query = query.where(_FILES.c.session_id == session)
    for row in connection.execute(query).mappings():
        yield dict(row)
