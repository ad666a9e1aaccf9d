"""One asset for each stage of each table, made from the catalog.

Belongs here: what an asset tells Dagster. Not here: what it does to a row (`pipeline.py`).

See https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import Field

from ..catalog import DATED, OTHER_TABLES, UNDATED
from ..errors import CowrieError
from ..pipeline import STAGES, Pipeline
from ..validation.verdicts import Extent, Proof
from .shown import failure, shown

ROW_EQUATION = "row_equation"
EVERY_CELL = "every_cell"
PLACEABLE = "every_row_placeable"
KINDS = {
    "staging": {"sqlite", "parquet"},
    "quality": {"parquet"},
    "cleaned": {"parquet"},
    "postgres": {"postgres"},
    "validation": {"sqlite", "postgres"},
}
DESCRIPTIONS = {
    "staging": "Rows as SQLite stores them, in Parquet: storage class and exact bytes of every cell.",
    "quality": "Statistics of every column, and what the rules would do, from the staged rows alone.",
    "cleaned": "Rows in the target's types, with every repaired cell and every row set aside.",
    "postgres": "Rows and their ledger in PostgreSQL, a partition in one transaction.",
    "validation": "Source = loaded + set aside, and every cell compared, from the source, the target and the ledger.",
}


class StageConfig(dg.Config):
    """Options of a stage's run."""

    force: bool = False
    tables: list[str] = Field(default=[], description="Of `undated` and `other_tables`, only these; empty for all.")
    proof: str = Field(default="full", description="Of `validation`: full, counts, or a share of the rows such as 1%.")
    keep_proofs: bool = Field(
        default=False,
        description="Of `validation`: leave what the ledger says was proven of this source and this load.",
    )


@dataclass
class Outcome:
    """What a partition of a stage came to, for Dagster's metadata.

    Attributes:
        faults: check -> what fails it.
        unchecked: checks that did not run on all of the partition.
    """

    metadata: dict[str, Any]
    faults: dict[str, list[str]] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()


Work = Callable[[Pipeline, str, list[str], StageConfig, str], Iterator[tuple[str, Outcome]]]


def _staging(
    pipeline: Pipeline, table: str, keys: list[str], config: StageConfig, run_id: str
) -> Iterator[tuple[str, Outcome]]:
    for key, (manifest, made) in pipeline.stage(table, keys, force=config.force).items():
        yield key, Outcome({"rows": manifest.rows, "digest": manifest.digest[:16], "made": made})


def _quality(
    pipeline: Pipeline, table: str, keys: list[str], config: StageConfig, run_id: str
) -> Iterator[tuple[str, Outcome]]:
    for key in keys:
        profile, made = pipeline.analyse(table, key, force=config.force)
        found = {f"{f['column'] or 'row'}: {f['code']}": f["count"] for f in profile.findings}
        lost = [f"{key}: {f['count']} rows, {f['code']}" for f in profile.findings if not f["column"]]
        yield key, Outcome({"rows": profile.rows, "findings": found, "made": made}, {PLACEABLE: lost})


def _cleaned(
    pipeline: Pipeline, table: str, keys: list[str], config: StageConfig, run_id: str
) -> Iterator[tuple[str, Outcome]]:
    for key in keys:
        manifest, made = pipeline.clean(table, key, force=config.force)
        yield (
            key,
            Outcome(
                {
                    "rows": manifest.rows,
                    "set_aside": manifest.quarantined,
                    "repaired_cells": manifest.repaired,
                    "rules": manifest.rules,
                    "made": made,
                }
            ),
        )


def _postgres(
    pipeline: Pipeline, table: str, keys: list[str], config: StageConfig, run_id: str
) -> Iterator[tuple[str, Outcome]]:
    with pipeline.locked():
        pipeline.prepare()
        for key in keys:
            loaded = pipeline.load(table, key, run_id, force=config.force)
            yield key, Outcome({"rows": loaded.loaded, "set_aside": loaded.quarantined, "made": loaded.made})


def _validation(
    pipeline: Pipeline, table: str, keys: list[str], config: StageConfig, run_id: str
) -> Iterator[tuple[str, Outcome]]:
    damage = list(pipeline.plan.damage_of(table))
    for proof in pipeline.validate(
        table, keys, Extent.parse(config.proof), force=config.force or not config.keep_proofs
    ):
        metadata = {
            "source": proof.source,
            "target": proof.target,
            "set_aside": proof.quarantined,
            "cells": proof.cells,
            "verdict": proof.verdict.value,
            "proof": proof.proof.value,
            "made": proof.made,
        }
        where = f"{table} {proof.partition}: {proof.verdict.value}, "
        faults = {
            ROW_EQUATION: damage + [where + fault for fault in proof.faults],
            EVERY_CELL: [where + str(difference) for difference in proof.differences],
        }
        damage = []  # said once
        yield proof.partition, Outcome(metadata, faults, () if proof.proof is Proof.FULL else (EVERY_CELL,))


WORK: dict[str, Work] = {
    "staging": _staging,
    "quality": _quality,
    "cleaned": _cleaned,
    "postgres": _postgres,
    "validation": _validation,
}
UPSTREAM = {"quality": "staging", "cleaned": "staging", "postgres": "cleaned", "validation": "postgres"}
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
CHECKS = {
    "validation": (
        (ROW_EQUATION, "Source rows = target rows + rows set aside, in every partition.", ERROR),
        (EVERY_CELL, "Every cell is equal, or listed as repaired, or its row is set aside.", ERROR),
    ),
    "quality": ((PLACEABLE, "No row will have to be set aside.", WARN),),
}


def stage_assets(pipeline: Callable[[], Pipeline], windows: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The assets `[stage, table]` of all stages and units."""
    units = [*DATED, UNDATED, OTHER_TABLES]
    return [_asset(stage, unit, pipeline, windows) for stage in STAGES for unit in units]


def _asset(
    stage: str, unit: str, pipeline: Callable[[], Pipeline], windows: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    key = dg.AssetKey([stage, unit])
    partitioned = unit in DATED
    deps = [dg.AssetKey([UPSTREAM[stage], unit])] if stage in UPSTREAM else []
    if stage == "postgres":
        deps.append(dg.AssetKey(["target", "schema"]))
    checks = CHECKS.get(stage, ())

    @dg.multi_asset(
        name=f"{stage}__{unit}",
        specs=[
            dg.AssetSpec(
                key,
                deps=deps,
                description=DESCRIPTIONS[stage],
                group_name=stage,
                kinds=KINDS[stage],
                partitions_def=windows if partitioned else None,
            )
        ],
        check_specs=[dg.AssetCheckSpec(name, asset=key, description=what) for name, what, _ in checks],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def materialise(context: dg.AssetExecutionContext, config: StageConfig) -> Iterator[dg.MaterializeResult[Any]]:
        keys = list(context.partition_keys) if partitioned else []
        total, per_table = 0, {}
        outcomes: list[Outcome] = []
        done: list[tuple[str, dict[str, Any]]] = []
        line = pipeline()
        try:
            for table, selected in line.tables_of(unit, keys):
                if config.tables and table not in config.tables:
                    continue
                for partition, outcome in WORK[stage](line, table, selected, config, context.run.run_id):
                    total += outcome.metadata.get("rows", outcome.metadata.get("source", 0)) or 0
                    outcomes.append(outcome)
                    if partitioned:
                        done.append((partition, shown(outcome.metadata)))
                    else:
                        per_table[table] = outcome.metadata
        except CowrieError as error:
            for partition, metadata in done:
                # Without these events no partition of a failed range would count as materialized.
                context.log_event(dg.AssetMaterialization(key, partition=partition, metadata=metadata))
            raise failure(error) from None
        for partition, metadata in done:
            context.add_asset_metadata(metadata, asset_key=key, partition_key=partition)
        results = [_result(key, name, severity, outcomes) for name, _, severity in checks]
        tables = {table: dg.MetadataValue.json(metadata) for table, metadata in shown(per_table).items()}
        yield dg.MaterializeResult(
            asset_key=key, metadata=None if partitioned else {"rows": total, **tables}, check_results=results
        )

    return materialise


def _result(
    key: dg.AssetKey, name: str, severity: dg.AssetCheckSeverity, outcomes: list[Outcome]
) -> dg.AssetCheckResult:
    """A check over all partitions of a run; one that did not run on all of them is no pass, and a warning."""
    faults = [fault for outcome in outcomes for fault in outcome.faults.get(name, [])]
    unchecked = sum(name in outcome.unchecked for outcome in outcomes)
    counted: dict[str, Any] = {"faults": dg.MetadataValue.json(shown(faults[:50])), "number_of_faults": len(faults)}
    if unchecked:
        counted["NOT CHECKED"] = f"{unchecked:,} of {len(outcomes):,} partitions, or not all of their cells"
    return dg.AssetCheckResult(
        passed=not faults and not unchecked,
        check_name=name,
        severity=severity if faults else WARN if unchecked else severity,
        metadata=counted,
        asset_key=key,
    )
