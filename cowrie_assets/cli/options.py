"""Options that commands share, and the settings they lead to.

Belongs here: option declarations. Not here: the settings' meaning (`settings.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar

import click

from ..settings import Settings, load_settings, parse_day
from ..validation.validate import FULL
from ..validation.verdicts import Extent, Proof

F = TypeVar("F", bound=Callable[..., Any])


class Day(click.ParamType[date]):
    """A day as YYYY-MM-DD."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse it; SettingsError names the option."""
        return value if isinstance(value, date) else parse_day(value, param.opts[0] if param else "day")


class Share(click.ParamType[Extent]):
    """A share of the rows, such as 1%."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Extent:
        """Parse it."""
        extent = value if isinstance(value, Extent) else Extent.parse(value)
        if extent.proof is not Proof.SAMPLE:
            self.fail(f"{value!r} is no share: write 1% or 0.5%.", param, ctx)
        return extent


source_option = click.option("--source", metavar="PATH", help="The SQLite file. [COWRIE_SQLITE_PATH]")
target_option = click.option("--target", metavar="URL", help="The PostgreSQL database. [COWRIE_POSTGRES_URL]")
staging_option = click.option("--staging", metavar="URL", help="Where Parquet files lie. [COWRIE_STAGING_URL]")
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
sample_option = click.option("--sample", type=Share(), help="Prove row counts, and cells of this share of the rows.")
counts_option = click.option("--counts-only", is_flag=True, help="Prove row counts only.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def database_options(function: F) -> F:
    """--source, --target and --staging."""
    return source_option(target_option(staging_option(function)))


def proof_options(function: F) -> F:
    """--sample and --counts-only."""
    return sample_option(counts_option(function))


def extent_of(sample: Extent | None, counts_only: bool) -> Extent:
    """How much is to be proven; by default everything."""
    if sample and counts_only:
        raise click.UsageError("--sample and --counts-only exclude each other.")
    return sample or (Extent(Proof.COUNTS) if counts_only else FULL)


def settings_from(source: str | None = None, target: str | None = None, staging: str | None = None) -> Settings:
    """The settings with what was given on the command line."""
    return load_settings().with_overrides(source=source, target=target, staging=staging)
