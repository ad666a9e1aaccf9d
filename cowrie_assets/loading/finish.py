"""After the last partition: indexes, unique constraints, foreign keys, sequences, statistics. Idempotent.

Belongs here: what needs the whole table. Not here: a single partition (`load.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..catalog import SCHEMA_VERSION, Index, Table
from ..db.names import bound
from ..planning.plan import ForeignKey, Plan
from .connection import driver
from .ddl import create_holding_index, create_index, kept_name, listed, quoted, short
from .foreign import foreign_key_name, lock_parent
from .target import target_tables

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


HOLDING = "a value is too long for a btree: built over md5 of the text; ON CONFLICT needs that expression"


@dataclass
class Finished:
    """What `finish` built, and what it could not build as declared.

    Attributes:
        pending: (table, partition) not loaded yet; where there are any and nothing was forced, nothing was built.
        findings: (table, what, detail).
    """

    built: list[str] = field(default_factory=list)
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    pending: list[tuple[str, str]] = field(default_factory=list)
    done: bool = False


def pending_partitions(connection: Connection) -> list[tuple[str, str]]:
    """The planned (table, partition) that are not loaded."""
    rows = connection.execute(
        "SELECT table_name, partition_key FROM cowrie_migration.partitions WHERE loaded_at IS NULL ORDER BY 1, 2"
    ).fetchall()
    return [(table, key) for table, key in rows]


def finish(
    connection: Connection, plan: Plan, *, even_if_incomplete: bool = False, note: Callable[[str], None] | None = None
) -> Finished:
    """Build what a finished target has; nothing where partitions are missing, unless it is chosen.

    Args:
        connection: in autocommit: the steps before one that fails stay, and are skipped when it is called again.
        plan: the plan the target is pinned to.
        even_if_incomplete: build though partitions are missing.
        note: called with each table's name.

    Raises:
        psycopg.Error: where a step fails for another reason than the data.
    """
    result = Finished(pending=pending_partitions(connection))
    if result.pending and not even_if_incomplete:
        return result
    for table in target_tables(plan).values():
        if note:
            note(table.name)
        _indexes(connection, table, result)
        _sequence(connection, table)
    # After all indexes: a key may lead to a later table's unique columns.
    for planned in plan.tables.values():
        for key in planned.foreign_keys:
            _foreign_key(connection, planned.target, key, result)
    if plan.is_cowrie:
        connection.execute(
            "INSERT INTO schema_state (key, value) VALUES ('schema_version', %s) ON CONFLICT DO NOTHING",
            (str(SCHEMA_VERSION),),
        )
    connection.execute("UPDATE cowrie_migration.plan SET finished_at = now()")
    for name in target_tables(plan):
        connection.execute(f"ANALYZE {quoted(name)}".encode())
    result.done = True
    return result


def _indexes(connection: Connection, table: Table, result: Finished) -> None:
    psycopg = driver()
    for index in table.indexes:
        definition = _definition(connection, index)
        if definition is not None:
            if "md5(" in definition:
                result.findings.append((table.name, index.name, HOLDING))
            continue
        try:
            with connection.transaction():
                connection.execute(create_index(table, index).encode())
        except psycopg.errors.ProgramLimitExceeded:
            with connection.transaction():
                connection.execute(create_holding_index(table, index).encode())
            result.findings.append((table.name, index.name, HOLDING))
        except psycopg.errors.UniqueViolation as error:
            # A row can only get here when the source changed after the plan; the table stays usable without it.
            result.findings.append((table.name, index.name, f"not unique in the target: {error.diag.message_detail}"))
            continue
        result.built.append(f"{table.name}.{index.name}")


def _definition(connection: Connection, index: Index) -> str | None:
    row = connection.execute("SELECT pg_get_indexdef(to_regclass(%s))", (quoted(short(index.name)),)).fetchone()
    return row[0] if row else None


def _sequence(connection: Connection, table: Table) -> None:
    if not table.serial:
        return
    name, serial = quoted(table.name), kept_name(table.serial)
    # The next id follows the highest; a table whose highest id is bigint's last one has no next.
    connection.execute(
        "SELECT setval(pg_get_serial_sequence(%s, %s),"
        f" least(greatest(coalesce(max({bound(table.serial)}), 0), 0), 9223372036854775806) + 1,"
        f" false) FROM {bound(table.name)} HAVING pg_get_serial_sequence(%s, %s) IS NOT NULL".encode(),
        (name, serial, name, serial),
    )


def _foreign_key(connection: Connection, table: Table, key: ForeignKey, result: Finished) -> None:
    psycopg = driver()
    name = foreign_key_name(table.name, key)
    row = connection.execute(
        "SELECT convalidated FROM pg_constraint WHERE conname = %s AND conrelid = to_regclass(%s)",
        (name, quoted(table.name)),
    ).fetchone()
    target = f"{quoted(key.parent)} ({listed(key.parent_columns)})"
    try:
        if row is None:
            with connection.transaction():
                lock_parent(connection, key, "SHARE ROW EXCLUSIVE")
                connection.execute(
                    f"ALTER TABLE {quoted(table.name)} ADD CONSTRAINT {quoted(name)}"
                    f" FOREIGN KEY ({listed(key.columns)}) REFERENCES {target} NOT VALID".encode()
                )
        if row is None or not row[0]:
            with connection.transaction():
                connection.execute(f"ALTER TABLE {quoted(table.name)} VALIDATE CONSTRAINT {quoted(name)}".encode())
            result.built.append(f"{table.name}.{name}")
    except (psycopg.errors.ForeignKeyViolation, psycopg.errors.ProgrammingError) as error:
        result.findings.append((table.name, name, f"{error.diag.message_primary}: {_orphans(connection, table, key)}"))


def _orphans(connection: Connection, table: Table, key: ForeignKey) -> str:
    psycopg = driver()
    pairs = " AND ".join(f"p.{quoted(p)} = c.{quoted(c)}" for c, p in zip(key.columns, key.parent_columns, strict=True))
    filled = " AND ".join(f"c.{quoted(c)} IS NOT NULL" for c in key.columns)
    shown = quoted(key.columns[0])
    sql = (
        f"SELECT count(*), (array_agg(DISTINCT c.{shown}::text))[1:5] FROM {quoted(table.name)} c"
        f" WHERE {filled} AND NOT EXISTS (SELECT FROM {quoted(key.parent)} p WHERE {pairs})"
    )
    try:
        with connection.transaction():
            row = connection.execute(sql.encode()).fetchone()
    except psycopg.Error as error:
        return f"orphans not counted ({error.diag.message_primary})"
    return f"{row[0]} orphans, {', '.join(row[1] or [])}" if row else "no orphans"
