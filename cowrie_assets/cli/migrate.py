"""`migrate` and `demo`: the whole migration through Dagster, with a bar a stage and a short table at the end.

Belongs here: these two commands. Not here: what is run (`defs/run.py`).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..demo import make_demo
from ..errors import DifferenceError, LoadError, PlanError, SettingsError, TargetError
from ..folders import make_folder
from ..pipeline import STAGES, Pipeline
from ..settings import Settings
from ..validation.validate import FULL
from ..validation.verdicts import Extent, Verdict
from .inspect import STAGING_SHARE, TARGET_SHARE, free_space
from .options import Day, database_options, extent_of, json_option, proof_options, settings_from
from .output import StageBars, gigabytes, print_json, print_table
from .summary import Summary, print_summary, read_summary

if TYPE_CHECKING:
    from ..defs.run import RunResult


@click.command()
@database_options
@click.option("--tables", metavar="NAMES", default="", help="Only these tables, with commas.")
@click.option("--from", "first", type=Day(), help="First day; whole partitions are selected.")
@click.option("--to", "last", type=Day(), help="Last day, inclusive.")
@click.option("--dry-run", is_flag=True, help="Stage and analyse; show every rule that would apply. No target needed.")
@click.option("--force", is_flag=True, help="Do it again though nothing changed.")
@click.option("--finish", "finish_anyway", is_flag=True, help="Build indexes though partitions are missing.")
@click.option("--append", is_flag=True, help="Accept a target that already holds other rows.")
@click.option("--max-quarantine", type=click.IntRange(min=0), help="More rows set aside than this end in exit code 1.")
@proof_options
@json_option
def migrate(
    source: str | None,
    target: str | None,
    staging: str | None,
    tables: str,
    first: date | None,
    last: date | None,
    dry_run: bool,
    force: bool,
    finish_anyway: bool,
    append: bool,
    max_quarantine: int | None,
    sample: Extent | None,
    counts_only: bool,
    as_json: bool,
) -> None:
    """Migrate the source to the target. Run again, it continues; what is complete and unchanged is skipped."""
    settings = settings_from(source, target, staging).with_overrides(append=append or None)
    names = tuple(dict.fromkeys(t.strip() for t in tables.split(",") if t.strip()))
    run(
        settings,
        names,
        (first, last),
        dry_run=dry_run,
        force=force,
        finish_anyway=finish_anyway,
        max_quarantine=max_quarantine,
        extent=extent_of(sample, counts_only),
        as_json=as_json,
    )


@click.command()
@database_options
@click.option(
    "--events", type=click.IntRange(min=500), default=200_000, show_default=True, help="Events of the demo source."
)
def demo(source: str | None, target: str | None, staging: str | None, events: int) -> None:
    """Migrate a generated Cowrie database, or your own, and say where the result lies."""
    settings = settings_from(source, target, staging)
    if settings.source is None:
        path = make_folder(settings.home) / f"demo-{events}.sqlite"
        # A fixed last day, so that the same demo gives the same rows on every day.
        made = make_demo(path, events=events, last_day=date(2026, 10, 31))
        settings = settings.with_overrides(source=str(path))
        click.echo(f"Demo source {path}: {made.rows['raw_events']:,} events, {sum(made.dirty.values())} dirty rows.\n")
    run(settings)
    click.echo(f"\nThe report: {settings.home / 'report' / 'migration.html'}")
    click.echo(f"The target: {settings.target_label}")
    program = Path(sys.argv[0])
    # Another target's URL is named, not shown: it may hold a password.
    target_option = ' --target "$COWRIE_POSTGRES_URL"' if settings.target else ""
    click.echo(f"Open psql:  {program} psql{target_option}")
    dagster = program.with_name("dagster") if program.parent.name == "bin" else "dagster"
    ui = "make ui" if Path("Makefile").exists() else f"DAGSTER_HOME=$PWD {dagster} dev -m cowrie_assets.definitions"
    click.echo(f"Open UI:    COWRIE_SQLITE_PATH={settings.source} {ui}")


def run(
    settings: Settings,
    tables: tuple[str, ...] = (),
    days: tuple[date | None, date | None] = (None, None),
    *,
    dry_run: bool = False,
    force: bool = False,
    finish_anyway: bool = False,
    max_quarantine: int | None = None,
    extent: Extent = FULL,
    as_json: bool = False,
) -> None:
    """Run the migration and print its summary; errors as their types say."""
    from ..defs.run import Selection, run_migration, selected_keys

    pipeline = Pipeline(settings)
    with _watched(pipeline, {}, quiet=as_json or pipeline.stored_plan() is not None):
        plan = pipeline.plan
    pipeline.checked_source()
    unknown = sorted(set(tables) - set(plan.tables))
    if unknown:
        raise SettingsError(
            f"--tables: the source has no table {', '.join(unknown)}.", hint="See cowrie-assets inspect."
        )
    whole = days == (None, None)
    keys = selected_keys(pipeline, tables) if whole else plan.windows.select(*days)
    if not whole and not selected_keys(pipeline, tables):
        raise PlanError("--from and --to select windows; none of the chosen tables is dated.", hint="Leave them out.")
    stages = ("staging", "quality") if dry_run else STAGES
    selection = Selection(tables, keys, whole, force, finish_anyway, stages, extent)
    totals = dict.fromkeys(selection.stages, _rows(pipeline, selection.tables, keys, whole))
    check_space(pipeline)
    started = time.monotonic()
    if dry_run:
        with _watched(pipeline, totals, quiet=as_json):
            _succeeded(run_migration(pipeline, selection))
        _print_dry_run(pipeline, _units(pipeline, tables, keys, whole), as_json)
        return
    with pipeline.locked(wait=0):
        if extent == FULL and not force and pipeline.in_place(_units(pipeline, tables, keys, whole)):
            _print_in_place(pipeline, as_json, max_quarantine)
            return
        pipeline.prepare()
        with _watched(pipeline, totals, quiet=as_json):
            result = _succeeded(run_migration(pipeline, selection))
        with pipeline.connect() as connection:
            summary = read_summary(connection)
    if as_json:
        print_json(summary.as_json() | {"run_id": result.run_id, "failed_checks": list(result.failed_checks)})
    else:
        click.echo("")
        print_summary(summary)
        click.echo(f"Took {time.monotonic() - started:.0f} s.")
    if summary.overall.verdict is Verdict.FAIL or result.failed_checks:
        raise summary.difference("See cowrie-assets verify and the report.", result.failed_checks)
    _check_budget(summary, max_quarantine)


def _print_in_place(pipeline: Pipeline, as_json: bool, max_quarantine: int | None) -> None:
    with pipeline.connect() as connection:
        summary = read_summary(connection)
    if as_json:
        print_json(summary.as_json() | {"run_id": None, "failed_checks": []})
    else:
        print_summary(summary)
        click.echo("Nothing to do: all of it is in place, and proven. cowrie-assets verify proves it afresh.")
    if summary.overall.verdict is Verdict.FAIL:
        raise summary.difference("See cowrie-assets verify and the report.")
    _check_budget(summary, max_quarantine)


def _check_budget(summary: Summary, max_quarantine: int | None) -> None:
    if max_quarantine is not None and summary.set_aside > max_quarantine:
        raise DifferenceError(
            f"{summary.set_aside:,} rows were set aside, more than --max-quarantine {max_quarantine:,} allows.",
            hint="See cowrie-assets quarantine.",
        )


@contextmanager
def _watched(pipeline: Pipeline, totals: Mapping[str, int], *, quiet: bool) -> Iterator[None]:
    """Show a bar a stage while the block runs, unless a script reads the output."""
    if quiet:
        yield
        return
    bars = StageBars(totals)
    pipeline.progress = bars
    with bars.shown():
        yield


def _succeeded(result: RunResult) -> RunResult:
    """The run's result; LoadError with the first failed step's message where it failed."""
    if not result.success:
        message = result.error or "The run failed."
        told = "start it again" in message.lower()
        raise LoadError(message, hint=None if told else "Start it again: what is complete is kept.")
    return result


def _units(
    pipeline: Pipeline, tables: tuple[str, ...], keys: tuple[str, ...], whole: bool
) -> list[tuple[str, tuple[str, ...]]]:
    """The (table, partition keys) that a run selects."""
    plan = pipeline.plan
    chosen = [t for t in (*plan.dated, *plan.others) if not tables or t in tables]
    return [(t, plan.partitions(t) if whole else keys) for t in chosen if whole or t in plan.dated]


def _rows(pipeline: Pipeline, tables: tuple[str, ...], keys: tuple[str, ...], whole: bool) -> int:
    total = 0
    for name, table in pipeline.plan.tables.items():
        if tables and name not in tables:
            continue
        total += table.rows if whole else sum(table.slice(k).rows for k in keys)
    return total


def check_space(pipeline: Pipeline) -> None:
    """TargetError before the first row moves where staging has too little room."""
    if not pipeline.store.is_local:
        return
    source = pipeline.settings.require_source()
    needed = int(source.stat().st_size * STAGING_SHARE)
    if pipeline.settings.target is None:
        needed += int(source.stat().st_size * TARGET_SHARE)  # the embedded server's files lie on this machine too
    present = pipeline.store.size()
    free = free_space(Path(pipeline.store.root))
    if needed - present > free:
        raise TargetError(
            f"Staging in {pipeline.store.root} needs about {gigabytes(needed - present)}, {gigabytes(free)} are free.",
            hint="Free space, or set COWRIE_STAGING_URL to a larger disk.",
        )


def _print_dry_run(pipeline: Pipeline, units: list[tuple[str, tuple[str, ...]]], as_json: bool) -> None:
    from ..quality.analyse import read_profile

    counts: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], list[int]] = {}
    for table, key in ((table, key) for table, keys in units for key in keys):
        profile = read_profile(pipeline.store, table, key)
        for found in profile.findings if profile else ():
            place = (table, found["column"], found["code"])
            counts[place] += found["count"]
            examples[place] = (examples.get(place, []) + found["examples"])[:5]
    rows = [(*place, counts[place], ", ".join(map(str, examples[place]))) for place in sorted(counts)]
    if as_json:
        names = ("table", "column", "rule", "count", "examples")
        print_json([dict(zip(names, (*row[:4], examples[row[:3]]), strict=True)) for row in rows])
        return
    print_table(("table", "column", "rule", "cells or rows", "rowids"), rows)
    click.echo(
        "A rule without a column sets the row aside, or ends the run where its policy is fail."
        " Nothing was written to a target."
    )
