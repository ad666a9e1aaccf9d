"""Compares a batch of source rows with the target's rows, cell by cell, and each difference with the ledger.

Belongs here: judging cells. Not here: reading either side, rows set aside (`set_aside.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Column, Table, Type
from ..rules import RULES
from ..source.cells import Storage, original_bytes
from ..source.reader import Batch
from .canonical import recorded_form, stored_form, target_form
from .json_values import exact, same, unequal
from .ledger_rows import Derived, RepairLine
from .target_rows import MEMBER

Report = Callable[[int, str, str], None]
"""Called with the row in the batch, the column and what differs."""

_SHOWN = 60


@dataclass
class Matched:
    """Rows of the source, each with its row of the target.

    Attributes:
        batch: the source's rows.
        names: what the ledger calls each row: its rowid, or its target key.
        target: the target's rows in the same order.
        repairs: row name -> column -> the ledger's line.
        key_of: the text of a row's key, as the ledger has it.
    """

    batch: Batch
    names: Sequence[int | str]
    target: pa.Table
    repairs: dict[int | str, dict[str, RepairLine]]
    key_of: Callable[[int], str | None]


class CellProof:
    """Compares matched rows of one table."""

    def __init__(self, table: Table, stored: tuple[str, ...], widened: set[str], derived: Derived) -> None:
        """Take the target's shape and the columns that the source stores."""
        self.table, self.stored, self.widened, self.derived = table, stored, widened, derived

    def compare(self, rows: Matched, report: Report) -> np.ndarray:
        """Report every cell that is neither equal nor listed as it is; returns how many cells of each row we filled."""
        lined = self._lines(rows)
        self.filled = np.zeros(len(rows.batch), np.int64)
        for column in self.table.columns:
            lines = lined.get(column.name, {})
            if column.name in self.stored or column.derived:
                self._column(column, rows, lines, report)
            else:
                self._default(column, rows, report)
            for row, line in lines.items() if column.name in self.stored else ():
                self._repaired(column, rows, row, line, report)
        for name in lined.keys() - {c.name for c in self.table.columns if c.name in self.stored}:
            for row in lined[name]:
                report(row, name, "the ledger lists a repair of a column that the source does not store")
        return self.filled

    def _lines(self, rows: Matched) -> dict[str, dict[int, RepairLine]]:
        """Column -> row in the batch -> line."""
        found: dict[str, dict[int, RepairLine]] = {}
        if rows.repairs:
            for row, name in enumerate(rows.names):
                for column, line in rows.repairs.get(name, {}).items():
                    found.setdefault(column, {})[row] = line
        return found

    def _column(self, column: Column, rows: Matched, lines: dict[int, RepairLine], report: Report) -> None:
        cells = rows.batch.cells(column.name)
        form = stored_form(column.type, cells, widened=column.name in self.widened)
        theirs = target_form(column.type, one(rows.target.column(column.name)))
        if column.type is Type.JSONB:
            wrong = set(unequal(form.values, theirs))
        else:
            wrong = set(pc.indices_nonzero(differ(form.values, theirs)).to_pylist())
        wrong |= set(pc.indices_nonzero(form.none).to_pylist())
        if column.derived:
            wrong = self._derived(column, rows, wrong, report)
        for row in sorted(wrong - lines.keys()):
            report(row, column.name, f"{self._shown(rows, column, row)}, and no repair is listed")
        for row in sorted(lines.keys() - wrong):
            report(row, column.name, "a repair is listed, and the cell is what the source has")

    def _derived(self, column: Column, rows: Matched, wrong: set[int], report: Report) -> set[int]:
        """A cell that the source has as NULL equals the payload's member, and is listed where it is filled."""
        assert column.derived is not None  # noqa: S101 - narrows the type
        theirs = one(rows.target.column(column.name))
        empty = _numpy(pc.equal(rows.batch.cells(column.name).classes(), int(Storage.NULL)))
        equal = _numpy(one(rows.target.column(f"{MEMBER}{column.name}")))
        filled = empty & _numpy(pc.is_valid(theirs))
        listed = self.derived.holds(column.name, np.asarray(rows.batch.rowids))
        self.filled += filled
        for row in np.flatnonzero(empty & ~equal).tolist():
            report(row, column.name, f"it is not the payload's {column.derived[1]}")
        for row in np.flatnonzero(filled & ~listed).tolist():
            report(row, column.name, "filled, and no derivation is listed")
        for row in np.flatnonzero(listed & ~filled).tolist():
            report(row, column.name, "a derivation is listed, and the cell was not filled")
        return {row for row in wrong if not empty[row]}

    def _default(self, column: Column, rows: Matched, report: Report) -> None:
        """A column that the source lacks has its default in every row."""
        theirs = one(rows.target.column(column.name))
        bad = pc.is_null(theirs) if column.default else pc.is_valid(theirs)
        if column.default and column.default != "CURRENT_TIMESTAMP":
            value: Any = {"false": False, "true": True}.get(column.default)
            if value is None:
                number = column.type in (Type.BIGINT, Type.DOUBLE)
                value = int(column.default) if number else column.default.strip("'").encode()
            bad = pc.fill_null(pc.not_equal(theirs, pa.scalar(value, theirs.type)), True)
        for row in pc.indices_nonzero(bad).to_pylist():
            report(row, column.name, f"the source lacks the column, and it is not {column.default or 'NULL'}")

    def _repaired(self, column: Column, rows: Matched, row: int, line: RepairLine, report: Report) -> None:
        storage, value = rows.batch.cells(column.name).value(row)
        if line.original != original_bytes(storage, value) or line.original_type != storage.label:
            report(row, column.name, "the repair's original is not the source's cell")
        if not all(code in RULES for code in line.rule.split("+")):
            report(row, column.name, f"the repair's rule {_short(line.rule)} is none")
        if line.target_key != rows.key_of(row):
            report(row, column.name, f"the repair names the key {_short(line.target_key)}")
        theirs = target_form(column.type, one(rows.target.column(column.name)).slice(row, 1))[0].as_py()
        try:
            recorded = recorded_form(column.type, line.replacement)[0].as_py()
        except (ValueError, KeyError):
            report(row, column.name, f"the repair's replacement {_short(line.replacement)} is no {column.type}")
            return
        equal = theirs == recorded
        if column.type is Type.JSONB and theirs is not None and recorded is not None:
            ours = exact(recorded)
            equal = ours is not None and same(theirs, recorded)
        if not equal:
            report(row, column.name, "the target's value is not the repair's replacement")

    def _shown(self, rows: Matched, column: Column, row: int) -> str:
        storage, value = rows.batch.cells(column.name).value(row)
        ours = original_bytes(storage, value)
        theirs = one(rows.target.column(column.name))[row].as_py()
        start = 0
        if isinstance(ours, bytes) and isinstance(theirs, bytes) and column.type is not Type.JSONB:
            start = max(0, len(os.path.commonprefix([ours, theirs])) - _SHOWN // 3)
        return f"source {storage.label} {_short(ours, start)}, target {_short(theirs, start)}"


def one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def _numpy(mask: pa.BooleanArray) -> np.ndarray:
    values: np.ndarray = mask.to_numpy(zero_copy_only=False)
    return values


def differ(ours: pa.Array, theirs: pa.Array) -> pa.BooleanArray:
    """Where two columns differ; a NULL equals a NULL only."""
    unequal_values = pc.fill_null(pc.not_equal(ours, theirs), False)
    return pc.or_(unequal_values, pc.xor(pc.is_null(ours), pc.is_null(theirs)))


def _short(value: object, start: int = 0) -> str:
    if value is None:
        return "NULL"
    if not isinstance(value, (bytes, str)):
        return repr(value)
    part = value[start : start + _SHOWN]
    return f"{'…' if start else ''}{part!r}{'…' if start + _SHOWN < len(value) else ''}"
