"""The asset check target/finish: health.

Belongs here: what it tells Dagster. Not here: looking (`health/`).
"""

from collections.abc import Callable

import dagster as dg

from ..catalog import DATED, OTHER_TABLES, UNDATED
from ..health.connections import connect_once
from ..health.probe import Probe
from ..health.report import Status
from ..health.settings import load_health_settings
from ..pipeline import Pipeline
from .shown import failures, shown
from .target import FINISH


def health_check(pipeline: Callable[[], Pipeline]) -> dg.AssetChecksDefinition:
    """The check; in a run that proves partitions too, it comes after them."""

    @dg.asset_check(
        asset=FINISH,
        name="health",
        description="As `cowrie-assets health` sees the target: a warning warns, what is critical is an error.",
        additional_deps=[dg.AssetKey(["validation", unit]) for unit in (*DATED, UNDATED, OTHER_TABLES)],
    )
    def health() -> dg.AssetCheckResult:
        with failures():
            line, limits = pipeline(), load_health_settings()
            url = line.target_url
            report = Probe(lambda: connect_once(url, limits.timeout), None, line.settings, limits).look()
        return dg.AssetCheckResult(
            passed=report.status is Status.OK,
            severity=dg.AssetCheckSeverity.ERROR if report.status is Status.CRITICAL else dg.AssetCheckSeverity.WARN,
            metadata=shown({check.name: f"{check.status.word}: {check.text}" for check in report.checks}),
        )

    return health
