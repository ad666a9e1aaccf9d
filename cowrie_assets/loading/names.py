"""Names that SQLite takes and PostgreSQL does not, found before anything is done.

Belongs here: what a name may be in the target. Not here: quoting (`ddl.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..catalog import Table
from ..errors import TargetError
from .ddl import MAX_NAME, kept_name, key_name, short

SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
"""Columns that every table of PostgreSQL has."""
MOST_COLUMNS, MOST_KEYS = 1_600, 32
"""Columns of a table, and of an index (postgresql.org/docs/current/limits.html)."""
RENAME = "Rename it in a copy of the source."


def check_names(tables: Mapping[str, Table]) -> None:
    """Raise TargetError where PostgreSQL refuses a name, keeps one name for two things, or has no room for columns."""
    _check_cut(tables)
    taken: dict[str, str] = {}
    for table in tables.values():
        if len(table.columns) > MOST_COLUMNS:
            raise _refused(f"Table {table.name} has {len(table.columns):,} columns, PostgreSQL takes {MOST_COLUMNS:,}")
        for what, name, columns in _relations(table):
            if not name:
                raise _refused(f"The name of {what} is empty")
            if name in taken:
                raise _refused(f"PostgreSQL keeps one name for {taken[name]} and {what}: {name}")
            taken[name] = what
            if len(columns) > MOST_KEYS:
                raise _refused(f"{what} has {len(columns)} columns, PostgreSQL takes {MOST_KEYS}")


def _check_cut(tables: Mapping[str, Table]) -> None:
    """Raise TargetError for a name that PostgreSQL refuses, or that is another's once it is cut."""
    columns = {f"of a column of table {name!r}": [c.name for c in table.columns] for name, table in tables.items()}
    for place, names in {"of a table": list(tables), **columns}.items():
        taken = {""} if place == "of a table" else {"", *SYSTEM_COLUMNS}
        for name in names:
            if kept_name(name) in taken:
                raise TargetError(
                    f"PostgreSQL cannot take the name {name!r} {place}: it is empty, a system column's, or in its first"
                    f" {MAX_NAME} bytes another's.",
                    hint=RENAME,
                )
            taken.add(kept_name(name))


def _relations(table: Table) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Tables, keys and indexes share one space of names: what it is, its name there, its key's columns."""
    yield f"table {table.name}", kept_name(table.name), ()
    if table.key:
        yield f"the key of table {table.name}", key_name(table), table.key
    for index in table.indexes:
        yield f"index {index.name} of table {table.name}", short(index.name), index.columns


def _refused(what: str) -> TargetError:
    return TargetError(f"{what}.", hint=RENAME)
