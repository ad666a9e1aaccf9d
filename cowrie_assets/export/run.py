"""Rebuilds the source's file from target and ledger, table by table.

Belongs here: the order of work and what is said of it. Not here: SQL (`read.py`, `write.py`).

What comes back: the source's tables, indexes, views and triggers as declared; every row up to the plan's mark, loaded
or set aside, in its storage classes; text, blobs, numbers and every repaired or set-aside cell byte for byte, dates and
jsonb by value. Rowids come back where they are a column. Other tables' rows come in the order in which they lie in the
target, which is the source's as long as the table is one partition and was loaded once; the rowids that the ledger
knows are kept. What the source's virtual tables and ANALYZE held was not migrated and does not come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import TABLES
from ..errors import ExportError, SettingsError, TargetError
from ..loading.connection import driver
from ..loading.failures import translate
from ..loading.ledger import created_tables, pinned
from ..planning.plan import Plan, TablePlan
from .read import Snapshot, can_tell_rows
from .restore import Restorer, Row
from .write import Target, Writing, check_free, new_file

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

Progress = Callable[[str, int, int | None], None]
"""Called with (table, rows written since the last call, rows expected)."""

STEP = 5_000
"""Rows between two calls of progress."""


@dataclass
class TableExport:
    """What was written of one table.

    Attributes:
        loaded: rows of ours from the target.
        set_aside: rows from the quarantine.
        restored: cells that the ledger's repairs gave back.
        missing: rows that we loaded and that are no longer in the target.
        others: rows that others wrote to the target since.
        included: of these, how many were written too.
        declared: whether the source has the table; `finish` makes those that it lacks, and others may fill them.
    """

    table: str
    loaded: int = 0
    set_aside: int = 0
    restored: int = 0
    missing: int = 0
    others: int = 0
    included: int = 0
    declared: bool = True


@dataclass
class Exported:
    """What an export wrote, and what it could not rebuild."""

    path: Path
    plan: Plan
    tables: list[TableExport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pending: list[tuple[str, str]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every row and declaration of the source is in the file."""
        return not (self.problems or self.pending or any(t.missing for t in self.tables))


def export(
    connect: Callable[[], Connection],
    path: Path,
    *,
    overwrite: bool = False,
    everything: bool = False,
    incomplete: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the source's file again.

    Args:
        connect: gives a new connection to the target; two are used, both read only.
        path: the file to make.
        overwrite: replace a file of that name.
        everything: also the rows that others wrote to our tables since.
        incomplete: also where partitions are not loaded; what is loaded is then written.
        progress: told of rows as they are written.

    Raises:
        SettingsError: where the file cannot take that name.
        TargetError: where the target holds no migration, or an incomplete one.
        ExportError: where it failed on the way; no file is left.
    """
    check_free(path, overwrite=overwrite)
    psycopg = driver()
    try:
        with Snapshot(connect) as snapshot:
            plan = pinned(snapshot.side)
            if plan is None:
                raise TargetError("The target holds no migration of ours.", hint="Set COWRIE_POSTGRES_URL.")
            if path.exists() and Path(plan.source_path).exists() and path.samefile(plan.source_path):
                raise SettingsError(f"{path} is the source itself.", hint="Name another file: the source is only read.")
            result = Exported(path, plan, pending=snapshot.pending())
            if result.pending and not incomplete:
                table, key = result.pending[0]
                raise TargetError(
                    f"{len(result.pending):,} partitions are not loaded, the first is {key} of {table}.",
                    hint="Run `cowrie-assets migrate`, or export what is there with --incomplete.",
                )
            with new_file(path, plan.declared, overwrite=overwrite) as target:
                for planned in plan.tables.values():
                    result.tables.append(_table(snapshot, target, planned, everything, progress))
                for name in created_tables(snapshot.side):
                    if name not in plan.tables and (filled := snapshot.count(TABLES[name])):
                        result.tables.append(TableExport(name, others=filled, declared=False))
            result.problems = target.problems + [
                f"{kind} {name} is not rebuilt: its declaration is no UTF-8" for kind, name in plan.declared.unreadable
            ]
    except psycopg.Error as error:
        failed = translate(error, "Reading the target failed")
        raise ExportError(failed.message, hint="Export again: nothing was left behind.") from error
    return result


def _table(
    snapshot: Snapshot, target: Target, planned: TablePlan, everything: bool, progress: Progress | None
) -> TableExport:
    name = planned.source.name
    restorer = Restorer(snapshot, planned)
    done, expected = TableExport(name), snapshot.expected(name)
    has_rowids = planned.source.rowid is not None and planned.source.rowid_key is None
    reserved = snapshot.told_rowids(name) if has_rowids else None
    writing = Writing(restorer.fetch, restorer.respellable, restorer.dates, reserved)
    total = expected.loaded + expected.quarantined
    # What was set aside comes first: its spelling is fixed, that of a date or of jsonb is not.
    rows = chain(restorer.set_aside(), restorer.rows(everything=everything))
    clashes = target.insert(planned.source, _counted(rows, done, total, progress), writing)
    done.restored = restorer.restored
    if expected.quarantined != done.set_aside:
        raise ExportError(
            f"Table {name}: {expected.quarantined:,} rows were set aside, the quarantine holds {done.set_aside:,}.",
            hint="The ledger was changed: run `cowrie-assets verify`.",
        )
    if can_tell_rows(planned.target):
        done.missing = expected.loaded - done.loaded
        done.others = snapshot.count(planned.target) - done.loaded
        done.included -= clashes
    else:
        done.others = max(done.loaded - expected.loaded, 0)
        done.missing = max(expected.loaded - done.loaded, 0)
        done.included, done.loaded = done.others, done.loaded - done.others
    return done


def _counted(rows: Iterator[Row], done: TableExport, total: int, progress: Progress | None) -> Iterator[Row]:
    since = 0
    for row in rows:
        if row.aside:
            done.set_aside += 1
        elif row.ours:
            done.loaded += 1
        else:
            done.included += 1
        since += 1
        if progress and since == STEP:
            progress(done.table, since, total)
            since = 0
        yield row
    if progress:
        progress(done.table, since, total)
