"""Every report on the source and on the migrated target: the same rows, or which one differs.

Belongs here: what can be compared, comparing it. Not here: the reports (`queries/`), the proof (`validation/`).

Rows with a line in the ledger (repaired, or set aside) are left out on both sides, newer rows than the plan's on the
source: what remains must give the same answers. It does not use the cleaning's reading of JSON: on the source SQLite's
own functions read what was not repaired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from ..catalog import TABLES
from ..db.connecting import clear_errors
from ..db.engine import create_engine_from_settings
from ..db.settings import EngineSettings
from ..errors import DatabaseError
from ..planning.plan import Plan
from ..validation.verdicts import TableTotal, Verdict
from .queries.catalogue import REPORTS
from .queries.facts import MOST, Facts, Window

if TYPE_CHECKING:
    from ..pipeline import Pipeline

Answers = dict[str, Sequence[Any]]

_KEYS = {"raw_events": "raw_events.id::text", "session_summaries": "session_summaries.session_id"}
_SHOWN = 120
"""Characters of a row that a difference shows."""


@dataclass(frozen=True)
class ReportVerdict:
    """How a report came out.

    Attributes:
        rows: compared, of each side, at most `MOST`.
        detail: why it does not pass, or what was left out.
    """

    report: str
    verdict: Verdict
    rows: int = 0
    detail: str = ""


def unchecked(reason: str) -> list[ReportVerdict]:
    """NOT CHECKED for every report."""
    return [ReportVerdict(name, Verdict.NOT_CHECKED, 0, reason) for name in REPORTS]


def compare_reports(pipeline: Pipeline, totals: Sequence[TableTotal]) -> list[ReportVerdict]:
    """Ask every report of both databases.

    Args:
        pipeline: of the migration; its source must have been checked.
        totals: how its tables sum up.

    Returns:
        A verdict a report; NOT CHECKED, with the reason, for all where a database fails.
    """
    plan = pipeline.plan
    reasons = {table: _obstacle(plan, table, totals) for table in _KEYS}
    names = [name for name, report in REPORTS.items() if not reasons[report.table]]
    source: Answers = {}
    target: Answers = {}
    left_out: Counter[str] = Counter()
    if names:
        # At once: the target works on its server, and SQLite's functions release the interpreter while they read.
        try:
            with ThreadPoolExecutor(1) as pool:
                ours = pool.submit(_on_target, pipeline, names)
                source, left_out = _on_source(pipeline, names)
                target = ours.result()
        except DatabaseError as error:  # after a proof of hours that must not be lost
            return unchecked(str(error))
    return [
        _compared(name, source[name], target[name], left_out[report.table])
        if name in names
        else ReportVerdict(name, Verdict.NOT_CHECKED, 0, reasons[report.table] or "")
        for name, report in REPORTS.items()
    ]


def _obstacle(plan: Plan, table: str, totals: Sequence[TableTotal]) -> str | None:
    """Why the reports over a table cannot be compared."""
    if table not in plan.tables:
        return f"the source has no {table}"
    planned = plan.tables[table]
    if planned.target.column(_json_column(table)).type is not TABLES[table].column(_json_column(table)).type:
        return "the target stores documents as json, byte for byte"
    if planned.high_water is None and planned.rows:
        return f"the rows of {table} have no rowid"
    total = next((total for total in totals if total.table == table), None)
    if total is None or total.verdict is Verdict.NOT_CHECKED:
        return f"{table} is not loaded in full"
    return f"others wrote {total.others:,} rows into {table}" if total.others else None


def _json_column(table: str) -> str:
    return "payload" if table == "raw_events" else "enrichment"


def _compared(name: str, source: Sequence[Any], target: Sequence[Any], left_out: int) -> ReportVerdict:
    for number in range(max(len(source), len(target))):
        pair = [rows[number] if number < len(rows) else None for rows in (source, target)]
        if pair[0] != pair[1]:
            there, here = ("nothing" if row is None else str(astuple(row))[:_SHOWN] for row in pair)
            return ReportVerdict(name, Verdict.FAIL, number, f"row {number + 1} is {there} in the source, {here} here")
    without = f"without {left_out:,} rows that were repaired or set aside" if left_out else ""
    return ReportVerdict(name, Verdict.PASS, len(source), without)


def _answers(connection: sa.Connection, names: Sequence[str], left_out: Mapping[str, Any]) -> Answers:
    facts = Facts(connection, left_out)
    if any(REPORTS[name].table == "raw_events" for name in names):
        facts.keep_events()
    return {name: REPORTS[name].find(facts, Window(limit=MOST)) for name in names}


def _on_source(pipeline: Pipeline, names: Sequence[str]) -> tuple[Answers, Counter[str]]:
    """The answers, and by table how many rows were left out for their lines in the ledger."""
    lines_of: Counter[str] = Counter()
    engine = create_engine_from_settings(EngineSettings(url=str(pipeline.settings.require_source())), write=False)
    with _disposed(engine, "The reports of the source") as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE ledger_rows (table_name TEXT, id INTEGER)")
        with pipeline.connect() as target, target.cursor(name="ledger_rows") as lines:
            lines.execute(
                "SELECT table_name, source_rowid FROM cowrie_migration.repairs WHERE table_name = ANY(%(tables)s)"
                " UNION SELECT table_name, source_rowid FROM cowrie_migration.quarantine"
                " WHERE table_name = ANY(%(tables)s)",
                {"tables": list(_KEYS)},
            )
            while page := lines.fetchmany(10_000):
                connection.exec_driver_sql("INSERT INTO ledger_rows VALUES (?, ?)", page)
                lines_of.update(table for table, _ in page)
        left_out = {
            table: sa.text(
                f"{table}.rowid <= {planned.high_water if planned.high_water is not None else -(2**63)} AND"
                f" {table}.rowid NOT IN (SELECT id FROM ledger_rows WHERE table_name = '{table}')"
            )
            for table, planned in pipeline.plan.tables.items()
            if table in _KEYS
        }
        return _answers(connection, names, left_out), lines_of


def _on_target(pipeline: Pipeline, names: Sequence[str]) -> Answers:
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=pipeline.connect, poolclass=NullPool, hide_parameters=True
    )
    with _disposed(engine, "The reports of the target") as connection:
        left_out = {
            table: sa.text(
                "NOT EXISTS (SELECT 1 FROM cowrie_migration.repairs ledger"
                f" WHERE ledger.table_name = '{table}' AND ledger.target_key = {key})"
            )
            for table, key in _KEYS.items()
        }
        return _answers(connection, names, left_out)


@contextmanager
def _disposed(engine: sa.Engine, doing: str) -> Iterator[sa.Connection]:
    """A connection whose temporary tables go with it."""
    try:
        with clear_errors(engine, doing), engine.connect() as connection:
            yield connection
            connection.rollback()
    finally:
        engine.dispose()
