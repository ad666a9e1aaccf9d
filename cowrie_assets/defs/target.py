"""The assets around the stages: target/schema, target/finish, report/migration.

Belongs here: what they tell Dagster. Not here: DDL (`loading/`) or the report's text (`reporting/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from ..catalog import OTHER_TABLES, UNDATED
from ..errors import CowrieError
from ..pipeline import Pipeline, known_tables
from ..reporting.migration import write_report

AS_DECLARED = "built_as_declared"
SUMS = "partitions_sum_to_table"


class FinishConfig(dg.Config):
    """Options of target/finish."""

    even_if_incomplete: bool = False


@contextmanager
def failures() -> Iterator[None]:
    """Our own errors as Dagster's Failure, in one line."""
    try:
        yield
    except CowrieError as error:
        raise dg.Failure(str(error), allow_retries=error.exit_code == 3) from None


def _units(stage: str) -> list[dg.AssetKey]:
    return [dg.AssetKey([stage, unit]) for unit in (*known_tables(), UNDATED, OTHER_TABLES)]


def target_assets(pipeline: Callable[[], Pipeline]) -> list[dg.AssetsDefinition]:
    """The three assets."""
    policy = dg.BackfillPolicy.single_run()

    @dg.asset(
        key=dg.AssetKey(["target", "schema"]),
        group_name="target",
        kinds={"postgres"},
        backfill_policy=policy,
        description="The target is fit, its ledger pins the plan, its tables exist.",
    )
    def schema() -> dg.MaterializeResult[Any]:
        with failures():
            prepared = pipeline().prepare()
        return dg.MaterializeResult(
            metadata={
                "server": prepared.server,
                "created": list(prepared.created),
                "existing": list(prepared.existing),
            }
        )

    @dg.asset(
        key=dg.AssetKey(["target", "finish"]),
        group_name="target",
        kinds={"postgres"},
        deps=_units("postgres"),
        backfill_policy=policy,
        check_specs=[
            dg.AssetCheckSpec(AS_DECLARED, asset=dg.AssetKey(["target", "finish"]), description="Every index is as declared.")
        ],
        description="Indexes, unique constraints, foreign keys, sequences, statistics; once all partitions are loaded.",
    )
    def finish(config: FinishConfig) -> dg.MaterializeResult[Any]:
        with failures():
            result = pipeline().finish(even_if_incomplete=config.even_if_incomplete)
        findings = [f"{table}.{name}: {detail}" for table, name, detail in result.findings]
        return dg.MaterializeResult(
            metadata={
                "done": result.done,
                "built": result.built,
                "partitions_not_loaded": len(result.pending),
                "findings": findings,
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=result.done and not findings,
                    check_name=AS_DECLARED,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"findings": findings},
                )
            ],
        )

    @dg.asset(
        key=dg.AssetKey(["report", "migration"]),
        group_name="report",
        deps=[*_units("validation"), dg.AssetKey(["target", "finish"])],
        backfill_policy=policy,
        check_specs=[
            dg.AssetCheckSpec(
                SUMS,
                asset=dg.AssetKey(["report", "migration"]),
                description="The partitions of each table are the plan's, each once, and sum to the table's COUNT(*).",
            )
        ],
        description="The whole migration as Markdown and HTML.",
    )
    def report() -> dg.MaterializeResult[Any]:
        with failures():
            line = pipeline()
            written = write_report(line)
            totals = written.totals
        bad = [f"{t.table}: {t.verdict.value}, {t.detail}" for t in totals if t.verdict != "PASS"]
        failed = any(t.verdict == "FAIL" for t in totals)
        return dg.MaterializeResult(
            metadata={
                "markdown": dg.MetadataValue.path(str(written.markdown)),
                "html": dg.MetadataValue.path(str(written.html)),
                "verdict": written.verdict,
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not bad,
                    check_name=SUMS,
                    severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
                    metadata={"tables": bad},
                )
            ],
        )

    return [schema, finish, report]
