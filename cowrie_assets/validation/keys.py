"""Finds each source row's row in the target, by the key that it has there.

Belongs here: keys as the target has them, and matching. Not here: comparing the rows that match (`cells.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Column, Table, Type
from ..source.cells import original_bytes
from ..source.reader import Batch, Range
from .canonical import stored_form, target_form
from .cells import one
from .doubles import float8_text
from .ledger_rows import RepairLine
from .target_rows import rows_by_id, rows_by_key

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

GAP_IDS = 2_000
"""Ids of one batch closer than this are fetched as one range: what lies between costs less than another index scan."""

Repairs = Mapping[int | str, Mapping[str, RepairLine]]


@dataclass(frozen=True)
class Found:
    """Where a batch's rows are in the target.

    Attributes:
        target: rows of the target, those of the batch among them.
        place: for each row of the batch its row of `target`, -1 where it is not there.
        twice: keys that the target has more than once.
        key_texts: the text of a row's key, as the ledger writes it; None where a part is NULL.
    """

    target: pa.Table
    place: np.ndarray
    twice: list[str]
    key_texts: Callable[[int], str | None]


class Search(Protocol):
    """A batch's rows on their way to be found: `fetch` asks the target and may run in another thread."""

    def fetch(self) -> pa.Table:
        """The target's rows, these among them."""

    def found(self, target: pa.Table) -> Found:
        """Where each row is in what was fetched."""


class Keys:
    """Matches the rows of one table, which has a key."""

    def __init__(self, connection: Connection, table: Table, widened: set[str]) -> None:
        """Take the target's shape."""
        self.connection, self.table, self.widened = connection, table, widened

    def search(self, batch: Batch, repairs: Repairs) -> Search:
        """Begin to look for a batch's rows.

        Args:
            batch: rows of the source.
            repairs: rowid -> column -> line; a repaired key is looked for by its replacement.
        """
        return _ById(self, batch) if self.table.serial else ByText(self, batch, repairs)

    def has_no_value(self, batch: Batch, row: int, column: str) -> bool:
        """Whether a key's cell is NULL, or has no value in the target's type."""
        cells = batch.cells(column).slice(row, 1)
        return (
            stored_form(self.table.column(column).type, cells, widened=column in self.widened).values[0].as_py() is None
        )


class _ById:
    def __init__(self, keys: Keys, batch: Batch) -> None:
        self.keys = keys
        self.name = keys.table.serial or ""
        form = stored_form(Type.BIGINT, batch.cells(self.name)).values
        self.ids = pc.fill_null(form, -1).to_numpy(zero_copy_only=False)
        self.has_id = np.asarray(pc.is_valid(form))

    def fetch(self) -> pa.Table:
        table = self.keys.table
        return rows_by_id(self.keys.connection, table, table.columns, _ranges(np.sort(self.ids[self.has_id])))

    def found(self, target: pa.Table) -> Found:
        ids, theirs = self.ids, target.column(self.name).to_numpy()
        if (np.diff(theirs) < 0).any():
            order = np.argsort(theirs, kind="stable")
            target, theirs = target.take(pa.array(order)), theirs[order]
        again = theirs[1:][np.diff(theirs) == 0]
        place = np.full(len(ids), -1)
        if len(theirs):
            near = np.minimum(np.searchsorted(theirs, ids), len(theirs) - 1)
            place = np.where(self.has_id & (theirs[near] == ids), near, -1)
        return Found(target, place, [str(i) for i in np.unique(again).tolist()], lambda row: str(ids[row]))


class ByText:
    """A search by the text of each part; `sought` has each row's, None where a part has no value."""

    def __init__(self, keys: Keys, batch: Batch, repairs: Repairs) -> None:
        """Work out what is sought."""
        self.keys, self.table = keys, keys.table
        self.sought = self._source_keys(batch, repairs)

    def fetch(self) -> pa.Table:
        """Those rows of the target that have one of the keys."""
        complete = [k for k in self.sought if k is not None]
        return rows_by_key(self.keys.connection, self.table, self.table.columns, complete)

    def found(self, target: pa.Table) -> Found:
        """Where each row is in what was fetched."""
        keys = self.sought
        parts = [self._texts(c, target_form(c.type, one(target.column(c.name)))) for c in self._columns()]
        theirs = list(zip(*parts, strict=True))
        index = {key: row for row, key in enumerate(theirs)}
        place = np.array([index.get(k, -1) if k is not None else -1 for k in keys], np.int64)
        twice = (
            [self._named(k) for k, count in Counter(theirs).items() if count > 1] if len(index) < len(theirs) else []
        )
        return Found(target, place, twice, lambda row: None if keys[row] is None else self._named(keys[row]))

    def _named(self, key: tuple[str, ...]) -> str:
        """A key as the ledger names it; a double is spelled only here, since that takes long."""
        doubles = [c.type is Type.DOUBLE for c in self._columns()]
        parts = [float8_text(float(part)) if double else part for part, double in zip(key, doubles, strict=True)]
        return parts[0] if len(parts) == 1 else json.dumps(parts, ensure_ascii=False)

    def _columns(self) -> list[Column]:
        return [self.table.column(n) for n in self.table.key]

    def _source_keys(self, batch: Batch, repairs: Repairs) -> list[Any]:
        parts = []
        for column in self._columns():
            cells = batch.cells(column.name)
            form = stored_form(column.type, cells, widened=column.name in self.keys.widened)
            texts = self._texts(column, form.values)
            for row in pc.indices_nonzero(form.none).to_pylist():
                line = self._line(batch, row, column.name, repairs)
                texts[row] = None if line is None else line.replacement
            parts.append(texts)
        return [None if None in key else key for key in zip(*parts, strict=True)]

    def _line(self, batch: Batch, row: int, column: str, repairs: Repairs) -> RepairLine | None:
        named = repairs.get(batch.rowids[row].as_py(), {}).get(column)
        if named is not None:
            return named
        # Without rowids a line is found by the cell it repaired: the same cell always becomes the same value.
        storage, value = batch.cells(column).value(row)
        original = original_bytes(storage, value)
        for lines in repairs.values():
            line = lines.get(column)
            if line and line.original == original and line.original_type == storage.label:
                return line
        return None

    def _texts(self, column: Column, form: pa.Array) -> list[str | None]:
        """Canonical values as PostgreSQL's text."""
        if column.type is Type.TIMESTAMPTZ:
            texts = pc.strftime(form.cast(pa.timestamp("us", "UTC")), "%Y-%m-%d %H:%M:%S").to_pylist()
            return [None if t is None else f"{t.rstrip('0').rstrip('.')}+00" for t in texts]
        if column.type is Type.DOUBLE:
            # 0.0 and -0.0 are one key; that they differ is for the cells to say.
            return [None if v is None else str(v + 0.0) for v in form.view(pa.float64()).to_pylist()]
        return [_text(column.type, v) for v in form.to_pylist()]


def _text(kind: Type, value: Any) -> str | None:
    if value is None:
        return None
    if kind is Type.BYTEA:
        return f"\\x{value.hex()}"
    if isinstance(value, bytes):
        return value.decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ranges(ids: np.ndarray) -> list[Range]:
    if not len(ids):
        return []
    breaks = np.flatnonzero(np.diff(ids) > GAP_IDS)
    starts, ends = ids[np.r_[0, breaks + 1]], ids[np.r_[breaks, len(ids) - 1]]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
