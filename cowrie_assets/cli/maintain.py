"""`reset`, `clean`, `psql`: undo a migration, free staging, look into the target.

Belongs here: these commands and their questions. Not here: what is removed (`loading/reset.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess

import click

from ..db.url import mask
from ..errors import TargetError
from ..loading.reset import plan_reset
from ..loading.reset import reset as undo
from ..pipeline import PLAN_FILE, Pipeline
from ..reporting.text import inert
from .options import settings_from, source_option, staging_option, target_option, yes_option
from .output import gigabytes


@click.command()
@target_option
@yes_option
def reset(target: str | None, yes: bool) -> None:
    """Undo this migration in the target: its rows, tables and ledger go, rows that others wrote stay."""
    pipeline = Pipeline(settings_from(None, target, None))
    with pipeline.locked(wait=0), pipeline.connect() as connection:
        plan, steps = plan_reset(connection)
        connection.commit()
        click.echo(f"In {pipeline.settings.target_label}:")
        for step in steps:
            what = "drop the table" if step.drop else "delete our rows, keep the table"
            others = f", {step.others:,} rows of others stay" if step.others else ""
            click.echo(f"  {inert(step.table)}: {what} ({step.ours:,} rows of ours{others})")
        click.echo("  schema cowrie_migration: drop it, with repairs and quarantine")
        if not yes:
            click.confirm("Undo the migration?", abort=True)
        undo(connection, plan, steps)
    click.echo("Done. The source and staging are untouched.")


@click.command()
@source_option
@staging_option
@click.option("--plan", "with_plan", is_flag=True, help="The plan too; it is made again when next needed.")
@yes_option
def clean(source: str | None, staging: str | None, with_plan: bool, yes: bool) -> None:
    """Delete the staged, analysed and cleaned files; the plan stays unless it is named."""
    store = Pipeline(settings_from(source, None, staging)).store
    click.echo(f"{mask(store.url)}: {gigabytes(store.size())}")
    if not yes:
        click.confirm("Delete the staged files?", abort=True)
    for folder in ("staging", "quality", "cleaned"):
        store.delete(folder)
    if with_plan:
        store.delete(PLAN_FILE)
    click.echo("Done. The next run stages again.")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@target_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(target: str | None, arguments: tuple[str, ...]) -> int:
    """Open psql on the target; the embedded server runs while it is open. ARGUMENTS go to psql."""
    pipeline = Pipeline(settings_from(None, target, None))
    url = pipeline.target_url
    program = shutil.which("psql")
    if pipeline.settings.target is None:
        from ..db import embedded

        program = str(embedded.binary("psql"))
    if program is None:
        raise TargetError("psql is not installed.", hint="Install PostgreSQL's client.")
    # The URL travels in the environment: a command line is visible to every user of the machine.
    from ..loading.connection import url_parts

    parts = url_parts(url)
    names = {"dbname": "PGDATABASE", "user": "PGUSER", "host": "PGHOST", "port": "PGPORT", "password": "PGPASSWORD"}
    names |= {"sslmode": "PGSSLMODE", "service": "PGSERVICE", "options": "PGOPTIONS", "sslrootcert": "PGSSLROOTCERT"}
    environment = os.environ | {names[k]: str(v) for k, v in parts.items() if k in names}
    return subprocess.run([program, *arguments], env=environment, check=False).returncode  # noqa: S603 - the user's own words
