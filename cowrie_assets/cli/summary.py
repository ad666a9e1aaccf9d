"""The short table at the end of a migration, also shown by `status` and `verify`.

Belongs here: its columns, and the ledger as JSON. Not here: reading the ledger (`reporting/ledger.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ..errors import DifferenceError
from ..loading.ledger import pinned
from ..reporting.ledger import Overall, TableSum, overall, table_sums
from ..reporting.text import inert
from ..validation.verdicts import PartitionProof, Proof, Verdict
from .output import print_table

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Summary:
    """The ledger's sums by table, the verdict over all, and what of the source cannot be read."""

    tables: list[TableSum]
    overall: Overall
    damage: tuple[str, ...] = ()

    @property
    def set_aside(self) -> int:
        """Rows set aside."""
        return sum(t.set_aside for t in self.tables)

    @property
    def moved(self) -> int:
        """Rows in place: loaded or set aside."""
        return sum(t.loaded + t.set_aside for t in self.tables)

    def difference(self, hint: str, checks: Sequence[str] = (), *, differs: bool = False) -> DifferenceError:
        """The error of exit code 1: what differs, and where the source's rows are beyond reading."""
        differs = differs or not self.damage or any(t.verdict is Verdict.FAIL for t in self.tables)
        what = ["Source and target differ"] if differs else []
        what += ["Not every row of the source can be read"] if self.damage else []
        named = f" ({', '.join(checks)})" if checks else ""
        return DifferenceError(f"{'. '.join(what)}{named}.", hint=hint)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        tables = [asdict(t) | {"verdict": t.verdict.value} for t in self.tables]
        return {
            "verdict": self.overall.verdict.value,
            "reason": self.overall.reason,
            "unreadable": list(self.damage),
            "tables": tables,
        }


def read_summary(
    connection: Connection, further: Sequence[str] = (), results: Iterable[PartitionProof] = ()
) -> Summary:
    """Read it from the target's ledger.

    Args:
        connection: to the target.
        further: faults that the ledger does not hold.
        results: a proof just made: what it compared is said, also where the ledger keeps an earlier, fuller one.
    """
    made: dict[str, set[str]] = defaultdict(set)
    for result in results:
        made[result.table].add(result.proof)
    sums = [
        replace(s, proof=next(p for p in Proof if p in made[s.table])) if s.table in made else s
        for s in table_sums(connection)
    ]
    plan = pinned(connection)
    damage = plan.damage if plan else ()
    return Summary(sums, overall(sums, further=(*damage, *further)), damage)


def print_summary(summary: Summary) -> None:
    """For each table: rows in the source, loaded, set aside, cells repaired, verified; then the verdict."""
    print_table(
        ("table", "in source", "loaded", "set aside", "cells repaired", "verdict", "proof"),
        [
            (t.table, t.source, t.loaded, t.set_aside, t.repaired, t.verdict.value, t.proof or "none")
            for t in summary.tables
        ],
    )
    click.echo("")
    click.echo(inert(f"{summary.overall.verdict.value}: {summary.overall.reason}"))
