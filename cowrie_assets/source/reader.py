"""Streams a table's rows in rowid order as Arrow batches bounded by bytes.

Belongs here: the SELECT and its paging. Not here: which partition a row belongs to (`source/dating.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from sys import getsizeof

import pyarrow as pa

from .cells import Cells, concat
from .schema import SourceTable, quoted

BATCH_BYTES = 8 << 20
"""Size from which a batch is handed on. Python's row objects take about four times the bytes they hold."""
BLOCK_ROWS = 256
"""Most rows that are Python objects at one time: blocks of 256 read a Cowrie table as fast as blocks of 5,000."""

Range = tuple[int, int]


def joined(ranges: Iterable[Range], gap: int = 1) -> list[Range]:
    """The ranges ascending and disjoint; those at most `gap` rowids apart become one."""
    found: list[list[int]] = []
    for low, high in sorted(ranges):
        if found and low - found[-1][1] <= gap:
            found[-1][1] = max(found[-1][1], high)
        else:
            found.append([low, high])
    return [(low, high) for low, high in found]


EVERYTHING: Range = (-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Batch:
    """Rows of one table: rowids (for WITHOUT ROWID tables the position in key order, from 1) and stored cells."""

    rowids: pa.Int64Array
    columns: dict[str, Cells]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rowids)

    def take(self, indices: pa.Array) -> Batch:
        """The rows at these positions."""
        return Batch(self.rowids.take(indices), {n: c.take(indices) for n, c in self.columns.items()})

    def cells(self, name: str) -> Cells:
        """A column's cells; all NULL where the source does not store that column."""
        return self.columns[name] if name in self.columns else Cells.nulls(len(self))

    @property
    def nbytes(self) -> int:
        """Bytes of all cells in Arrow."""
        return int(self.rowids.nbytes) + sum(int(c.data.nbytes) for c in self.columns.values())


def read_table(
    connection: sqlite3.Connection,
    table: SourceTable,
    ranges: Iterable[Range] = (EVERYTHING,),
    columns: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Stream the stored cells of the rows whose rowid lies in the (ascending, disjoint) inclusive ranges."""
    names = table.stored if columns is None else tuple(columns)
    # With the table's name before it: SQLite takes an unknown "b" alone for the text 'b', in every row.
    chosen = "".join(f", {quoted(table.name)}.{quoted(n)}" for n in names)
    if table.rowid is None:
        order = ", ".join(quoted(n) for n in table.key) or "1"
        sql = f"SELECT 0{chosen} FROM {quoted(table.name)} ORDER BY {order}"  # noqa: S608 - quoted identifiers
        yield from _numbered(_stream(connection.execute(sql), names), list(ranges))
        return
    sql = (
        f"SELECT {table.rowid}{chosen} FROM {quoted(table.name)} "  # noqa: S608 - quoted identifiers
        f"WHERE {table.rowid} BETWEEN ? AND ? ORDER BY {table.rowid}"
    )
    for low, high in ranges:
        yield from _stream(connection.execute(sql, (low, high)), names)


def _stream(cursor: sqlite3.Cursor, names: Sequence[str]) -> Iterator[Batch]:
    parts: list[Batch] = []
    size = 0
    for rows in _blocks(cursor):
        rowids, *columns = zip(*rows, strict=True)
        rows.clear()
        parts.append(
            Batch(pa.array(rowids, pa.int64()), {n: Cells.encode(c) for n, c in zip(names, columns, strict=True)})
        )
        del rowids, columns
        size += parts[-1].nbytes
        if size >= BATCH_BYTES:
            yield join(parts)
            parts, size = [], 0
    if parts:
        yield join(parts)


def _blocks(cursor: sqlite3.Cursor) -> Iterator[list[tuple[object, ...]]]:
    """Rows in blocks that hold BLOCK_ROWS rows, or end with the row that passed BATCH_BYTES."""
    rows: list[tuple[object, ...]] = []
    size = 0
    for row in cursor:
        rows.append(row)
        # Measured row by row (1 microsecond a row): 256 cells of SQLite's 1 GB would not fit in any memory.
        size += sum(map(getsizeof, row))
        if len(rows) >= BLOCK_ROWS or size >= BATCH_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def join(parts: Sequence[Batch]) -> Batch:
    """Batches of one table, one after another, as one."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: concat([p.columns[name] for p in parts]) for name in parts[0].columns}
    return Batch(pa.concat_arrays([p.rowids for p in parts]), columns)


def _numbered(batches: Iterator[Batch], ranges: list[Range]) -> Iterator[Batch]:
    position = 0
    for batch in batches:
        numbers = range(position + 1, position + 1 + len(batch))
        position += len(batch)
        wanted = [i for i, n in enumerate(numbers) if any(low <= n <= high for low, high in ranges)]
        kept = Batch(pa.array(numbers, pa.int64()), batch.columns)
        if wanted:
            yield kept if len(wanted) == len(batch) else kept.take(pa.array(wanted, pa.int64()))
