"""What the ledger says of a batch of source rows: repaired cells, rows set aside, derived cells.

Belongs here: reading the ledger for the proof. Not here: judging it (`cells.py`, `set_aside.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..source.ranges import Mask, Ranges, Rowids, last_of
from ..source.reader import Range

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class RepairLine:
    """A line of `repairs`."""

    rule: str
    original: bytes | None
    original_type: str
    replacement: str | None
    target_key: str | None
    partition: str


@dataclass(frozen=True)
class QuarantineLine:
    """A line of `quarantine`."""

    rule: str
    original: dict[str, dict[str, Any]]
    target_key: str | None
    partition: str


@dataclass(frozen=True)
class LedgerRows:
    """The ledger's lines about some rows.

    Attributes:
        repairs: row -> column -> its line. A row is its rowid, or its target key where the source has no rowids.
        quarantine: row -> its line. A second line about a cell or row shows in the partition's count of lines.
    """

    repairs: dict[int | str, dict[str, RepairLine]]
    quarantine: dict[int | str, QuarantineLine]


_WHERE = "table_name = %s AND source_rowid BETWEEN %s AND %s"
_REPAIRS = (
    "SELECT source_rowid, target_key, column_name, rule, original, original_type, replacement, partition_key"
    " FROM cowrie_migration.repairs WHERE "
)
_QUARANTINE = "SELECT source_rowid, target_key, rule, original, partition_key FROM cowrie_migration.quarantine WHERE "


def read_lines(connection: Connection, table: str, rowids: Range | None) -> LedgerRows:
    """The lines about rows of a table: those in a closed range of rowids, or all of them."""
    where, parameters = ("table_name = %s", (table,)) if rowids is None else (_WHERE, (table, *rowids))
    found = LedgerRows({}, {})
    for rowid, key, column, rule, original, kind, replacement, partition in connection.execute(
        (_REPAIRS + where).encode(), parameters
    ):
        row = found.repairs.setdefault(key if rowid is None else rowid, {})
        row[column] = RepairLine(rule, original, kind, replacement, key, partition)
    for number, (rowid, key, rule, original, partition) in enumerate(
        connection.execute((_QUARANTINE + where).encode(), parameters)
    ):
        # Rows without rowids have no name of their own: they are found by their content.
        name = f"line {number}" if rowid is None else rowid
        found.quarantine[name] = QuarantineLine(rule, original, key, partition)
    return found


def large_cell(connection: Connection, table: str, rowid: int | None, column: str) -> bytes:
    """A set-aside cell that was too large for the quarantine's JSON."""
    rows = connection.execute(
        "SELECT bytes FROM cowrie_migration.large_cells WHERE table_name = %s AND source_rowid IS NOT DISTINCT FROM %s"
        " AND column_name = %s ORDER BY part",
        (table, rowid, column),
    )
    return b"".join(row[0] for row in rows)


class Derived:
    """The cells that the ledger says we filled: column -> rowids; and how many of each partition."""

    def __init__(self, connection: Connection, table: str) -> None:
        """Read a table's derivations, of all partitions."""
        self.cells: Counter[str] = Counter()
        found: dict[str, list[Range]] = {}
        for column, partition, low, high in connection.execute(
            f"SELECT column_name, partition_key, lower(r), {last_of('r')} FROM cowrie_migration.derivations,"
            " unnest(source_rowids) r WHERE table_name = %s".encode(),
            (table,),
        ):
            found.setdefault(column, []).append((low, high))
            self.cells[partition] += high - low + 1
        self._ranges = {column: Ranges(ranges) for column, ranges in found.items()}

    def holds(self, column: str, rowids: Rowids) -> Mask:
        """Which of these rowids the ledger names for a column."""
        return self._ranges.get(column, Ranges()).holds(rowids)
