"""Refreshing a database's enrichment: which rows are due, asking, and writing in batches.

Belongs here: the pass over a table that sessions and files share. Not here: what a row needs and how an answer is
written (`sessions.py`, `files.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa

from ..db.connecting import clear_errors
from ..db.engine import use_wal
from ..errors import DatabaseError, LoadError
from .answers import Answer, Kind, LookupFailed
from .services import CachedService
from .tally import Progress, Tally

PAGE = 500
"""Rows read at once."""
BATCH = 50
"""Answers written at once: what a kill makes the next run write again (from the cache, without asking)."""
BATCH_SECONDS = 30.0
"""At four questions a minute a batch would take long to fill: it is written after this time in any case."""


@dataclass(frozen=True)
class Row:
    """A row that is due: its key, and what to ask; `value` is None where it has nothing that could be asked."""

    key: str | int
    value: str | None


class Subject(Protocol):
    """A table whose rows are enriched."""

    table: str
    kind: Kind

    def count(self, connection: sa.Connection) -> int:
        """How many rows the table has."""

    def page(
        self, connection: sa.Connection, service: str, after: str | int | None, fresh_since: datetime
    ) -> tuple[int, Sequence[Row], str | int | None]:
        """The next rows by key: how many were read, those of them that are due, and the last key (None: no more)."""

    def write(self, connection: sa.Connection, answers: Sequence[tuple[str | int, Answer]], now: datetime) -> int:
        """Write the answers; how many rows took theirs."""


@dataclass(frozen=True)
class Scope:
    """What is refreshed.

    Attributes:
        limit: questions a service and table at most, answered by it or from the cache or not at all; or None.
        older_than: rows enriched before that are due again; None: as long as the service's answers are good for.
        dry_run: count what would be asked, ask and write nothing.
    """

    limit: int | None = None
    older_than: timedelta | None = None
    dry_run: bool = False


def refresh(
    engine: sa.Engine, subject: Subject, service: CachedService, scope: Scope, progress: Progress = lambda *_: None
) -> Tally:
    """One service over one table: what is fresh is passed over, the rest asked for and written batch by batch.

    Started again after an interruption it goes on where it was: what was written is fresh, what was answered is cached.

    Raises:
        LoadError: a statement failed.
    """
    try:
        with clear_errors(engine, f"Refreshing {subject.table}"):
            return _refresh(engine, subject, service, scope, progress)
    except DatabaseError as error:
        raise LoadError(error.message, hint="Start it again: what was written before is kept.") from error


def _refresh(engine: sa.Engine, subject: Subject, service: CachedService, scope: Scope, progress: Progress) -> Tally:
    tally = Tally(service.name, subject.table)
    with engine.connect() as connection:
        total = subject.count(connection)
    batch = _Batch(engine, subject, service, tally)
    seen: set[str] = set()  # in a dry run, what the cache would know by then
    try:
        for row in _due(engine, subject, service, scope, tally):
            if tally.stopped or (scope.limit is not None and tally.tried >= scope.limit):
                break
            if row.value is None:
                tally.no_address += 1
                continue
            try:
                answer = _answer(service, subject.kind, row.value, scope, tally, seen)
            except LookupFailed as error:
                tally.fail(error)
            else:
                if answer is not None:
                    tally.count(answer)
                    batch.add(row.key, answer)
            progress(tally, total)
    finally:
        if not scope.dry_run:
            batch.write()
    return tally


def _answer(
    service: CachedService, kind: Kind, value: str, scope: Scope, tally: Tally, seen: set[str]
) -> Answer | None:
    if not scope.dry_run:
        before = service.sent
        try:
            return service.ask(kind, value, lifetime=scope.older_than)
        finally:
            tally.asked += service.sent - before
    known = value in seen or service.known(kind, value, lifetime=scope.older_than) is not None
    seen.add(value)
    tally.tried += 1
    tally.cached += known
    tally.asked += not known
    return None


def _due(engine: sa.Engine, subject: Subject, service: CachedService, scope: Scope, tally: Tally) -> Iterator[Row]:
    lifetime = service.lifetime if scope.older_than is None else scope.older_than
    fresh_since = service.clock.now() - lifetime
    after: str | int | None = None
    while True:
        # Each page is a transaction of its own: none stays open while a service lets us wait.
        with engine.connect() as connection:
            read, rows, after = subject.page(connection, service.name, after, fresh_since)
        tally.rows += read
        tally.fresh += read - len(rows)
        yield from rows
        if after is None:
            return


class _Batch:
    def __init__(self, engine: sa.Engine, subject: Subject, service: CachedService, tally: Tally) -> None:
        self._engine = engine
        self._subject = subject
        self._clock = service.clock
        self._tally = tally
        self._answers: list[tuple[str | int, Answer]] = []
        self._begun = self._clock.monotonic()

    def add(self, key: str | int, answer: Answer) -> None:
        self._answers.append((key, answer))
        if len(self._answers) >= BATCH or self._clock.monotonic() - self._begun >= BATCH_SECONDS:
            self.write()

    def write(self) -> None:
        answers, self._answers = self._answers, []
        self._begun = self._clock.monotonic()
        if answers:
            use_wal(self._engine)
            with self._engine.begin() as connection:
                written = self._subject.write(connection, answers, self._clock.now())
            self._tally.written += written
            if written < len(answers):
                self._tally.failed[NOT_TAKEN] += len(answers) - written


NOT_TAKEN = "not written"
"""Reason of an answer whose row has gone, or holds an enrichment that is no JSON object and is left as it is."""
