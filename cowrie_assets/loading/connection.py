"""Connections to the target, and its errors in one clear line each.

Belongs here: connecting, locking, translating driver errors. Not here: SQL that changes rows.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from ..db.url import mask
from ..errors import CowrieError, LoadError, MissingExtraError, TargetError

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

CONNECT_SECONDS = 10
LOCK_SECONDS = 30
LOCK_KEY = 0x636F77726965
"""The advisory lock of "one migration at a time on a target" ("cowrie" in ASCII)."""
TRIES = 5
"""Attempts at a transient failure; the waits between them sum to about 15 s, enough for a server's restart."""

_TRANSIENT = ("08", "40", "53300", "55P03", "57P01", "57P02", "57P03")
"""SQLSTATEs worth another try: connection lost, deadlock or serialization, too many connections, lock timeout, server
going down or starting. Source: PostgreSQL's appendix A."""


def driver() -> Any:
    """psycopg, or a MissingExtraError that names the extra."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError(
            "A PostgreSQL URL needs psycopg, which is not installed.", hint="Run pip install 'cowrie-assets[postgres]'."
        ) from error
    return psycopg


def url_parts(url: str) -> dict[str, Any]:
    """A URL's parts under libpq's names; TargetError where it is none."""
    pg = driver()
    try:
        return dict(pg.conninfo.conninfo_to_dict(url))
    except pg.ProgrammingError as error:
        # What libpq quotes may be the password.
        what = _first_line(error).partition('"')[0].rstrip(" :")
        raise TargetError(
            f"The target {mask(url)} is no valid URL: {what}.", hint="Write postgresql://user@host:5432/database."
        ) from None


def connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect in UTC and UTF-8, every wait bounded; raises TargetError that says why it cannot."""
    pg = driver()
    options = f"-c TimeZone=UTC -c DateStyle=ISO -c lock_timeout={LOCK_SECONDS}s -c client_encoding=UTF8"
    try:
        given = url_parts(url)
        merged = f"{given.pop('options', '')} {options}".strip()
        timeout = given.pop("connect_timeout", CONNECT_SECONDS)
        connection: psycopg.Connection[tuple[Any, ...]] = pg.connect(
            **given, connect_timeout=timeout, options=merged, application_name="cowrie-assets"
        )
    except pg.Error as error:
        raise TargetError(
            f"The target {mask(url)} cannot be reached: {_first_line(error)}.",
            hint="Check COWRIE_POSTGRES_URL, that the server runs, user and password.",
        ) from error
    return connection


def database_url(url: str, name: str) -> str:
    """The URL of a database on the embedded server, which is created where it is missing."""
    pg = driver()
    with connect(url) as connection:
        connection.autocommit = True
        # Suppressed: it is there, or another process has just made it.
        with contextlib.suppress(pg.errors.DuplicateDatabase, pg.errors.UniqueViolation):
            connection.execute(pg.sql.SQL("CREATE DATABASE {}").format(pg.sql.Identifier(name)))
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return mask(lines[0].rstrip("."))


def describe(error: BaseException) -> str:
    """A driver's error in one line, with its SQLSTATE."""
    state = getattr(error, "sqlstate", None)
    return f"{_first_line(error)} [{state}]" if state else _first_line(error)


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed when tried again."""
    psycopg = driver()
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return bool(error.sqlstate.startswith(_TRANSIENT))


def translate(error: BaseException, doing: str) -> CowrieError:
    """A driver's error while moving rows as our own, with what to do next."""
    state = getattr(error, "sqlstate", None) or ""
    hint = "Start it again: finished partitions are kept."
    if state.startswith("53100"):
        hint = "Free disk space on the server, then start it again: finished partitions are kept."
    elif state == "42501":
        hint = "Grant the target's user the missing privilege (see README), then start it again."
    return LoadError(f"{doing}: {describe(error)}.", hint=hint)


def retried(work: Callable[[], T], doing: str, tries: int = TRIES) -> T:
    """Do the work, again with growing waits where the failure is transient; the work must be one transaction.

    Raises:
        LoadError: for what is not transient, or did not pass.
    """
    psycopg = driver()
    for attempt in range(1, tries + 1):
        try:
            return work()
        except psycopg.Error as error:
            if attempt == tries or not is_transient(error):
                raise translate(error, doing) from error
        except TargetError:
            # The server may be restarting between two attempts; the first attempt's refusal is final.
            if attempt in (1, tries):
                raise
        time.sleep(2 ** (attempt - 1) * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
    raise AssertionError("unreachable")  # pragma: no cover


_held: dict[str, int] = {}


@contextmanager
def migration_lock(url: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the target's advisory lock; nested use in this process passes.

    Raises:
        TargetError: another migration holds it (after waiting that many seconds).
    """
    if _held.get(url):
        _held[url] += 1
        try:
            yield
        finally:
            _held[url] -= 1
        return
    with connect(url) as connection:
        connection.autocommit = True
        deadline = time.monotonic() + wait
        while not _try_lock(connection):
            if time.monotonic() >= deadline:
                raise TargetError(
                    f"Another migration is running on {mask(url)}{_holder(connection)}.",
                    hint="Wait for it to end: one migration at a time on a target.",
                )
            time.sleep(0.2)
        _held[url] = 1
        try:
            yield
        finally:
            _held[url] = 0


def _try_lock(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
    return bool(row and row[0])


def _holder(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    row = connection.execute(
        "SELECT a.pid, to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS')"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.granted AND"
        " l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (l.classid::bigint << 32 | l.objid::bigint) = %s",
        (LOCK_KEY,),
    ).fetchone()
    return f" (server process {row[0]}, since {row[1]} UTC)" if row else ""


def migration_running(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Whether some session holds the advisory lock of this database now."""
    return bool(_holder(connection))
