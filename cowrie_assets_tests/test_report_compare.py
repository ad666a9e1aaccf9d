"""Reports of source and migrated target are equal, row by row; `verify` says so, and sees what differs.

Not here: the queries (`test_report_queries.py`), the proof of cells (`test_proof.py`).
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from cowrie_assets.catalog import Type
from cowrie_assets.db.engine import create_engine_from_settings
from cowrie_assets.db.settings import EngineSettings
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.policies import Treatment
from cowrie_assets.reporting.compare import ReportVerdict, compare_reports
from cowrie_assets.reporting.queries.catalogue import REPORTS
from cowrie_assets.reporting.queries.facts import MOST, Facts, Window
from cowrie_assets.validation.verdicts import Verdict
from cowrie_assets_tests.dirty import make
from cowrie_assets_tests.test_dirty import migrate as migrate_dirty
from cowrie_assets_tests.test_dirty import pipeline as dirty_pipeline
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts

WINDOWS = (Window(limit=MOST), Window(date(2026, 11, 24), date(2026, 11, 24), "lab-sensor-01"))


def answers(line: Pipeline, left_out: dict[str, Any]) -> list[dict[str, Any]]:
    """All reports of source (without what is left out) and target, in every window."""
    source = create_engine_from_settings(EngineSettings(url=str(line.settings.source)), write=False)
    target = sa.create_engine("postgresql+psycopg://", creator=line.connect, poolclass=NullPool)
    found = []
    for engine, conditions in ((source, left_out), (target, {})):
        with engine.connect() as connection:
            facts = Facts(connection, conditions)
            present = [name for name, report in REPORTS.items() if facts.has(report.table)]
            found.append(
                {f"{name} {window}": REPORTS[name].find(facts, window) for name in present for window in WINDOWS}
            )
        engine.dispose()
    return found


def outcome(found: list[ReportVerdict]) -> dict[str, str]:
    return {verdict.report: verdict.verdict.value for verdict in found}


@pytest.mark.parametrize("name", ["real_v3", "real_v6"])
def test_a_real_database_answers_as_before(
    name: str, request: pytest.FixtureRequest, pg_url: str, tmp_path: Path
) -> None:
    line = pipeline_for(request.getfixturevalue(name), pg_url, tmp_path)
    migrate(line)
    source, target = answers(line, {})  # repaired rows too: the source is read as the migration stores it
    assert source == target
    assert all(source[f"{report} {WINDOWS[0]}"] for report in REPORTS if report != "enriched")
    found = compare_reports(line, line.totals())
    assert outcome(found) == dict.fromkeys(REPORTS, "PASS")
    assert all(verdict.rows for verdict in found if verdict.report != "enriched")


@pytest.mark.parametrize("seed", range(6))
def test_no_repair_is_a_false_alarm(seed: int, pg_url: str, tmp_path: Path) -> None:
    make(tmp_path / "s.sqlite", seed, dirt=0.5, rows=60)
    line = dirty_pipeline(tmp_path / "s.sqlite", tmp_path, seed, pg_url)
    migrate_dirty(line)
    aside = query(pg_url, "SELECT table_name, source_rowid FROM cowrie_migration.quarantine")
    left_out = {
        table: sa.text(f"{table}.rowid NOT IN ({','.join(str(rowid) for name, rowid in aside if name == table)})")
        for table in ("raw_events", "session_summaries")
    }
    source, target = answers(line, left_out)
    assert {name: rows for name, rows in source.items() if rows} == {n: r for n, r in target.items() if r}
    assert "FAIL" not in outcome(compare_reports(line, line.totals())).values()


@pytest.fixture
def changed(real_v3: Path, pg_url: str, tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Verdicts after a statement on the target of a migrated database."""
    line = pipeline_for(real_v3, pg_url, tmp_path)
    migrate(line)

    def run(statement: str) -> dict[str, str]:
        query(pg_url, statement)
        return outcome(compare_reports(line, line.totals()))

    return run


def test_what_differs_fails(changed: Callable[[str], dict[str, str]]) -> None:
    found = changed(
        'UPDATE raw_events SET payload = payload || \'{"sensor": "x"}\' WHERE id = (SELECT min(id) FROM raw_events)'
    )
    assert found == dict.fromkeys(REPORTS, "PASS") | {"sensors": "FAIL"}
    found = changed("UPDATE session_summaries SET event_count = event_count + 1")
    assert found == dict.fromkeys(REPORTS, "PASS") | {"sensors": "FAIL", "sessions": "FAIL"}


def test_rows_of_others_and_missing_tables_are_not_checked(
    changed: Callable[[str], dict[str, str]], real_other: Path, pg_url: str, tmp_path: Path
) -> None:
    found = changed("INSERT INTO raw_events (source, payload) VALUES ('x', '{}')")
    over_events = {name for name, report in REPORTS.items() if report.table == "raw_events"}
    assert {name for name, verdict in found.items() if verdict == "NOT CHECKED"} == over_events
    query(pg_url, "DROP SCHEMA cowrie_migration CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    (tmp_path / "other").mkdir()
    line = pipeline_for(real_other, pg_url, tmp_path / "other")
    migrate(line)
    verdicts_of_other = compare_reports(line, line.totals())
    assert outcome(verdicts_of_other) == dict.fromkeys(REPORTS, "NOT CHECKED")
    assert {v.detail for v in verdicts_of_other} == {
        "the source has no raw_events",
        "the source has no session_summaries",
    }


def test_newer_rows_of_the_source_do_not_count(real_v3: Path, pg_url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(real_v3, path)
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO raw_events (source, payload) VALUES"
            """ ('x', '{"eventid": "cowrie.command.input", "input": "id", "timestamp": "2026-11-24T05:00:00Z"}')"""
        )
    db.close()
    assert outcome(compare_reports(line, line.totals())) == dict.fromkeys(REPORTS, "PASS")


def test_documents_as_json_are_not_checked(real_v3: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v3, pg_url, tmp_path, treatment=Treatment(json_type=Type.JSON))
    migrate(line)
    assert {v.verdict for v in verdicts(line)} == {Verdict.PASS}
    found = compare_reports(line, line.totals())
    assert {v.detail for v in found} == {"the target stores documents as json, byte for byte"}
    with psycopg.connect(pg_url) as connection:
        row = connection.execute("SELECT pg_typeof(payload)::text FROM raw_events LIMIT 1").fetchone()
    assert row == ("json",)
