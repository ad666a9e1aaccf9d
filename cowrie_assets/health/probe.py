"""A look at everything in bounded time: what does not answer is critical, and nothing waits for it.

Belongs here: order, threads, the time limit. Not here: what is looked at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ..db.url import is_postgres, mask
from ..errors import CowrieError
from ..reporting.text import ERROR_LENGTH, inert
from ..settings import Settings
from .connections import Connect
from .database import check_database, check_schema
from .disk import check_disk, folders
from .events import check_events
from .ledger import check_migration
from .report import Check, Report, Status
from .settings import HealthSettings
from .status_files import check_status_files

Group = Callable[[datetime], Iterator[Check]]
DATABASE_CHECKS = ("database", "schema", "migration", "events")
GROUPS: dict[str, tuple[str, ...]] = {
    "database": DATABASE_CHECKS,
    "status_files": ("status_files",),
    "disk": ("disk",),
}
"""Checks by the thread they run in: a hung server hides neither a full disk nor a stale file."""
NAMES = tuple(name for names in GROUPS.values() for name in names)


class Probe:
    """Looks again and again; where an earlier look still hangs, no second thread joins it."""

    def __init__(self, connect: Connect, database: str | None, settings: Settings, limits: HealthSettings) -> None:
        """Take what is to be looked at; nothing is opened yet.

        Args:
            connect: gives a connection to the database.
            database: its URL or path where one was named.
            settings: of the migration: source, staging, embedded server.
            limits: thresholds and the time limit.
        """
        self._connect = connect
        self._database = database
        self._settings = settings
        self._limits = limits
        self._groups: dict[str, Group] = {"database": self._looks, "status_files": self._files, "disk": self._disks}
        self._threads: dict[str, threading.Thread] = {}

    def look(self, now: datetime | None = None) -> Report:
        """Every check, within the time limit; never raises for what it finds."""
        at = now or datetime.now(UTC)
        started = time.monotonic()
        found: dict[str, list[Check]] = {group: [] for group in self._groups}
        stuck = {group for group, thread in self._threads.items() if thread.is_alive()}
        for group, run in self._groups.items():
            if group not in stuck:
                arguments = (run, at, found[group], GROUPS[group])
                self._threads[group] = threading.Thread(target=_collect, args=arguments, daemon=True)
                self._threads[group].start()
        for group in self._groups.keys() - stuck:
            self._threads[group].join(max(0.0, started + self._limits.timeout - time.monotonic()))
        checks = tuple(check for group in self._groups for check in self._completed(group, found[group]))
        return Report(at, time.monotonic() - started, checks)

    def _completed(self, group: str, found: list[Check]) -> list[Check]:
        """The checks of a group, with one for each that did not end in time."""
        done = list(found)
        missing = GROUPS[group][len(done) :]
        late = [Check(name, Status.CRITICAL, f"no answer within {self._limits.timeout:g} s") for name in missing[:1]]
        return done + late + [Check.skipped(name, f"it waits for {missing[0]}") for name in missing[1:]]

    def _looks(self, now: datetime) -> Iterator[Check]:
        with self._connect() as connection:
            yield _guarded("database", connection, lambda: check_database(connection))
            yield _guarded("schema", connection, lambda: check_schema(connection))
            yield _guarded("migration", connection, lambda: check_migration(connection, self._settings.staging))
            yield _guarded("events", connection, lambda: check_events(connection, self._limits, now))

    def _files(self, now: datetime) -> Iterator[Check]:
        yield check_status_files(self._limits, now)

    def _disks(self, now: datetime) -> Iterator[Check]:
        database = self._database or self._settings.target
        remote = bool(database and is_postgres(database))
        yield check_disk(folders(self._database, self._settings), self._limits, remote=remote)


def _collect(run: Group, now: datetime, found: list[Check], names: tuple[str, ...]) -> None:
    try:
        for check in run(now):
            found.append(check)  # one by one: the other thread takes what is there
    except Exception as error:  # whatever it is, this is where it is told
        missing = names[len(found) :]
        found += [Check(name, Status.CRITICAL, _words(error)) for name in missing[:1]]
        found += [Check.skipped(name, "there is no database to ask") for name in missing[1:]]


def _guarded(name: str, connection: sa.Connection, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (CowrieError, SQLAlchemyError) as error:
        connection.rollback()
        return Check(name, Status.CRITICAL, _words(error))


def _words(error: Exception) -> str:
    """An error in one line that steers no terminal and tells no password."""
    if isinstance(error, CowrieError):
        return inert(mask(str(error)), ERROR_LENGTH)
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return inert(mask(said) or type(error).__name__, ERROR_LENGTH)
