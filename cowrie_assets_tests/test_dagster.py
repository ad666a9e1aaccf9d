"""The asset graph, and the ways Dagster runs it.

Not here: what a stage does to a row (`test_migration.py`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from cowrie_assets.catalog import DATED
from cowrie_assets.defs.build import build_defs
from cowrie_assets.defs.partitions import partitions_of, provisional_windows
from cowrie_assets.defs.run import RANGE_END, RANGE_START, Selection, run_migration
from cowrie_assets.pipeline import STAGES, Pipeline
from cowrie_assets.planning.windows import Windows
from cowrie_assets.settings import Grain, Settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def settings(real_v6: Path, pg_url: str, tmp_path: Path) -> Settings:
    return Settings(
        source=real_v6,
        target=pg_url,
        staging=str(tmp_path / "staging"),
        home=tmp_path / "home",
        today=date(2026, 11, 24),
    )


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as made:
        yield made


def graph(settings: Settings) -> dg.AssetGraph:
    return build_defs(settings, now=NOW).resolve_asset_graph()


def materialize(
    settings: Settings, instance: dg.DagsterInstance, select: str, first: str | None = None, last: str | None = None
) -> dg.ExecuteInProcessResult:
    defs = build_defs(settings, now=NOW)
    tags = {RANGE_START: first, RANGE_END: last or first} if first else {}
    return dg.materialize(
        list(defs.assets or ()),  # type: ignore[arg-type]
        selection=select,
        tags=tags,
        instance=instance,
        raise_on_error=False,
    )


def test_the_graph(settings: Settings) -> None:
    found = {tuple(key.path) for key in graph(settings).get_all_asset_keys()}
    units = (*DATED, "undated", "other_tables")
    expected = {(stage, unit) for stage in STAGES for unit in units}
    assert found == expected | {("target", "schema"), ("target", "finish"), ("report", "migration")}


def test_groups_partitions_policies_and_dependencies(settings: Settings) -> None:
    assets = graph(settings)
    for key in assets.get_all_asset_keys():
        node = assets.get(key)
        stage, unit = key.path
        assert node.group_name == stage
        assert (node.partitions_def is not None) == (unit in DATED)
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
    parents = {
        "/".join(k.path): sorted("/".join(p.path) for p in assets.get(k).parent_keys)
        for k in assets.get_all_asset_keys()
    }
    assert parents["quality/files"] == ["staging/files"]
    assert parents["cleaned/files"] == ["staging/files"]
    assert parents["postgres/files"] == ["cleaned/files", "target/schema"]
    assert parents["validation/undated"] == ["postgres/undated"]
    assert len(parents["target/finish"]) == 7


def test_loading_the_definitions_reads_no_table(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.connect", lambda *a, **k: pytest.fail("a table was read"))
    build_defs(settings, now=NOW).resolve_asset_graph()


@pytest.mark.parametrize(
    "windows",
    [
        Windows(Grain.DAY, date(2026, 11, 20), date(2026, 11, 25)),
        Windows(Grain.DAY, date(2025, 1, 1), date(2025, 1, 2)),
        Windows(Grain.WEEK, date(2025, 9, 22), date(2026, 11, 30)),
        Windows(Grain.MONTH, date(2025, 9, 1), date(2027, 3, 1)),
        Windows(Grain.MONTH, date(2014, 1, 1), date(2026, 12, 1)),
    ],
    ids=lambda w: f"{w.grain}-{w.start}",
)
def test_dagster_spells_the_keys_as_the_plan_does(windows: Windows) -> None:
    now = datetime.now(UTC)
    assert tuple(partitions_of(windows, now).get_partition_keys()) == windows.keys


def test_without_a_plan_the_settings_bound_the_windows(settings: Settings) -> None:
    assert len(provisional_windows(settings, date(2026, 11, 24)).keys) == 120
    bounded = Settings(start=date(2026, 1, 5), end=date(2026, 1, 9))
    assert provisional_windows(bounded, date(2026, 11, 24)).keys[-1] == "2026-01-09"


def test_one_partition_of_one_asset_makes_the_plan_on_demand(settings: Settings, instance: dg.DagsterInstance) -> None:
    weekly = replace(settings, grain=Grain.WEEK, start=date(2025, 9, 22))
    result = materialize(weekly, instance, 'key:"staging/raw_events"', "w2025-09-22")
    assert result.success
    staged = Pipeline(weekly).stored_plan()
    assert staged is not None
    assert staged.windows.grain is Grain.WEEK
    assert (Path(weekly.staging) / "staging" / "raw_events" / "w2025-09-22.json").exists()


def test_a_range_run_selects_everything(settings: Settings, instance: dg.DagsterInstance, pg_url: str) -> None:
    windows = Pipeline(settings).plan.windows
    result = materialize(settings, instance, "*", windows.keys[0], windows.keys[-1])
    assert result.success
    assert all(e.passed for e in result.get_asset_check_evaluations())
    done = instance.get_materialized_partitions(dg.AssetKey(["validation", "raw_events"]))
    assert done == set(windows.keys)
    with psycopg.connect(pg_url) as connection:
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE verdict = 'PASS') FROM cowrie_migration.partitions"
        ).fetchone()
    assert row == (5 * 63 + 2, 5 * 63 + 2)
    assert (settings.home / "report" / "migration.html").exists()


def test_a_stage_without_its_input_fails_with_what_to_do(settings: Settings, instance: dg.DagsterInstance) -> None:
    Pipeline(settings).make_plan()
    result = materialize(settings, instance, 'key:"cleaned/files"', "w2026-11-23")
    assert not result.success
    failure = next(e.step_failure_data for e in result.all_events if e.is_step_failure)
    assert failure.user_failure_data is not None
    assert "Materialise staging/files" in (failure.user_failure_data.description or "")


def test_a_damaged_target_fails_the_check(settings: Settings, instance: dg.DagsterInstance, pg_url: str) -> None:
    line = Pipeline(settings)
    keys = line.plan.windows.keys
    assert materialize(settings, instance, "*", keys[0], keys[-1]).success
    with psycopg.connect(pg_url) as connection:
        connection.execute("DELETE FROM files WHERE id = 5")
    result = materialize(settings, instance, 'key:"validation/files"', keys[0], keys[-1])
    found = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert found == {"row_equation": False, "every_cell": False}


def test_the_schedule_asks_for_the_newest_window(settings: Settings) -> None:
    windows = Pipeline(settings).plan.windows
    repository = build_defs(settings, now=NOW).get_repository_def()
    context = dg.build_schedule_context(scheduled_execution_time=NOW, repository_def=repository)
    tick = repository.get_schedule_def("newest_window").evaluate_tick(context)
    assert tick.run_requests is not None
    assert [r.partition_key for r in tick.run_requests] == [windows.keys[-2]]


def test_migrate_runs_the_same_assets(
    settings: Settings, real_v3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    line = Pipeline(replace(settings, source=real_v3))
    result = run_migration(line, Selection(keys=line.plan.windows.keys))
    assert (result.success, result.failed_checks) == (True, ())


def test_dagster_materialize_alone_starts_and_leaves_no_server(real_v3: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "COWRIE_SQLITE_PATH": str(real_v3),
        "COWRIE_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(tmp_path),
    }
    environment.pop("COWRIE_POSTGRES_URL", None)
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "cowrie_assets.definitions"]
    ended = subprocess.run(
        [*command, "--select", "*", "--partition", "2026-11-24"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "RUN_SUCCESS" in ended.stdout + ended.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "cowrie_assets.cli.main", "status"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"raw_events\s+12,759\s+12,759\s+0\s+147\s+PASS", shown.stdout)
