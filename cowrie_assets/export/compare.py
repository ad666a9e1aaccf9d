"""Compares two SQLite files: declarations, rows, storage classes, values; streaming, with bounded memory.

Belongs here: finding and naming differences. Not here: what makes two spellings equal (`canonical.py`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..catalog import Type
from ..planning.plan import Plan
from ..source.declared import Declared, read_declared
from ..source.schema import SourceSchema, SourceTable, quoted, read_schema
from ..source.sqlite import read_only
from .canonical import canonical

LISTED = 100
"""Differences that are described; the others are counted."""

Cells = tuple[Any, ...]
Kinds = Mapping[str, Mapping[str, Type]]


@dataclass(frozen=True)
class Difference:
    """One difference; `rowid` is the position for tables without one, `column` empty where the whole row is meant."""

    table: str
    rowid: int | None
    column: str
    left: str
    right: str


@dataclass
class Comparison:
    """What was compared and found; `skipped` are tables that were NOT CHECKED: virtual ones and what ANALYZE wrote."""

    skipped: tuple[str, ...] = ()
    rows: int = 0
    count: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        """Count a difference, and list it while there is room."""
        self.count += 1
        if len(self.differences) < LISTED:
            self.differences.append(difference)


def kinds_of(plan: Plan) -> Kinds:
    """Table -> column -> the target's type: where that is a date or jsonb, cells are equal by value."""
    return {name: {c.name: c.type for c in planned.target.columns} for name, planned in plan.tables.items()}


def compare(left: Path, right: Path, kinds: Kinds) -> Comparison:
    """Compare two files; SourceError where one cannot be read.

    Tables whose rowid is a column are compared row by row along it, all others as multisets of rows.
    """
    found = Comparison()
    with read_only(left) as one, read_only(right) as other:
        schemas = read_schema(one), read_schema(other)
        found.skipped = tuple(sorted({name for s in schemas for name in _unread(s)}))
        _declarations(found, read_declared(one, schemas[0].tables), read_declared(other, schemas[1].tables))
        for table in _shared(found, *schemas):
            of_table = kinds.get(table.name, {})
            types = [of_table.get(name) for name in table.stored]
            compared = _by_rowid if table.rowid_key else _as_multiset
            compared(found, table, types, one, other)
    return found


def _unread(schema: SourceSchema) -> list[str]:
    return [name for kind, name in schema.not_migrated if kind.endswith("table") and name != "sqlite_sequence"]


def _declarations(found: Comparison, left: Declared, right: Declared) -> None:
    sides = [{(d.kind, d.name): f"{d.table}: {d.sql}" for d in x.objects} for x in (left, right)]
    for kind, name in dict.fromkeys([*sides[0], *sides[1]]):
        texts = [side.get((kind, name), "missing") for side in sides]
        if texts[0] != texts[1]:
            found.add(Difference(name, None, "", f"{kind} {texts[0]}", f"{kind} {texts[1]}"))
    for name in left.pragmas:
        values = [x.pragmas[name] for x in (left, right)]
        if name == "journal_mode":  # of the modes only WAL lies in the file
            values = ["wal" if v == "wal" else "rollback" for v in values]
        if values[0] != values[1]:
            found.add(Difference("PRAGMA", None, name, str(values[0]), str(values[1])))
    for name in left.sequences.keys() | right.sequences.keys():
        marks = [x.sequences.get(name) for x in (left, right)]
        if marks[0] != marks[1]:
            found.add(Difference("sqlite_sequence", None, name, str(marks[0]), str(marks[1])))


def _shared(found: Comparison, left: SourceSchema, right: SourceSchema) -> Iterator[SourceTable]:
    for name in dict.fromkeys([*left.tables, *right.tables]):
        one, other = left.tables.get(name), right.tables.get(name)
        if one is None or other is None or one.stored != other.stored:
            columns = [", ".join(t.stored) if t else "no such table" for t in (one, other)]
            found.add(Difference(name, None, "", *columns))
        else:
            yield one


def _select(connection: sqlite3.Connection, table: SourceTable) -> Iterator[Cells]:
    """Rowid (or position), then the stored cells: text as bytearray, blobs as bytes."""
    columns = "".join(f", t.{quoted(n)}" for n in table.stored)
    order = f" ORDER BY t.{table.rowid}" if table.rowid else ""
    rows = connection.execute(
        f"SELECT {f't.{table.rowid}' if table.rowid else 0}{columns} FROM {quoted(table.name)} t{order}"
    )
    if table.rowid:
        yield from rows
    else:
        yield from ((position, *row[1:]) for position, row in enumerate(rows, 1))


def _by_rowid(
    found: Comparison, table: SourceTable, types: list[Type | None], left: sqlite3.Connection, right: sqlite3.Connection
) -> None:
    one, other = _select(left, table), _select(right, table)
    a, b = next(one, None), next(other, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None  # noqa: S101 - narrows the type
            found.add(Difference(table.name, a[0], "", "a row", "no row"))
            a = next(one, None)
        elif a is None or b[0] < a[0]:
            found.add(Difference(table.name, b[0], "", "no row", "a row"))
            b = next(other, None)
        else:
            found.rows += 1
            # repr tells classes, signs of zero and every bit of a real apart; == would not.
            if repr(a) != repr(b):
                _cells(found, table, types, a, b)
            a, b = next(one, None), next(other, None)


def _cells(found: Comparison, table: SourceTable, types: list[Type | None], a: Cells, b: Cells) -> None:
    for name, kind, x, y in zip(table.stored, types, a[1:], b[1:], strict=True):
        if repr(x) != repr(y) and canonical(kind, x) != canonical(kind, y):
            found.add(Difference(table.name, a[0], name, _shown(x), _shown(y)))


def _shown(cell: object) -> str:
    if isinstance(cell, (bytes, bytearray)):
        kind = "blob" if isinstance(cell, bytes) else "text"
        return f"{kind} of {len(cell):,} bytes {bytes(cell[:60])!r}"
    return f"{ {int: 'integer', float: 'real'}.get(type(cell), 'null') } {cell!r}" if cell is not None else "null"


def _as_multiset(
    found: Comparison, table: SourceTable, types: list[Type | None], left: sqlite3.Connection, right: sqlite3.Connection
) -> None:
    # A database without a name is a temporary file of SQLite's own: digests are sorted there, not in memory.
    scratch = sqlite3.connect("", isolation_level=None)
    try:
        scratch.execute("CREATE TABLE rows (digest BLOB, side INTEGER, place INTEGER)")
        scratch.execute("BEGIN")
        for side, connection in ((1, left), (-1, right)):
            digests = ((_digest(types, row), side, row[0]) for row in _select(connection, table))
            scratch.executemany("INSERT INTO rows VALUES (?, ?, ?)", digests)
        scratch.execute("CREATE INDEX by_digest ON rows (digest, side)")
        (lefts,) = scratch.execute("SELECT count(*) FROM rows WHERE side = 1").fetchone()
        unmatched: dict[int, list[int]] = {1: [], -1: []}
        hidden = 0
        for digest, surplus in scratch.execute("SELECT digest, sum(side) FROM rows GROUP BY 1 HAVING sum(side) <> 0"):
            side, number = (1, surplus) if surplus > 0 else (-1, -surplus)
            room = max(LISTED - len(unmatched[side]), 0)
            places = scratch.execute(
                "SELECT place FROM rows WHERE digest = ? AND side = ? ORDER BY place LIMIT ?",
                (digest, side, min(number, room)),
            )
            unmatched[side] += [place for (place,) in places]
            hidden += number - min(number, room)
    finally:
        scratch.close()
    found.rows += lefts
    found.count += hidden
    ones = _pick(_select(left, table), unmatched[1])
    others = _pick(_select(right, table), unmatched[-1])
    _pair(found, table, types, ones, others)


def _digest(types: list[Type | None], row: Cells) -> bytes:
    cells = [canonical(kind, cell) for kind, cell in zip(types, row[1:], strict=True)]
    return hashlib.blake2b(repr(cells).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _pick(rows: Iterable[Cells], places: list[int]) -> list[Cells]:
    wanted = set(places)
    return [row for row in rows if row[0] in wanted] if wanted else []


def _pair(
    found: Comparison, table: SourceTable, types: list[Type | None], ones: list[Cells], others: list[Cells]
) -> None:
    """Name the column where two unmatched rows have one key; else where they agree in most cells."""
    at = [table.stored.index(c) for c in table.key]

    def likeness(a: Cells, b: Cells) -> int:
        same = [canonical(k, x) == canonical(k, y) for k, x, y in zip(types, a[1:], b[1:], strict=True)]
        return len(same) + 1 if at and all(same[i] for i in at) else sum(same)

    for a in ones:
        best = max(others, key=lambda b: likeness(a, b), default=None)
        if best is None or not likeness(a, best):
            found.add(Difference(table.name, a[0], "", "a row", "no row"))
        else:
            others.remove(best)
            _cells(found, table, types, a, best)
    for b in others:
        found.add(Difference(table.name, b[0], "", "no row", "a row"))
