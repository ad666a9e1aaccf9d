"""Connections to the target: opening them, every wait bounded, and why that failed in one clear line.

Belongs here: connecting. Not here: errors of statements (`failures.py`), the advisory lock (`lock.py`).
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ..db.url import mask
from ..errors import MissingExtraError, TargetError, UnavailableError

if TYPE_CHECKING:
    from .watched import WatchedConnection

LOCK_SECONDS = 10
"""How long a statement waits for another session's lock before it is tried again; the URL's `options` may say more."""
LIBPQ = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Bounds (seconds; the last milliseconds) on a network that drops packets; the URL's own values win."""
SERVER = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "client_encoding": "UTF8",
    # Keys are compared as text, and doubles read as text: the server's or the role's own settings may say otherwise.
    "extra_float_digits": "1",
    "bytea_output": "hex",
    # Joins over ranges of keys look costly, and compiling each took longer than running it: the proof of 1,000,000
    # events took 67 s with it and 52 s without.
    "jit": "off",
    # By default a server keeps the locks of a client that vanished for two hours.
    "tcp_keepalives_idle": 30,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
}
"""The session's settings."""

_BUSY = re.compile("starting up|shutting down|recovery mode|not yet accepting|too many|connection slots")
"""What a server says that will soon take connections (57P03, 53300). libpq tells no SQLSTATE of a failed connection,
and a server in another language is asked again only while a migration runs."""
_REFUSALS = (
    (
        "password|no pg_hba|authentication|role .* does not exist",
        "Check user and password in COWRIE_POSTGRES_URL (or PGPASSWORD, ~/.pgpass) and the server's pg_hba.conf.",
    ),
    (
        "permission denied for database",
        "Run GRANT CONNECT, CREATE ON DATABASE {database} TO {user}.",
    ),
    (
        "database .* does not exist",
        "Run CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0, or name another in COWRIE_POSTGRES_URL.",
    ),
    (_BUSY.pattern, "Wait, or free connections, then start it again."),
)


def driver() -> Any:
    """psycopg, or a MissingExtraError that names the extra."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError(
            "A PostgreSQL URL needs psycopg, which is not installed.", hint="Run pip install 'cowrie-assets[postgres]'."
        ) from error
    # It warns of rollbacks on lost connections; our one line says what was lost.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    return psycopg


def url_parts(url: str) -> dict[str, Any]:
    """A URL's parts under libpq's names; TargetError where it is none."""
    pg = driver()
    try:
        return dict(pg.conninfo.conninfo_to_dict(url))
    except pg.ProgrammingError as error:
        # What libpq quotes may be the password.
        what = first_line(error).partition('"')[0].rstrip(" :")
        raise TargetError(
            f"The target {mask(url)} is no valid URL: {what}.", hint="Write postgresql://user@host:5432/database."
        ) from None


def connect(url: str) -> WatchedConnection:
    """Connect in UTC and UTF-8, every wait bounded.

    Raises:
        UnavailableError: nothing answers there, or the server says that it takes no connections now.
        TargetError: the URL is none, or the server refuses us.
    """
    pg = driver()
    from .watched import watch

    try:
        given = url_parts(url)
        connection = _open(given)
        watch(connection, lambda: _open(given))
        connection.autocommit = False
    except pg.Error as error:
        raise _refused(url, error) from error
    return connection


def _open(given: dict[str, Any]) -> WatchedConnection:
    from .watched import WatchedConnection

    options = " ".join(f"-c {name}={value}" for name, value in SERVER.items())
    wanted = f"-c lock_timeout={LOCK_SECONDS}s {given.get('options', '')} {options}"
    parts = {**LIBPQ, "application_name": "cowrie-assets", **given, "options": wanted}
    return WatchedConnection.connect(**parts, autocommit=True)


def _refused(url: str, error: Exception) -> TargetError:
    from psycopg.conninfo import conninfo_to_dict

    text = first_line(error)
    parts = conninfo_to_dict(url)
    names = {"database": parts.get("dbname", "the database"), "user": parts.get("user", "the user")}
    hint = "Check COWRIE_POSTGRES_URL and that the server runs."
    for pattern, fix in _REFUSALS:
        if re.search(pattern, text):
            hint = fix.format(**names)
            break
    answered = "FATAL" in text
    if answered and not _BUSY.search(text):
        return TargetError(f"The target {mask(url)} refuses the connection: {text}.", hint=hint)
    return UnavailableError(f"The target {mask(url)} cannot be reached: {text}.", hint=hint, answered=answered)


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


def first_line(error: BaseException) -> str:
    """A driver's message without its further lines, passwords masked."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return mask(lines[0].rstrip("."))


def describe(error: BaseException) -> str:
    """A driver's error in one line, with its SQLSTATE."""
    state = getattr(error, "sqlstate", None)
    return f"{first_line(error)} [{state}]" if state else first_line(error)
