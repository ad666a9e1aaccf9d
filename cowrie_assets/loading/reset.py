"""Undoes a migration in a target: our rows and tables go, rows that others wrote stay.

Belongs here: finding out what is ours, and removing it. Not here: asking (`cli/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import TargetError
from ..planning.plan import Plan
from . import ledger
from .connection import driver
from .ddl import quoted
from .failures import translate
from .foreign import drop_foreign_keys, hindered
from .load import remove_rows

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Undo:
    """What a reset does to one table: drop it (ours alone), or delete the rows that we loaded."""

    table: str
    ours: int
    others: int
    drop: bool


def plan_reset(connection: Connection) -> tuple[Plan, list[Undo]]:
    """What a reset would do; TargetError where the target holds no migration."""
    plan = ledger.pinned(connection)
    if plan is None:
        raise TargetError("The target holds no migration of ours.", hint="There is nothing to reset.")
    created = ledger.created_tables(connection)
    loaded = {r["table"]: r["loaded"] for r in ledger.summary(connection)}
    steps = []
    for name in dict.fromkeys([*plan.tables, *created]):
        found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (quoted(name),)).fetchone()
        if not (found and found[0]):
            continue
        count = connection.execute(f"SELECT count(*) FROM {quoted(name)}".encode()).fetchone()
        others = (count[0] if count else 0) - loaded.get(name, 0)
        if name == "schema_state" and others == 1 and not _had_version_row(connection):
            others = 0
        steps.append(Undo(name, loaded.get(name, 0), max(others, 0), drop=name in created and others <= 0))
    return plan, steps


def _had_version_row(connection: Connection) -> bool:
    # `finish` adds the row `schema_version` where the source has none: that row is ours too.
    row = connection.execute(
        "SELECT count(*) > 0 FROM cowrie_migration.partitions"
        " WHERE table_name = 'schema_state' AND 'schema_version' = ANY (keys)"
    ).fetchone()
    return bool(row and row[0])


def reset(connection: Connection, plan: Plan, steps: list[Undo]) -> None:
    """Do it, in one transaction; LoadError where the server refuses."""
    psycopg = driver()
    try:
        with connection.transaction():
            drops = [s.table for s in steps if s.drop]
            drop_foreign_keys(connection, plan, set(plan.tables))
            for step in steps:
                if not step.drop and step.table in plan.tables:
                    rows = connection.execute(
                        "SELECT loaded_rows, key_ids::text, keys FROM cowrie_migration.partitions"
                        " WHERE table_name = %s AND loaded_at IS NOT NULL",
                        (step.table,),
                    ).fetchall()
                    for loaded, key_ids, keys in rows:
                        remove_rows(connection, plan.tables[step.table].target, loaded, key_ids, keys)
            if drops:
                connection.execute(f"DROP TABLE {', '.join(map(quoted, drops))}".encode())
            connection.execute("DROP SCHEMA cowrie_migration CASCADE")
    except psycopg.errors.ForeignKeyViolation as error:
        raise hindered(connection, error, "Resetting the target failed") from error
    except psycopg.Error as error:
        raise translate(error, "Resetting the target failed") from error
