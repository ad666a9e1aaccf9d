"""`report`: the migration's own report, and reports over the events and sessions of a database.

Belongs here: these commands and where their output goes. Not here: queries and forms (`reporting/`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..pipeline import Pipeline
from ..reporting.migration import write_report
from .databases import database_option, opened, require_tables
from .options import Day, database_options, settings_from
from .output import print_table, written

if TYPE_CHECKING:
    from ..reporting.queries.catalogue import Report
    from ..reporting.queries.facts import Window

FORMS = ("table", "json", "csv", "html")
MOST = 10_000
HELP = {
    "sessions": "Sums over sessions as the loader counted them, by the sensor it noted with each.",
    "commands": "Commands by how often they were typed.",
    "downloads": "Downloaded files by how often they were fetched.",
    "sensors": "Sensors by their events, with their first and last hour.",
    "enriched": "Sessions of which a service said something, highest risk first.",
    "credentials": "User names and passwords by how often they were tried.",
    "hours": "Events, logins, commands and downloads by hour.",
    "days": "Events, logins, commands and downloads by day.",
    "sources": "Source addresses by events.",
}


@click.group(invoke_without_command=True)
@database_options
@click.pass_context
def report(context: click.Context, source: str | None, target: str | None, staging: str | None) -> None:
    """Without a name: write the report of the whole migration as Markdown and HTML. With one: show that report.

    The named reports read any database of the processor, SQLite or PostgreSQL. An event's date is its own time, a
    session's that of its first event; days are in UTC.
    """
    if context.invoked_subcommand is not None:
        if source or target or staging:
            raise click.UsageError("--source, --target and --staging are for the migration's report: use --database.")
        return
    written = write_report(Pipeline(settings_from(source, target, staging)))
    click.echo(f"{written.verdict}\n{written.markdown}\n{written.html}")


def _command(name: str) -> Callable[..., None]:
    @report.command(name, help=HELP[name])
    @database_option
    @click.option("--from", "first", type=Day(), metavar="DAY", help="First day, in UTC.")
    @click.option("--to", "last", type=Day(), metavar="DAY", help="Last day, inclusive.")
    @click.option("--sensor", help="Only of this sensor.")
    @click.option("--limit", type=click.IntRange(1, MOST), help="At most so many rows.")
    @click.option("--format", "form", type=click.Choice(FORMS), default="table", show_default=True, help="Output form.")
    @click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
    def command(
        database: str | None,
        first: date | None,
        last: date | None,
        sensor: str | None,
        limit: int | None,
        form: str,
        output: Path | None,
    ) -> None:
        from ..db.connecting import label
        from ..reporting.queries.catalogue import REPORTS
        from ..reporting.queries.facts import Facts, Window

        if first and last and first > last:
            raise click.UsageError(f"--from {first} is after --to {last}.")
        chosen = REPORTS[name]
        window = Window(first, last, sensor, limit or chosen.limit)
        with opened(database, write=False, doing=f"The report {name}") as engine:
            require_tables(engine, **{chosen.table: None})
            with engine.connect() as connection:
                rows = chosen.find(Facts(connection), window)
            _show(name, chosen, window, rows, form, output, label(engine))

    return command


def _show(name: str, chosen: Report, window: Window, rows: Any, form: str, output: Path | None, database: str) -> None:
    from ..reporting import forms

    shown = [_shown(row) for row in rows] if form == "table" else []
    if form == "table" and output is None:
        print_table(forms.header(chosen), shown)
        return
    with written(output) as sink:
        if form == "table":
            print_table(forms.header(chosen), shown, sink)
        elif form == "json":
            sink.write(forms.as_json(name, window, rows))
        elif form == "csv":
            sink.write(forms.as_csv(chosen, rows))
        else:
            sink.write(forms.as_page(chosen, window, rows, database))


def _shown(row: Any) -> list[Any]:
    from ..reporting.forms import values

    return ["(none)" if value is None else value for value in values(row)]


for _name in HELP:
    _command(_name)
