"""Running everything a second time changes nothing: no row, no ledger, no file.

Not here: how little time it takes, or what a changed source leads to (`test_migration.py`).
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from cowrie_assets.cli.main import main
from cowrie_assets.demo import make_demo
from cowrie_assets.pipeline import Pipeline
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts

TIMES = {"verified_at", "finished_at", "xmin", "ctid"}
"""What a second run may write anew in the ledger's `plan` and `partitions`: when it looked, and so the row's version."""


def rows(url: str) -> dict[str, list[dict[str, object]]]:
    """Every row with its version (xmin, ctid: a row that is written again has others), by table."""
    found = {}
    for schema, table in query(
        url, "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'cowrie_migration')"
    ):
        sql = f"SELECT to_jsonb(t) || jsonb_build_object('xmin', xmin::text, 'ctid', ctid) FROM {schema}.\"{table}\" t"
        kept = [row for (row,) in query(url, sql)]
        if (schema, table) in (("cowrie_migration", "plan"), ("cowrie_migration", "partitions")):
            kept = [{k: v for k, v in row.items() if k not in TIMES} for row in kept]
        found[f"{schema}.{table}"] = sorted(kept, key=repr)
    return found


def relations(url: str) -> list[tuple[object, ...]]:
    """Every table, index, sequence and constraint, with the files that hold them."""
    return query(
        url,
        "SELECT c.oid, relname, relfilenode, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname IN ('public', 'cowrie_migration') ORDER BY 1",
    ) + query(url, "SELECT oid, conname, convalidated FROM pg_constraint WHERE contype IN ('p', 'u', 'f') ORDER BY 1")


def files(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Every staged, analysed and cleaned file: inode, time of the last change, content."""
    found = [p for p in folder.rglob("*") if p.is_file()]
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def sequences(url: str) -> list[tuple[object, ...]]:
    return query(url, "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2")


@pytest.mark.parametrize("name", ["real_v3", pytest.param("real_v6", marks=pytest.mark.crash)])
def test_a_second_run_changes_nothing(name: str, request: pytest.FixtureRequest, pg_url: str, tmp_path: Path) -> None:
    source: Path = request.getfixturevalue(name)
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    before = rows(pg_url), relations(pg_url), sequences(pg_url), files(tmp_path / "staging")
    assert all(before)
    again = Pipeline(line.settings)
    assert sum(migrate(again).values()) == 0
    assert {v.verdict.value for v in verdicts(again)} == {"PASS"}
    assert (rows(pg_url), relations(pg_url), sequences(pg_url), files(tmp_path / "staging")) == before


@pytest.mark.crash
def test_a_second_command_changes_nothing(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "demo.sqlite"
    make_demo(source, events=2_000, days=3, last_day=date(2026, 10, 31), dirty_per_mille=20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("COWRIE_STAGING_URL", str(tmp_path / "staging"))
    said, seen = [], []
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["migrate", "--source", str(source), "--target", as_url(pg_url), "--json"])
        assert ended.value.code == 0
        said.append({k: v for k, v in json.loads(capsys.readouterr().out).items() if k != "run_id"})
        seen.append((rows(pg_url), relations(pg_url), sequences(pg_url), files(tmp_path / "staging")))
    assert seen[0] == seen[1]
    assert said[0] == said[1]
