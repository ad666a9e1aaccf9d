"""The stages over one settings object: what Dagster's assets and the commands both call.

Belongs here: which domain function a stage is, and the lazily opened plan, staging and target. Not here: Dagster.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .catalog import OTHER_TABLES, UNDATED
from .cleaning.partition import CleanedManifest, clean_partition, inputs_of
from .db.target import target_url
from .errors import PlanError
from .loading.connection import connect
from .loading.failures import retried
from .loading.finish import Finished, finish
from .loading.ledger import is_finished, pinned
from .loading.load import Loaded, load_partition
from .loading.lock import locked_connection, migration_lock
from .loading.target import Prepared, check_pinned, prepare_target
from .planning.identity import compare_samples
from .planning.plan import Plan, check_settings
from .planning.scan import make_plan
from .quality.analyse import Profile, analyse_partition
from .settings import Settings
from .source.schema import read_schema
from .source.sqlite import read_only, source_state
from .staging.files import Manifest, read_manifest
from .staging.stage import stage
from .staging.store import Store
from .validation.totals import check_totals, record_totals
from .validation.validate import FULL, proven_inputs, validate
from .validation.verdicts import Extent, PartitionProof, TableTotal, Verdict

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

PLAN_FILE = "plan.json"
STAGES = ("staging", "quality", "cleaned", "postgres", "validation")
"""The stages of every table, in the data's order."""
LOCK_WAIT = 10.0
"""Seconds an asset waits for another run's write before it is refused."""


class StageProgress(Protocol):
    """Told of rows as they pass: stage, table, rows since the last call, rows expected or None."""

    def __call__(self, stage: str, table: str, rows: int, expected: int | None) -> None:
        """Take note."""


def _silent(stage: str, table: str, rows: int, expected: int | None) -> None:
    """Show nothing."""


class Pipeline:
    """Every stage of one migration; opens plan, staging and target when first needed."""

    def __init__(self, settings: Settings, progress: StageProgress = _silent) -> None:
        """Keep the settings; nothing is opened yet."""
        self.settings = settings
        self.progress = progress

    @cached_property
    def store(self) -> Store:
        """The staging folder."""
        return Store(self.settings.staging)

    @cached_property
    def target_url(self) -> str:
        """The target's URL; starts the embedded server where none is set, until this process ends.

        On the embedded server each source has a database of its own; without a source the last one used is meant.
        """
        return target_url(self.settings)

    def stored_plan(self) -> Plan | None:
        """The plan in staging, or None; reads one file and no table."""
        content = self.store.read_json(PLAN_FILE)
        return None if content is None else Plan.from_json(content)

    @cached_property
    def plan(self) -> Plan:
        """The plan: the stored one where it fits the settings, else PlanError; made now where there is none."""
        plan = self.stored_plan()
        if plan is None:
            return self.make_plan()
        check_settings(plan, self.settings)
        return plan

    def make_plan(self) -> Plan:
        """Scan the source, store the plan and return it."""
        plan = make_plan(self.settings, lambda table, rows, total: self.progress("plan", table, rows, total))
        self.store.write_json(PLAN_FILE, plan.to_json())
        self.__dict__["plan"] = plan
        return plan

    def checked_source(self) -> Path:
        """The source, seen to be the plan's: PlanError where its rows were replaced or renumbered."""
        path = self.settings.require_source()
        plan = self.plan
        if source_state(path).as_dict() != plan.source_state:
            with read_only(path) as connection:
                compare_samples(connection, read_schema(connection), plan.samples, "the plan")
        return path

    def connect(self) -> Connection:
        """A new connection to the target."""
        return connect(self.target_url)

    @contextlib.contextmanager
    def locked(self, wait: float = LOCK_WAIT) -> Iterator[None]:
        """Hold the target for this migration."""
        with migration_lock(self.target_url, wait):
            yield

    def _locked_connection(self) -> Connection:
        return locked_connection(self.target_url)

    def tables_of(self, unit: str, keys: Sequence[str]) -> list[tuple[str, list[str]]]:
        """The (table, partition keys) that a unit of work means: a dated table, `undated` or `other_tables`."""
        plan = self.plan
        if unit == UNDATED:
            return [(table, [UNDATED]) for table in plan.dated]
        if unit == OTHER_TABLES:
            return [(table, list(plan.partitions(table))) for table in plan.others]
        if unit not in plan.dated:
            return []
        unknown = sorted(set(keys) - set(plan.windows.keys))
        if unknown:
            raise PlanError(
                f"The plan has no partition {', '.join(unknown[:3])}; its windows run from {plan.windows.keys[0]} to"
                f" {plan.windows.keys[-1]}.",
                hint="Reload the definitions (a new plan was made), or run `cowrie-assets plan` to see the windows.",
            )
        return [(unit, list(keys))]

    def stage(self, table: str, keys: Sequence[str], *, force: bool = False) -> dict[str, tuple[Manifest, bool]]:
        """Stage partitions of a table in one pass."""
        source = self.checked_source()
        staged = stage(self.plan, source, self.store, table, keys, force=force, progress=self._plain("staging"))
        for manifest, made in staged.values():
            self._unchanged("staging", table, made, manifest.rows)
        return staged

    def analyse(self, table: str, key: str, *, force: bool = False) -> tuple[Profile, bool]:
        """Analyse a staged partition."""
        profile, made = analyse_partition(
            self.plan, self.store, table, key, force=force, progress=self._rows("quality", table, key)
        )
        self._unchanged("quality", table, made, profile.rows)
        return profile, made

    def clean(self, table: str, key: str, *, force: bool = False) -> tuple[CleanedManifest, bool]:
        """Clean a staged partition."""
        manifest, made = clean_partition(
            self.plan, self.store, table, key, force=force, progress=self._rows("cleaned", table, key)
        )
        self._unchanged("cleaned", table, made, manifest.source_rows)
        return manifest, made

    def prepare(self) -> Prepared:
        """Check the target, pin the plan, create missing tables."""
        with self.locked():
            return retried(
                lambda: prepare_target(self._locked_connection(), self.plan, append=self.settings.append),
                "Preparing the target failed",
                before=True,
            )

    def load(self, table: str, key: str, run_id: str, *, force: bool = False) -> Loaded:
        """Load a cleaned partition."""
        with self.locked():
            loaded = load_partition(
                self._locked_connection,
                self.plan,
                self.store,
                table,
                key,
                run_id=run_id,
                force=force,
                progress=self._rows("postgres", table, key),
            )
        self._unchanged("postgres", table, loaded.made, loaded.source_rows)
        return loaded

    def finish(self, *, even_if_incomplete: bool = False) -> Finished:
        """Build indexes, constraints, sequences, statistics."""
        with self.locked():
            return retried(
                lambda: finish(self._locked_connection(), self.plan, even_if_incomplete=even_if_incomplete),
                "Finishing the target failed",
            )

    def validate(
        self, table: str, keys: Sequence[str], extent: Extent = FULL, *, force: bool = True
    ) -> list[PartitionProof]:
        """Prove partitions: the row equation, and every cell (or those of a sample); verdicts go to the ledger.

        Without `force`, what the ledger says was proven of this source and this load is not proven again.
        """
        source = self.checked_source()

        def once() -> list[PartitionProof]:
            with self.connect() as connection:
                check_pinned(pinned(connection), self.plan)
                connection.commit()
                return validate(
                    connection,
                    self.plan,
                    source,
                    table,
                    keys,
                    extent=extent,
                    force=force,
                    progress=self._plain("validation"),
                )

        return retried(once, f"Validating {table} failed")

    def in_place(self, units: Sequence[tuple[str, Sequence[str]]]) -> bool:
        """Whether these partitions are loaded by the present rules from the present source, and proven in full.

        Reads manifests and the ledger; of the tables only how many rows they have.
        """
        source, plan = self.settings.require_source(), self.plan
        if source_state(source).as_dict() != plan.source_state:
            return False
        with self.connect() as connection:
            known = pinned(connection)
            if known is None or known.id != plan.id or not is_finished(connection):
                return False
            for table, keys in units:
                proven = proven_inputs(connection, source, table)
                for key in keys:
                    staged = read_manifest(self.store, table, key)
                    if staged is None or proven.get(key) != inputs_of(plan.tables[table], staged):
                        return False
        return all(total.verdict is Verdict.PASS for total in self.totals())

    def totals(self) -> list[TableTotal]:
        """Whether each table's partitions sum to the table; the ledger takes note of those that do not."""

        def once() -> list[TableTotal]:
            with self.connect() as connection:
                return check_totals(connection, self.plan, self.settings.require_source())

        totals = retried(once, "Checking the tables' totals failed")
        self.note_totals(totals)
        return totals

    def note_totals(self, totals: Sequence[TableTotal]) -> None:
        """Have the ledger say which tables do not add up."""

        def once() -> None:
            with self.connect() as connection:
                record_totals(connection, totals)

        retried(once, "Writing the totals to the ledger failed")

    def _plain(self, name: str) -> Callable[[str, int, int | None], None]:
        return lambda table, rows, expected: self.progress(name, table, rows, expected)

    def _unchanged(self, name: str, table: str, made: bool, rows: int) -> None:
        """Rows of a partition that was complete already count as passed."""
        if not made:
            self.progress(name, table, rows, rows)

    def _rows(self, name: str, table: str, key: str) -> Callable[[int], None]:
        expected = self.plan.tables[table].slice(key).rows
        return lambda rows: self.progress(name, table, rows, expected)
