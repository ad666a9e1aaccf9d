"""What the source's cells were: from the target's values and the ledger's details of them.

Belongs here: one table's rows, value by value. Not here: SQL over the target (`read.py`) or SQLite (`write.py`).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from sys import getsizeof
from typing import Any

import numpy as np

from ..catalog import Type
from ..errors import ExportError
from ..planning.plan import TablePlan
from ..source.affinity import alters, is_numeric
from ..source.cells import Storage
from .read import Fix, Large, Snapshot

BATCH_ROWS = 2_000
BATCH_BYTES = 8 << 20
"""A batch ends with the row that passes either: each asks the ledger once for its repairs."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
"""The text form of an integer or real in a column that was widened to text."""


@dataclass(frozen=True)
class Raw:
    """Text whose bytes are no UTF-8, as no str of Python can hold it."""

    content: bytes


Cell = None | int | float | str | bytes | Raw | Large


@dataclass
class Row:
    """A row for SQLite.

    Attributes:
        rowid: the source's, or None where it is not known.
        cells: of the source's stored columns, in their order.
        ours: False for rows that were written to the target by others.
        exact: positions of cells of which the ledger tells more than the target: bytes or class.
        aside: whether it comes from the quarantine.
    """

    rowid: int | None
    cells: list[Cell]
    ours: bool = True
    exact: frozenset[int] = frozenset()
    aside: bool = False


def cell_of(storage: Storage, original: bytes | None) -> Cell:
    """A cell from the ledger's form of it (`original_bytes`)."""
    if original is None or storage is Storage.NULL:
        return None
    if storage is Storage.BLOB:
        return original
    if storage is Storage.TEXT:
        try:
            return original.decode()
        except UnicodeDecodeError:
            return Raw(original)
    return int(original) if storage is Storage.INTEGER else float(original)


class Restorer:
    """Turns a table's rows in the target back into the source's."""

    def __init__(self, snapshot: Snapshot, planned: TablePlan) -> None:
        """Read the ledger's details of the table: ranges of rowids, 16 bytes each."""
        self.snapshot, self.planned = snapshot, planned
        self.names = planned.source.stored
        self.place = {name: i for i, name in enumerate(self.names)}
        self.derived, self.classes = snapshot.details(planned.source.name)
        declared = {c.name: c.declared for c in planned.source.columns}
        target = planned.target
        self.widened = [
            i for i, n in enumerate(self.names) if target.column(n).type is Type.TEXT and is_numeric(declared[n])
        ]
        self.respellable = [
            i for i, n in enumerate(self.names) if target.column(n).type in (Type.TIMESTAMPTZ, Type.JSONB)
        ]
        self.dates = [i for i, n in enumerate(self.names) if target.column(n).type is Type.TIMESTAMPTZ]
        # A number under a declaration that makes text of it: from before that declaration.
        self.numbers = [
            i
            for i, n in enumerate(self.names)
            if target.column(n).type in (Type.BIGINT, Type.BOOLEAN, Type.DOUBLE) and alters(declared[n], 0)
        ]
        self.restored = 0

    def rows(self, *, everything: bool) -> Iterator[Row]:
        """The rows of the target; `everything` also gives those of others."""
        batch: list[Row] = []
        size = 0
        for rowid, ours, *cells in self.snapshot.stream(self.planned, everything=everything):
            batch.append(Row(rowid, cells, ours))
            size += sum(map(getsizeof, cells))
            if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield from self._batch(batch)
                batch, size = [], 0
        if batch:
            yield from self._batch(batch)

    def _batch(self, rows: list[Row]) -> list[Row]:
        told = [row for row in rows if row.ours and row.rowid is not None]
        if told:
            self._details(told)
        for row in rows:
            for i in self.dates:
                text = row.cells[i]
                if i not in row.exact and isinstance(text, str) and text.endswith(".000000"):
                    row.cells[i] = text[:-7]
            for i in self.widened:
                if i not in row.exact:
                    row.cells[i] = _number(row.cells[i])
            if self.numbers:
                row.exact |= frozenset(self.numbers)
        return rows

    def _details(self, rows: list[Row]) -> None:
        rowids = np.array([row.rowid for row in rows], np.int64)
        for column, classes in self.classes.items():
            at = self.place[column]
            for storage, ranges in classes.items():
                for position in np.flatnonzero(ranges.holds(rowids)).tolist():
                    row = rows[position]
                    row.cells[at] = _as(storage, row.cells[at])
                    row.exact |= {at}
        for column, ranges in self.derived.items():
            if column in self.place:  # else the source computes it
                for position in np.flatnonzero(ranges.holds(rowids)).tolist():
                    rows[position].cells[self.place[column]] = None
        fixes = self.snapshot.fixes(self.planned, rowids.tolist())
        for row in rows if fixes else ():
            self._fix(row, fixes.get(row.rowid or 0, []))

    def _fix(self, row: Row, fixes: list[Fix]) -> None:
        for fix in fixes:
            at = self.place[fix.column]
            original = fix.original
            row.cells[at] = original if isinstance(original, Large) else cell_of(fix.storage, original)
            row.exact |= {at}
            self.restored += 1

    def fetch(self, large: Large) -> Cell:
        """A large original: asked for when its row is written."""
        return cell_of(large.storage, self.snapshot.fetch(large))

    def set_aside(self) -> Iterator[Row]:
        """The rows of the quarantine, every cell as it was."""
        name = self.planned.source.name
        for rowid, original in self.snapshot.set_aside(name):
            content: dict[str, dict[str, Any]] = json.loads(original)
            if content.keys() != self.place.keys():
                raise ExportError(f"Table {name}: the quarantine's row {rowid} has other columns than the source.")
            cells: list[Cell] = []
            for column in self.names:
                cell = content[column]
                storage, value = Storage[cell["type"].upper()], cell["value"]
                if cell.get("large"):
                    raw: bytes | None = self.snapshot.large_cell(name, rowid, column)
                elif value is not None and storage >= Storage.TEXT:
                    raw = base64.b64decode(value)
                else:
                    raw = None if value is None else value.encode()
                cells.append(cell_of(storage, raw))
            yield Row(rowid, cells, exact=frozenset(range(len(cells))), aside=True)


def _as(storage: Storage, value: Any) -> Cell:
    """The target's value in the class that the ledger names."""
    if storage is Storage.INTEGER:
        return int(value)
    return float(value) if storage is Storage.REAL else value


def _number(value: Cell) -> Cell:
    """A number where the text reads as one: in a column of numeric affinity it was one."""
    if not isinstance(value, str) or not (match := _NUMBER.fullmatch(value)):
        return value
    if match.group(1) or match.group(2):
        return float(value)
    return int(value) if -(2**63) <= int(value) < 2**63 else value
