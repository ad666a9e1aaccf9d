"""What a statement's failure means: tried again, or one clear line that says what to do.

Belongs here: SQLSTATEs, waits between tries, words. Not here: refused rows (`copy.py`), connecting (`connection.py`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import CowrieError, LoadError, TargetError, UnavailableError
from .connection import describe, driver

T = TypeVar("T")

TRIES = 8
FIRST_WAIT = 0.25
"""Seconds; each next wait is twice the one before. All sum to 32 s: a server that crashed with the default max_wal_size
of 1 GB is back within that (measured: 0.2 s for a small one)."""

_TRANSIENT = ("08", "40", "25P03", "53300", "55P03", "57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs worth another try: connection lost, deadlock or serialization, session that idled too long, too many
connections, lock timeout, server going down, crashed or starting. Source: PostgreSQL's appendix A."""

_AGAIN = "start it again: finished partitions are kept."
_HINTS = {
    "08": f"The server or the network to it broke; see to that, then {_AGAIN}",
    "25006": f"Name a server that takes writes (no standby, default_transaction_read_only off), then {_AGAIN}",
    "25P03": f"Raise idle_in_transaction_session_timeout of the target's user, then {_AGAIN}",
    "40P01": f"End what else works on these tables, then {_AGAIN}",
    "42501": f"Run the GRANTs of README, Privileges, for the target's user, make it the tables' owner, then {_AGAIN}",
    "53100": f"The server's disk is full: free space there, then {_AGAIN}",
    "53200": f"The server is out of memory: free some, then {_AGAIN}",
    "53300": f"The server has no connection to spare: close some or raise max_connections, then {_AGAIN}",
    "55P03": f"Another session holds a lock on the table (see pg_stat_activity): end it, then {_AGAIN}",
    "57014": "The server's statement_timeout is too short, or someone cancelled: run ALTER ROLE … SET statement_timeout"
    f" = 0 for the target's user, then {_AGAIN}",
    "57P": f"The server was stopped or crashed; see that it runs, then {_AGAIN}",
}
_REFUSED = ("25006", "42501")
"""What makes a target unusable, where it is found before anything was done."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed when tried again."""
    if isinstance(error, UnavailableError):
        return True
    psycopg = driver()
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return bool(error.sqlstate.startswith(_TRANSIENT))


def translate(error: BaseException, doing: str, *, before: bool = False) -> CowrieError:
    """A driver's error, or the target's refusal in mid-work, as our own error with what to do next.

    Args:
        error: psycopg's, or a TargetError where a lost connection could not be had again.
        doing: what failed, as the beginning of the line.
        before: nothing was done yet, so that a refusal is the target's and no failure on the way.
    """
    if isinstance(error, TargetError):
        hint = f"{error.hint or ''} Then {_AGAIN}".strip()
        return error if before else LoadError(f"{doing}: {error.message}", hint=hint)
    state = getattr(error, "sqlstate", None) or "08"
    hint = next((h for code, h in _HINTS.items() if state.startswith(code)), _AGAIN[0].upper() + _AGAIN[1:])
    kind = TargetError if before and state in _REFUSED else LoadError
    return kind(f"{doing}: {describe(error)}.", hint=hint)


def again(work: Callable[[], T], worth: Callable[[BaseException], bool]) -> T:
    """Do the work; once more after each failure that is worth it, with growing waits, until TRIES are spent."""
    for attempt in range(TRIES - 1):
        try:
            return work()
        except Exception as error:
            if not worth(error):
                raise
        time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
    return work()


def retried(work: Callable[[], T], doing: str, *, before: bool = False) -> T:
    """Do work that is one transaction, or is harmless twice; again where the failure is transient.

    Raises:
        LoadError: for what is not transient, or did not pass.
        TargetError: `before` anything was done, where the target refuses.
    """
    try:
        return again(work, is_transient)
    except (driver().Error, TargetError) as error:
        raise translate(error, doing, before=before) from error
