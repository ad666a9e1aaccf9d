"""`status`, `verify`, `quarantine`: what the ledger says, and proving it again.

Belongs here: these three commands; none imports Dagster. Not here: the proof (`validation/`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DifferenceError, TargetError
from ..loading import ledger as target_ledger
from ..loading.lock import migration_running
from ..pipeline import Pipeline
from ..reporting.quarantine import SetAside, quarantined_rows
from ..reporting.text import inert
from ..validation.verdicts import WORDS, Extent, Proof, TableTotal, Verdict
from .options import (
    database_options,
    extent_of,
    json_option,
    proof_options,
    settings_from,
    staging_option,
    target_option,
)
from .output import print_json, print_table, written
from .summary import print_summary, read_summary

if TYPE_CHECKING:
    from ..reporting.compare import ReportVerdict


@click.command()
@target_option
@staging_option
@json_option
def status(target: str | None, staging: str | None, as_json: bool) -> None:
    """Show the progress of the migration in the target, while it runs too."""
    pipeline = Pipeline(settings_from(None, target, staging))
    with pipeline.connect() as connection:
        plan = target_ledger.pinned(connection)
        running = migration_running(connection)
        if plan is None:
            if as_json:
                print_json({"migration": None, "running": running})
            else:
                click.echo(f"{pipeline.settings.target_label} holds no migration yet. Next: cowrie-assets migrate")
            return
        summary = read_summary(connection)
    planned = sum(t.rows for t in plan.tables.values())
    if as_json:
        print_json(summary.as_json() | {"running": running, "planned_rows": planned, "moved_rows": summary.moved})
        return
    print_summary(summary)
    share = 100 * summary.moved / planned if planned else 100.0
    state = "running" if running else "not running"
    click.echo(f"{summary.moved:,} of {planned:,} planned rows are in place ({share:.1f} %); a migration is {state}.")


@click.command()
@database_options
@proof_options
@click.option("--no-reports", is_flag=True, help="Do not compare the reports of source and target.")
@json_option
def verify(
    source: str | None,
    target: str | None,
    staging: str | None,
    sample: Extent | None,
    counts_only: bool,
    no_reports: bool,
    as_json: bool,
) -> None:
    """Prove every loaded partition afresh, from source, target and ledger, and compare all reports. Needs no Dagster.

    Reports leave out the rows that were repaired or set aside.
    """
    extent = extent_of(sample, counts_only)
    pipeline = Pipeline(settings_from(source, target, staging))
    pipeline.checked_source()
    with pipeline.connect() as connection:
        plan = target_ledger.pinned(connection)
    if plan is None:
        raise TargetError("The target holds no migration to verify.", hint="Run cowrie-assets migrate.")
    results = []
    for table in (*pipeline.plan.dated, *pipeline.plan.others):
        results += pipeline.validate(table, list(pipeline.plan.partitions(table)), extent)
    totals = pipeline.totals()
    reports = _reports(pipeline, totals, extent, no_reports)
    wrong = [r.report for r in reports if r.verdict is Verdict.FAIL]
    differing = [f"{len(wrong)} of {len(reports)} reports differ ({', '.join(wrong)})"] if wrong else []
    with pipeline.connect() as connection:
        summary = read_summary(connection, differing, results)
    faults = [(r.table, r.partition, r.verdict.value, r.detail) for r in results if r.verdict != "PASS"]
    faults += [(t.table, "all partitions", t.verdict.value, t.detail) for t in totals if t.verdict != "PASS"]
    later = {t.table: t.after_plan for t in totals if t.after_plan}
    others = {t.table: t.others for t in totals if t.others}
    if as_json:
        names = ("table", "partition", "verdict", "detail")
        print_json(
            summary.as_json()
            | {
                "proof": extent.proof.value,
                "cells": sum(r.cells for r in results),
                "faults": [dict(zip(names, f, strict=True)) for f in faults],
                "differences": [asdict(d) for r in results for d in r.differences],
                "reports": [asdict(r) for r in reports],
                "after_plan": later,
                "rows_of_others": others,
            }
        )
    else:
        print_summary(summary)
        if faults:
            print_table(("table", "partition", "verdict", "what"), faults[:50])
        for table, rows in later.items():
            click.echo(f"{inert(table)}: {rows:,} newer rows in the source, after the plan: not migrated.")
        for table, rows in others.items():
            click.echo(f"{inert(table)}: {rows:,} rows in the target that this migration did not load: not compared.")
        click.echo(f"Compared: {WORDS[extent.proof]} ({sum(r.cells for r in results):,} cells).")
        _print_reports(reports)
    failed = any(f[2] == "FAIL" for f in faults)
    if failed or summary.damage or any(t.verdict is Verdict.FAIL for t in summary.tables):
        raise summary.difference("See what is named above, and the report.", differs=failed)
    if wrong:
        raise DifferenceError(
            "Reports differ though the cells do not.", hint="Run cowrie-assets report on both, and tell us of it."
        )


def _reports(pipeline: Pipeline, totals: Sequence[TableTotal], extent: Extent, no_reports: bool) -> list[ReportVerdict]:
    from ..reporting.compare import compare_reports, unchecked

    if no_reports:
        return unchecked("--no-reports")
    return compare_reports(pipeline, totals) if extent.proof is Proof.FULL else unchecked("only after a full proof")


def _print_reports(reports: Sequence[ReportVerdict]) -> None:
    if len({(r.verdict, r.detail) for r in reports}) == 1 and reports[0].verdict != "PASS":
        click.echo(f"Reports: {reports[0].verdict.value}, {inert(reports[0].detail)}.")
        return
    print_table(("report", "verdict", "rows", "what"), [(r.report, r.verdict.value, r.rows, r.detail) for r in reports])


@click.command()
@target_option
@staging_option
@click.option("--table", help="Only this table.")
@click.option("--rule", help="Only this rule.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many rows.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "jsonl"]),
    default="table",
    show_default=True,
    help="Output form.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def quarantine(
    target: str | None,
    staging: str | None,
    table: str | None,
    rule: str | None,
    limit: int | None,
    form: str,
    output: Path | None,
) -> None:
    """List the rows set aside, with their reason and their original cells."""
    pipeline = Pipeline(settings_from(None, target, staging))
    with pipeline.connect() as connection:
        if target_ledger.pinned(connection) is None:
            raise TargetError("The target holds no migration.", hint="Run cowrie-assets migrate.")
        rows = quarantined_rows(connection, table=table, rule=rule, limit=limit)
        if form == "table":
            header = ("table", "rowid", "rule", "what")
            shown = [(r.table, str(r.source_rowid or ""), r.rule, r.detail) for r in rows]
            if output:
                with written(output) as sink:
                    print_table(header, shown, sink)
            elif shown:
                print_table(header, shown)
            else:
                click.echo("No row was set aside.")
            return
        with written(output) as sink:
            _write(sink, form, rows)


def _csv_cell(value: object) -> str:
    """A cell that neither a terminal nor a spreadsheet acts on: what begins as a formula does gets an apostrophe."""
    text = "" if value is None else inert(str(value))
    return f"'{text}" if isinstance(value, str) and text.lstrip()[:1] in tuple("=+-@") else text


def _write(sink: Any, form: str, rows: Iterable[SetAside]) -> None:
    names = ("table", "partition", "source_rowid", "rule", "detail", "target_key", "original")
    if form == "csv":
        buffer = csv.writer(sink)
        buffer.writerow(names)
    for row in rows:
        values = [getattr(row, n) for n in names]
        if form == "csv":
            buffer.writerow([json.dumps(v) if isinstance(v, dict) else _csv_cell(v) for v in values])
        else:
            sink.write(json.dumps(dict(zip(names, values, strict=True))) + "\n")
