"""Rows that the target's keys would refuse as duplicates, found over the whole table.

Belongs here: watching the cells of keys while the plan is made. Not here: quarantine itself (`cleaning/`).

The source's own constraints already keep stored keys apart, so only keys that a repair changes can meet another. Where
the source has no such constraint, SQLite groups the whole table.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from itertools import groupby

import pyarrow.compute as pc

from ..catalog import TABLES, Column, Table, Type
from ..cleaning.text import NUMBER_RULE, text_of
from ..source.cells import Cells, Storage, Value
from ..source.instants import parse_value
from ..source.reader import Batch
from ..source.schema import SourceTable, quoted
from .shape import target_table

Key = tuple[object, ...]


class KeyWatch:
    """Collects the rows of one table whose key cells a repair changes."""

    def __init__(self, source: SourceTable, target: Table) -> None:
        """Watch the unique column sets of the target's table that the source stores at least one column of."""
        self.source = source
        # A column that the source lacks and that has no default is NULL in every row, and NULLs are never equal.
        null = {c.name for c in target.columns if c.name not in source.stored and c.default is None and not c.derived}
        self.sets = [
            s
            for s in target.unique_sets
            if s != (source.rowid_key,) and set(s) & set(source.stored) and not set(s) & null
        ]
        self.columns = [n for n in source.stored if any(n in s for s in self.sets)]
        self.target = target
        self.known = TABLES[target.name].columns if target.known else ()
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
            # A number in a column that the catalog knows is repaired; what one elsewhere becomes is not known yet.
            numbers = self.target.column(name) in self.known
            if numbers or cells.storage in (Storage.TEXT, Storage.BLOB, None):
                kinds = pc.greater_equal(cells.classes(), int(Storage.INTEGER if numbers else Storage.TEXT))
                suspicious = pc.indices_nonzero(kinds).to_pylist()
                rows.update(r for r in suspicious if _is_changed(self.target.column(name), *cells.value(r)))
        for row in sorted(rows):
            self._changed.append((batch.rowids[row].as_py(), {n: batch.cells(n).value(row) for n in self.columns}))

    def losers(
        self,
        connection: sqlite3.Connection,
        high: int | None,
        types: Mapping[str, Type],
        *,
        trusted: bool = True,
    ) -> dict[int, tuple[int, str]]:
        """Rowid -> (winning rowid, columns): an unrepaired key wins over a repaired one, then the lowest rowid.

        Args:
            connection: the source.
            high: highest rowid that is migrated.
            types: what each column that the catalog does not know became.
            trusted: whether the source's unique constraints hold (in a damaged file they may not).
        """
        self.target = target_table(self.source, dict(types))
        self._add_numbers(connection, high)
        lost: dict[int, tuple[int, str]] = {}
        for columns in self.sets:
            stored = tuple(c for c in columns if c in self.source.stored)
            if not trusted or not self._enforced(stored):
                self._group(connection, stored, high, lost)
            self._collide(connection, stored, high, lost)
            self._spelled(connection, stored, high, lost)
        return lost

    def _add_numbers(self, connection: sqlite3.Connection, high: int | None) -> None:
        """Watch the numbers of key columns that became text: 1 and '1' are two keys in SQLite and one in the target."""
        if self.source.rowid is None:
            return
        seen = {rowid for rowid, _ in self._changed}
        names = ", ".join(map(quoted, self.columns))
        for column in self.columns:
            if self.target.column(column).type is not Type.TEXT or self.target.column(column) in self.known:
                continue
            sql = (
                f"SELECT {self.source.rowid}, {names} FROM {quoted(self.source.name)}"
                f" WHERE typeof({quoted(column)}) IN ('integer', 'real') AND {self.source.rowid} <= ?"
            )
            for rowid, *cells in connection.execute(sql, (2**63 - 1 if high is None else high,)):
                if rowid not in seen:
                    seen.add(rowid)
                    values = [Cells.encode([cell]).value(0) for cell in cells]
                    self._changed.append((rowid, dict(zip(self.columns, values, strict=True))))

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
        # By class too: 5 and 5.0 are equal in SQLite and two texts in the target.
        names = ", ".join(f"typeof({quoted(c)}), {quoted(c)} COLLATE BINARY" for c in columns)
        # What is no integer becomes NULL, or sets its row aside. Not IS NOT NULL, which SQLite takes for true where the
        # declaration says NOT NULL, whatever lies there.
        tests = {c: "= 'integer'" if self.target.column(c).type is Type.BIGINT else "<> 'null'" for c in columns}
        filled = " AND ".join(f"typeof({quoted(c)}) {test}" for c, test in tests.items())
        rowid, table = self.source.rowid, quoted(self.source.name)
        limit = 2**63 - 1 if high is None else high
        sql = (
            f"SELECT r, w FROM (SELECT {rowid} AS r, min({rowid}) OVER (PARTITION BY {names}) AS w FROM {table} "
            f"WHERE {filled} AND {rowid} <= ?) WHERE r <> w ORDER BY w, r"
        )
        for first, rows in groupby(connection.execute(sql, (limit,)), key=lambda row: row[1]):
            # One that lost under another constraint is set aside and holds this key no longer.
            winner, *others = [r for r in (first, *(r for r, _ in rows)) if r not in lost] or [first]
            lost.update({r: (winner, ", ".join(columns)) for r in others})

    def _collide(
        self,
        connection: sqlite3.Connection,
        columns: tuple[str, ...],
        high: int | None,
        lost: dict[int, tuple[int, str]],
    ) -> None:
        groups: dict[Key, list[tuple[bool, int]]] = defaultdict(list)
        for rowid, cells in self._changed:
            if rowid not in lost and any(_is_changed(self.target.column(c), *cells[c]) for c in columns):
                key = tuple(_target_value(self.target.column(c), *cells[c]) for c in columns)
                if None not in key:
                    groups[key].append((any(self._is_repaired(c, *cells[c]) for c in columns), rowid))
        # The target compares bytes, whatever collation the source declares.
        test = " AND ".join(f"{quoted(c)} COLLATE BINARY = ?" for c in columns)
        # Only a cell stored as text stays as it is: affinity would let '5' find the number 5, a changed row itself.
        texts = [c for c in columns if self.target.column(c).type is Type.TEXT]
        test += "".join(f" AND typeof({quoted(c)}) = 'text'" for c in texts)
        table, rowid_name = quoted(self.source.name), self.source.rowid
        # Without rowids only the fact counts: no row is named 0 then.
        sql = f"SELECT 0 FROM {table} WHERE {test} LIMIT 1"
        limit: tuple[int, ...] = ()
        if rowid_name is not None:
            sql = f"SELECT {rowid_name} FROM {table} WHERE {test} AND {rowid_name} <= ? ORDER BY 1"
            limit = (2**63 - 1 if high is None else high,)
        for key, rows in groups.items():
            # A row that lost under another constraint holds its key no longer.
            as_it_is = next((r for (r,) in connection.execute(sql, (*key, *limit)) if r not in lost), None)
            ranked = sorted(rows if as_it_is is None else [*rows, (False, as_it_is)])
            lost.update({rowid: (ranked[0][1], ", ".join(columns)) for _, rowid in ranked[1:]})

    def _spelled(
        self,
        connection: sqlite3.Connection,
        columns: tuple[str, ...],
        high: int | None,
        lost: dict[int, tuple[int, str]],
    ) -> None:
        """One instant has many spellings, which are as many keys in SQLite: dates are compared by what they say."""
        if self.source.rowid is None or all(self.target.column(c).type is not Type.TIMESTAMPTZ for c in columns):
            return
        names = ", ".join(map(quoted, columns))
        limit = 2**63 - 1 if high is None else high
        sql = f"SELECT {self.source.rowid}, {names} FROM {quoted(self.source.name)} WHERE {self.source.rowid} <= ?"
        # A database without a name is a temporary file of SQLite's own: the keys are sorted there, not in memory.
        with closing(sqlite3.connect("", isolation_level=None)) as scratch:
            scratch.execute("CREATE TABLE keys (key TEXT, repaired INTEGER, rowid_ INTEGER)")
            scratch.execute("BEGIN")
            rows = (self._key_row(columns, *row) for row in connection.execute(sql, (limit,)) if row[0] not in lost)
            scratch.executemany("INSERT INTO keys VALUES (?, ?, ?)", filter(None, rows))
            found = scratch.execute(
                "SELECT w, rowid_ FROM (SELECT rowid_, first_value(rowid_) OVER (PARTITION BY key ORDER BY repaired,"
                " rowid_) AS w FROM keys) WHERE w <> rowid_ ORDER BY 1, 2"
            )
            lost.update({rowid: (winner, ", ".join(columns)) for winner, rowid in found})

    def _key_row(self, columns: tuple[str, ...], rowid: int, *cells: object) -> tuple[str, bool, int] | None:
        """A row's key in the target, as far as it is one; whether a part is a repair; and its rowid."""
        values = [Cells.encode([cell]).value(0) for cell in cells]
        parts: list[object] = []
        repaired = False
        for name, (storage, value) in zip(columns, values, strict=True):
            column = self.target.column(name)
            if column.type is Type.TIMESTAMPTZ:
                said = parse_value(storage, value)
                parts.append(said and said[0])
                repaired |= said is not None and said[1] is not None
            else:
                parts.append(_target_value(column, storage, value))
                repaired |= self._is_repaired(name, storage, value)
        return None if None in parts else (repr(parts), repaired, rowid)

    def _is_repaired(self, column: str, storage: Storage, value: Value) -> bool:
        """Whether the cell's text in the target is a repair: a number's digits are none where a column was widened."""
        target = self.target.column(column)
        widened = target not in self.known
        return _is_changed(target, storage, value) and not (widened and text_of(storage, value)[1] == (NUMBER_RULE,))


def _is_changed(column: Column, storage: Storage, value: Value) -> bool:
    return column.type is Type.TEXT and value is not None and bool(text_of(storage, value)[1])


def _target_value(column: Column, storage: Storage, value: Value) -> object:
    if column.type is Type.BIGINT and storage is not Storage.INTEGER:
        return None
    if value is None or column.type is not Type.TEXT:
        return value
    return text_of(storage, value)[0]
