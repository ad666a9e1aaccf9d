"""The commands of `db` on rows: the table of files, data quality, repairs in place.

Belongs here: options and showing. Not here: what is done (`db/backfill_files.py`, `data_quality.py`, `repair.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .databases import database_option, note_changed, opened, require_tables, unmigrated
from .options import json_option, settings_from
from .output import StageBars, print_json, print_table

if TYPE_CHECKING:
    from ..db.data_quality import Finding, Progress

FILES_SHOWN = 50


@click.command("backfill-files")
@database_option
@click.option("--dry-run", is_flag=True, help="Count; write nothing.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="ID", help="Begin behind this event.")
@json_option
def backfill_files(database: str | None, dry_run: bool, after: int, as_json: bool) -> None:
    """Fill the table of files from the events of downloads and uploads.

    Adds what is missing, and names and URLs that a row lacks; nothing is overwritten, enrichment least of all. Batches
    commit for themselves: interrupted, it is started again, and adds only what is missing.
    """
    from ..db.backfill_files import Backfill
    from ..db.backfill_files import backfill_files as run

    def show(done: Backfill) -> None:
        click.echo(f"{done.events:,} events of files, up to event {done.last_id:,}", err=True)

    with ExitStack() as stack:
        engine = stack.enter_context(opened(database, write=not dry_run, doing="Filling files"))
        if not dry_run:
            stack.enter_context(unmigrated(database))
        require_tables(engine, raw_events=None, files=None)
        done = run(engine, dry_run=dry_run, after=after, progress=None if as_json else show)
        note_changed(engine, 0 if dry_run else done.completed)
    if as_json:
        print_json(asdict(done) | {"dry_run": dry_run})
        return
    would = "would be " if dry_run else ""
    click.echo(
        f"{done.events:,} events of files: {done.added:,} files {would}added, {done.completed:,} {would}completed."
    )
    if done.unusable:
        listed = ", ".join(map(str, done.examples))
        click.echo(f"{done.unusable:,} events without session or SHA-256 (events {listed}).")


@click.command()
@database_option
@click.option("--malicious", is_flag=True, help="Only those that VirusTotal calls malicious.")
@click.option("--pending", is_flag=True, help="Only those that no service was asked about.")
@click.option("--session", metavar="ID", help="Only those of a session.")
@click.option("--limit", type=click.IntRange(min=1), default=FILES_SHOWN, show_default=True, help="At most so many.")
@json_option
def files(database: str | None, malicious: bool, pending: bool, session: str | None, limit: int, as_json: bool) -> None:
    """List the files that sessions left, newest first."""
    from ..db.backfill_files import list_files

    with opened(database, write=False, doing="Listing files") as engine:
        require_tables(engine, files=None)
        with engine.connect() as connection:
            found = list(list_files(connection, malicious=malicious, pending=pending, session=session, limit=limit))
    if as_json:
        print_json(found)
        return
    columns = ("id", "session_id", "shasum", "filename", "download_url", "enrichment_status")
    header = ("id", "session", "SHA-256", "name", "URL", "status", "first seen", "malicious")
    rows = [
        (
            *("" if row[c] is None else row[c] for c in columns),
            f"{row['first_seen']:%Y-%m-%d %H:%M:%S}" if row["first_seen"] else "",
            "yes" if row["vt_malicious"] else "",
        )
        for row in found
    ]
    print_table(header, rows)
    if len(found) == limit:
        click.echo(f"The newest {limit:,}; --limit shows more.")


@click.command()
@database_option
@json_option
def analyze(database: str | None, as_json: bool) -> None:
    """Ask the catalogue's rules about every row, in place: what a migration or `db repair` would change or set aside.

    Changes nothing. `cowrie-assets rules` explains the rules.
    """
    from ..db.data_quality import analyse

    with ExitStack() as stack:
        engine = stack.enter_context(opened(database, write=False, doing="Analysing"))
        progress = _bars(stack, "analyze", as_json)
        result = analyse(engine, settings_from().treatment, progress)
    if as_json:
        print_json(asdict(result))
        return
    _print_findings(result.findings)
    click.echo(f"{sum(result.rows.values()):,} rows of {len(result.rows)} tables.")
    _print_others(result.not_checked)


@click.command()
@database_option
@click.option("--apply", is_flag=True, help="Change the cells. Without it nothing is written.")
@json_option
def repair(database: str | None, apply: bool, as_json: bool) -> None:
    """Apply the catalogue's rules in place; without --apply only say what would change.

    Fills session_id, event_type and event_timestamp from the payload where they are NULL. Each changed cell's original
    goes to a ledger in the same transaction: cowrie_migration.inplace_repairs and inplace_derivations on PostgreSQL,
    cowrie_migration_repairs and cowrie_migration_derivations on SQLite. Rows that no rule can mend stay as they are.
    Make a backup first (`cowrie-assets db backup`).
    """
    from ..db.repair import repair as run

    with ExitStack() as stack:
        engine = stack.enter_context(opened(database, write=apply, doing="Repairing"))
        if apply:
            stack.enter_context(unmigrated(database))
        progress = _bars(stack, "repair", as_json)
        done = run(engine, settings_from().treatment, apply=apply, progress=progress)
        note_changed(engine, sum(finding.count for finding in done.changed) if apply else 0)
    if as_json:
        print_json(asdict(done))
        return
    _print_findings(done.changed)
    cells = sum(finding.count for finding in done.changed)
    click.echo(f"{cells:,} cells {f'changed, run {done.run_id}' if apply else 'would change; --apply changes them'}.")
    if done.left:
        click.echo("Left as they are, no rule can mend them in place:")
        _print_findings(done.left)
    _print_others(done.not_checked)


def _bars(stack: ExitStack, stage: str, quiet: bool) -> Progress | None:
    if quiet:
        return None
    bars = stack.enter_context(StageBars({}).shown())
    return lambda table, rows: bars(stage, table, rows, None)


def _print_findings(findings: Sequence[Finding]) -> None:
    rows = [(f.table, f.column or "(row)", f.rule, f.count, ", ".join(map(str, f.examples))) for f in findings]
    if rows:
        print_table(("table", "column", "rule", "count", "rows"), rows)


def _print_others(names: Sequence[str]) -> None:
    if names:
        click.echo(f"NOT CHECKED, the rules know nothing of them: {', '.join(names)}.")
