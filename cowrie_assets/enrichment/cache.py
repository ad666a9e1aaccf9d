"""Answers of the services, kept for a while in a SQLite file of our own.

Belongs here: that file. Not here: the database that is enriched (`sessions.py`, `files.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import orjson
from sqlalchemy import (
    URL,
    Boolean,
    Column,
    Float,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    create_engine,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError

from ..errors import SettingsError
from ..folders import make_folder, ours
from .answers import Answer, Kind

FILE_NAME = "enrichment-cache.sqlite"
NOT_FOUND_LIFETIME = timedelta(days=1)
"""What a service does not know today it may know tomorrow: honeypots see files before anybody else."""
BUSY_SECONDS = 30

_METADATA = MetaData()
_ANSWERS = Table(
    "answers",
    _METADATA,
    Column("service", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("found", Boolean, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("service", "kind", "value"),
)


class Cache:
    """The answers by service, kind and value; each is committed when it is put, so that a kill loses none."""

    def __init__(self, path: Path, *, write: bool = True) -> None:
        """Open or create the file; SettingsError where that cannot be done. Without `write` nothing is made."""
        self._path = path
        url = URL.create("sqlite", database=str(path.resolve()))
        if not write:
            name = f"file:{quote(os.fsencode(path.resolve()))}"
            url = URL.create("sqlite", database=name, query={"mode": "ro", "uri": "true"})
        self._engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        if write:
            make_folder(path.parent)
        with self._translated(), ours(path):
            if write:
                _METADATA.create_all(self._engine)
            self._filled = write or (path.exists() and inspect(self._engine).has_table(_ANSWERS.name))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise SettingsError(
                f"The cache {self._path} cannot be used: {error.orig}.",
                hint="Delete it (its answers are asked for again), or wait for the other process.",
            ) from error

    def get(self, service: str, kind: Kind, value: str, *, now: datetime, lifetime: timedelta) -> Answer | None:
        """The answer, if there is one not older than `lifetime` (not found: than a day at most)."""
        if not self._filled:
            return None
        key = (_ANSWERS.c.service == service) & (_ANSWERS.c.kind == kind.value) & (_ANSWERS.c.value == value)
        with self._translated(), self._engine.connect() as connection:
            row = connection.execute(select(_ANSWERS).where(key)).one_or_none()
        if row is None:
            return None
        asked_at = datetime.fromtimestamp(row.asked_at, UTC)
        # An answer from the future comes from a clock that was wrong: when it is from, nobody knows.
        if not timedelta(0) <= now - asked_at <= (lifetime if row.found else min(lifetime, NOT_FOUND_LIFETIME)):
            return None
        data = orjson.loads(row.data)
        return Answer(service, kind, value, row.found, row.flagged, data, asked_at=asked_at, cached=True)

    def put(self, answer: Answer) -> None:
        """Keep the answer in place of an older one."""
        row = {
            "service": answer.service,
            "kind": answer.kind.value,
            "value": answer.value,
            "asked_at": answer.asked_at.timestamp(),
            "found": answer.found,
            "flagged": answer.flagged,
            "data": orjson.dumps(answer.data),
        }
        with self._translated(), self._engine.begin() as connection:
            connection.execute(insert(_ANSWERS).prefix_with("OR REPLACE"), row)

    def close(self) -> None:
        """Give the file back."""
        self._engine.dispose()
