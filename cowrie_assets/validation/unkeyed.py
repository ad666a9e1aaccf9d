"""Proves a table without a key: its rows as a multiset of digests, source against target.

Belongs here: digests of whole rows. Not here: rows that a key names (`keys.py`, `cells.py`).

A row's digest is 128 bits of BLAKE2b over its canonical values, each with its length before it, NULL apart from ''.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Table, Type
from ..source.cells import original_bytes
from ..source.reader import Batch
from .canonical import recorded_form, stored_form, target_form
from .json_values import exact
from .ledger_rows import LedgerRows
from .target_rows import all_rows

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_DIGEST = np.dtype("V16")


@dataclass(frozen=True)
class Unmatched:
    """Source rows that the target lacks, and how many of the target's rows the source lacks.

    Attributes:
        doubled: of the target's further rows, those that equal one of ours.
    """

    missing: list[int]
    further: int
    doubled: int


class RowDigests:
    """Collects the digests of a keyless table's source rows (24 bytes a row), then looks for them in the target."""

    def __init__(self, table: Table, widened: set[str]) -> None:
        """Start empty."""
        self.table, self.widened = table, widened
        self._rowids: list[np.ndarray] = []
        self._digests: list[np.ndarray] = []

    def add(self, batch: Batch, lines: LedgerRows) -> list[tuple[int, str, str]]:
        """Take rows, repaired cells by their replacement; returns (row, column, what) for lines that do not fit."""
        faults: list[tuple[int, str, str]] = []
        forms = []
        for column in self.table.columns:
            cells = batch.cells(column.name)
            stored = stored_form(column.type, cells, widened=column.name in self.widened)
            form = stored.values
            repaired = {
                row: lines.repairs[rowid][column.name]
                for row, rowid in enumerate(batch.rowids.to_pylist())
                if column.name in lines.repairs.get(rowid, {})
            }
            if repaired:
                values = form.to_pylist()
                for row, line in repaired.items():
                    storage, value = cells.value(row)
                    if line.original != original_bytes(storage, value) or line.original_type != storage.label:
                        faults.append((row, column.name, "the repair's original is not the source's cell"))
                    new = recorded_form(column.type, line.replacement)[0].as_py()
                    # A cell without a value in the type has the form of NULL too, and is none.
                    same = new == values[row] and not stored.none[row].as_py()
                    if same and column.type is not Type.JSONB:
                        faults.append((row, column.name, "a repair is listed, and the cell is what the source has"))
                    values[row] = new
                form = pa.array(values, form.type)
            forms.append(form)
        self._rowids.append(np.asarray(batch.rowids))
        self._digests.append(self._of(forms, len(batch)))
        return faults

    def _of(self, forms: Sequence[pa.Array], length: int) -> np.ndarray:
        parts: list[pa.Array] = []
        for column, form in zip(self.table.columns, forms, strict=True):
            if column.type is Type.JSONB:
                documents = [None if v is None else exact(v) for v in form.to_pylist()]
                form = pa.array([None if d is None else d.form.encode() for d in documents], pa.binary())
            raw = form if form.type == pa.binary() else form.cast(pa.string()).cast(pa.binary())
            sizes = pc.binary_length(raw).cast(pa.string()).cast(pa.binary())
            parts += [pc.fill_null(sizes, b"-"), pc.fill_null(raw, b"")]
        messages = pc.binary_join_element_wise(*parts, pa.scalar(b":", pa.binary()))
        digests = [hashlib.blake2b(m, digest_size=16).digest() for m in messages.to_pylist()]
        return np.frombuffer(b"".join(digests), _DIGEST, count=length)

    def compare(self, connection: Connection) -> Unmatched:
        """Read every row of the target and compare the two multisets."""
        theirs = [np.zeros(0, _DIGEST)]
        for rows in all_rows(connection, self.table, self.table.columns):
            columns = [rows.column(c.name).combine_chunks() for c in self.table.columns]
            forms = [target_form(c.type, v) for c, v in zip(self.table.columns, columns, strict=True)]
            theirs.append(self._of(forms, rows.num_rows))
        ours = np.concatenate([np.zeros(0, _DIGEST), *self._digests])
        rowids = np.concatenate([np.zeros(0, np.int64), *self._rowids])
        all_theirs = np.concatenate(theirs)
        values, places = np.unique(np.concatenate([ours, all_theirs]).view("S16"), return_inverse=True)
        mine = np.bincount(places[: len(ours)], minlength=len(values))
        found = np.bincount(places[len(ours) :], minlength=len(values))
        lacking = np.flatnonzero((mine > found)[places[: len(ours)]])
        further = np.maximum(found - mine, 0)
        return Unmatched(rowids[lacking].tolist(), int(further.sum()), int(further[mine > 0].sum()))
