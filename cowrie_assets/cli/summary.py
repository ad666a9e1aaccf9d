"""The short table at the end of a migration, also shown by `status` and `verify`.

Belongs here: its columns, and the ledger as JSON. Not here: reading the ledger (`reporting/ledger.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from ..reporting.ledger import Overall, TableSum, overall, table_sums
from .output import print_table

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Summary:
    """The ledger's sums by table, and the verdict over all."""

    tables: list[TableSum]
    overall: Overall

    @property
    def set_aside(self) -> int:
        """Rows set aside."""
        return sum(t.set_aside for t in self.tables)

    @property
    def moved(self) -> int:
        """Rows in place: loaded or set aside."""
        return sum(t.loaded + t.set_aside for t in self.tables)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        tables = [asdict(t) | {"verdict": t.verdict.value} for t in self.tables]
        return {"verdict": self.overall.verdict.value, "reason": self.overall.reason, "tables": tables}


def read_summary(connection: Connection) -> Summary:
    """Read it from the target's ledger."""
    sums = table_sums(connection)
    return Summary(sums, overall(sums))


def print_summary(summary: Summary) -> None:
    """For each table: rows in the source, loaded, set aside, cells repaired, verified; then the verdict."""
    print_table(
        ("table", "in source", "loaded", "set aside", "cells repaired", "verdict", "proof"),
        [
            (t.table, t.source, t.loaded, t.set_aside, t.repaired, t.verdict.value, t.proof or "none")
            for t in summary.tables
        ],
    )
    click.echo(f"\n{summary.overall.verdict.value}: {summary.overall.reason}")
