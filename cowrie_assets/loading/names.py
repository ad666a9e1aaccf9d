"""Names that SQLite takes and PostgreSQL does not, found before anything is done.

Belongs here: what a name may be in the target. Not here: quoting (`ddl.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..catalog import Table
from ..errors import TargetError
from .ddl import MAX_NAME, key_name, short

SYSTEM_COLUMNS = frozenset(("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))
"""Columns that every table of PostgreSQL has (postgresql.org/docs/current/ddl-system-columns.html)."""
MOST_COLUMNS, MOST_KEYS = 1_600, 32
"""Columns of a table, and of an index (postgresql.org/docs/current/limits.html)."""


def check_names(tables: Mapping[str, Table]) -> None:
    """Raise TargetError where a table cannot be made under its own names; none is cut or changed in silence."""
    taken: dict[str, str] = {}
    for table in tables.values():
        for what, name in _names(table):
            size = len(name.encode())
            if not name or size > MAX_NAME:
                problem = f"has {size:,} bytes, more than PostgreSQL's {MAX_NAME}" if name else "is empty"
                raise _refused(f"The name of {what} {problem}")
        for column in table.columns:
            if column.name in SYSTEM_COLUMNS:
                raise _refused(f"Column {column.name} of table {table.name} has the name of a system column")
        if len(table.columns) > MOST_COLUMNS:
            raise _refused(f"Table {table.name} has {len(table.columns):,} columns, PostgreSQL takes {MOST_COLUMNS:,}")
        for what, name in _relations(table):
            if name in taken:
                raise _refused(f"PostgreSQL keeps one name for {taken[name]} and {what}: {name}")
            taken[name] = what
        for what, columns in _keys(table):
            if len(columns) > MOST_KEYS:
                raise _refused(f"{what} of table {table.name} has {len(columns)} columns, PostgreSQL takes {MOST_KEYS}")


def _names(table: Table) -> Iterator[tuple[str, str]]:
    yield f"table {table.name}", table.name
    for column in table.columns:
        yield f"column {column.name} of table {table.name}", column.name
    for index in table.indexes:
        yield f"index {index.name} of table {table.name}", short(index.name)


def _relations(table: Table) -> Iterator[tuple[str, str]]:
    """Tables, keys and indexes share one space of names."""
    yield f"table {table.name}", table.name
    if table.key:
        yield f"the key of table {table.name}", key_name(table)
    for index in table.indexes:
        yield f"an index of table {table.name}", short(index.name)


def _keys(table: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "The key", table.key
    for index in table.indexes:
        yield f"Index {index.name}", index.columns


def _refused(what: str) -> TargetError:
    return TargetError(f"{what}.", hint="Rename it in a copy of the source, and migrate the copy.")
