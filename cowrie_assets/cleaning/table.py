"""Cleans a batch of a table: every column's kernel, then what becomes of refused cells and rows.

Belongs here: the policy a table applies. Not here: a kernel, or any I/O.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import SCHEMA_VERSION, Column, Type
from ..planning.plan import TablePlan
from ..rules import Policy
from ..source.affinity import unexpected
from ..source.cells import Cells, Storage, Value, original_bytes
from ..source.dating import json_member
from ..source.instants import INSTANT, read_instants
from ..source.reader import Batch
from . import scalars
from .json_cells import clean_json_cells
from .outcome import Outcome, Refusal, Repair
from .text import clean_text

LARGE_CELL = 128 << 20
"""Bytes from which a set-aside cell lies in `large_cells`: base64 of more would not fit jsonb's 255 MiB string."""
LARGE_ROW = 180 << 20
"""Bytes of a set-aside row from which its further cells lie there too: the whole object shares jsonb's 255 MiB."""


@dataclass(frozen=True)
class RepairRow:
    """A row of the ledger's `repairs`."""

    rowid: int
    column: str
    rule: str
    original: bytes | None
    original_type: str
    replacement: str | None
    target_key: str | None


@dataclass(frozen=True)
class QuarantineRow:
    """A row of the ledger's `quarantine`; `large` are the cells that do not fit in its jsonb."""

    rowid: int
    rule: str
    detail: str
    original: str
    target_key: str | None
    large: tuple[tuple[str, bytes], ...] = ()


class Forbidden(NamedTuple):
    """A cell, or the columns of a row, found by a rule whose policy is `fail`."""

    rowid: int
    column: str
    rule: str


class _Loss(NamedTuple):
    rule: str
    detail: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Cleaned:
    """A cleaned batch.

    Attributes:
        rowids: of the rows that go to the target.
        columns: their values in the target's Arrow types; columns that the source lacks are absent (the target's
            defaults hold).
        derived: column -> rowids of the cells that we filled.
        differing: column -> rowids of cells that are kept though the payload says otherwise (a finding).
        forbidden: what no migration may hold, by the settings; those rows are among the set aside.
        storage: column -> class -> rowids of unrepaired cells whose class the target's value does not tell.
    """

    rowids: pa.Int64Array
    columns: dict[str, pa.Array]
    repairs: list[RepairRow] = field(default_factory=list)
    quarantine: list[QuarantineRow] = field(default_factory=list)
    derived: dict[str, pa.Int64Array] = field(default_factory=dict)
    differing: dict[str, pa.Int64Array] = field(default_factory=dict)
    forbidden: list[Forbidden] = field(default_factory=list)
    storage: dict[str, dict[Storage, pa.Int64Array]] = field(default_factory=dict)


_KERNELS: dict[Type, Callable[[Cells], Outcome]] = {
    Type.BIGINT: scalars.clean_integer,
    Type.DOUBLE: scalars.clean_real,
    Type.BOOLEAN: scalars.clean_boolean,
    Type.TIMESTAMPTZ: scalars.clean_instant,
    Type.BYTEA: scalars.clean_blob,
}


class TableCleaner:
    """Cleans the batches of one table; holds no state between them."""

    def __init__(self, plan: TablePlan) -> None:
        """Read the target's shape and what goes to quarantine as a duplicate."""
        self.plan = plan
        self.table = plan.target
        stored = set(plan.source.stored)
        self.derived = [c for c in self.table.columns if c.derived and c.derived[0] in stored]
        self.columns = [c for c in self.table.columns if c.name in stored or c in self.derived]
        self.has_rowids = plan.source.rowid is not None
        self.declared = {c.name: c.declared for c in plan.source.columns}

    def clean(self, batch: Batch) -> Cleaned:
        """Clean a batch; every row of it is either in the result's columns or in its quarantine."""
        run = _Run(self, batch)
        return run.result()


class _Run:
    def __init__(self, cleaner: TableCleaner, batch: Batch) -> None:
        self.cleaner, self.batch = cleaner, batch
        self.values: dict[str, pa.Array] = {}
        self.repairs: dict[int, list[tuple[str, Repair]]] = {}
        self.lost: dict[int, list[_Loss]] = {}
        self.forbidden: list[Forbidden] = []
        self.members: dict[str, dict[str, pa.StringArray]] = {}
        self.filled: dict[str, pa.BooleanArray] = {}
        self.differing: dict[str, pa.BooleanArray] = {}
        self.pending: list[tuple[Column, list[Refusal]]] = []
        self.storage: dict[str, dict[Storage, pa.BooleanArray]] = {}

    def result(self) -> Cleaned:
        for row, rowid in self._losers():
            winner, columns = self.cleaner.plan.losers[rowid]
            other = f"row {winner}" if self.cleaner.has_rowids else "another row"
            named = tuple(c for c in self.cleaner.table.unique_sets if ", ".join(c) == columns)
            detail = f"({columns}) is also the key of {other}"
            self._lose(row, _Loss("key.duplicate", detail, named[0] if named else tuple(columns.split(", "))))
        for column in sorted(self.cleaner.columns, key=lambda c: c.derived is not None):
            self._column(column)
        for column, refusals in self.pending:
            self._refused(column, refusals)
        for column in self.cleaner.columns:
            if not column.nullable:
                self._required(column)
        if self.cleaner.plan.treatment.policies.overrides:
            self._apply_policies()
        return self._assemble()

    def _losers(self) -> list[tuple[int, int]]:
        losers = self.cleaner.plan.losers
        if not losers:
            return []
        return [(row, rowid) for row, rowid in enumerate(self.batch.rowids.to_pylist()) if rowid in losers]

    def _column(self, column: Column) -> None:
        cells = self.batch.cells(column.name)
        if column.type in (Type.JSONB, Type.JSON):
            wanted = [c.derived[1] for c in self.cleaner.derived if c.derived and c.derived[0] == column.name]
            jsonb, unwrap = column.type is Type.JSONB, self.cleaner.plan.treatment.unwrap
            outcome, self.members[column.name] = clean_json_cells(cells, wanted, jsonb=jsonb, unwrap=unwrap)
            for refusal in outcome.refusals:
                self._refuse(column, refusal)
        elif column.type is Type.TEXT:
            widened = column.name in self.cleaner.plan.types
            outcome = clean_text(cells, numbers_fit=widened)
        else:
            outcome = _KERNELS[column.type](cells)
            if outcome.refusals:
                self.pending.append((column, outcome.refusals))
        if column.rule == "schema.version":
            outcome = self._schema_version(outcome)
        self.values[column.name] = outcome.values
        if column.name in self.batch.columns:
            self.storage[column.name] = unexpected(cells, column.type, self.cleaner.declared[column.name])
        for repair in outcome.repairs:
            self._repair(column, repair)
        if column.derived:
            self._derive(column)

    def _derive(self, column: Column) -> None:
        assert column.derived is not None  # noqa: S101 - narrows the type
        stored = self.values[column.name]
        said = self.members[column.derived[0]][column.derived[1]]
        empty = pc.is_null(stored)
        self.filled[column.name] = pc.and_(empty, pc.is_valid(said))
        self.differing[column.name] = pc.fill_null(pc.and_(pc.invert(empty), pc.not_equal(stored, said)), False)
        self.values[column.name] = pc.coalesce(stored, said)

    def _schema_version(self, outcome: Outcome) -> Outcome:
        keys = self.batch.cells("key")
        values, repairs = outcome.values.to_pylist(), list(outcome.repairs)
        for row in range(len(self.batch)):
            if keys.value(row) == (Storage.TEXT, b"schema_version") and _below(values[row]):
                values[row] = str(SCHEMA_VERSION)
                repairs = [r for r in repairs if r.row != row]
                repairs.append(Repair(row, ("schema.version",), values[row]))
        return Outcome(pa.array(values, pa.string()), repairs)

    def _refused(self, column: Column, refusals: list[Refusal]) -> None:
        if column.nullable:
            for refusal in refusals:
                self._repair(column, Repair(refusal.row, (refusal.rule,), None))
            return
        found = self._fallback(column, [refusal.row for refusal in refusals])
        mended = [
            has_one and self._policy((refusal.rule,), (column.name,))[0] is Policy.REPAIR
            for refusal, has_one in zip(refusals, found.is_valid().to_pylist(), strict=True)
        ]
        for refusal, has_one in zip(refusals, mended, strict=True):
            if not has_one:
                self._refuse(column, refusal)
        rows = [refusal.row for refusal, has_one in zip(refusals, mended, strict=True) if has_one]
        if rows:
            mask = np.zeros(len(self.batch), np.bool_)
            mask[rows] = True
            found = found.filter(pa.array(mended))
            self.values[column.name] = pc.replace_with_mask(self.values[column.name], pa.array(mask), found)
            for row, text in zip(rows, scalars.instant_texts(found), strict=True):
                self._repair(column, Repair(row, ("date.fallback",), text))

    def _refuse(self, column: Column, refusal: Refusal) -> None:
        self._lose(refusal.row, _Loss(refusal.rule, f"{column.name}: {refusal.detail}", (column.name,)))

    def _lose(self, row: int, loss: _Loss) -> None:
        self.lost.setdefault(row, []).append(loss)

    def _policy(self, codes: tuple[str, ...], columns: tuple[str, ...]) -> tuple[Policy, str]:
        return self.cleaner.plan.treatment.policies.strictest(codes, self.cleaner.table.name, columns)

    def _apply_policies(self) -> None:
        """Set aside what is repaired against its policy, and note what must not be there at all."""
        found = [(row, loss.rule, loss.columns) for row, losses in self.lost.items() for loss in losses]
        forbidden = [f for f in found if self._policy((f[1],), f[2])[0] is Policy.FAIL]
        for row, repairs in self.repairs.items():
            for name, repair in repairs:
                policy, rule = self._policy(repair.rules, (name,))
                if policy is Policy.REPAIR:
                    continue
                detail = f"{name}: not to be repaired: {scalars.shown(self.batch.cells(name), row)}"
                self._lose(row, _Loss(rule, detail, (name,)))
                if policy is Policy.FAIL:
                    forbidden.append((row, rule, (name,)))
        for row, rule, columns in sorted(forbidden):
            self.forbidden.append(Forbidden(self.batch.rowids[row].as_py(), ", ".join(columns), rule))

    def _repair(self, column: Column, repair: Repair) -> None:
        self.repairs.setdefault(repair.row, []).append((column.name, repair))

    def _fallback(self, column: Column, rows: list[int]) -> pa.TimestampArray:
        """The instants that stand in for these rows' cells; NULL where there is none."""
        found = pa.nulls(len(rows), INSTANT)
        for name in column.fallback:
            base, _, member = name.partition(".")
            # A payload's member is read from the repaired document, which says what the target will say.
            cells = Cells(Storage.TEXT, self.values[base].cast(pa.binary())) if member else self.batch.cells(base)
            cells = cells.take(pa.array(rows, pa.int64()))
            found = pc.coalesce(found, read_instants(json_member(cells, member) if member else cells).values)
        return found

    def _required(self, column: Column) -> None:
        for row in pc.indices_nonzero(pc.is_null(self.values[column.name])).to_pylist():
            if not any(loss.columns == (column.name,) for loss in self.lost.get(row, ())):
                what = "key.null" if column.name in self.cleaner.table.key else "null.required"
                self._lose(row, _Loss(what, f"{column.name} is NULL and may not be", (column.name,)))

    def _assemble(self) -> Cleaned:
        rowids = self.batch.rowids
        ids = rowids.to_pylist() if self.lost or self.repairs else []
        repairs = [
            self._repair_row(row, ids[row], name, repair)
            for row in sorted(self.repairs)
            if row not in self.lost
            for name, repair in self.repairs[row]
        ]
        quarantine = [self._quarantine_row(row, ids[row]) for row in sorted(self.lost)]
        columns = {c.name: self.values[c.name] for c in self.cleaner.columns}
        kept = None
        if self.lost:
            kept = pa.array([row not in self.lost for row in range(len(rowids))])
            rowids = rowids.filter(kept)
            columns = {n: v.filter(kept) for n, v in columns.items()}

        def chosen(mask: pa.BooleanArray) -> pa.Int64Array:
            return self.batch.rowids.filter(mask if kept is None else pc.and_(mask, kept))

        derived = {n: chosen(m) for n, m in self.filled.items()}
        differing = {n: chosen(m) for n, m in self.differing.items()}
        storage = {
            n: {s: chosen(self._unrepaired(n, m)) for s, m in found.items()} for n, found in self.storage.items()
        }
        return Cleaned(rowids, columns, repairs, quarantine, derived, differing, self.forbidden, storage)

    def _unrepaired(self, column: str, mask: pa.BooleanArray) -> pa.BooleanArray:
        """The mask without this column's repaired cells: `repairs` tells their class."""
        repaired = {row for row, made in self.repairs.items() if any(name == column for name, _ in made)}
        return pc.and_(mask, pa.array([row not in repaired for row in range(len(mask))])) if repaired else mask

    def _target_key(self, row: int) -> str | None:
        parts = [
            scalars.key_part(self.values[n][row].as_py()) if n in self.values else None for n in self.cleaner.table.key
        ]
        if not parts or None in parts:
            return None
        return parts[0] if len(parts) == 1 else json.dumps(parts, ensure_ascii=False)

    def _repair_row(self, row: int, rowid: int, column: str, repair: Repair) -> RepairRow:
        storage, value = self.batch.cells(column).value(row)
        return RepairRow(
            rowid,
            column,
            "+".join(dict.fromkeys(repair.rules)),
            original_bytes(storage, value),
            storage.label,
            repair.text,
            self._target_key(row),
        )

    def _quarantine_row(self, row: int, rowid: int) -> QuarantineRow:
        first = self.lost[row][0]
        return set_aside(self.batch, row, rowid, first.rule, first.detail, self._target_key(row))


def set_aside(batch: Batch, row: int, rowid: int, rule: str, detail: str, target_key: str | None) -> QuarantineRow:
    """A row's place in the quarantine: every stored cell, those too large for jsonb apart."""
    cells: dict[str, dict[str, object]] = {}
    large, held = [], 0
    for name, column in batch.columns.items():
        storage, value = column.value(row)
        size = len(value) if isinstance(value, bytes) else 0
        if isinstance(value, bytes) and (size > LARGE_CELL or held + size > LARGE_ROW):
            cells[name] = {"type": storage.label, "value": None, "large": True}
            large.append((name, value))
        else:
            cells[name] = {"type": storage.label, "value": stored_text(value)}
            held += size
    detail = detail.replace("\x00", "\\x00")
    return QuarantineRow(rowid, rule, detail, json.dumps(cells), target_key, tuple(large))


def stored_text(value: Value) -> str | None:
    """A stored cell in `quarantine.original`: decimal, repr, or base64 of the exact bytes; None for NULL."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if value is None else repr(value)


def _below(value: str | None) -> bool:
    if value is None:
        return True
    try:
        return int(value) < SCHEMA_VERSION
    except ValueError:
        return True
