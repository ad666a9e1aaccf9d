"""Connecting, again where that helps, and the reasons why it fails in one clear line each.

Belongs here: the translation of drivers' errors. Not here: engines (`engine.py`).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..catalog import TABLES
from ..errors import (
    AuthenticationError,
    ConnectTimeoutError,
    DamagedSourceError,
    DatabaseError,
    MissingDatabaseError,
    ServerBusyError,
    SourceError,
    TlsError,
    UnknownHostError,
    UnreachableError,
)
from .contention import contention
from .url import mask


class _Reason(NamedTuple):
    pattern: str
    kind: type[DatabaseError]
    what: str
    hint: str
    again: bool = False


# libpq gives no SQLSTATE for a failed connection, only its and the server's words. A server that speaks another
# language than English ends in the last line of `connection_error`, with its own words.
_REASONS = (
    _Reason(
        r"database \"[^\"]*\" does not exist",
        MissingDatabaseError,
        "does not exist on that server",
        "Create it with createdb, or correct the name at the URL's end.",
    ),
    _Reason(
        r"server does not support SSL",
        TlsError,
        "does not offer TLS, which the URL asks for",
        "Write sslmode=prefer in the URL, or set up TLS on the server.",
    ),
    _Reason(
        r"no pg_hba.conf entry.*(SSL off|no encryption)|SSL (connection )?is required|requires? (SSL|encryption)",
        TlsError,
        "takes no connection without TLS from this user and host",
        "Add sslmode=require to the URL (or verify-full and sslrootcert=…).",
    ),
    _Reason(
        r"certificate|SSL error|root.crt|tlsv1|ssl negotiation",
        TlsError,
        "could not be reached over TLS",
        "Check sslmode, sslrootcert and sslcert in the URL.",
    ),
    _Reason(
        r"password authentication failed|no password supplied|authentication failed|role \"[^\"]*\" does not exist"
        r"|pg_hba.conf|not permitted to log in|permission denied for database",
        AuthenticationError,
        "refuses that user or password",
        "Correct user and password in the URL (write / # ? @ in it as %2F %23 %3F %40), or put it into ~/.pgpass.",
    ),
    _Reason(
        r"failed to resolve host|could not translate host name|Name or service not known|nodename nor servname",
        UnknownHostError,
        "lies on a host whose name cannot be resolved",
        "Correct the host in the URL.",
    ),
    _Reason(
        r"starting up|shutting down|recovery|too many (clients|connections)|remaining connection slots",
        ServerBusyError,
        "takes no connection now",
        "Wait a moment, or end other sessions.",
        again=True,
    ),
    _Reason(
        r"database is locked",
        ServerBusyError,
        "is locked by another process",
        "Wait for it to end, or raise COWRIE_DB_BUSY_TIMEOUT.",
    ),
    _Reason(
        r"time(d )?out",
        ConnectTimeoutError,
        "did not answer in time",
        "Check host, port and firewall, or raise COWRIE_DB_CONNECT_TIMEOUT.",
        again=True,
    ),
    _Reason(
        r"Connection refused|No such file or directory|unreachable|No route|closed the connection|Connection reset",
        UnreachableError,
        "cannot be reached: no server answers there",
        "Start the server, or correct host and port in the URL.",
        again=True,
    ),
)


DAMAGED = (
    "Run `cowrie-assets db integrity --deep` on it, which says how far it goes; then restore a backup, or migrate it,"
    " which takes what can be read."
)
"""What to do about a SQLite file that is damaged."""


def _said(error: BaseException) -> tuple[str, str]:
    """The driver's words, no password in them, and their first line."""
    text = mask(str(getattr(error, "orig", None) or error).strip())
    return text, (text.splitlines() or [type(error).__name__])[0].rstrip(".")


def connection_error(error: BaseException, label: str) -> tuple[DatabaseError, bool]:
    """A driver's error while connecting as our own, and whether another attempt may help."""
    text, first = _said(error)
    for reason in _REASONS:
        if re.search(reason.pattern, text, re.IGNORECASE | re.DOTALL):
            return reason.kind(f"The database {label} {reason.what} ({first}).", hint=reason.hint), reason.again
    return DatabaseError(f"The database {label} cannot be used: {first}.", hint="Check its URL or path."), False


def label(engine: sa.Engine) -> str:
    """The database for people: no password."""
    url = engine.url
    return str(url.database) if url.get_backend_name() == "sqlite" else mask(str(url).replace("+psycopg", "", 1))


def connect_with_retry(engine: sa.Engine, *, tries: int = 3) -> sa.Connection:
    """Connect, again with growing waits (about 0.5, 1, 2 s …) where nobody answers yet.

    Raises:
        DatabaseError: its subclass says why not. What a second attempt cannot change is raised at once.
    """
    for attempt in range(1, tries + 1):
        try:
            return engine.connect()
        except DBAPIError as failure:
            error, again = connection_error(failure, label(engine))
            if not again or attempt == tries:
                raise error from failure
        time.sleep(2 ** (attempt - 2) * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
    raise AssertionError("unreachable")  # pragma: no cover


_AFTER_FAILURES = (
    ("42501", "Grant this user that right (README, Privileges), or connect as the owner of the tables."),
    ("57014", "Raise statement_timeout for this user, or leave it to run, then start again."),
    ("42", "Run `cowrie-assets db check` on it."),
    (".*locked", "Stop what uses it (`cowrie-assets debug session` says whether one writes), or wait; start again."),
    (".*(malformed|not a database|disk I/O)", DAMAGED),
    (".*readonly", "Check the permissions of the file and its folder."),
    (".*is full", "Free space, then start it again."),
    (".*closed the connection|.*connection (is|was) (lost|closed)", "See that the server runs, then start again."),
    ("no such ", "Run `cowrie-assets db check` on it."),
)


@contextmanager
def as_database(what: str = "The database", damaged: str = DAMAGED) -> Iterator[None]:
    """Errors of reading a SQLite file as those of a database, with a hint for damage that is not the migration's.

    Args:
        what: what the file is, as a sentence begins.
        damaged: the hint where it is damaged or truncated.
    """
    try:
        yield
    except SourceError as error:
        said = error.message.replace("The source", what, 1).replace("of the source", f"of {what.lower()}", 1)
        broken = isinstance(error, DamagedSourceError) or " is damaged" in said or " is truncated" in said
        raise DatabaseError(said, hint=damaged if broken else error.hint) from error


@contextmanager
def clear_errors(engine: sa.Engine, doing: str) -> Iterator[None]:
    """Make a driver's error in the block our own, in one line.

    Args:
        engine: whose database it is.
        doing: what was done, as a sentence begins: "Counting sessions".

    Raises:
        DatabaseError: in place of any error of the driver or the pool.
    """
    try:
        yield
    except SQLAlchemyError as error:
        state = getattr(getattr(error, "orig", None), "sqlstate", None)
        code = f" [{state}]" if state else ""
        said = _said(error)[1]
        hint = _lock_hint(engine) if state == "55P03" else failure_hint(state or said)
        raise DatabaseError(f"{doing} failed on {label(engine)}: {said}{code}.", hint=hint) from error


def failure_hint(said: str) -> str | None:
    """What to do about a statement that failed, by its SQLSTATE or, of SQLite, its words."""
    return next((hint for pattern, hint in _AFTER_FAILURES if re.match(pattern, said)), None)


def _lock_hint(engine: sa.Engine) -> str:
    try:
        with engine.connect() as connection:
            held = contention(connection, list(TABLES)).obstacle
    except SQLAlchemyError:
        held = None
    held = held or "another session held a lock (see pg_stat_activity)"
    return f"{held[0].upper()}{held[1:]}: end that, or wait, and start again."
