"""Opening the database that a command names, and looking whether it is one of ours.

Belongs here: what commands on a database share. Not here: engines (`db/engine.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from ..errors import DatabaseError, LoadError, SchemaError

if TYPE_CHECKING:
    import sqlalchemy as sa

database_option = click.option(
    "--database", metavar="URL|PATH", help="PostgreSQL URL or SQLite file. [COWRIE_DB_URL, else the migration's target]"
)


@contextmanager
def opened(url: str | None, *, write: bool, doing: str, create: bool = False) -> Iterator[sa.Engine]:
    """The engine, closed afterwards.

    Raises:
        DatabaseError: it cannot be opened, or a statement failed; `doing` says at what. It ends in exit code 3 where
            something had been committed.
    """
    import sqlalchemy as sa

    from ..db.connecting import as_database, clear_errors
    from ..db.engine import open_database

    engine = open_database(url, write=write, create=create)
    committed: list[sa.Connection] = []
    if write:
        sa.event.listen(engine, "commit", committed.append)
    try:
        with as_database(), clear_errors(engine, doing):
            yield engine
    except (DatabaseError, SchemaError) as error:
        if committed:
            error.exit_code = LoadError.exit_code
        raise
    finally:
        engine.dispose()


def require_tables(engine: sa.Engine, **columns: str | None) -> None:
    """DatabaseError where a table, or a column of it, is missing; `table=column` or `table=None`."""
    import sqlalchemy as sa

    inspector = sa.inspect(engine)
    for table, column in columns.items():
        if not inspector.has_table(table):
            hint = "Name the Cowrie processor's database."
            if inspector.has_table("raw_events"):
                hint = "It is of an older schema version: run `cowrie-assets db migrate` on it."
            raise DatabaseError(f"The database has no table {table}.", hint=hint)
        if column and column not in {c["name"] for c in inspector.get_columns(table)}:
            raise DatabaseError(
                f"{table} has no column {column}: the database is of an older schema version.",
                hint="Run `cowrie-assets db migrate` on it.",
            )


def has_table(engine: sa.Engine, table: str) -> bool:
    """Whether there is such a table."""
    import sqlalchemy as sa

    return bool(sa.inspect(engine).has_table(table))


@contextmanager
def unmigrated(url: str | None) -> Iterator[None]:
    """Keep migrations away from a PostgreSQL database while the block changes its rows.

    Raises:
        TargetError: one is running.
    """
    from ..db.engine import resolve_url
    from ..db.url import is_postgres
    from ..loading.lock import migration_lock

    found = resolve_url(url)
    with migration_lock(found) if is_postgres(found) else nullcontext():
        yield


def note_changed(engine: sa.Engine, rows: int) -> None:
    """Say that the proof will name the rows that were changed in a migration's target; nothing where there is none."""
    import sqlalchemy as sa

    if rows and engine.dialect.name == "postgresql" and sa.inspect(engine).has_table("plan", schema="cowrie_migration"):
        click.echo(
            "This database was migrated: from now on `cowrie-assets verify` names the changed rows as differences from"
            " the source.",
            err=True,
        )
