"""Builds the Definitions: assets, job and schedule over one plan.

Belongs here: putting the parts together. Not here: reading the environment (`definitions.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from ..catalog import DATED
from ..errors import CowrieError
from ..pipeline import STAGES, Pipeline
from ..settings import Settings
from .health import health_check
from .partitions import CRON, newest_closed, partitions_of, provisional_windows
from .stages import stage_assets
from .target import target_assets

MIGRATION_JOB = "migration"
WINDOW_JOB = "window"
WINDOW_SCHEDULE = "newest_window"


def build_defs(
    settings: Settings, pipeline: Callable[[], Pipeline] | None = None, now: datetime | None = None
) -> dg.Definitions:
    """Fresh definitions; reads the plan's file, never a table.

    Args:
        settings: where the plan lies.
        pipeline: makes the pipeline a step works with; by default a new one for each step.
        now: for tests.
    """
    now = now or datetime.now(UTC)
    logger = dg.get_dagster_logger()
    try:
        plan = Pipeline(settings).stored_plan()
    except CowrieError as error:
        logger.warning("The plan cannot be read, provisional windows are shown: %s", error)
        plan = None
    windows = plan.windows if plan else provisional_windows(settings, now.date())
    partitions = partitions_of(windows, now)
    make = pipeline or (lambda: Pipeline(settings))
    window = dg.define_asset_job(
        WINDOW_JOB,
        selection=dg.AssetSelection.assets(*(dg.AssetKey([stage, table]) for stage in STAGES for table in DATED)),
        description="Every stage of all dated tables for one window.",
    )

    @dg.schedule(name=WINDOW_SCHEDULE, job=window, cron_schedule=CRON[windows.grain], execution_timezone="UTC")
    def newest_window(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Every stage for the last window that has ended."""
        key = newest_closed(windows, context.scheduled_execution_time)
        return dg.RunRequest(partition_key=key) if key else dg.SkipReason("No window of the plan has ended yet.")

    return dg.Definitions(
        assets=[*stage_assets(make, partitions), *target_assets(make)],
        asset_checks=[health_check(make)],
        jobs=[dg.define_asset_job(MIGRATION_JOB, selection=dg.AssetSelection.all()), window],
        schedules=[newest_window],
        # A step is seconds of Python around SQLite, Arrow and COPY: a process a step costs 0.6 s each in imports alone.
        executor=dg.in_process_executor,
    )
