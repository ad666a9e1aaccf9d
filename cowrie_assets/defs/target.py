"""The assets around the stages: target/schema, target/finish, report/migration.

Belongs here: what they tell Dagster. Not here: DDL (`loading/`) or the report's text (`reporting/`).
"""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from ..catalog import DATED, OTHER_TABLES, UNDATED
from ..pipeline import Pipeline
from ..reporting.migration import write_report
from .shown import failures, shown

SCHEMA, FINISH = dg.AssetKey(["target", "schema"]), dg.AssetKey(["target", "finish"])
REPORT = dg.AssetKey(["report", "migration"])
AS_DECLARED = "built_as_declared"
SUMS = "partitions_sum_to_table"


class FinishConfig(dg.Config):
    """Options of target/finish."""

    even_if_incomplete: bool = False


def _units(stage: str) -> list[dg.AssetKey]:
    return [dg.AssetKey([stage, unit]) for unit in (*DATED, UNDATED, OTHER_TABLES)]


def target_assets(pipeline: Callable[[], Pipeline]) -> list[dg.AssetsDefinition]:
    """The three assets."""
    policy = dg.BackfillPolicy.single_run()

    @dg.multi_asset(
        name="target__schema",
        specs=[
            dg.AssetSpec(
                SCHEMA,
                group_name="target",
                kinds={"postgres"},
                description="The target is fit, its ledger pins the plan, its tables exist.",
            )
        ],
        backfill_policy=policy,
    )
    def schema() -> Iterator[dg.MaterializeResult[Any]]:
        with failures():
            prepared = pipeline().prepare()
        yield dg.MaterializeResult(
            asset_key=SCHEMA,
            metadata={
                "server": prepared.server,
                "created": shown(prepared.created),
                "existing": shown(prepared.existing),
            },
        )

    @dg.multi_asset(
        name="target__finish",
        specs=[
            dg.AssetSpec(
                FINISH,
                deps=_units("postgres"),
                group_name="target",
                kinds={"postgres"},
                description="Indexes, unique constraints, foreign keys, sequences; once all partitions are loaded.",
            )
        ],
        check_specs=[dg.AssetCheckSpec(AS_DECLARED, asset=FINISH, description="Every index is as declared.")],
        backfill_policy=policy,
    )
    def finish(config: FinishConfig) -> Iterator[dg.MaterializeResult[Any]]:
        with failures():
            result = pipeline().finish(even_if_incomplete=config.even_if_incomplete)
        findings = shown([f"{table}.{name}: {detail}" for table, name, detail in result.findings])
        yield dg.MaterializeResult(
            asset_key=FINISH,
            metadata={
                "done": result.done,
                "built": shown(result.built),
                "partitions_not_loaded": len(result.pending),
                "findings": findings,
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=result.done and not findings,
                    asset_key=FINISH,
                    check_name=AS_DECLARED,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"findings": findings},
                )
            ],
        )

    @dg.multi_asset(
        name="report__migration",
        specs=[
            dg.AssetSpec(
                REPORT,
                deps=[*_units("validation"), FINISH],
                group_name="report",
                description="The whole migration as Markdown and HTML.",
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                SUMS,
                asset=REPORT,
                description="The partitions of each table are the plan's, each once, and sum to the table's COUNT(*).",
            )
        ],
        backfill_policy=policy,
    )
    def report() -> Iterator[dg.MaterializeResult[Any]]:
        with failures():
            line = pipeline()
            written = write_report(line)
            totals = written.totals
            line.note_totals(totals)
        bad = [f"{t.table}: {t.verdict.value}, {t.detail}" for t in totals if t.verdict != "PASS"]
        failed = any(t.verdict == "FAIL" for t in totals)
        yield dg.MaterializeResult(
            asset_key=REPORT,
            metadata={
                "markdown": dg.MetadataValue.path(str(written.markdown)),
                "html": dg.MetadataValue.path(str(written.html)),
                "verdict": written.verdict,
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not bad,
                    asset_key=REPORT,
                    check_name=SUMS,
                    severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
                    metadata={"tables": shown(bad)},
                )
            ],
        )

    return [schema, finish, report]
