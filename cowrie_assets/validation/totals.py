"""Whole tables: the ledger's partitions are the plan's and sum to the table; rows that others wrote are told apart.

Belongs here: what no single partition can show. Not here: partitions (`prove.py`, `counts.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import Table
from ..db.names import bound
from ..db.seal import PLAN_SEAL, STRAY
from ..planning.plan import Plan, TablePlan
from ..source.schema import quoted, read_schema
from ..source.sqlite import read_only
from .counts import count_all
from .verdicts import TableTotal, Verdict

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


def check_totals(connection: Connection, plan: Plan, source: Path) -> list[TableTotal]:
    """For every table: the ledger's partitions are the plan's, each once, and sum to COUNT(*) up to the mark."""
    rows = connection.execute(
        "SELECT table_name, partition_key, source_rows, loaded_at IS NOT NULL, loaded_rows,"
        " greatest(loaded_at, verified_at) < (SELECT pinned_at FROM cowrie_migration.plan)"
        " FROM cowrie_migration.partitions"
    ).fetchall()
    totals, strays = [], _strays(connection)
    with read_only(source) as sqlite:
        present = read_schema(sqlite).tables
        for table, planned in plan.tables.items():
            mark = planned.high_water if planned.high_water is not None else -(2**63)
            count = count_all(sqlite, planned, mark) if table in present else 0
            everything = count_all(sqlite, planned, 2**63 - 1) if table in present else 0
            mine = [r for r in rows if r[0] == table]
            keys, wanted = [r[1] for r in mine], plan.partitions(table)
            summed = sum(r[2] or 0 for r in mine)
            faults = [f"partition {k} is missing" for k in sorted(set(wanted) - set(keys))]
            faults += [f"partition {k} is not in the plan" for k in sorted(set(keys) - set(wanted))]
            faults += strays.pop(table, [])
            waiting = [r[1] for r in mine if not r[3]]
            # Neither loaded nor verified since the plan was pinned, which counts other rows: it is loaded again.
            outdated = [r[1] for r in mine if r[5] and r[2] != planned.slice(r[1]).rows]
            others = max(0, _count(connection, planned.target) - sum(r[4] or 0 for r in mine)) if not waiting else 0
            doubled = _doubled(connection, planned.target) if others else []
            if doubled and not (table in present and _has_equal_rows(sqlite, planned, mark)):
                faults += doubled
            verdict = Verdict.FAIL if faults else Verdict.PASS
            if waiting and not faults:
                verdict, faults = Verdict.NOT_CHECKED, [f"{len(waiting)} partitions are not loaded"]
            elif outdated and not faults:
                verdict, faults = Verdict.NOT_CHECKED, [f"{len(outdated)} partitions are to be loaded again"]
            elif not faults and summed != count:
                verdict, faults = Verdict.FAIL, [f"partitions sum to {summed:,} rows, the table has {count:,}"]
            totals.append(TableTotal(table, count, summed, everything - count, verdict, "; ".join(faults), others))
    return totals + [TableTotal(t, 0, 0, 0, Verdict.FAIL, "; ".join(faults)) for t, faults in strays.items()]


def _strays(connection: Connection) -> dict[str, list[str]]:
    """What no partition accounts for: lines of one that is not there, a plan that is not the one that was pinned."""
    faults: dict[str, list[str]] = {}
    for table, key, name in connection.execute(STRAY.encode()).fetchall():
        faults.setdefault(table, []).append(f"{name} has lines of partition {key}, which is not there")
    row = connection.execute(f"SELECT sealed IS NOT DISTINCT FROM ({PLAN_SEAL}) FROM cowrie_migration.plan").fetchone()
    if row and not row[0]:
        faults["cowrie_migration.plan"] = ["it is not as it was pinned"]
    return faults


def record_totals(connection: Connection, totals: Sequence[TableTotal]) -> None:
    """Write into the ledger which tables' totals fail, so that every command says so until a later look finds none."""
    faults = {t.table: t.detail for t in totals if t.verdict is Verdict.FAIL}
    connection.execute(
        "UPDATE cowrie_migration.plan SET total_faults = %s::jsonb WHERE total_faults IS DISTINCT FROM %s::jsonb",
        [json.dumps(faults) if faults else None] * 2,
    )


def _count(connection: Connection, table: Table) -> int:
    row = connection.execute(f"SELECT count(*) FROM {quoted(table.name)}".encode()).fetchone()
    return int(row[0]) if row else 0


def _doubled(connection: Connection, table: Table) -> list[str]:
    """Rows of others that equal one of ours in all but the key that PostgreSQL numbers."""
    if not table.serial:
        return []
    key = f"t.{bound(table.serial)}"
    rest = ", ".join(f"t.{bound(c.name)}" for c in table.columns if c.name != table.serial)
    rows = connection.execute(
        "SELECT min(id) FILTER (WHERE NOT ours), min(id) FILTER (WHERE ours) FROM"
        f" (SELECT {key} AS id, md5(row({rest})::text) AS content, {key} <@ (SELECT range_agg(r) FROM"
        " cowrie_migration.partitions, unnest(key_ids) r WHERE table_name = %s) AS ours"
        f" FROM {bound(table.name)} t) rows"
        " GROUP BY content HAVING bool_or(ours) AND bool_or(NOT ours) ORDER BY 1 LIMIT 5".encode(),
        (table.name,),
    ).fetchall()
    return [f"row {further} is row {ours} once more" for further, ours in rows]


def _has_equal_rows(sqlite: Any, planned: TablePlan, mark: int) -> bool:
    """Whether two rows of the source are equal in all but their number: then the application writes such rows."""
    table = planned.source
    if planned.damaged or table.rowid is None:
        return False
    cells = ", ".join(f"t.{quoted(n)} COLLATE BINARY" for n in table.stored if n != planned.target.serial)
    if not cells:
        return planned.rows > 1
    sql = (
        f"SELECT 1 FROM {quoted(table.name)} AS t NOT INDEXED WHERE t.{table.rowid} <= ?"
        f" GROUP BY {cells} HAVING count(*) > 1 LIMIT 1"
    )
    return bool(sqlite.execute(sql, (mark,)).fetchone())
