"""Streams a table's rows in rowid order as Arrow batches bounded by bytes.

Belongs here: the SELECT and its paging. Not here: which partition a row belongs to (`source/dating.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from sys import getsizeof

import numpy as np
import pyarrow as pa

from .cells import Cells, concat
from .damage import Damage, damaged, is_damage
from .salvage import read_both_ends, read_damaged
from .schema import SourceTable, quoted

BATCH_BYTES = 8 << 20
"""Size from which a batch is handed on. Python's row objects take about four times the bytes they hold."""
BLOCK_ROWS = 256
"""Most rows that are Python objects at one time: blocks of 256 read a Cowrie table as fast as blocks of 5,000."""

MOST_ARGUMENTS = 90
"""Arguments of one function call: SQLite's limit was 127 once."""

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


def extend_ranges(ranges: list[Range], rowids: pa.Int64Array) -> None:
    """Add ascending rowids to a list of closed ranges, joining neighbours."""
    ids = rowids.to_numpy()
    if not len(ids):
        return
    breaks = np.flatnonzero(np.diff(ids) != 1)
    starts, ends = ids[np.r_[0, breaks + 1]], ids[np.r_[breaks, len(ids) - 1]]
    for low, high in zip(starts.tolist(), ends.tolist(), strict=True):
        if ranges and ranges[-1][1] + 1 == low:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))


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

    def slice(self, start: int, length: int) -> Batch:
        """So many rows from `start` on, without a copy."""
        return Batch(self.rowids.slice(start, length), {n: c.slice(start, length) for n, c in self.columns.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of all cells in Arrow."""
        return int(self.rowids.nbytes) + sum(int(c.data.nbytes) for c in self.columns.values())


def read_table(
    connection: sqlite3.Connection,
    table: SourceTable,
    ranges: Iterable[Range] = (EVERYTHING,),
    columns: Sequence[str] | None = None,
    *,
    damage: Damage | None = None,
    whole: bool = False,
) -> Iterator[Batch]:
    """Stream the stored cells of the rows whose rowid lies in the (ascending, disjoint) inclusive ranges.

    Args:
        connection: the source.
        table: its declaration.
        ranges: for a WITHOUT ROWID table, of positions in key order.
        columns: the cells wanted; None for all.
        damage: of a table that is known to be damaged: what can be read is read, the rest noted there.
        whole: load every cell of a row, though only `columns` are returned, so that one that cannot be read shows.

    Raises:
        DamagedSourceError: where damage shows that `damage` does not know.
    """
    names = table.stored if columns is None else tuple(columns)
    # A name with the table before it is never taken for a text literal where the column was dropped since the plan.
    chosen = "".join(f", t.{quoted(n)}" for n in names)
    if whole or damage:
        chosen += _touched([n for n in table.stored if n not in names])
    if damage:
        if table.rowid is not None:
            yield from _stream(read_damaged(connection, table, list(ranges), chosen, damage), names)
        else:
            yield from _within(_stream(read_both_ends(connection, table, chosen, damage), names), list(ranges))
        return
    if table.rowid is None:
        # In the order of the table's own b-tree, whichever columns are chosen: an index over them could give another.
        sql = f"SELECT 0{chosen} FROM {quoted(table.name)} AS t NOT INDEXED"
        yield from _numbered(_sound(connection, sql, (), table, names), list(ranges))
        return
    rowid = f"t.{table.rowid}"
    sql = (
        f"SELECT {rowid}{chosen} FROM {quoted(table.name)} AS t NOT INDEXED"
        f" WHERE {rowid} BETWEEN ? AND ? ORDER BY {rowid}"
    )
    for low, high in ranges:
        after = low - 1
        for batch in _sound(connection, sql, (low, high), table, names):
            ids = batch.rowids.to_numpy()
            # In a damaged table a wrong rowid ends a range early, without an error, or comes twice.
            if int(ids[0]) <= after or (ids[1:] <= ids[:-1]).any():
                raise damaged(table.name, f"rowids near {after} are out of order")
            after = int(ids[-1])
            yield batch


def _touched(columns: list[str]) -> str:
    """Expressions that load these columns' cells, to their last byte, and return next to nothing."""
    groups = [columns[at : at + MOST_ARGUMENTS] for at in range(0, len(columns), MOST_ARGUMENTS)]
    return "".join(f", max(0, {', '.join(f't.{quoted(n)}' for n in group)}) IS NULL" for group in groups)


def _sound(
    connection: sqlite3.Connection, sql: str, parameters: tuple[int, ...], table: SourceTable, names: Sequence[str]
) -> Iterator[Batch]:
    """The batches of a table that is no damaged one; DamagedSourceError where it proves to be."""
    where = "in its first rows"
    try:
        for batch in _stream(connection.execute(sql, parameters), names):
            where = f"behind rowid {batch.rowids[len(batch) - 1]}"
            yield batch
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        raise damaged(table.name, f"{error}, {where}") from error


def _stream(cursor: Iterable[tuple[object, ...]], names: Sequence[str]) -> Iterator[Batch]:
    parts: list[Batch] = []
    size = 0
    for rows in _blocks(cursor):
        rowids, *columns = zip(*rows, strict=True)
        rows.clear()
        # What stands behind the columns was only loaded.
        part = Batch(pa.array(rowids, pa.int64()), {n: Cells.encode(c) for n, c in zip(names, columns, strict=False)})
        del rowids, columns
        if parts and part.nbytes >= BATCH_BYTES:
            yield join(parts)  # what is large travels alone: joining would copy it
            parts, size = [], 0
        parts.append(part)
        size += part.nbytes
        del part
        if size >= BATCH_BYTES:
            yield join(parts)
            parts, size = [], 0
    if parts:
        yield join(parts)


def _blocks(cursor: Iterable[tuple[object, ...]]) -> Iterator[list[tuple[object, ...]]]:
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
        numbers = pa.array(np.arange(position + 1, position + 1 + len(batch)))
        position += len(batch)
        yield from _within(iter([Batch(numbers, batch.columns)]), ranges)


def _within(batches: Iterator[Batch], ranges: list[Range]) -> Iterator[Batch]:
    for batch in batches:
        ids = batch.rowids.to_numpy()
        wanted = np.logical_or.reduce([(ids >= low) & (ids <= high) for low, high in ranges])
        if wanted.any():
            yield batch if wanted.all() else batch.take(pa.array(np.flatnonzero(wanted)))
