"""Finds the rowids of a damaged table that SQLite still answers for.

Belongs here: probing. Not here: the rows themselves (`salvage.py`).
"""

from __future__ import annotations

import heapq
import sqlite3
from array import array
from itertools import islice

import numpy as np

from .damage import HIGH, LOW, STRAY, Gap, is_damage, most_rows
from .schema import SourceTable, quoted

PROBES, FEW_PROBES = 200_000, 20_000
"""Most questions that a search puts to SQLite for one table; one takes 3 to 8 microseconds. A gap of some 30,000
rowids is exhausted; of a wider one (a lost interior page) what no index names and no question met stays unreadable.
Few suffice where an index names every rowid, or where nothing was found near any place (the root page is lost)."""
WALK = 64
"""Rows that a scan within a gap passes for one question's cost: scans that repeat each other end too."""


class Search:
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
        self.most = most_rows(connection)

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
