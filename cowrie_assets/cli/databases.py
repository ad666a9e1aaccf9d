"""Opening the database that a command names, and a statement's failure in one line.

Belongs here: what commands on a database share. Not here: engines (`db/engine.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..errors import DatabaseError, LoadError

if TYPE_CHECKING:
    import sqlalchemy as sa

database_option = click.option(
    "--database", metavar="URL|PATH", help="PostgreSQL URL or SQLite file. [COWRIE_DB_URL, else the migration's target]"
)


@contextmanager
def opened(url: str | None, *, write: bool) -> Iterator[sa.Engine]:
    """The engine, closed afterwards.

    Raises:
        DatabaseError: it cannot be opened.
        LoadError: a statement failed on the way.
    """
    from sqlalchemy.exc import DBAPIError

    from ..db.engine import open_database
    from ..db.url import mask

    engine = open_database(url, write=write)
    try:
        yield engine
    except DBAPIError as error:
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        raise LoadError(
            f"A statement on {mask(str(engine.url))} failed: {mask(lines[0])}.",
            hint="Start it again: what was written before is kept.",
        ) from error
    finally:
        engine.dispose()


def require_tables(engine: sa.Engine, **columns: str | None) -> None:
    """DatabaseError where a table, or a column of it, is missing; `table=column` or `table=None`."""
    import sqlalchemy as sa

    inspector = sa.inspect(engine)
    for table, column in columns.items():
        if not inspector.has_table(table):
            raise DatabaseError(f"The database has no table {table}.", hint="Name the Cowrie processor's database.")
        if column and column not in {c["name"] for c in inspector.get_columns(table)}:
            raise DatabaseError(
                f"{table} has no column {column}: the database is of an older schema version.",
                hint="Run `cowrie-assets db migrate` on it.",
            )


def has_table(engine: sa.Engine, table: str) -> bool:
    """Whether there is such a table."""
    import sqlalchemy as sa

    return bool(sa.inspect(engine).has_table(table))
