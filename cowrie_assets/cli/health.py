"""`health`: whether the database and what feeds it are well, once or as a service.

Belongs here: options and showing. Not here: looking (`health/`). Nothing heavy is imported: a probe calls this often.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .databases import database_option

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ..health.report import Report
    from ..health.settings import HealthSettings
    from ..settings import Settings


class Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT; an IPv4 address or name."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Split it."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            self.fail(f"{value!r} is no HOST:PORT, such as 127.0.0.1:8080.", param, ctx)
        return host, int(port)


@click.command()
@database_option
@click.option("--status-dir", metavar="FOLDER", help="Status files of the processor's loaders. [COWRIE_STATUS_DIR]")
@click.option("--status-hours", type=float, help="Older status files are a warning. [26]")
@click.option("--event-hours", type=float, help="An older newest event is a warning. [26]")
@click.option("--event-critical-hours", type=float, help="An older newest event is critical. [0: never]")
@click.option("--free-percent", type=float, help="Less free disk space is a warning. [10]")
@click.option("--free-critical-percent", type=float, help="Less free disk space is critical. [3]")
@click.option("--timeout", type=float, metavar="SECONDS", help="What has not answered by then is critical. [5]")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--serve", type=Address(), metavar="HOST:PORT", help="Answer GET /healthz and /readyz until stopped.")
def health(
    database: str | None, as_json: bool, serve: tuple[str, int] | None, status_dir: str | None, **thresholds: float
) -> int:
    """Look at database, schema version, migration, newest event, loaders' status files and disk space.

    Nothing is written, no table is read through; SQLite itself leaves an empty -wal and a -shm beside a file in WAL
    mode that had none. The thresholds are also settings: COWRIE_HEALTH_EVENT_HOURS and so on, and [health] in
    sensors.toml.

    Exit codes: 0 well; 1 a warning; 2 critical. Served: 200 where nothing is critical, else 503; /readyz is about
    database and schema alone.
    """
    from ..db.settings import load_engine_settings
    from ..health.connections import service_connections
    from ..health.probe import Probe
    from ..health.settings import load_health_settings
    from ..settings import load_settings

    limits = load_health_settings({"status_dir": status_dir, **thresholds})
    settings = load_settings()
    database = database or load_engine_settings().url
    if serve:
        from ..health.connections import database_url

        url = database_url(database, settings)
        with service_connections(url, limits.timeout) as connect:
            _serve(serve, Probe(connect, database, settings, limits))
        return 0
    report = Probe(lambda: _opened(database, settings, limits), database, settings, limits).look()
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _show(report)
    return int(report.status)


@contextmanager
def _opened(database: str | None, settings: Settings, limits: HealthSettings) -> Iterator[sa.Connection]:
    from ..health.connections import connect_once, database_url

    with connect_once(database_url(database, settings), limits.timeout) as connection:
        yield connection


def _show(report: Report) -> None:
    for check in report.checks:
        click.echo(f"{check.status.word:<8}  {check.name:<12}  {check.text}")
    click.echo(f"{report.status.word}: {len(report.checks)} checks in {report.seconds:.2f} s")


def _serve(address: tuple[str, int], probe: Any) -> None:
    from ..errors import SettingsError
    from ..health.serve import Endpoint

    try:
        endpoint = Endpoint(address, probe)
    except OSError as error:
        raise SettingsError(
            f"{address[0]}:{address[1]} cannot be listened on: {error.strerror}.",
            hint="Name another --serve HOST:PORT.",
        ) from error
    with endpoint:
        click.echo(f"Serving http://{address[0]}:{endpoint.server_address[1]}/healthz and /readyz. Ctrl-C stops it.")
        try:
            endpoint.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            click.echo("Stopped.")
