"""Brings a database's schema up to date: each version in a transaction of its own, recorded, once.

Belongs here: order, locks and records. Not here: what a version changes (`v1.py` …), comparing (`drift.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ...catalog import SCHEMA_VERSION, TABLES
from ...errors import SchemaError
from ...loading.lock import LOCK_KEY
from ..connecting import label
from ..engine import memory_engine, use_wal
from . import v1, v2, v3, v4, v5, v6
from .database import Database
from .steps import Migration

MIGRATIONS: tuple[Migration, ...] = tuple(module.MIGRATION for module in (v1, v2, v3, v4, v5, v6))
"""Every schema version, in order."""


@dataclass(frozen=True)
class Applied:
    """A version that was applied, or would be (dry run: `at` is None), with the SQL that did it."""

    version: int
    title: str
    checksum: str
    statements: tuple[str, ...]
    at: datetime | None = None

    @property
    def sql(self) -> str:
        """The statements as a script."""
        return "\n".join(f"{statement};" for statement in self.statements)


def current_version(connection: sa.Connection) -> int:
    """The schema version that the database says it has; 0 where it says none.

    Raises:
        SchemaError: it is no number.
    """
    if not sa.inspect(connection).has_table("schema_state"):
        return 0
    query = sa.text("SELECT value FROM schema_state WHERE key = 'schema_version'")
    value = connection.execute(query).scalar()
    try:
        return 0 if value is None else int(str(value))
    except ValueError as error:
        raise SchemaError(
            f"The database's schema_version is {str(value)[:40]!r}, which is no number.", hint="Correct schema_state."
        ) from error


def newer_note(connection: sa.Connection) -> str | None:
    """The warning to show where the database is newer than we know, else None; it is read all the same."""
    version = current_version(connection)
    if version <= SCHEMA_VERSION:
        return None
    return (
        f"The database is at schema version {version}, this program knows {SCHEMA_VERSION}:"
        " what later versions added is not looked at."
    )


def migrate(engine: sa.Engine, *, dry_run: bool = False, to: int = SCHEMA_VERSION) -> list[Applied]:
    """Apply the versions that the database lacks, up to `to`; one that is up to date is left as it is.

    Where it lacks one, the earlier ones first add what they should have left (a table that somebody dropped). Two
    processes at once wait for each other: each version is applied once. Where one fails, it is undone as a whole and
    those before it stay.

    Args:
        engine: the database, open for writing (a dry run only reads a SQLite file).
        dry_run: tell only what would be run; on PostgreSQL it is run and rolled back.
        to: the version to stop at.

    Raises:
        SchemaError: the database is newer than we know, foreign, locked, or a statement fails.
    """
    if dry_run:
        return _dry_run(engine, to)
    with engine.connect() as connection:
        if not _lacks(Database(connection), to, label(engine)):
            return []
    use_wal(engine)
    applied: list[Applied] = []
    for migration in MIGRATIONS[:to]:
        with _exclusive(engine) as connection:
            done = _apply(connection, migration, to, label(engine))
            if done:
                applied.append(done)
    if applied:
        engine.dispose()  # pooled connections remember the old shape
    return applied


def _apply(connection: sa.Connection, migration: Migration, to: int, name: str) -> Applied | None:
    """Apply one version within the caller's transaction; None where there is nothing to do."""
    database = Database(connection)
    if not _lacks(database, to, name):
        return None
    version = current_version(connection)
    for step in migration.steps:
        step.apply(database)
    now = datetime.now(UTC)
    if version < migration.version:
        _record(database, migration, now)
    elif not database.statements:
        return None
    return Applied(migration.version, migration.title, migration.checksum, tuple(database.statements), now)


def _lacks(database: Database, to: int, name: str) -> bool:
    """Whether the database is of an older version; SchemaError where it is none of ours to migrate."""
    version = current_version(database.connection)
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"The database {name} is at schema version {version}, this program migrates to {SCHEMA_VERSION}.",
            hint="Use a newer cowrie-assets; everything else works on it.",
        )
    if version >= to:
        return False
    require_processor(database.connection, name)
    return True


def require_processor(connection: sa.Connection, name: str) -> None:
    """SchemaError for a SQLite file of something else; in PostgreSQL others' tables are no hindrance."""
    tables = set(Database(connection).tables())
    if connection.dialect.name == "sqlite" and tables and not tables & TABLES.keys():
        raise SchemaError(
            f"The database {name} holds {', '.join(sorted(tables)[:3])}, and no table of a Cowrie processor.",
            hint="Name the processor's database, or a new file for `cowrie-assets db migrate`.",
        )


def _record(database: Database, migration: Migration, now: datetime) -> None:
    record = json.dumps({"at": now.isoformat(timespec="seconds"), "checksum": migration.checksum})
    for key, value in (("schema_version", str(migration.version)), (f"migration:{migration.version}", record)):
        database.run(f"DELETE FROM schema_state WHERE key = '{key}'")
        database.run(f"INSERT INTO schema_state (key, value) VALUES ('{key}', '{value}')")


@contextmanager
def _exclusive(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that no other migration of this database runs beside, of schema or of rows."""
    doing = f"Migrating the schema of {label(engine)}"
    try:
        with engine.connect().execution_options(cowrie_begin="BEGIN IMMEDIATE") as connection:
            if engine.dialect.name == "sqlite":
                # Neither can be set within a transaction. The connection is closed afterwards, not reused.
                connection.detach()
                raw = connection.connection.dbapi_connection
                assert raw is not None  # noqa: S101 - it is open
                for pragma in ("foreign_keys = OFF", "legacy_alter_table = ON"):
                    raw.cursor().execute(f"PRAGMA {pragma}")
            with connection.begin():
                if engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
                yield connection
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        if "locked" in said or "lock timeout" in said:
            raise SchemaError(f"{doing}: another process holds it.", hint="Wait for it to end.") from error
        raise SchemaError(
            f"{doing} failed and was undone: {said}.", hint="Earlier versions stay; mend that and run it again."
        ) from error


def _dry_run(engine: sa.Engine, to: int) -> list[Applied]:
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            twin = _twin(connection)
        with twin.connect() as connection:
            connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
            return _rehearse(connection, to, label(engine))
    with _exclusive(engine) as connection:
        found = _rehearse(connection, to, label(engine))
        connection.get_transaction().rollback()  # type: ignore[union-attr]
    return found


def _rehearse(connection: sa.Connection, to: int, name: str) -> list[Applied]:
    done = [_apply(connection, migration, to, name) for migration in MIGRATIONS[:to]]
    return [Applied(a.version, a.title, a.checksum, a.statements) for a in done if a]


def _twin(connection: sa.Connection) -> sa.Engine:
    """The same schema without rows, in memory: a rehearsal there costs nothing and touches nothing."""
    twin = memory_engine()
    version = current_version(connection)
    objects = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'"
        " ORDER BY type = 'table' DESC, rowid"
    )
    with twin.begin() as copy:
        for (sql,) in objects:
            copy.exec_driver_sql(sql)
        if version:
            copy.exec_driver_sql("INSERT INTO schema_state (key, value) VALUES ('schema_version', ?)", (str(version),))
    return twin
