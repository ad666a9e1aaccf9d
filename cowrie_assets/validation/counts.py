"""Row counts: source = loaded + set aside, each counted afresh.

Belongs here: counting and comparing. Not here: cells, or how verdicts are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog import ALL, UNDATED
from ..planning.plan import Plan, TablePlan
from ..planning.scan import Progress
from ..source.dating import date_rows, needed_columns
from ..source.reader import joined, read_table
from ..source.schema import quoted, read_schema
from ..source.sqlite import read_only, source_state

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


class Verdict(StrEnum):
    """What a proof says; what did not run is NOT CHECKED."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    NOT_CHECKED = "NOT CHECKED"


@dataclass(frozen=True)
class PartitionCount:
    """One partition's row equation.

    Attributes:
        source: rows in the source now, up to the plan's mark, dated by the shared kernel.
        target: rows in the target now whose key this partition's load recorded.
        quarantined: rows in the ledger's quarantine now.
        detail: what differs; empty where nothing does.
    """

    table: str
    partition: str
    source: int
    target: int | None
    quarantined: int
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class TableTotal:
    """Whether a table's partitions sum to the table, none missing, none doubled."""

    table: str
    rows: int
    summed: int
    after_plan: int
    verdict: Verdict
    detail: str


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
            counts[ALL] = _count_all(connection, planned, mark)
            if progress:
                progress(table, counts[ALL], expected)
            return counts
        wanted = set(needed_columns(planned.dated_by))
        columns = [n for n in planned.source.stored if n in wanted]
        ranges = joined(r for k in keys for r in planned.slice(k).ranges) if unchanged else [(-(2**63), mark)]
        names = np.array([UNDATED, *plan.windows.keys])
        for batch in read_table(connection, planned.source, ranges, columns):
            places = plan.windows.place(date_rows(batch, planned.dated_by)) + 1
            seen = 0
            for place, count in zip(*np.unique(places, return_counts=True), strict=True):
                if names[place] in counts:
                    counts[str(names[place])] += int(count)
                    seen += int(count)
            if progress:
                progress(table, seen, expected)
    return counts


def _count_all(connection: Any, planned: TablePlan, mark: int) -> int:
    sql = f"SELECT count(*) FROM {quoted(planned.source.name)}"
    if planned.source.rowid is None:
        return int(connection.execute(sql).fetchone()[0])
    return int(connection.execute(f"{sql} WHERE {planned.source.rowid} <= ?", (mark,)).fetchone()[0])


def validate_counts(
    connection: Connection,
    plan: Plan,
    source: Path,
    table: str,
    keys: Sequence[str],
    progress: Progress | None = None,
) -> list[PartitionCount]:
    """Prove the row equation of partitions and write the verdicts to the ledger."""
    counts = count_source(plan, source, table, keys, progress)
    changed = source_state(source).as_dict() != plan.source_state
    results = [_compare(connection, plan.tables[table], key, counts[key], changed) for key in keys]
    for result in results:
        connection.execute(
            "UPDATE cowrie_migration.partitions SET verified_at = now(), verdict = %s, proof = 'counts', detail = %s"
            " WHERE table_name = %s AND partition_key = %s",
            (result.verdict.value, result.detail or None, table, result.partition),
        )
    connection.commit()
    return results


def _compare(connection: Connection, planned: TablePlan, key: str, source: int, changed: bool) -> PartitionCount:
    name = planned.source.name
    row = connection.execute(
        "SELECT source_rows, loaded_rows, quarantined_rows, repaired_cells, loaded_at IS NOT NULL,"
        " (SELECT count(*) FROM cowrie_migration.quarantine q WHERE q.table_name = p.table_name AND"
        " q.partition_key = p.partition_key),"
        " (SELECT count(*) FROM cowrie_migration.repairs r WHERE r.table_name = p.table_name AND"
        " r.partition_key = p.partition_key)"
        " FROM cowrie_migration.partitions p WHERE table_name = %s AND partition_key = %s",
        (name, key),
    ).fetchone()
    if row is None or not row[4]:
        return PartitionCount(name, key, source, None, 0, Verdict.NOT_CHECKED, "not loaded")
    staged, loaded, set_aside, repaired, _, quarantined, repairs = row
    target = _count_target(connection, planned, key)
    faults = []
    if source != target + quarantined:
        faults.append(f"source has {source:,} rows, target {target:,}, quarantine {quarantined:,}")
    if loaded != target:
        faults.append(f"{loaded:,} rows were loaded, {target:,} are in the target")
    if set_aside != quarantined:
        faults.append(f"{set_aside:,} rows were set aside, {quarantined:,} are in the quarantine")
    if repaired != repairs:
        faults.append(f"{repaired:,} cells were repaired, {repairs:,} are listed")
    if source != staged and changed:
        faults.append("the source changed since the plan: materialise this partition again from staging")
    verdict = Verdict.FAIL if faults else Verdict.PASS
    return PartitionCount(name, key, source, target, quarantined, verdict, "; ".join(faults))


def _count_target(connection: Connection, planned: TablePlan, key: str) -> int:
    """Rows in the target that this partition loaded: by the keys its ledger row recorded."""
    table = planned.target
    name = quoted(table.name)
    of_partition = "cowrie_migration.partitions p WHERE p.table_name = %s AND p.partition_key = %s"
    parameters: tuple[str, ...] = (table.name, key)
    if table.serial:
        column = quoted(table.serial)
        sql = (
            f"SELECT count(*) FROM (SELECT unnest(p.key_ids) AS r FROM {of_partition}) k"
            f" JOIN {name} t ON t.{column} >= lower(k.r) AND t.{column} < upper(k.r)"
        )
    elif len(table.key) == 1:
        column = quoted(table.key[0])
        sql = (
            f"SELECT count(*) FROM (SELECT unnest(p.keys) AS k FROM {of_partition}) k"
            f" JOIN {name} t ON t.{column}::text = k.k"
        )
    else:
        sql, parameters = f"SELECT count(*) FROM {name}", ()
    row = connection.execute(sql.encode(), parameters or None).fetchone()
    return int(row[0]) if row else 0


def check_totals(connection: Connection, plan: Plan, source: Path) -> list[TableTotal]:
    """For every table: the ledger's partitions are the plan's, each once, and sum to COUNT(*) up to the mark."""
    rows = connection.execute(
        "SELECT table_name, partition_key, source_rows, loaded_at IS NOT NULL FROM cowrie_migration.partitions"
    ).fetchall()
    totals = []
    with read_only(source) as sqlite:
        present = read_schema(sqlite).tables
        for table, planned in plan.tables.items():
            mark = planned.high_water if planned.high_water is not None else -(2**63)
            count = _count_all(sqlite, planned, mark) if table in present else 0
            everything = _count_all(sqlite, planned, 2**63 - 1) if table in present else 0
            mine = [r for r in rows if r[0] == table]
            keys, wanted = [r[1] for r in mine], plan.partitions(table)
            summed = sum(r[2] or 0 for r in mine)
            faults = [f"partition {k} is missing" for k in sorted(set(wanted) - set(keys))]
            faults += [f"partition {k} is not in the plan" for k in sorted(set(keys) - set(wanted))]
            waiting = [r[1] for r in mine if not r[3]]
            verdict = Verdict.FAIL if faults else Verdict.PASS
            if waiting and not faults:
                verdict, faults = Verdict.NOT_CHECKED, [f"{len(waiting)} partitions are not loaded"]
            elif not faults and summed != count:
                verdict, faults = Verdict.FAIL, [f"partitions sum to {summed:,} rows, the table has {count:,}"]
            totals.append(TableTotal(table, count, summed, everything - count, verdict, "; ".join(faults)))
    return totals
