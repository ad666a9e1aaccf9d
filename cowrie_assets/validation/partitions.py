"""What the ledger says of partitions, counted afresh in the target: rows by their keys, lines by their partition.

Belongs here: counting in the target, and the row equation. Not here: the source, or cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..catalog import Table, Type
from ..db.names import bound
from ..db.seal import SEAL
from ..planning.plan import TablePlan
from ..source.ranges import last_of

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Ledgered:
    """A partition of the ledger, with what the target holds of it now.

    Attributes:
        staged, rows, set_aside, repaired: what its load recorded.
        target: rows in the target now whose key it recorded.
        quarantined, repairs: lines in the ledger now.
        sealed: whether the ledger's lines are those that the load wrote; True where they are to be written again.
    """

    loaded: bool
    staged: int
    rows: int
    set_aside: int
    repaired: int
    target: int
    quarantined: int
    repairs: int
    sealed: bool

    def faults(self, source: int) -> list[str]:
        """Where the row equation does not hold."""
        found = []
        if source != self.target + self.quarantined:
            found.append(f"source has {source:,} rows, target {self.target:,}, quarantine {self.quarantined:,}")
        if self.rows != self.target:
            found.append(f"{self.rows:,} rows were loaded, {self.target:,} are in the target")
        if self.set_aside != self.quarantined:
            found.append(f"{self.set_aside:,} rows were set aside, {self.quarantined:,} are in the quarantine")
        if self.repaired != self.repairs:
            found.append(f"{self.repaired:,} cells were repaired, {self.repairs:,} are listed")
        if not self.sealed:
            found.append("the ledger's lines are not as the load wrote them")
        return found


_LEDGER = """
SELECT p.partition_key, loaded_at IS NOT NULL, source_rows, loaded_rows, quarantined_rows, repaired_cells,
    (SELECT count(*) FROM cowrie_migration.quarantine q
        WHERE q.table_name = p.table_name AND q.partition_key = p.partition_key),
    (SELECT count(*) FROM cowrie_migration.repairs r
        WHERE r.table_name = p.table_name AND r.partition_key = p.partition_key), inputs IS NULL, sealed
FROM cowrie_migration.partitions p WHERE table_name = %s AND partition_key = ANY (%s)
"""


def ledgered(connection: Connection, planned: TablePlan, keys: Sequence[str]) -> dict[str, Ledgered]:
    """The ledger's partitions of a table, by key; absent where the ledger has none."""
    name = planned.source.name
    found = {}
    for key, loaded, staged, rows, aside, repaired, quarantined, repairs, stale, sealed in connection.execute(
        _LEDGER, (name, list(keys))
    ).fetchall():
        target = count_target(connection, planned.target, key) if loaded else 0
        counts = (staged or 0, rows or 0, aside or 0, repaired or 0)
        whole = not loaded or stale or sealed == _seal(connection, name, key)
        found[key] = Ledgered(loaded, *counts, target, quarantined, repairs, whole)
    return found


def _seal(connection: Connection, table: str, key: str) -> str | None:
    row = connection.execute(SEAL.encode(), {"table": table, "key": key}).fetchone()
    return row[0] if row else None


def count_target(connection: Connection, table: Table, key: str) -> int:
    """Rows in the target that a partition loaded: by the keys its ledger row recorded."""
    name = bound(table.name)
    of_partition = "cowrie_migration.partitions p WHERE p.table_name = %s AND p.partition_key = %s"
    parameters: tuple[str, ...] = (table.name, key)
    if table.serial:
        column = bound(table.serial)
        sql = (
            f"SELECT count(*) FROM (SELECT unnest(p.key_ids) AS r FROM {of_partition}) k"
            f" JOIN {name} t ON t.{column} >= lower(k.r) AND t.{column} <= {last_of('k.r')}"
        )
    elif len(table.key) == 1:
        sql = (
            f"SELECT count(*) FROM (SELECT unnest(p.keys) AS k FROM {of_partition}) k"
            f" JOIN {name} t ON {_text(table, table.key[0])} = k.k"
        )
    elif table.key:
        # A key of several columns is kept as md5 of its texts, each with its length before it.
        parts = [f"length({_text(table, c)}) || ':' || {_text(table, c)}" for c in table.key]
        texts = " || E'\\x1f' || ".join(parts)
        ours = f"SELECT unnest(p.keys) AS k FROM {of_partition}"
        sql = f"SELECT count(*) FROM ({ours}) k JOIN {name} t ON md5({texts}) = k.k"
    else:
        sql, parameters = f"SELECT count(*) FROM {name}", ()
    row = connection.execute(sql.encode(), parameters).fetchone()
    return int(row[0]) if row else 0


def _text(table: Table, column: str) -> str:
    """SQL: a part of a key as text; a double's zero has one text, whatever its sign."""
    zero = " + 0" if table.column(column).type is Type.DOUBLE else ""
    return f"(t.{bound(column)}{zero})::text"
