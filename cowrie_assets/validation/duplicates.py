"""Judges rows that were set aside since another has their key: that there is another, and that they are not loaded too.

Belongs here: the rows that hold such a key, in the target and in the source. Not here: other reasons (`set_aside.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Column, Table, Type
from ..source.cells import Storage
from ..source.reader import Batch
from .canonical import stored_form, target_form
from .cells import differ, one
from .json_values import exact, unequal
from .keys import ByText, Keys, Repairs
from .ledger_rows import LedgerRows, QuarantineLine, RepairLine

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

UNIQUE_VIOLATION = "23505"
REASONS = ("key.duplicate", f"postgres.{UNIQUE_VIOLATION}")
LOADED = "set aside as a duplicate, and it is in the target: no other row of the source has its key"
ALONE = "set aside as a duplicate, and no other row has its key"

Columns = tuple[str, ...]
Key = tuple[str, ...]


@dataclass
class Aside:
    """A row that was set aside as a duplicate, and is not yet known to be one.

    Attributes:
        keys: its unique keys; where one of them is in the target, with a row that may be this one, only those.
        loaded: whether one of them is in the target.
    """

    partition: str
    rowid: int
    target_key: str | None
    keys: set[tuple[Columns, Key]] = field(default_factory=set)
    loaded: bool = False


class Duplicates:
    """The set-aside duplicates of one table: those that the target does not explain wait for a look at the source."""

    def __init__(self, connection: Connection, table: Table, stored: Sequence[str], widened: set[str]) -> None:
        """Take the target's shape and the columns that the source stores."""
        self.connection, self.table, self.stored, self.widened = connection, table, stored, widened
        self.doubtful: list[Aside] = []

    def add(self, batch: Batch, lines: Sequence[QuarantineLine], partitions: Sequence[str]) -> None:
        """Look for the rows of the target that have these rows' keys: one that differs from the row is another's."""
        rows = zip(partitions, batch.rowids.to_pylist(), (line.target_key for line in lines), strict=True)
        asides = [Aside(*row) for row in rows]
        settled = np.zeros(len(batch), np.bool_)
        for columns in self.table.unique_sets:
            sought = self._by(columns, batch, self._repairs(batch, lines))
            found = sought.found(sought.fetch())
            here = np.flatnonzero(found.place >= 0)
            other = self._others(batch.take(pa.array(here)), found.target.take(pa.array(found.place[here])))
            settled[here[other]] = True
            for row, key in enumerate(sought.sought):
                if key is None:
                    settled[row] |= self._may_have_one(batch, row, columns)
                    continue
                loaded = bool(found.place[row] >= 0)
                if loaded and not asides[row].loaded:
                    asides[row].keys, asides[row].loaded = set(), True
                if loaded == asides[row].loaded:
                    asides[row].keys.add((columns, key))
        self.doubtful += [aside for aside, done in zip(asides, settled.tolist(), strict=True) if not done]

    def columns(self) -> list[str]:
        """The source's columns that are needed to settle what is doubtful."""
        wanted = {name for aside in self.doubtful for columns, _ in aside.keys for name in columns}
        return [name for name in self.stored if name in wanted]

    def faults(self, source: Iterable[tuple[Batch, LedgerRows]]) -> Iterator[tuple[Aside, str]]:
        """Those that no other row of the source explains; `source` gives all its rows, with the ledger's lines."""
        wanted = {key for aside in self.doubtful for key in aside.keys}
        holders: dict[tuple[Columns, Key], list[tuple[int, bool]]] = {key: [] for key in wanted}
        for batch, lines in source:
            repairs = {
                **lines.repairs,
                **self._repairs(batch, [lines.quarantine.get(r) for r in batch.rowids.to_pylist()]),
            }
            for columns in {columns for columns, _ in wanted}:
                keys = self._by(columns, batch, repairs).sought
                for rowid, key in zip(batch.rowids.to_pylist(), keys, strict=True):
                    if key is not None and (columns, key) in wanted:
                        holders[columns, key].append((rowid, rowid in lines.quarantine))
        for aside in self.doubtful:
            others = [away for key in aside.keys for rowid, away in holders[key] if rowid != aside.rowid]
            # What the target holds came from a row that was not set aside.
            if not (any(not away for away in others) if aside.loaded else others):
                yield aside, LOADED if aside.loaded else ALONE

    def _by(self, columns: Columns, batch: Batch, repairs: Repairs) -> ByText:
        return ByText(Keys(self.connection, replace(self.table, key=columns), self.widened), batch, repairs)

    def _repairs(self, batch: Batch, lines: Sequence[QuarantineLine | None]) -> dict[int | str, dict[str, RepairLine]]:
        """What repaired cells of the key became, as far as a set-aside row's line tells: rowid -> column -> text."""
        found: dict[int | str, dict[str, RepairLine]] = {}
        for rowid, line in zip(batch.rowids.to_pylist(), lines, strict=True):
            if line is None or line.target_key is None:
                continue
            found[rowid] = {
                name: RepairLine(line.rule, None, "", part, line.target_key, line.partition)
                for name, part in zip(self.table.key, _parts(line.target_key, len(self.table.key)), strict=False)
            }
        return found

    def _may_have_one(self, batch: Batch, row: int, columns: Columns) -> bool:
        """Whether a key that the source's cells do not tell may be one in the target: NULLs are never equal."""
        return not any(self._is_null(self.table.column(name), batch, row) for name in columns)

    def _is_null(self, column: Column, batch: Batch, row: int) -> bool:
        if column.name not in batch.columns:
            return column.default is None and not column.derived
        empty = batch.cells(column.name).slice(row, 1).value(0)[0] is Storage.NULL
        return empty and not column.derived and not column.fallback

    def _others(self, rows: Batch, target: pa.Table) -> np.ndarray:
        """Which rows differ from the target's in a cell that went, or would go, there as it is."""
        found = np.zeros(len(rows), np.bool_)
        for column in self.table.columns if len(rows) else ():
            if column.name not in rows.columns:
                continue
            cells = rows.cells(column.name)
            form = stored_form(column.type, cells, widened=column.name in self.widened)
            theirs = target_form(column.type, one(target.column(column.name)))
            if column.type is Type.JSONB:
                wrong = unequal(form.values, theirs)
            else:
                wrong = pc.indices_nonzero(differ(form.values, theirs)).to_pylist()
            for row in wrong:
                repaired = form.none[row].as_py()
                if column.derived or column.fallback:
                    repaired |= cells.value(row)[0] is Storage.NULL
                if column.type in (Type.JSONB, Type.JSON) and form.values[row].as_py() is not None:
                    document = exact(form.values[row].as_py())
                    repaired |= document is None or document.loses
                found[row] |= not repaired
        return found


def _parts(text: str, count: int) -> list[str]:
    """The parts of a key in the ledger; none where the text is no such key."""
    if count < 2:
        return [text]
    try:
        parts = json.loads(text)
    except ValueError:
        return []
    whole = isinstance(parts, list) and len(parts) == count and all(isinstance(part, str) for part in parts)
    return parts if whole else []
