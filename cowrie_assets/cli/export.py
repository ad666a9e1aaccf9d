"""`export`: rebuild the source's SQLite file from the target.

Belongs here: the command and what it prints. Not here: the way back itself (`export/`).
"""

from __future__ import annotations

from pathlib import Path

import click

from ..export.compare import compare, kinds_of
from ..export.run import Exported
from ..export.run import export as rebuild
from ..pipeline import Pipeline
from ..reporting.text import inert
from .options import settings_from, target_option
from .output import StageBars, print_table


@click.command()
@click.option("--to", "path", required=True, type=click.Path(path_type=Path), help="The SQLite file to make.")
@target_option
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@click.option("--all", "everything", is_flag=True, help="Also the rows that others wrote to our tables since.")
@click.option("--incomplete", is_flag=True, help="Also where partitions are not loaded: what is there.")
@click.option(
    "--compare-with", "source", type=click.Path(path_type=Path), help="Compare the result with this file, cell by cell."
)
def export(
    path: Path, target: str | None, overwrite: bool, everything: bool, incomplete: bool, source: Path | None
) -> int:
    """Write the source's SQLite file again, from the target and its ledger alone.

    Exit code 1 where a row of ours is gone from the target, a declaration cannot be rebuilt, or the files differ.
    """
    pipeline = Pipeline(settings_from(None, target, None))
    with StageBars({}).shown() as bars:
        result = rebuild(
            pipeline.connect,
            path,
            overwrite=overwrite,
            everything=everything,
            incomplete=incomplete,
            progress=lambda table, rows, total: bars("export", table, rows, total),
        )
    _show(result)
    return max(int(not result.whole), _compare(source, result) if source else 0)


def _show(result: Exported) -> None:
    print_table(
        ("table", "rows", "set aside", "repaired cells restored", "missing", "written by others"),
        [(t.table, t.loaded, t.set_aside, t.restored, t.missing, t.others) for t in result.tables],
    )
    others, included = sum(t.others for t in result.tables), sum(t.included for t in result.tables)
    if others:
        click.echo(f"{others:,} rows were written by others since, {included:,} of them are in the file.")
    if lacking := [t.table for t in result.tables if not t.declared]:
        click.echo(f"Not in the file, as the source has no such table: {', '.join(lacking)}.")
    for problem in result.problems:
        click.echo(inert(problem))
    if result.pending:
        click.echo(f"Incomplete: {len(result.pending):,} partitions are not loaded.")
    never = [inert(name) for kind, name in result.plan.not_migrated if kind in ("virtual table", "shadow table")]
    if never:
        click.echo(f"Not in the file, as they were not migrated: {', '.join(never)}.")
    click.echo(f"Written: {inert(str(result.path))}")


def _compare(source: Path, result: Exported) -> int:
    found = compare(source, result.path, kinds_of(result.plan))
    for d in found.differences:
        where = f"{d.table}{f', rowid {d.rowid}' if d.rowid is not None else ''}{f', {d.column}' if d.column else ''}"
        click.echo(inert(f"{where}: {d.left} | {d.right}", 400))
    if found.skipped:
        click.echo(f"NOT CHECKED: {', '.join(map(inert, found.skipped))}.")
    click.echo(f"{found.rows:,} rows compared, {found.count:,} differences.")
    return int(found.count > 0)
