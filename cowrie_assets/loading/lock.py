"""One migration at a time on a target: the advisory lock, and the connection that holds it.

Belongs here: taking it, taking it again. Not here: what is done under it.

What is loaded goes over the connection that holds the lock: where that is lost, so is the transaction, and no other
connection goes on writing without the lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..db.url import mask
from ..errors import UnavailableError
from .connection import connect
from .failures import again

if TYPE_CHECKING:
    import psycopg

    from .watched import WatchedConnection

    Connection = psycopg.Connection[tuple[Any, ...]]

LOCK_KEY = 0x636F77726965
""""cowrie" in ASCII."""


@dataclass
class _Held:
    connection: WatchedConnection
    depth: int = 1


_held: dict[str, _Held] = {}


@contextmanager
def migration_lock(url: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the target's advisory lock; nested use in this process passes.

    Raises:
        UnavailableError: another migration holds it (after waiting that many seconds), or nothing answers.
        TargetError: the server refuses us.
    """
    if url in _held:
        _held[url].depth += 1
    else:
        # A server that says it is starting, or has no connection to spare, is worth some waiting; a wrong port is not.
        busy = again(lambda: connect(url), lambda error: isinstance(error, UnavailableError) and error.answered)
        _held[url] = _Held(_locked(busy, url, wait))
    try:
        yield
    finally:
        held = _held[url]
        held.depth -= 1
        if not held.depth:
            del _held[url]
            held.connection.close()


def locked_connection(url: str) -> Connection:
    """The connection that holds the lock, in autocommit; a new one, with the lock, where that was lost.

    Raises:
        UnavailableError: it cannot be had now.
        TargetError: the server refuses us.
    """
    held = _held[url]
    if held.connection.closed or held.connection.info.transaction_status.name != "IDLE":
        held.connection.close()
        lost = held.connection.session
        held.connection = _locked(connect(url), url, 0, lost)
    return held.connection


def _locked(
    connection: WatchedConnection, url: str, wait: float, lost: tuple[Any, ...] | None = None
) -> WatchedConnection:
    """The connection with the lock; `lost` is our own earlier session, that the server may still believe in."""
    try:
        connection.autocommit = True
        if lost:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE (pid, backend_start) = (%s, %s)", lost
            )
        deadline = time.monotonic() + wait
        while not _try_lock(connection):
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"Another migration is running on {mask(url)}{_holder(connection)}.",
                    hint="Wait for it to end: one migration at a time on a target.",
                )
            time.sleep(0.2)
    except BaseException:
        connection.close()
        raise
    return connection


def _try_lock(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
    return bool(row and row[0])


def _holder(connection: Connection) -> str:
    row = connection.execute(
        "SELECT a.pid, to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS')"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.granted AND"
        " l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (l.classid::bigint << 32 | l.objid::bigint) = %s",
        (LOCK_KEY,),
    ).fetchone()
    return f" (server process {row[0]}, since {row[1]} UTC)" if row else ""


def migration_running(connection: Connection) -> bool:
    """Whether some session holds the advisory lock of this database now."""
    return bool(_holder(connection))
