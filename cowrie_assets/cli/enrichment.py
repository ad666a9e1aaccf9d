"""`enrichment refresh` and `enrichment live-check`: what services say of addresses and files.

Belongs here: these two commands. Not here: asking and writing (`enrichment/`).
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ..errors import SettingsError
from ..settings import load_settings, sensors_content
from .databases import database_option, has_table, note_changed, opened, require_tables
from .options import json_option
from .output import HEARTBEAT_SECONDS, print_json, print_table

if TYPE_CHECKING:
    from ..enrichment.config import ServiceConfig
    from ..enrichment.tally import Tally

FAILED, STOPPED = 1, 3
SERVICE_NAMES = ("dshield", "urlhaus", "spur", "virustotal")
FILE_SERVICE = "virustotal"
service_option = click.option(
    "--service", "services", multiple=True, type=click.Choice(SERVICE_NAMES), help="Only this one (repeatable)."
)


@click.group()
def enrichment() -> None:
    """Ask VirusTotal, DShield, URLhaus and SPUR about addresses and files.

    Keys come from COWRIE_VT_API_KEY, COWRIE_URLHAUS_API_KEY and COWRIE_SPUR_API_KEY (or the same with _FILE), or from
    key_file in sensors.toml; DShield wants COWRIE_DSHIELD_CONTACT, an address it can write to.
    """


@enrichment.command()
@database_option
@service_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N questions a service and table.")
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Ask again where the last answer is older. [each service's cache_days]",
)
@click.option("--dry-run", is_flag=True, help="Count what would be asked; ask and write nothing.")
@click.option("--sessions", "sessions_only", is_flag=True, help="Only sessions, by source address.")
@click.option("--files", "files_only", is_flag=True, help="Only files, by SHA-256 (VirusTotal).")
@json_option
def refresh(
    database: str | None,
    services: tuple[str, ...],
    limit: int | None,
    days: float | None,
    dry_run: bool,
    sessions_only: bool,
    files_only: bool,
    as_json: bool,
) -> int:
    """Fill the enrichment of sessions and files; started again, it goes on where it was.

    Exit codes: 0 all is fresh; 1 some lookups failed; 2 nothing could be done; 3 interrupted, or a service stopped
    before the end (its allowance is used up, it refuses the key, it does not answer).
    """
    from ..enrichment.cache import FILE_NAME, Cache
    from ..enrichment.files import Files
    from ..enrichment.limits import Clock
    from ..enrichment.refresh import Scope, Subject
    from ..enrichment.refresh import refresh as refresh_table
    from ..enrichment.services import CachedService
    from ..enrichment.sessions import Sessions

    configs = _configs(services)
    usable = {name: config for name, config in configs.items() if config.credential or dry_run}
    lacking = [config for name, config in configs.items() if name not in usable]
    if not usable or (services and lacking):
        raise SettingsError(
            f"No key is set for {', '.join(c.name for c in lacking)}.",
            hint=f"Set {', '.join(c.setting for c in lacking)} (see README).",
        )
    both = sessions_only == files_only
    if files_only and not both and FILE_SERVICE not in usable:
        unset = f", and {configs[FILE_SERVICE].setting} is not set" if FILE_SERVICE in configs else " alone"
        raise SettingsError(
            f"Files are asked about at {FILE_SERVICE}{unset}.",
            hint="Set it (see README)." if FILE_SERVICE in configs else "Leave --service out.",
        )
    scope = Scope(limit, None if days is None else timedelta(days=days), dry_run)
    tallies: list[Tally] = []
    notes = [
        f"{c.name}: {'would not be asked' if dry_run else 'NOT ASKED'}, {c.setting} is not set"
        for c in configs.values()
        if not c.credential
    ]
    with opened(database, write=not dry_run, doing="Looking at its tables") as engine:
        subjects: list[Subject] = []
        if sessions_only or both:
            require_tables(engine, session_summaries="enrichment", raw_events=None)
            subjects.append(Sessions())
        if both and not has_table(engine, "files"):
            notes.append("files: NOT CHECKED, the database has no such table (it came with version 4)")
        elif files_only or both:
            require_tables(engine, files=None, session_summaries=None)
            subjects.append(Files())
        cache = Cache(load_settings().home / FILE_NAME, write=not dry_run)
        try:
            for config in usable.values():
                service = CachedService(config, cache, Clock())
                for subject in subjects:
                    if subject.table == "session_summaries" or config.name == FILE_SERVICE:
                        stopped = next((t.stopped for t in tallies if t.service == config.name and t.stopped), None)
                        if stopped is None:
                            tallies.append(
                                refresh_table(engine, subject, service, scope, _Heartbeat(service.per_minute, dry_run))
                            )
        finally:
            cache.close()
        note_changed(engine, 0 if dry_run else sum(tally.written for tally in tallies))
    _show(tallies, notes, dry_run, as_json)
    if any(tally.stopped for tally in tallies):
        return STOPPED
    return FAILED if any(tally.failed for tally in tallies) else 0


@enrichment.command("live-check")
@service_option
@json_option
def live_check(services: tuple[str, ...], as_json: bool) -> int:
    """Ask each service one question and say whether it answers; this uses up one query of each.

    Exit codes: 0 ok; 1 warning (rate limited, unreachable, no key where the service is named); 2 critical (the key is
    refused, the answer is not what is documented).
    """
    from ..enrichment.limits import Clock
    from ..enrichment.live_check import check, exit_code

    verdicts = [check(config, Clock()) for config in _configs(services).values()]
    code = exit_code(verdicts, named=bool(services))
    if as_json:
        print_json({"exit_code": code, "services": [vars(verdict) for verdict in verdicts]})
    else:
        rows = [(v.service, v.verdict, "" if v.seconds is None else f"{v.seconds:.1f} s", v.detail) for v in verdicts]
        print_table(("service", "verdict", "took", "detail"), rows)
    return code


def _configs(services: tuple[str, ...]) -> dict[str, ServiceConfig]:
    from ..enrichment.config import service_configs

    file, content = sensors_content(os.environ)
    table = content.get("enrichment", {})
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: [enrichment] is no table.", hint="Write [enrichment] on a line of its own.")
    configs = service_configs(os.environ, table)
    return {name: config for name, config in configs.items() if not services or name in services}


class _Heartbeat:
    """Says at least every ten seconds where the work is, on standard error."""

    def __init__(self, per_minute: float, dry_run: bool) -> None:
        self._pace = per_minute
        self._dry_run = dry_run
        self._spoken = time.monotonic()

    def __call__(self, tally: Tally, total: int) -> None:
        if time.monotonic() - self._spoken < HEARTBEAT_SECONDS:
            return
        self._spoken = time.monotonic()
        left = max(0, total - tally.fresh - tally.tried - tally.not_sent - tally.no_address)
        pace = "" if self._dry_run else f": {_duration(60 * left / self._pace)} at {self._pace:g} a minute"
        asked = "to ask" if self._dry_run else "asked"
        click.echo(
            f"{tally.service} {tally.table}: {tally.asked:,} {asked}, {tally.cached:,} from the cache,"
            f" at most {left:,} rows to go{pace}",
            err=True,
        )


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _show(tallies: list[Tally], notes: list[str], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "refreshed": [tally.as_json() for tally in tallies], "notes": notes})
        return
    names = ("asked", "cached", "found", "not_found", "flagged", "written", "fresh", "not_sent", "no_address")
    rows: list[tuple[Any, ...]] = [
        (t.service, t.table, *(getattr(t, name) for name in names), sum(t.failed.values())) for t in tallies
    ]
    asked = "would ask" if dry_run else "asked"
    header = ("from cache", "found", "not found", "flagged", "written", "fresh", "not sent", "no address", "failed")
    print_table(("service", "table", asked, *header), rows)
    for tally in tallies:
        for reason, number in tally.failed.items():
            click.echo(f"{tally.service} {tally.table}: {number:,} failed: {reason}")
        if tally.stopped:
            click.echo(f"{tally.service} stopped before the end. {tally.stopped}")
    for note in notes:
        click.echo(note)
