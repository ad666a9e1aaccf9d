"""Reads a table whose pages are damaged: every row that SQLite still finds by its rowid, or still passes in a scan.

Belongs here: rows one after another. Not here: their rowids (`search.py`), tables that are whole (`reader.py`).

First the rowids alone are searched, from both ends and then ever finer within the gaps that errors leave, so that
each rowid of a gap is asked for as long as the search may go on. Then the rows are read in runs, and one by one where a
run breaks off. A row is whole or lost: a cell that cannot be read makes its rowid unreadable.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from .damage import HIGH, LOW, STRAY, Damage, Gap, is_damage, most_rows
from .schema import SourceTable, quoted
from .search import Search

RUN = 256
"""Most rows that are read in one run and compared with the rowids that were found."""

Rows = Iterator[tuple[object, ...]]


def read_damaged(
    connection: sqlite3.Connection, table: SourceTable, ranges: Sequence[Gap], cells: str, damage: Damage
) -> Rows:
    """The rows (rowid, cells …) of a damaged table in rowid order; what is unreadable goes to `damage`.

    Args:
        connection: the source.
        table: has rowids.
        ranges: the rows wanted.
        cells: what is selected of a row `t` behind its rowid.
        damage: filled when the last row is read; DamagedSourceError where that is more than `damage.known`.
    """
    search = Search(connection, table)
    search.run()
    wanted = np.unique(np.frombuffer(search.found, dtype=np.int64))
    damage.disorder = damage.disorder or search.disorder
    damage.doubled, damage.unreadable = search.doubled, _without(_merged(search.dead), wanted)
    damage.check(table.name)
    chosen = np.zeros(len(wanted), dtype=bool)
    for low, high in ranges:
        chosen |= (wanted >= low) & (wanted <= high)
    for low, high in damage.known or ():
        chosen &= (wanted < low) | (wanted > high)
    lost: list[Gap] = []
    yield from _rows(connection, table, wanted[chosen], cells, search.doubled, lost)
    damage.unreadable = _merged([*damage.unreadable, *lost])
    damage.check(table.name)


def read_both_ends(connection: sqlite3.Connection, table: SourceTable, cells: str, damage: Damage) -> Rows:
    """The rows (position, cells …) of a damaged WITHOUT ROWID table: in key order up to the damage, then from the end.

    Positions count what is read, in the order of reading; the one between the two ends is the unreadable stretch.

    Args:
        connection: the source.
        table: has no rowids.
        cells: what is selected of a row `t` behind a first expression.
        damage: filled as it is read; DamagedSourceError where the damage does not begin where `damage.known` says.
    """
    key = "".join(f", t.{quoted(c)}" for c in table.key)
    sql = f"SELECT 0{cells}{key} FROM {quoted(table.name)} AS t NOT INDEXED"
    position, last = 0, None
    for row in _to_the_damage(connection, sql, damage):
        position, last = position + 1, row[-len(table.key) :]
        yield (position, *row[1:])
    if damage.unreadable:
        damage.unreadable = [(position + 1, position + 1)]
    damage.check(table.name)
    if not damage.unreadable:
        return
    # Without ORDER BY, so that neither DESC nor a collation of the key needs to be spelt.
    connection.execute("PRAGMA reverse_unordered_selects = ON")
    try:
        for row in islice(_to_the_damage(connection, f"{sql} WHERE true"), most_rows(connection)):
            if row[-len(table.key) :] == last:
                break
            position += 1
            yield (position + 1, *row[1:])
    finally:
        connection.execute("PRAGMA reverse_unordered_selects = OFF")


def _to_the_damage(connection: sqlite3.Connection, sql: str, damage: Damage | None = None) -> Rows:
    """The rows of a query up to the damage; `damage.unreadable` is not empty where there is some."""
    count = 0
    try:
        for row in connection.execute(sql):
            count += 1
            yield row
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        if damage:
            damage.unreadable = [(LOW, HIGH)]
        # Python's sqlite3 steps ahead and drops the row before an error. SQLite gives it where no step follows.
        yield from islice(_until_damage(connection, f"{sql} LIMIT {count + 1}"), count, None)


def _merged(ranges: Sequence[Gap]) -> list[Gap]:
    found: list[Gap] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def _without(ranges: Sequence[Gap], rowids: npt.NDArray[np.int64]) -> list[Gap]:
    """The (disjoint) ranges without these (ascending) rowids: those a scan passed, though no seek finds them."""
    left: list[Gap] = []
    for low, high in ranges:
        first, last = np.searchsorted(rowids, [low, high], side="left").tolist()
        for rowid in rowids[first : last + 1].tolist():
            if low <= rowid <= high:
                if low < rowid:
                    left.append((low, rowid - 1))
                low = rowid + 1
        if low <= high:
            left.append((low, high))
    return left


def _rows(
    connection: sqlite3.Connection,
    table: SourceTable,
    wanted: npt.NDArray[np.int64],
    cells: str,
    doubled: set[int],
    lost: list[Gap],
) -> Rows:
    """The rows of these rowids; those that cannot be read go to `lost`."""
    rowid = f"t.{table.rowid}"
    select = f"SELECT {rowid}{cells} FROM {quoted(table.name)} AS t NOT INDEXED WHERE {rowid}"
    # The plus keeps SQLite from seeking: the condition is looked at before a cell is.
    past = f"{select} >= ? AND +{rowid} >= ? ORDER BY {rowid}"
    at, anchor, ids = 0, LOW, wanted.tolist()
    while at < len(ids):
        run = ids[at : at + RUN]
        reached = at
        for row in _until_damage(connection, f"{select} BETWEEN ? AND ? ORDER BY {rowid}", (run[0], run[-1])):
            if reached - at >= len(run) or row[0] != ids[reached] or row[0] in doubled:
                break
            yield row
            reached += 1
        if reached > at:
            anchor = ids[at]
        at = reached
        if at < len(ids) and ids[at] <= run[-1]:
            single = next(_until_damage(connection, f"{select} = ?", (ids[at],)), None)
            if single is not None:
                anchor = ids[at]
                yield single
                at += 1
                continue
            # No seek finds it: a wrong key in an interior page. A scan that starts before it may pass it, and others.
            scan = _until_damage(connection, past, (anchor, ids[at]))
            first = next((row for row in islice(scan, STRAY) if row[0] == ids[at]), None)
            first = first or next(_until_damage(connection, f"{past} LIMIT 1", (anchor, ids[at])), None)
            if first is not None and first[0] != ids[at]:
                first = None
            if first is None:
                lost.append((ids[at], ids[at]))
                at += 1
                continue
            for row in chain([first], scan):
                if at >= len(ids) or row[0] != ids[at]:
                    break
                yield row
                at += 1


def _until_damage(connection: sqlite3.Connection, sql: str, parameters: tuple[int, ...] = ()) -> Rows:
    try:
        yield from connection.execute(sql, parameters)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
