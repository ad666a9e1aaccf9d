"""Proves partitions of one table: the row equation, the set of keys, and every cell; source against target and ledger.

Belongs here: the pass over the source and what becomes of each row. Not here: judging cells (`cells.py`), the rows
set aside (`set_aside.py`), whole tables (`totals.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..catalog import ALL, UNDATED
from ..planning.plan import Plan
from ..planning.scan import Progress
from ..rules import RULES
from ..source.cells import Storage
from ..source.dating import date_rows
from ..source.ranges import multirange
from ..source.reader import EVERYTHING, Batch, Range, extend_ranges, joined, read_table
from ..source.sqlite import read_only, source_state
from .cells import CellProof, Matched
from .duplicates import REASONS, Duplicates
from .keys import Keys, Search
from .ledger_rows import Derived, LedgerRows, large_cell, read_lines
from .partitions import Ledgered, ledgered
from .set_aside import LargeCell, differences, has_cause
from .unkeyed import RowDigests
from .verdicts import Difference, PartitionProof, Proof, Verdict

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

KEPT = 1_000
"""Differences kept a partition; all are counted."""
OUTSIDE = ("key.duplicate", "json.size", "json.depth", "json.wrapped")
"""Reasons that a row's own cells do not show: another row (`duplicates.py`), a limit of the server, a policy."""
MISSING = "not in the target, and not set aside"


def prove_cells(
    connection: Connection, plan: Plan, source: Path, table: str, keys: Sequence[str], progress: Progress | None = None
) -> list[PartitionProof]:
    """Prove partitions of a table in full; one pass over the source, one read of each of its rows in the target.

    Args:
        connection: in a transaction that sees one state of the target.
        plan: the plan the target is pinned to.
        source: the SQLite file.
        table: table name.
        keys: partition keys.
        progress: called with rows as they are compared.
    """
    proof = TableProof(connection, plan, table, keys)
    with read_only(source) as sqlite:
        changed = source_state(source).as_dict() != plan.source_state
        proof.run(sqlite, proof.ranges(changed), progress)
    return proof.finished(changed)


@dataclass(frozen=True)
class _Batch:
    """Rows that are to be in the target, the place of each one's partition, and the ledger's lines about them."""

    rows: Batch
    places: np.ndarray
    lines: LedgerRows
    search: Search


class TableProof:
    """The proof of some partitions of one table, batch by batch."""

    def __init__(self, connection: Connection, plan: Plan, table: str, keys: Sequence[str]) -> None:
        """Read what the ledger says of the partitions."""
        self.connection, self.plan, self.planned = connection, plan, plan.tables[table]
        self.table = self.planned.target
        # What names a row in the ledger: its rowid; without one its key; without both its position in the source.
        self.rowids = self.planned.source.rowid is not None or not self.table.key
        self.ledger: dict[str, Ledgered] = ledgered(connection, self.planned, keys)
        self.names = [UNDATED, *plan.windows.keys] if self.planned.dated else [ALL]
        self.results = {k: PartitionProof(table, k, 0, None, 0, proof=Proof.FULL) for k in keys}
        self.matched = dict.fromkeys(keys, 0)
        self.ids: dict[str, list[Range]] = {k: [] for k in keys}
        self.filled = dict.fromkeys(keys, 0)
        self.repaired = dict.fromkeys(keys, 0)
        self.aside = dict.fromkeys(keys, 0)
        widened = set(self.planned.types)
        self.widened = widened
        self.derived = Derived(connection, table)
        self.cells = CellProof(self.table, self.planned.source.stored, widened, self.derived)
        self.keys = Keys(connection, self.table, widened)
        self.duplicates = Duplicates(connection, self.table, self.planned.source.stored, widened)
        self.digests = None if self.table.key else RowDigests(self.table, widened)
        # Without rowids the ledger's lines are found by key and content, so all are read: such tables are small.
        self.lines = None if self.rowids else read_lines(connection, table, None)

    def ranges(self, changed: bool) -> list[Range]:
        """Where the partitions' rows can lie in the source."""
        if self.planned.source.rowid is not None and self.planned.high_water is None:
            return []
        if self.planned.dated and not changed:
            return joined(r for k in self.results for r in self.planned.slice(k).ranges)
        return [(EVERYTHING[0], self.planned.high_water if self.planned.high_water is not None else EVERYTHING[1])]

    def batches(self, sqlite: Any, ranges: Iterable[Range]) -> Iterator[tuple[Batch, np.ndarray]]:
        """The partitions' rows within ranges, and the place of each row's partition in `names`."""
        planned = self.planned
        wanted = np.isin(self.names, list(self.results))
        for batch in read_table(sqlite, planned.source, ranges, damage=planned.damage):
            places: np.ndarray = np.zeros(len(batch), np.int32)
            if planned.dated:
                places = self.plan.windows.place(date_rows(batch, planned.dated_by)) + 1
            chosen = wanted[places]
            if not chosen.all():
                batch, places = batch.take(pa.array(np.flatnonzero(chosen))), places[chosen]
            if len(batch):
                yield batch, places

    def run(self, sqlite: Any, ranges: Iterable[Range], progress: Progress | None = None) -> None:
        """Compare the rows within ranges: the target is asked for a batch while the one before it is compared."""
        expected = sum(self.planned.slice(k).rows for k in self.results)
        waiting: tuple[_Batch, Future[pa.Table]] | None = None
        with ThreadPoolExecutor(1) as pool:
            for rows, places in self.batches(sqlite, ranges):
                begun = self._begin(rows, places)
                asked = (begun, pool.submit(begun.search.fetch)) if begun else None
                if waiting:
                    self._compare(waiting[0], waiting[1].result())
                waiting = asked
                if progress:
                    progress(self.planned.source.name, len(rows), expected)
            if waiting:
                self._compare(waiting[0], waiting[1].result())
        if self.duplicates.doubtful:
            for aside, what in self.duplicates.faults(self._whole_source(sqlite)):
                self._report(aside.partition, aside.rowid if self.rowids else None, aside.target_key, "", what)

    def _whole_source(self, sqlite: Any) -> Iterator[tuple[Batch, LedgerRows]]:
        """All rows of the table, whichever partitions are proven: what can be known of the duplicates' keys."""
        mark = self.planned.high_water
        everything = [(EVERYTHING[0], EVERYTHING[1] if mark is None else mark)]
        columns = self.duplicates.columns()
        for batch in read_table(sqlite, self.planned.source, everything, columns, damage=self.planned.damage):
            yield batch, self._lines_of(batch)

    def _lines_of(self, batch: Batch) -> LedgerRows:
        ids = batch.rowids
        return self.lines or read_lines(
            self.connection, self.planned.source.name, (int(ids[0].as_py()), int(ids[len(ids) - 1].as_py()))
        )

    def _begin(self, batch: Batch, places: np.ndarray) -> _Batch | None:
        """Count a batch's rows, take out those set aside, and begin to look for the others in the target."""
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            self.results[self.names[place]].source += int(count)
        lines = self._lines_of(batch)
        loaded = np.array([self.ledger[n].loaded if n in self.ledger else False for n in self.names])[places]
        rows = np.flatnonzero(loaded)
        aside = self._set_aside(batch, places, rows, lines)
        if aside:
            rows = rows[~np.isin(rows, aside)]
        if len(rows) < len(batch):
            batch, places = batch.take(pa.array(rows)), places[rows]
        if not len(batch):
            return None
        if self.digests is None:
            return _Batch(batch, places, lines, self.keys.search(batch, lines.repairs))
        for row, column, what in self.digests.add(batch, lines):
            self._report(self.names[places[row]], int(batch.rowids[row].as_py()), None, column, what)
        self._count(batch.rowids.to_pylist(), batch, places, lines)
        return None

    def _set_aside(self, batch: Batch, places: np.ndarray, rows: np.ndarray, lines: LedgerRows) -> list[int]:
        """The rows that the quarantine holds; each is compared with it."""
        if not lines.quarantine:
            return []
        ids = np.asarray(batch.rowids)
        found, doubled = [], {}
        for row in rows[np.isin(ids[rows], list(lines.quarantine))].tolist() if self.rowids else rows.tolist():
            name = int(ids[row]) if self.rowids else self._by_content(batch, row, lines)
            if name is None:
                continue
            line = lines.quarantine[name]
            found.append(row)
            key = self.names[places[row]]
            self.aside[key] += 1
            rowid = int(ids[row]) if self.rowids else None
            for column, what in differences(batch, row, line, self._large(rowid)):
                self._report(key, rowid, line.target_key, column, what)
            if line.partition != key:
                self._report(key, rowid, line.target_key, "", f"the quarantine has it in partition {line.partition}")
            if line.rule in REASONS:
                doubled[row] = line
            outside = line.rule in OUTSIDE or line.rule.startswith("postgres.")
            if not outside and line.rule not in RULES:
                self._report(key, rowid, line.target_key, "", f"set aside for {line.rule!r}, which is no rule")
            elif not outside and not has_cause(self.table, batch, row, self.widened):
                self._report(key, rowid, line.target_key, "", f"set aside ({line.rule}), and every cell of it fits")
        if doubled:
            partitions = [self.names[place] for place in places[list(doubled)].tolist()]
            self.duplicates.add(batch.take(pa.array(list(doubled))), list(doubled.values()), partitions)
        return found

    def _large(self, rowid: int | None) -> LargeCell:
        return lambda column: large_cell(self.connection, self.table.name, rowid, column)

    def _by_content(self, batch: Batch, row: int, lines: LedgerRows) -> int | str | None:
        for name, line in lines.quarantine.items():
            if not differences(batch, row, line, self._large(None)):
                return name
        return None

    def _compare(self, rows: _Batch, target: pa.Table) -> None:
        """Compare each row with the target's."""
        batch, places, lines = rows.rows, rows.places, rows.lines
        found = rows.search.found(target)
        for row in np.flatnonzero(found.place < 0).tolist():
            rowid = int(batch.rowids[row].as_py()) if self.rowids else None
            key = found.key_texts(row)
            for column in self.table.key if key is None else ("",):
                what = MISSING if key else "the key's cell is not as the target could have it, and no repair is listed"
                if key or self.keys.has_no_value(batch, row, column):
                    self._report(self.names[places[row]], rowid, key, column, what)
        for key in found.twice:
            self._report(self.names[places[0]], None, key, "", "the target has the key more than once")
        here = np.flatnonzero(found.place >= 0)
        if not len(here):
            return
        whole = len(here) == len(batch)
        ours, of = (batch, places) if whole else (batch.take(pa.array(here)), places[here])
        order = found.place[here]
        straight = len(order) == found.target.num_rows and bool((order == np.arange(len(order))).all())
        theirs = found.target if straight else found.target.take(pa.array(order))

        def key_of(row: int) -> str | None:
            return found.key_texts(int(here[row]))

        def report(row: int, column: str, what: str) -> None:
            rowid = int(ours.rowids[row].as_py()) if self.rowids else None
            self._report(self.names[of[row]], rowid, key_of(row), column, what)

        names: Any = (
            ours.rowids.to_pylist() if self.rowids or not lines.repairs else list(map(key_of, range(len(ours))))
        )
        self._count(names, ours, of, lines)
        filled = self.cells.compare(Matched(ours, names, theirs, lines.repairs, key_of), report)
        for place in np.unique(of).tolist():
            self.filled[self.names[place]] += int(filled[of == place].sum())

    def _count(self, names: Sequence[int | str], rows: Batch, places: np.ndarray, lines: LedgerRows) -> None:
        """Count matched rows, their cells and their repairs by partition."""
        serial = self.table.serial
        ids = rows.cells(serial).of(Storage.INTEGER) if serial else None
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            key = self.names[place]
            self.matched[key] += int(count)
            self.results[key].cells += int(count) * len(self.table.columns)
            if ids is not None:
                mine = ids.filter(pa.array(places == place)).to_numpy(zero_copy_only=False)
                extend_ranges(self.ids[key], pa.array(np.sort(mine)))
        for row, name in enumerate(names) if lines.repairs else ():
            for column, line in lines.repairs.get(name, {}).items():
                key = self.names[places[row]]
                self.repaired[key] += 1
                if line.partition != key:
                    what = f"the repair is listed in partition {line.partition}"
                    self._report(key, name if isinstance(name, int) else None, line.target_key, column, what)

    def _report(self, key: str, rowid: int | None, target_key: str | None, column: str, what: str) -> None:
        result = self.results[key]
        result.different += 1
        if len(result.differences) < KEPT:
            result.differences.append(Difference(self.table.name, key, rowid, target_key, column, what))

    def finished(self, changed: bool) -> list[PartitionProof]:
        """The results, once every row was taken."""
        further = self._compare_digests()
        for key, result in self.results.items():
            ledger = self.ledger.get(key)
            if ledger is None or not ledger.loaded:
                result.faults.append("not loaded")
                continue
            result.target, result.quarantined = ledger.target - further, ledger.quarantined
            result.faults += replace(ledger, target=result.target).faults(result.source)
            result.faults += self._lines_without_rows(key, ledger)
            if (result.faults or result.different) and changed:
                result.faults.append("the source changed since the plan: materialise this partition again from staging")
            result.verdict = Verdict.FAIL if result.faults or result.different else Verdict.PASS
        return list(self.results.values())

    def _compare_digests(self) -> int:
        """For a table without a key: report the rows that are not in the target; returns how many others it has."""
        if self.digests is None or not any(entry.loaded for entry in self.ledger.values()):
            return 0
        unmatched = self.digests.compare(self.connection)
        for rowid in unmatched.missing:
            self.matched[ALL] -= 1
            self._report(ALL, rowid, None, "", MISSING)
        if unmatched.doubled:
            self._report(ALL, None, None, "", f"{unmatched.doubled:,} rows of ours are in the target more than once")
        return unmatched.further - unmatched.doubled

    def _lines_without_rows(self, key: str, ledger: Ledgered) -> list[str]:
        """What the ledger or the target has of a partition beyond the source's rows."""
        found = []
        target = self.results[key].target or 0
        if self.matched[key] != target:
            found.append(f"{self.matched[key]:,} rows match, {target:,} of this partition are in the target")
        if self.aside[key] != ledger.quarantined:
            found.append(
                f"{ledger.quarantined:,} rows are in the quarantine, {self.aside[key]:,} of them in the source"
            )
        if self.repaired[key] != ledger.repairs:
            found.append(f"{ledger.repairs:,} repairs are listed, {self.repaired[key]:,} of rows in the target")
        if self.filled[key] != self.derived.cells.get(key, 0):
            found.append(
                f"{self.derived.cells.get(key, 0):,} derived cells are listed, {self.filled[key]:,} were filled"
            )
        if self.table.serial and self.matched[key] == target:
            row = self.connection.execute(
                "SELECT key_ids = %s::int8multirange FROM cowrie_migration.partitions"
                " WHERE table_name = %s AND partition_key = %s",
                (multirange(self.ids[key]), self.table.name, key),
            ).fetchone()
            if not (row and row[0]):
                found.append("the ledger's keys are not those of the source's rows")
        return found
