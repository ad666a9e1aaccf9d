"""Rows that the target's keys would refuse as duplicates, found over the whole table.

Belongs here: watching the cells of keys while the plan is made. Not here: quarantine itself (`cleaning/`).

The source's own constraints already keep stored keys apart, so only keys that a repair changes can meet another. Where
the source has no such constraint, SQLite groups the whole table.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict

import pyarrow.compute as pc

from ..catalog import Column, Table, Type
from ..cleaning.text import text_of
from ..source.cells import Storage, Value
from ..source.reader import Batch
from ..source.schema import SourceTable, quoted

Key = tuple[object, ...]


class KeyWatch:
    """Collects the rows of one table whose key cells a repair changes."""

    def __init__(self, source: SourceTable, target: Table) -> None:
        """Watch the unique column sets of the target's table that the source stores at least one column of."""
        self.source = source
        self.sets = [s for s in target.unique_sets if s != (source.rowid_key,) and set(s) & set(source.stored)]
        self.columns = [n for n in source.stored if any(n in s for s in self.sets)]
        self.target = target
        self._changed: list[tuple[int, dict[str, tuple[Storage, Value]]]] = []

    def add(self, batch: Batch) -> None:
        """Look at a batch: vectorised first, Python only for the rows that are suspicious."""
        rows: set[int] = set()
        for name in self.columns:
            cells = batch.cells(name)
            if self.target.column(name).type is not Type.TEXT or cells.storage is Storage.NULL:
                continue
            if cells.storage is Storage.TEXT:
                try:
                    strings = cells.data.cast("string")
                    rows.update(pc.indices_nonzero(pc.match_substring(strings, "\x00")).to_pylist())
                    continue
                except ValueError:  # pa.ArrowInvalid: some cell is no UTF-8
                    pass
            if cells.storage in (Storage.TEXT, Storage.BLOB, None):
                rows.update(r for r in range(len(cells)) if _is_changed(*cells.value(r)))
        for row in sorted(rows):
            self._changed.append((batch.rowids[row].as_py(), {n: batch.cells(n).value(row) for n in self.columns}))

    def losers(self, connection: sqlite3.Connection, high: int | None) -> dict[int, tuple[int, str]]:
        """Rowid -> (winning rowid, columns): an unrepaired key wins over a repaired one, then the lowest rowid."""
        lost: dict[int, tuple[int, str]] = {}
        for columns in self.sets:
            stored = tuple(c for c in columns if c in self.source.stored)
            if not self._enforced(stored):
                self._group(connection, stored, high, lost)
            self._collide(connection, stored, high, lost)
        return lost

    def _enforced(self, columns: tuple[str, ...]) -> bool:
        declared = [self.source.key] if self.source.key else []
        declared += [
            tuple(c for c in i.columns if c)
            for i in self.source.indexes
            if i.unique and not i.partial and all(i.columns)
        ]
        return any(d and set(d) <= set(columns) for d in declared)

    def _group(
        self,
        connection: sqlite3.Connection,
        columns: tuple[str, ...],
        high: int | None,
        lost: dict[int, tuple[int, str]],
    ) -> None:
        if self.source.rowid is None:
            return
        names = ", ".join(map(quoted, columns))
        filled = " AND ".join(f"{quoted(c)} IS NOT NULL" for c in columns)
        rowid, table = self.source.rowid, quoted(self.source.name)
        limit = 2**63 - 1 if high is None else high
        sql = (
            f"SELECT r, w FROM (SELECT {rowid} AS r, min({rowid}) OVER (PARTITION BY {names}) AS w FROM {table} "  # noqa: S608
            f"WHERE {filled} AND {rowid} <= ?) WHERE r <> w"
        )
        for row, winner in connection.execute(sql, (limit,)):
            lost.setdefault(row, (winner, ", ".join(columns)))

    def _collide(
        self,
        connection: sqlite3.Connection,
        columns: tuple[str, ...],
        high: int | None,
        lost: dict[int, tuple[int, str]],
    ) -> None:
        groups: dict[Key, list[int]] = defaultdict(list)
        for rowid, cells in self._changed:
            if any(_is_changed(*cells[c]) for c in columns) and rowid not in lost:
                key = tuple(_target_value(self.target.column(c), *cells[c]) for c in columns)
                if None not in key:
                    groups[key].append(rowid)
        test = " AND ".join(f"{quoted(c)} = ?" for c in columns)
        rowid_name = self.source.rowid
        for key, rowids in groups.items():
            winner = None
            if rowid_name is not None:
                found = connection.execute(
                    f"SELECT min({rowid_name}) FROM {quoted(self.source.name)} WHERE {test} AND {rowid_name} <= ?",  # noqa: S608
                    (*key, 2**63 - 1 if high is None else high),
                ).fetchone()
                winner = found[0]
            first, *rest = sorted(rowids)
            if winner is not None:
                rest = [first, *rest]
            for rowid in rest:
                lost.setdefault(rowid, (first if winner is None else winner, ", ".join(columns)))


def _is_changed(storage: Storage, value: Value) -> bool:
    return storage >= Storage.TEXT and bool(text_of(storage, value)[1])


def _target_value(column: Column, storage: Storage, value: Value) -> object:
    if value is None or column.type is not Type.TEXT:
        return value
    return text_of(storage, value)[0]
