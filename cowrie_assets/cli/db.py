"""`db`: a database's schema, soundness, size and backups, on SQLite and PostgreSQL alike.

Belongs here: the group, and the commands on a database as a whole. Not here: those on its rows (`db_rows.py`), what is
done (`db/`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DatabaseError, LoadError
from . import db_rows
from .databases import database_option, opened
from .migrate import migrate as whole_migration
from .options import json_option
from .output import gigabytes, print_json, print_table

if TYPE_CHECKING:
    import sqlalchemy as sa


@click.group()
def db() -> None:
    """Look after a database, SQLite or PostgreSQL: schema, soundness, backups, files, repairs.

    Without --database the target of the settings is meant.
    """


@db.command()
@database_option
@click.option("--dry-run", is_flag=True, help="Print the SQL; change nothing.")
@click.option("--extras", is_flag=True, help="Two more PostgreSQL indexes, over the payload and its src_ip.")
@json_option
def migrate(database: str | None, dry_run: bool, extras: bool, as_json: bool) -> None:
    """Bring the schema up to date, each version in a transaction; one that is up to date is left as it is.

    A SQLite file that does not exist is created. Of one that does make a backup first (`cowrie-assets db backup`). Rows
    stay; this moves none to another database (see to-postgres).
    """
    from ..db.engine import file_bytes, memory_engine, resolve_url
    from ..db.migrations.extras import add_extras
    from ..db.migrations.runner import migrate as run
    from ..db.url import is_postgres, sqlite_path

    # PostgreSQL rehearses in a transaction that is rolled back; a SQLite file is not touched, nor made, for a dry run.
    url = resolve_url(database)
    path = None if is_postgres(url) else sqlite_path(url, "The database")
    size = path and file_bytes(path)
    write = path is None or not dry_run
    if dry_run and path and not size:
        target: AbstractContextManager[sa.Engine] = nullcontext(memory_engine())
    else:
        target = opened(url, write=write, create=True, doing="Migrating the schema")
    with target as engine:
        applied = run(engine, dry_run=dry_run)
        added = add_extras(engine, dry_run=dry_run) if extras else []
        backend = engine.dialect.name
    if as_json:
        print_json({"dry_run": dry_run, "applied": [asdict(a) | {"sql": a.sql} for a in applied], "extras": added})
        return
    if path and size is None and not dry_run:
        click.echo(f"Created {path}.")
    for version in applied:
        click.echo(f"{'Would apply' if dry_run else 'Applied'} version {version.version}: {version.title}")
        if dry_run:
            click.echo(version.sql)
    for statement in added:
        click.echo(f"{'Would run' if dry_run else 'Ran'}: {statement}")
    if extras and backend == "sqlite":
        click.echo("The extra indexes are PostgreSQL's: SQLite has none of them.")
    if not applied and not added:
        click.echo("Nothing to do: the schema is up to date.")


@db.command()
@database_option
@json_option
def check(database: str | None, as_json: bool) -> int:
    """Say the schema version, and how the schema differs from what it should be.

    Exit codes: 0 nothing differs that programs rely on; 1 something does; 2 the database cannot be used.
    """
    from ..catalog import SCHEMA_VERSION
    from ..db.connecting import label
    from ..db.migrations.drift import check_drift
    from ..db.migrations.runner import current_version, newer_note, require_processor

    with opened(database, write=False, doing="Checking the schema") as engine, engine.connect() as connection:
        require_processor(connection, label(engine))
        version, note = current_version(connection), newer_note(connection)
        found = check_drift(connection)
    serious = any(difference.serious for difference in found)
    if as_json:
        print_json({"version": version, "known": SCHEMA_VERSION, "note": note, "drift": [asdict(d) for d in found]})
        return int(serious)
    click.echo(note or f"Schema version {version or 'none'}, the newest is {SCHEMA_VERSION}.")
    if found:
        rows = [(d.table, d.what, d.expected, d.actual, "yes" if d.serious else "no") for d in found]
        print_table(("table", "what", "should be", "is", "serious"), rows)
    if version < SCHEMA_VERSION:
        click.echo("Run `cowrie-assets db migrate` on it.")
    elif not found:
        click.echo("The schema is as it should be.")
    return int(serious)


@db.command()
@database_option
@click.option("--deep", is_flag=True, help="Read every table and index too: minutes on a large database.")
@json_option
def integrity(database: str | None, deep: bool, as_json: bool) -> int:
    """Say whether the database is sound: storage, schema, indexes, sequences; with --deep also its rows.

    Exit codes: 0 nothing is wrong; 1 something is, or a check could not be made for lack of a right; 2 the database
    cannot be used.
    """
    from ..db.integrity import Verdict, check_integrity

    with opened(database, write=False, doing="Checking integrity") as engine:
        checks = list(check_integrity(engine, deep=deep))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(("check", "verdict", "what was seen"), [(c.name, c.verdict.value, c.detail) for c in checks])
        if any(check.denied for check in checks):
            click.echo("Checks lacked a right: GRANT SELECT on all tables and sequences, or connect as their owner.")
    return int(any(check.verdict is Verdict.WRONG or check.denied for check in checks))


@db.command()
@database_option
@click.option("--vacuum", is_flag=True, help="Only give space back (with --analyze, --reindex: these too).")
@click.option("--analyze", is_flag=True, help="Only gather the planner's statistics.")
@click.option("--reindex", is_flag=True, help="Only build indexes anew.")
@json_option
def optimize(database: str | None, vacuum: bool, analyze: bool, reindex: bool, as_json: bool) -> None:
    """Give space back, gather statistics, build indexes anew; says the size before and after.

    PostgreSQL goes on working meanwhile. A SQLite file is locked for writers, needs twice its size on disk, and gets
    new rowids in tables with a text key: a migration from it that is under way must be planned again.
    """
    from ..db.optimize import STEPS
    from ..db.optimize import optimize as run

    chosen = [name for name, wanted in zip(STEPS, (vacuum, analyze, reindex), strict=True) if wanted]
    begun: list[str] = []

    def show(statement: str) -> None:
        begun.append(statement)
        if not as_json:
            click.echo(statement)

    try:
        with opened(database, write=True, doing="Optimizing") as engine:
            done = run(engine, chosen or STEPS, show)
    except DatabaseError as error:
        if len(begun) > 1:  # those before it stay
            error.exit_code = LoadError.exit_code
        raise
    if as_json:
        print_json(asdict(done))
        return
    click.echo(f"Before: {gigabytes(done.before)}. After: {gigabytes(done.after)}.")


@db.command()
@database_option
@click.option("--to", required=True, metavar="FILE", help="A file that does not exist yet.")
@click.option("--no-verify", is_flag=True, help="Do not restore it for comparison; it is then NOT VERIFIED.")
@json_option
def backup(database: str | None, to: str, no_verify: bool, as_json: bool) -> None:
    """Write the database into one file, as it is at this moment, while others go on using it.

    SQLite: a SQLite file. PostgreSQL: an archive of pg_dump -Fc. It is verified by restoring it into a temporary file
    or database and comparing count and digest of each table.
    """
    from ..db.backup import backup as run

    done = run(database, Path(to), verify=not no_verify)
    if as_json:
        print_json({"file": done.file, "bytes": done.size, "verified": done.verified, "rows": done.rows})
        return
    click.echo(f"{done.file}: {gigabytes(done.size)}")
    if done.rows is not None:
        print_table(("table", "rows"), list(done.rows.items()))
    click.echo(
        "VERIFIED: restored, every table has the same rows." if done.verified else "NOT VERIFIED: it was not restored."
    )


@db.command()
@click.argument("source", metavar="FROM")
@click.option("--to", required=True, metavar="URL|PATH", help="PostgreSQL URL, or SQLite file.")
@click.option("--overwrite", is_flag=True, help="Replace what is there: a SQLite file, or the tables of the backup.")
@json_option
def restore(source: str, to: str, overwrite: bool, as_json: bool) -> None:
    """Bring a backup into an empty database; FROM is a file that backup wrote. Owners and grants are not restored.

    A failure leaves the target as it was. What is in PostgreSQL and not in the backup stays, also with --overwrite.
    """
    from ..db.backup import restore as run

    done = run(Path(source), to, overwrite=overwrite)
    if as_json:
        print_json({"file": done.file, "verified": done.verified, "rows": done.rows})
        return
    print_table(("table", "rows"), list((done.rows or {}).items()))
    click.echo(
        "VERIFIED: every table has the backup's rows."
        if done.verified
        else "Restored in one transaction; the rows were counted, their content is NOT VERIFIED."
    )


for command in (db_rows.backfill_files, db_rows.files, db_rows.analyze, db_rows.repair):
    db.add_command(command)
db.add_command(
    click.Command(
        "to-postgres",
        callback=whole_migration.callback,
        params=whole_migration.params,
        help="Migrate a SQLite database to PostgreSQL: `cowrie-assets migrate` under another name.",
    )
)
