"""The errors a user can meet, each with the exit code it ends in and what to run next.

Belongs here: exception types. Not here: how they are shown (`cli/`) or retried (`loading/`).
"""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk, or a used-up quota, is called by the system."""


def reason(error: OSError) -> str:
    """Why the system refused, in its words; `the disk is full` where that is why."""
    return "the disk is full" if error.errno in FULL else error.strerror or str(error)


class CowrieError(Exception):
    """Base of all errors that are shown to a user in one line, without a traceback.

    Attributes:
        exit_code: 2 where nothing was done yet (usage, settings, source, target), 3 where it failed on the way,
            1 where a difference was found.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Take what happened (with table, partition, rowid where known) and, as hint, what to do next."""
        super().__init__(f"{message} {hint}" if hint else message)
        self.message = message
        self.hint = hint


class SettingsError(CowrieError):
    """A setting is missing or wrong: names the setting, its value (passwords masked) and the fix."""


class SourceError(CowrieError):
    """The SQLite source cannot be used: missing, no database, locked, encrypted, truncated, empty."""


class DamagedSourceError(SourceError):
    """SQLite stumbled over a table's pages where the plan knows of no damage."""


class PlanError(CowrieError):
    """There is no plan, or it does not fit what was asked or the target was loaded with."""


class TargetError(CowrieError):
    """The PostgreSQL target cannot be used: unreachable, too old, not UTF8, in use, foreign rows in it."""


class UnavailableError(TargetError):
    """The target does not answer now, or another migration holds it: worth another try.

    Attributes:
        answered: the server itself said that it takes no connection now.
    """

    def __init__(self, message: str, *, hint: str | None = None, answered: bool = False) -> None:
        """See CowrieError."""
        super().__init__(message, hint=hint)
        self.answered = answered


class DatabaseError(CowrieError):
    """A database that a command was given cannot be used; the subclasses say why."""


class UnreachableError(DatabaseError):
    """Nothing answers at that address: connection refused, no socket, network down."""


class UnknownHostError(DatabaseError):
    """The host's name cannot be resolved."""


class AuthenticationError(DatabaseError):
    """The server refuses user or password, or admits nobody from here."""


class MissingDatabaseError(DatabaseError):
    """The server has no database of that name."""


class TlsError(DatabaseError):
    """The server wants TLS and the URL does not, or the other way round, or a certificate does not hold."""


class ConnectTimeoutError(DatabaseError):
    """The server did not answer in time."""


class ServerBusyError(DatabaseError):
    """The server takes no more connections now: starting, stopping, or full."""


class SchemaError(CowrieError):
    """A database's schema cannot be used or upgraded: its version and what is known are named."""


class BackupError(CowrieError):
    """A backup or restore failed on the way; what was there before is as it was."""

    exit_code = 3


class MissingExtraError(CowrieError):
    """An optional package is not installed: names the extra that brings it."""


class StagingError(CowrieError):
    """Staging cannot be read or written, or a stage's input is not there yet."""

    exit_code = 3


class LoadError(CowrieError):
    """A partition could not be loaded; what was committed before it stays."""

    exit_code = 3


class RuleError(CowrieError):
    """A rule whose policy is `fail` found a cell or row: names table, partition, rowid, column and rule."""

    exit_code = 3


class ExportError(CowrieError):
    """The way back could not be completed; nothing is left under the name that was asked for."""

    exit_code = 3


class DifferenceError(CowrieError):
    """Source and target differ, or a budget was passed."""

    exit_code = 1
