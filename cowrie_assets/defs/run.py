"""Runs the migration's assets in this process, as the command `migrate` does.

Belongs here: which assets and partitions a run selects. Not here: how it is shown (`cli/`).
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._serdes import ConfigurableClassData

from ..catalog import OTHER_TABLES, UNDATED
from ..db.url import mask
from ..errors import CowrieError, SettingsError, StagingError
from ..folders import make_folder, ours
from ..pipeline import STAGES, Pipeline
from ..settings import Settings
from ..validation.validate import FULL
from ..validation.verdicts import Extent
from .build import build_defs

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
FULL_BYTES = 1 << 20
"""With less free, a failure of Dagster's SQLite files is that of a full disk, which they also call a disk I/O error."""


@dataclass(frozen=True)
class Selection:
    """What a run does.

    Attributes:
        tables: names; empty for all.
        keys: consecutive window keys; empty where no dated table is selected.
        whole: `undated` and `other_tables` too (False where the user chose days).
    """

    tables: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    whole: bool = True
    force: bool = False
    finish_anyway: bool = False
    stages: tuple[str, ...] = STAGES
    extent: Extent = FULL


@dataclass(frozen=True)
class RunResult:
    """How a run ended: the first failed step's message where it failed, and the run's id."""

    run_id: str
    success: bool
    error: str | None = None
    failed_checks: tuple[str, ...] = field(default=())


def dagster_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance of DAGSTER_HOME, else of this folder's dagster.yaml, else one below the settings' home."""
    # SQLAlchemy logs a traceback of an interrupt that met its pool, and raises it all the same.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    if not os.environ.get("DAGSTER_HOME"):
        home = Path.cwd() if Path("dagster.yaml").exists() else settings.home.absolute() / "dagster"
        make_folder(home)
        with ours(home / "dagster.yaml"):
            if not (home / "dagster.yaml").exists():
                (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
        os.environ["DAGSTER_HOME"] = str(home)
    return dg.DagsterInstance.get()


def run_migration(pipeline: Pipeline, selection: Selection) -> RunResult:
    """Materialise the selected assets over the selected windows in one run.

    Raises:
        KeyboardInterrupt: it was interrupted.
        StagingError: Dagster cannot record the run.
    """
    plan = pipeline.plan
    defs = build_defs(pipeline.settings, pipeline=lambda: pipeline)
    chosen = set(selection.tables or plan.tables)
    units = [t for t in plan.dated if t in chosen] if selection.keys else []
    if selection.whole:
        units += [UNDATED] if chosen & set(plan.dated) else []
        units += [OTHER_TABLES] if chosen & set(plan.others) else []
    keys = [dg.AssetKey([stage, unit]) for stage in selection.stages for unit in units]
    if "postgres" in selection.stages:
        keys += [dg.AssetKey(["target", n]) for n in ("schema", "finish")] + [dg.AssetKey(["report", "migration"])]
    tags = {RANGE_START: selection.keys[0], RANGE_END: selection.keys[-1]} if selection.keys else {}
    stage_config = {"force": selection.force, "tables": list(selection.tables)}
    ops: dict[str, object] = {f"{s}__{u}": {"config": stage_config} for s in selection.stages for u in units}
    proof = {"proof": str(selection.extent), "keep_proofs": True}
    ops |= {f"validation__{u}": {"config": stage_config | proof} for u in units if "validation" in selection.stages}
    if "postgres" in selection.stages:
        ops["target__finish"] = {"config": {"even_if_incomplete": selection.finish_anyway}}
    try:
        with _uncaptured(dagster_instance(pipeline.settings)) as instance:
            result = dg.materialize(
                list(defs.assets or ()),  # type: ignore[arg-type]
                selection=dg.AssetSelection.assets(*keys),
                tags=tags,
                run_config={"ops": ops, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=instance,
                raise_on_error=False,
            )
    except SettingsError:
        raise
    except Exception as error:
        # An asset's failure is in the result: what comes here is that Dagster cannot record the run.
        raise _unrecorded(error) from error
    if _was_interrupted(result):
        raise KeyboardInterrupt
    return RunResult(result.run_id, result.success, _first_failure(result), _failed_checks(result))


def _uncaptured(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same instance without its log of each step's output: our steps print nothing.

    It takes two processes a step, which an interrupt at the terminal meets too, and which answer with a traceback.
    """
    none = ConfigurableClassData("dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager", "{}")
    with instance:
        return dg.DagsterInstance.from_ref(instance.get_ref()._replace(compute_logs_data=none))


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    reasons = [event.job_failure_data.failure_reason for event in result.all_events if event.is_job_failure]
    return any(reason is not None and reason.name == "UNEXPECTED_TERMINATION" for reason in reasons)


def _unrecorded(error: Exception) -> CowrieError:
    home = Path(os.environ["DAGSTER_HOME"])
    full = shutil.disk_usage(home).free < FULL_BYTES
    what = "its disk is full" if full else str(error).partition("\n")[0]
    return StagingError(
        f"Dagster cannot keep its records in {home}: {what}.",
        hint="Free space there or set DAGSTER_HOME to another folder, then start again: what is complete is kept.",
    )


def _first_failure(result: dg.ExecuteInProcessResult) -> str | None:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            data = failure.user_failure_data
            if data is not None and data.description:
                return data.description
            # Dagster wraps what a step did not expect: its cause says what happened.
            return (
                mask(str((failure.error.cause or failure.error).message).strip()) if failure.error else "a step failed"
            )
    return None


def _failed_checks(result: dg.ExecuteInProcessResult) -> tuple[str, ...]:
    """The checks that found a difference; a warning is none."""
    return tuple(
        f"{e.asset_key.to_user_string()}: {e.check_name}"
        for e in result.get_asset_check_evaluations()
        if not e.passed and e.severity is dg.AssetCheckSeverity.ERROR
    )


def selected_keys(pipeline: Pipeline, tables: Sequence[str]) -> tuple[str, ...]:
    """All window keys where a dated table is among `tables` (or none is named)."""
    plan = pipeline.plan
    wanted = set(tables or plan.dated)
    return plan.windows.keys if wanted & set(plan.dated) else ()
