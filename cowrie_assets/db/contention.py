"""Who holds up whom: locks and long transactions on PostgreSQL, the writer's lock and the WAL on SQLite.

Belongs here: looking, on both backends, without changing a byte. Not here: what a session lacks (`session_debug.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from .url import mask

LONG_SECONDS = 60.0
"""Age of a transaction that is worth a look: the processor's and our own batches end within seconds."""
STATEMENT_LENGTH = 100


@dataclass(frozen=True)
class Holder:
    """A session of the server that holds or waits for a lock on a table, or whose transaction is long.

    Attributes:
        table: the table, or None where only the transaction's age is noted.
        seconds: age of its transaction; None where this user may not see it (grant pg_read_all_stats).
        blocked_by: process ids that it waits for.
    """

    pid: int
    application: str
    table: str | None
    mode: str | None
    granted: bool
    seconds: float | None
    state: str
    blocked_by: tuple[int, ...]
    statement: str


@dataclass(frozen=True)
class FileState:
    """What lies beside a SQLite database.

    Attributes:
        busy: another process is writing; None where that could not be tried.
        journal_mode: as the database has it.
        wal_bytes: size of the -wal file; large where a reader keeps it from being checkpointed.
        hot_journal: a -journal file is there: a writer is at work, or died.
    """

    busy: bool | None
    journal_mode: str
    wal_bytes: int
    hot_journal: bool


@dataclass(frozen=True)
class Contention:
    """Either backend's answer."""

    holders: tuple[Holder, ...] = ()
    file: FileState | None = None

    @property
    def obstacle(self) -> str | None:
        """What keeps a writer waiting now, in words, or None."""
        waiting = [holder for holder in self.holders if not holder.granted]
        if waiting:
            pids = sorted({pid for holder in waiting for pid in holder.blocked_by})
            return f"process {waiting[0].pid} waits for {waiting[0].table}, held by {', '.join(map(str, pids)) or '?'}"
        writers = [h for h in self.holders if h.mode in _AGAINST_WRITERS]
        if writers:
            return f"process {writers[0].pid} holds {writers[0].mode} on {writers[0].table}"
        if self.file and self.file.busy:
            return "another process holds the write lock"
        return None


_AGAINST_WRITERS = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
"""Lock modes that an INSERT or UPDATE waits for (PostgreSQL, 13.3.1)."""

_HOLDERS = sa.text(
    """
    SELECT a.pid, coalesce(a.application_name, '') AS application, c.relname AS "table", l.mode,
           coalesce(l.granted, true) AS granted,
           extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds, coalesce(a.state, '') AS state,
           pg_blocking_pids(a.pid) AS blocked_by, coalesce(a.query, '') AS statement
    FROM pg_stat_activity a
    LEFT JOIN (pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relname = ANY(:tables)) ON l.pid = a.pid
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND (c.relname IS NOT NULL OR clock_timestamp() - a.xact_start > make_interval(secs => :long))
    ORDER BY seconds DESC NULLS LAST, a.pid, c.relname, l.mode
    """
)


def contention(connection: sa.Connection, tables: Sequence[str]) -> Contention:
    """What stands in a writer's way on these tables now."""
    if connection.dialect.name == "sqlite":
        path = connection.exec_driver_sql("SELECT file FROM pragma_database_list WHERE name = 'main'").scalar()
        return Contention(file=_file_state(connection, Path(str(path)))) if path else Contention()
    rows = connection.execute(_HOLDERS, {"tables": list(tables), "long": LONG_SECONDS}).mappings()
    return Contention(
        holders=tuple(
            Holder(
                **{
                    **row,
                    "blocked_by": tuple(row["blocked_by"]),
                    "statement": mask(row["statement"])[:STATEMENT_LENGTH],
                }
            )
            for row in rows
        )
    )


def _file_state(connection: sa.Connection, path: Path) -> FileState:
    wal, journal = Path(f"{path}-wal"), Path(f"{path}-journal")
    return FileState(
        busy=_busy(path),
        journal_mode=str(connection.exec_driver_sql("PRAGMA journal_mode").scalar()),
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        hot_journal=journal.exists() and journal.stat().st_size > 0,
    )


def _busy(path: Path) -> bool | None:
    """Whether the write lock is taken: asked for and given back, nothing is written."""
    url = sa.URL.create("sqlite", database=f"file:{path}", query={"mode": "rw", "uri": "true"})
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": 0, "isolation_level": None})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("ROLLBACK")
    except OperationalError as error:
        return True if "locked" in str(error.orig) else None
    return False
