"""Row counts: source = loaded + set aside, each counted afresh.

Belongs here: counting the source, the row equation alone. Not here: cells (`prove.py`), whole tables (`totals.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog import ALL, UNDATED
from ..planning.plan import Plan, TablePlan
from ..planning.scan import Progress
from ..source.dating import date_rows, needed_columns
from ..source.reader import joined, read_table
from ..source.schema import quoted
from ..source.sqlite import read_only, source_state
from .partitions import ledgered
from .verdicts import PartitionProof, Verdict

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


def count_source(
    plan: Plan, source: Path, table: str, keys: Sequence[str], progress: Progress | None = None
) -> Counter[str]:
    """Rows of each partition in the source now: one pass over the rowid ranges that can hold them."""
    planned = plan.tables[table]
    counts: Counter[str] = Counter(dict.fromkeys(keys, 0))
    if planned.source.rowid is not None and planned.high_water is None:
        return counts
    mark = planned.high_water if planned.high_water is not None else 2**63 - 1
    expected = sum(planned.slice(k).rows for k in keys)
    with read_only(source) as connection:
        # Asked inside the snapshot: a commit before it then shows, and one after it only costs reading more.
        unchanged = source_state(source).as_dict() == plan.source_state
        if not planned.dated:
            counts[ALL] = count_all(connection, planned, mark)
            if progress:
                progress(table, counts[ALL], expected)
            return counts
        wanted = set(needed_columns(planned.dated_by))
        columns = [n for n in planned.source.stored if n in wanted]
        ranges = joined(r for k in keys for r in planned.slice(k).ranges) if unchanged else [(-(2**63), mark)]
        names = np.array([UNDATED, *plan.windows.keys])
        for batch in read_table(connection, planned.source, ranges, columns, damage=planned.damage):
            places = plan.windows.place(date_rows(batch, planned.dated_by)) + 1
            seen = 0
            for place, count in zip(*np.unique(places, return_counts=True), strict=True):
                if names[place] in counts:
                    counts[str(names[place])] += int(count)
                    seen += int(count)
            if progress:
                progress(table, seen, expected)
    return counts


def count_all(connection: Any, planned: TablePlan, mark: int) -> int:
    """Rows of a table in the source, up to a rowid."""
    if planned.damaged:
        everything = [(-(2**63), 2**63 - 1 if planned.source.rowid is None else mark)]
        return sum(map(len, read_table(connection, planned.source, everything, (), damage=planned.damage)))
    sql = f"SELECT count(*) FROM {quoted(planned.source.name)} NOT INDEXED"
    if planned.source.rowid is None:
        return int(connection.execute(sql).fetchone()[0])
    return int(connection.execute(f"{sql} WHERE {planned.source.rowid} <= ?", (mark,)).fetchone()[0])


CHANGED = "the source changed since the plan: materialise this partition again from staging"


def prove_counts(
    connection: Connection,
    plan: Plan,
    source: Path,
    table: str,
    keys: Sequence[str],
    progress: Progress | None = None,
) -> list[PartitionProof]:
    """Prove the row equation of partitions."""
    counts = count_source(plan, source, table, keys, progress)
    changed = source_state(source).as_dict() != plan.source_state
    ledger = ledgered(connection, plan.tables[table], keys)
    results = []
    for key in keys:
        entry = ledger.get(key)
        if entry is None or not entry.loaded:
            results.append(PartitionProof(table, key, counts[key], None, 0, faults=["not loaded"]))
            continue
        faults = entry.faults(counts[key])
        if counts[key] != entry.staged and changed:
            faults.append(CHANGED)
        verdict = Verdict.FAIL if faults else Verdict.PASS
        results.append(PartitionProof(table, key, counts[key], entry.target, entry.quarantined, verdict, faults=faults))
    return results
