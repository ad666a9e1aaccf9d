"""Damaged tables in the plan: noticing what a scan alone does not, asking SQL of what was read, saying what was not.

Belongs here: what only damaged tables need. Not here: reading them (`source/salvage.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from ..source.damage import Damage, damaged
from ..source.reader import EVERYTHING, Batch, Range
from ..source.schema import SourceTable, quoted
from .plan import DISORDER, UNREADABLE, Finding

SHOWN = 5
"""Unreadable ranges that a finding names."""


class Shadow:
    """The rows that were read of a damaged table, in a temporary database: only some columns, under the same names.

    SQL over the table itself would end at the damage, or believe an index that no longer fits.
    """

    def __init__(self, table: SourceTable, columns: Sequence[str]) -> None:
        """Make the table; no column has an affinity, so that cells stay as they are."""
        self.columns = [c for c in columns if c != table.rowid_key]
        self.connection = sqlite3.connect("", isolation_level=None)
        self.connection.text_factory = bytearray
        name, names = quoted(table.name), [quoted(c) for c in self.columns]
        self.rowid = quoted(table.rowid_key) if table.rowid_key else table.rowid
        key = [f"{self.rowid} INTEGER PRIMARY KEY"] if table.rowid_key else []
        self.connection.execute(f"CREATE TABLE {name} ({', '.join([*key, *names]) or '_'})")
        targets = [*([self.rowid] if self.rowid else []), *names]
        # Text comes as bytes that may be no UTF-8: only a CAST makes text of them again.
        cells = ["?"] * bool(self.rowid) + ["CASE ? WHEN 1 THEN CAST(? AS TEXT) ELSE ? END"] * len(self.columns)
        self.sql = f"INSERT INTO {name} ({', '.join(targets)}) VALUES ({', '.join(cells)})" if targets else None

    def add(self, batch: Batch) -> None:
        """Add the rows of a batch."""
        if self.sql is None:
            return
        columns = [batch.cells(name).values() for name in self.columns]
        ids = [batch.rowids.to_pylist()] if self.rowid else []
        rows = zip(*ids, *columns, strict=True)
        self.connection.execute("BEGIN")
        self.connection.executemany(self.sql, (_bound(row, len(ids)) for row in rows))
        self.connection.execute("COMMIT")


def _bound(row: tuple[object, ...], ids: int) -> list[object]:
    bound = list(row[:ids])
    for cell in row[ids:]:
        text = isinstance(cell, bytearray)
        bound += [int(text), bytes(cell) if isinstance(cell, bytearray) else None, None if text else cell]
    return bound


def check_found(
    connection: sqlite3.Connection, table: SourceTable, rows: int, high: int | None, starts: Iterable[int]
) -> None:
    """Raise DamagedSourceError where the scan of a table contradicts what seeks or an index find.

    A wrong key in an interior page hides rows from seeks, and from them alone; a wrong number of cells in a page hides
    them from everything but an index.

    Args:
        connection: the source.
        table: its declaration.
        rows: that the scan passed.
        high: the last rowid of them.
        starts: rowids that later passes seek.
    """
    if table.rowid is None:
        return
    highest = f"SELECT {table.rowid} FROM {quoted(table.name)} NOT INDEXED ORDER BY {table.rowid} DESC LIMIT 1"
    if connection.execute(highest).fetchone() != (None if high is None else (high,)):
        raise damaged(table.name, f"a scan ends at rowid {high}, and the table does not")
    index = next((i for i in table.indexes if not i.partial), None)
    if index is not None:
        sql = f"SELECT count(*) FROM {quoted(table.name)} INDEXED BY {quoted(index.name)}"
        (named,) = connection.execute(sql).fetchone()
        if named > rows:
            raise damaged(table.name, f"its index {index.name} names {named:,} rows, a scan passes {rows:,}")
    sql = f"SELECT 1 FROM {quoted(table.name)} NOT INDEXED WHERE {table.rowid} = ?"
    for rowid in starts:
        if connection.execute(sql, (rowid,)).fetchone() is None:
            raise damaged(table.name, f"no seek finds rowid {rowid}")


def findings_of(table: SourceTable, damage: Damage | None) -> list[Finding]:
    """What the plan says of a damaged table; nothing of one that is whole."""
    if damage is None:
        return []
    if not damage.of_rows:
        return [Finding(table.name, "", "source.index", "an index of it is damaged in the source; its rows are not", 1)]
    found = []
    ranges = damage.unreadable
    if ranges and table.rowid is None:
        detail = f"the rows behind the first {ranges[0][0] - 1:,} cannot be read, up to where reading from the end came"
        found.append(Finding(table.name, "", UNREADABLE, detail, 1, (ranges[0][0],)))
    elif ranges:
        more = f" and {len(ranges) - SHOWN:,} more" if len(ranges) > SHOWN else ""
        what = "1 rowid range" if len(ranges) == 1 else f"{len(ranges):,} rowid ranges"
        detail = f"{what} cannot be read: {', '.join(map(_words, ranges[:SHOWN]))}{more}"
        found.append(Finding(table.name, "", UNREADABLE, detail, len(ranges), tuple(r[0] for r in ranges[:SHOWN])))
    if damage.doubled or (damage.disorder and not ranges):
        first = tuple(sorted(damage.doubled)[:SHOWN])
        detail = "its pages contradict each other: rows may be missing that SQLite does not know of"
        if first:
            detail += f"; {len(damage.doubled):,} rowids come twice, one row of each is taken"
        found.append(Finding(table.name, "", DISORDER, detail, max(1, len(damage.doubled)), first))
    return found


def _words(span: Range) -> str:
    low, high = span
    if low == high:
        return str(low)
    return f"{low} and all behind it" if high == EVERYTHING[1] else f"{low} to {high}"
