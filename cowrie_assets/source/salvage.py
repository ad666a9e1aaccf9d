"""Reads a table whose pages are damaged: every row that SQLite still finds by its rowid, or still passes in a scan.

Belongs here: which rowids can be read, and their rows. Not here: batches, or tables that are whole (`reader.py`).

First the rowids alone are searched, from both ends and then ever finer within the gaps that errors leave, so that
each rowid of a gap is asked for as long as the search may go on. Then the rows are read in runs, and one by one where a
run breaks off. A row is whole or lost: a cell that cannot be read makes its rowid unreadable.
"""

from __future__ import annotations

import heapq
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np
import numpy.typing as npt

from ..errors import DamagedSourceError
from .schema import SourceTable, quoted

LOW, HIGH = -(2**63), 2**63 - 1
PROBES, FEW_PROBES = 200_000, 20_000
"""Most questions that a search puts to SQLite for one table; one takes 3 to 8 microseconds. A gap of some 50,000
rowids is exhausted; of a wider one (a lost interior page) what no index names and no question met stays unreadable.
Few suffice where an index names every rowid, or where nothing was found near any place (the root page is lost)."""
WALK = 64
"""Rows that a scan within a gap passes for one question's cost: scans that repeat each other end too."""
RUN = 256
"""Most rows that are read in one run and compared with the rowids that were found."""
STRAY = 1_000
"""Rows out of order that a scan passes in search of one rowid."""
CELL_BYTES = 6
"""Least bytes of a row in a page (fileformat2, 1.6): a scan of more rows than fit in the file goes round in circles."""
_CORRUPT, _IO, _TOO_BIG = 11, 10, 18
"""SQLite's primary result codes of damage; too big is what a broken length claims to be."""

Rows = Iterator[tuple[object, ...]]
Gap = tuple[int, int]


@dataclass
class Damage:
    """What is known of a damaged table.

    Attributes:
        known: the plan's unreadable rowid ranges; None while the plan is made.
        unreadable: the ranges found now, ascending (of a WITHOUT ROWID table the position between its two ends).
        doubled: rowids that more than one row claims; the row that a seek finds is read.
        disorder: whether a scan contradicts seeks or indexes; False as long as only an index is known to be damaged.
    """

    known: tuple[Gap, ...] | None = None
    unreadable: list[Gap] = field(default_factory=list)
    doubled: set[int] = field(default_factory=set)
    disorder: bool = True

    @property
    def of_rows(self) -> bool:
        """Whether rows are concerned, and not an index alone."""
        return bool(self.unreadable or self.doubled or self.disorder)

    def check(self, table: str) -> None:
        """Raise DamagedSourceError where more is unreadable now than the plan knows."""
        for low, high in self.unreadable if self.known is not None else ():
            if not _within(low, high, self.known or ()):
                raise damaged(table, f"rowid {low} cannot be read now, and could be when the plan was made")


def damaged(table: str, what: str) -> DamagedSourceError:
    """The error of damage that the plan does not know."""
    return DamagedSourceError(
        f"Table {table} of the source is damaged: {what}.",
        hint="Run `cowrie-assets plan --replace`: a new plan lists what cannot be read and takes the rest.",
    )


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite stumbled over the file's content."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (_CORRUPT, _IO, _TOO_BIG)


def _within(low: int, high: int, ranges: Sequence[Gap]) -> bool:
    return any(first <= low and high <= last for first, last in ranges)


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
    search = _Search(connection, table)
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
        for row in islice(_to_the_damage(connection, f"{sql} WHERE true"), _most_rows(connection)):
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


def _most_rows(connection: sqlite3.Connection) -> int:
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size // CELL_BYTES + STRAY)


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


class _Search:
    """Finds the rowids of a table; `dead` holds the ranges between them that SQLite cannot answer for."""

    def __init__(self, connection: sqlite3.Connection, table: SourceTable) -> None:
        rowid, name = f"t.{table.rowid}", quoted(table.name)
        self.table, self.rowid = table, rowid
        select = f"SELECT {rowid} FROM {name} AS t NOT INDEXED WHERE {rowid}"
        self.sql = {1: f"{select} >= ? ORDER BY {rowid}", -1: f"{select} <= ? ORDER BY {rowid} DESC"}
        self.seek = f"{select} = ?"
        self.connection = connection
        self.found = array("q")
        self.dead: list[Gap] = []
        self.doubled: set[int] = set()
        self.disorder = False
        self.spent = 0
        self.most = _most_rows(connection)

    def run(self) -> None:
        """Search from both ends, then where indexes name rowids and close to what was found, then everywhere."""
        gaps = self._between_ends()
        passed = len(set(self.found))
        self.spent = 0  # these scans are the table's own size
        named, complete = self._named()
        gaps = [g for lo, hi in gaps for g in self._near(lo, hi, named)]
        self._halve(gaps, FEW_PROBES if complete or not self.found else PROBES)
        # What an index names and scans pass over in silence is there if a seek finds it, and else lost.
        silent = named.difference(self.found)
        self.found.extend(rowid for rowid in silent if self._is_there(rowid))
        self.dead += [(rowid, rowid) for rowid in silent.difference(self.found)]
        self.disorder = self.disorder or (not gaps and len(set(self.found)) > passed)

    def _between_ends(self) -> list[Gap]:
        """Read from both ends; the gap between them, if any."""
        up = self._walk(LOW, HIGH + 1, 1)
        first, top = len(self.found), max(self.found, default=LOW - 1)
        down = self._walk(HIGH, LOW - 1 if up is None or up > HIGH else up, -1)
        behind = self.found[first:]
        # A wrong number of cells in a page ends a scan early, without an error: then the other one came further.
        if up == HIGH + 1 and max(behind, default=top) > top:
            up, self.disorder = top, True
        if down == LOW - 1 and first and min(behind, default=HIGH) > min(self.found[:first]):
            down, self.disorder = min(behind, default=HIGH + 1), True
        lo, hi = LOW - 1 if up is None else up, HIGH + 1 if down is None else down
        return [(lo, hi)] if hi - lo > 1 else []

    def _named(self) -> tuple[set[int], bool]:
        """The rowids that the table's indexes name, and whether one of them was read to its end."""
        named, complete = set(self.found), False
        for index in self.table.indexes:
            if not index.partial and not complete:
                sql = f"SELECT {self.rowid} FROM {quoted(self.table.name)} AS t INDEXED BY {quoted(index.name)}"
                seen, complete = self._read(sql, ())
                named.update(seen)
        return named.difference(self.found), complete

    def _near(self, lo: int, hi: int, named: set[int]) -> list[Gap]:
        """The gap visited at named rowids, and in steps that grow from its ends and from 0: rows are often close by."""
        steps = [2**k for k in range(64)]
        points = {0} | {p for s in steps for p in (lo + s, hi - s, s, -s)} | named
        gaps = [(lo, hi)]
        for point in sorted(points):
            if self.spent >= PROBES:
                break
            if gaps and gaps[-1][0] < point < gaps[-1][1]:
                low, high = gaps.pop()
                gaps += self._visit(low, point, high)
        return gaps

    def _halve(self, gaps: list[Gap], probes: int) -> None:
        """Visit the middle of gaps until none is left or `probes` are spent: in turn the smallest and the largest."""
        probes += self.spent
        small = [(hi - lo, lo, hi) for lo, hi in gaps]
        large = [(lo - hi, lo, hi) for lo, hi in gaps]
        heapq.heapify(small)
        heapq.heapify(large)
        open_gaps, turn = set(gaps), 0
        while open_gaps and self.spent < probes:
            turn += 1
            _, lo, hi = heapq.heappop((small, large)[turn % 2])
            if (lo, hi) not in open_gaps:
                continue
            open_gaps.discard((lo, hi))
            for gap in self._visit(lo, (lo + hi) // 2, hi):
                open_gaps.add(gap)
                heapq.heappush(small, (gap[1] - gap[0], *gap))
                heapq.heappush(large, (gap[0] - gap[1], *gap))
        self.dead += [(lo + 1, hi - 1) for lo, hi in open_gaps]

    def _visit(self, lo: int, point: int, hi: int) -> list[Gap]:
        """Read both ways from a point in the gap (ends excluded); the gaps that are left."""
        up, down = self._walk(point, hi, 1), self._walk(point, lo, -1)
        if up is None and down is None:
            if self._is_there(point):
                self.found.append(point)
            else:
                self.dead.append((point, point))
        gaps = [(lo, point if down is None else down), (point if up is None else up, hi)]
        return [(low, high) for low, high in gaps if high - low > 1]

    def _walk(self, start: int, end: int, step: int) -> int | None:
        """Read rowids from `start` on; up to which one (`end`: all) nothing is missing, None where that is unknown."""
        seen, whole = self._read(self.sql[step], (start,), end)
        if not whole:
            # Python's sqlite3 steps ahead and drops the row before an error. SQLite gives it where no step follows.
            after = min(max(seen[-1] + step, LOW), HIGH) if seen else start
            seen += self._read(f"{self.sql[step]} LIMIT 1", (after,), end)[0]
        self.spent += 1 + len(seen) // WALK
        self.found += seen
        ids = np.frombuffer(seen, dtype=np.int64)
        if len(ids) > 1 and not (np.diff(ids) * step > 0).all():
            values, counts = np.unique(ids, return_counts=True)
            self.doubled.update(values[counts > 1].tolist())
        if whole:
            return end
        # A rowid out of order says nothing of how far the scan came: one that a seek finds does.
        for rowid in islice(reversed(seen), STRAY):
            if (rowid - start) * step >= 0 and (end - rowid) * step > 0 and self._is_there(rowid):
                return rowid
        return None

    def _read(self, sql: str, parameters: tuple[int, ...], end: int | None = None) -> tuple[array[int], bool]:
        """The rowids that a query gives before `end`, and whether it came to that, or its own end, without an error."""
        seen = array("q")
        try:
            for (rowid,) in self.connection.execute(sql, parameters):
                if rowid == end:
                    break
                seen.append(rowid)
                if len(seen) > self.most:
                    return seen, False
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return seen, False
        return seen, True

    def _is_there(self, rowid: int) -> bool:
        self.spent += 1
        try:
            return self.connection.execute(self.seek, (rowid,)).fetchone() is not None
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return False


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
