"""`inspect` and `plan`: what is in the source and what would happen; neither needs a target.

Belongs here: these two commands. Not here: the plan (`planning/`).
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..catalog import UNDATED
from ..db.url import mask
from ..pipeline import Pipeline
from ..planning.plan import DAMAGE, Plan
from ..reporting.text import inert
from ..source.sqlite import check_file
from .options import json_option, settings_from, source_option, staging_option
from .output import StageBars, gigabytes, print_json, print_table

STAGING_SHARE, TARGET_SHARE = 0.5, 2.0
"""Bytes of staging and of the target for each byte of the source, rounded up; measured as docs/measurements.md says."""
ROWS_PER_SECOND = 17_000
"""Rows of all tables through all stages on two cores, rounded down; measured as docs/measurements.md says."""


@click.command()
@source_option
@staging_option
@json_option
def inspect(source: str | None, staging: str | None, as_json: bool) -> None:
    """Say what is in the source, what would happen, and the disk space and time to expect."""
    settings = settings_from(source, None, staging)
    path = settings.require_source()
    check_file(path)
    pipeline = _with_bars(Pipeline(settings), quiet=as_json)
    found = pipeline.plan
    size = path.stat().st_size
    rows = sum(t.rows for t in found.tables.values())
    free = free_space(settings.home)
    expect = {
        "staging_bytes": int(size * STAGING_SHARE),
        "target_bytes": int(size * TARGET_SHARE),
        "free_bytes_here": free,
        "seconds": rows // ROWS_PER_SECOND + 10,
    }
    if as_json:
        print_json({"source": str(path), "size": size, "plan": _summary(found), "expect": expect})
        return
    click.echo(f"{path}: {gigabytes(size)}, {rows:,} rows\n")
    _print_plan(found)
    click.echo(
        f"Expect about {gigabytes(expect['staging_bytes'])} of staging ({gigabytes(free)} free here),"
        f" {gigabytes(expect['target_bytes'])} in PostgreSQL, and {_minutes(expect['seconds'])}."
    )
    click.echo("Next: cowrie-assets migrate --dry-run, or cowrie-assets migrate")


@click.command()
@source_option
@staging_option
@click.option("--replace", is_flag=True, help="Scan the source again and replace the stored plan.")
@json_option
def plan(source: str | None, staging: str | None, replace: bool, as_json: bool) -> None:
    """Make the plan, or show the one there is: windows, rows of each partition, high-water marks."""
    pipeline = _with_bars(Pipeline(settings_from(source, None, staging)), quiet=as_json)
    found = pipeline.make_plan() if replace else pipeline.plan
    if as_json:
        print_json(found.to_json() | {"id": found.id})
        return
    _print_plan(found)
    click.echo(f"Plan {found.id} lies in {mask(pipeline.settings.staging)}.")


def _with_bars(pipeline: Pipeline, *, quiet: bool) -> Pipeline:
    if not quiet and pipeline.stored_plan() is None:
        pipeline.progress = StageBars({})
    return pipeline


def free_space(path: Path) -> int:
    """Free bytes where a folder is or will be."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def _minutes(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60} minutes"


def _summary(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "grain": plan.windows.grain.value,
        "windows": list(plan.windows.keys),
        "tables": {
            n: {"rows": t.rows, "high_water": t.high_water, "undated": t.slice(UNDATED).rows, "known": t.target.known}
            for n, t in plan.tables.items()
        },
        "not_migrated": [list(pair) for pair in plan.not_migrated],
        "findings": [asdict(f) for f in plan.findings],
    }


def _print_plan(plan: Plan) -> None:
    windows = plan.windows
    click.echo(f"{len(windows.keys)} windows by {windows.grain}: {windows.keys[0]} to {windows.keys[-1]}\n")
    rows = []
    for name in (*plan.dated, *plan.others):
        table = plan.tables[name]
        filled = sum(key in windows.keys for key in table.slices)
        what = "by date" if table.dated else ("whole" if table.target.known else "whole; no table the catalog knows")
        rows.append((name, table.rows, filled, table.slice(UNDATED).rows, len(table.losers), what))
    print_table(("table", "rows", "windows with rows", "undated", "duplicates", "migrated"), rows)
    for kind, name in plan.not_migrated:
        click.echo(f"not migrated: {kind} {inert(name)}")
    for finding in plan.findings:
        where = inert(f"{finding.table}.{finding.column}".rstrip("."))
        near = f" (near rowid {finding.examples[0]})" if finding.examples and finding.code not in DAMAGE else ""
        click.echo(f"finding: {where}: {inert(finding.detail)}{near}")
    if plan.damage:
        click.echo("The source is damaged: all rows that SQLite still reads are migrated; the verdict will be FAIL.")
    click.echo("")
