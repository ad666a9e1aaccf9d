"""Foreign keys in the way of a load: ours go before it, and `finish` makes them again; another's is named.

Belongs here: finding and dropping them, the words about another's. Not here: making ours (`finish.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..catalog import Table
from ..errors import LoadError
from ..planning.plan import ForeignKey, Plan
from .connection import describe
from .ddl import kept_name, quoted, short

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


def foreign_key_name(table: str, key: ForeignKey) -> str:
    """The constraint's name."""
    return short(f"fk_{table}_{'_'.join(key.columns)}")


def _touching(plan: Plan, tables: set[str]) -> Iterator[tuple[str, ForeignKey]]:
    """The (child table, key) of the plan that lead from or to these tables."""
    kept = set(map(kept_name, tables))
    for name, table in plan.tables.items():
        for key in table.foreign_keys:
            if {kept_name(name), kept_name(key.parent)} & kept:
                yield name, key


def drop_foreign_keys(connection: Connection, plan: Plan, tables: set[str]) -> None:
    """Drop those that `finish` made from or to these tables; the target is then unfinished until it makes them again.

    Each in a transaction of its own, before the rows': the locks that dropping needs stop an application's reads too,
    and are held no longer than this. One of our name that somebody gave other actions (ON DELETE …) is theirs, and
    stays.
    """
    for child, key in _touching(plan, tables):
        name = foreign_key_name(child, key)
        with connection.transaction():
            ours = connection.execute(
                "SELECT FROM pg_constraint WHERE contype = 'f' AND conname = %s AND conrelid = to_regclass(%s)"
                " AND confrelid = to_regclass(%s) AND (confupdtype, confdeltype) = ('a', 'a') AND NOT condeferrable",
                (name, quoted(child), quoted(key.parent)),
            ).rowcount
            if ours:
                lock_parent(connection, key, "ACCESS EXCLUSIVE")
                connection.execute(f"ALTER TABLE {quoted(child)} DROP CONSTRAINT {quoted(name)}".encode())
                connection.execute("UPDATE cowrie_migration.plan SET finished_at = NULL")


def lock_parent(connection: Connection, key: ForeignKey, mode: str) -> None:
    """Lock the parent before ALTER TABLE locks the child, as who inserts a parent and then its children does.

    In the other order the two wait for each other, each time that such an application writes.
    """
    connection.execute(f"LOCK TABLE {quoted(key.parent)} IN {mode} MODE".encode())


def refuse_acting_keys(connection: Connection, table: Table) -> None:
    """LoadError where a delete in this table would change rows of another: ON DELETE CASCADE, SET NULL, SET DEFAULT.

    Those rows are the application's, or rows that we loaded and the ledger knows.
    """
    row = connection.execute(
        "SELECT conname, conrelid::regclass::text FROM pg_constraint"
        " WHERE contype = 'f' AND confrelid = to_regclass(%s) AND confdeltype IN ('c', 'n', 'd') ORDER BY 1 LIMIT 1",
        (quoted(table.name),),
    ).fetchone()
    if row:
        raise LoadError(
            f"Rows of {table.name} are to be replaced, and the foreign key {row[0]} of {row[1]} would delete or change"
            " rows there.",
            hint=_what_to_do(connection, row[0], row[1]),
        )


def hindered(connection: Connection, error: psycopg.Error, doing: str) -> LoadError:
    """The error of a foreign key that this migration did not make, as our own that names it and says what to do.

    Args:
        connection: outside any transaction.
        error: psycopg's ForeignKeyViolation.
        doing: what failed, as the beginning of the line.
    """
    diag = error.diag
    place = ".".join(map(quoted, filter(None, (diag.schema_name, diag.table_name))))
    hint = _what_to_do(connection, diag.constraint_name or "", place)
    return LoadError(f"{doing}: {describe(error)}.", hint=hint)


def _what_to_do(connection: Connection, name: str, place: str) -> str:
    row = connection.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s AND conrelid = to_regclass(%s)",
        (name, place),
    ).fetchone()
    definition = row[0] if row else "FOREIGN KEY …"
    return (
        f"This migration did not make that key: run ALTER TABLE {place} DROP CONSTRAINT {quoted(name)}, start it again,"
        f" then run ALTER TABLE {place} ADD CONSTRAINT {quoted(name)} {definition}."
    )
