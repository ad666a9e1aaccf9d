"""Reports of source and migrated target are equal, row by row; `verify` says so, and sees what differs.

Not here: the queries (`test_report_queries.py`), the proof of cells (`test_proof.py`).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from cowrie_assets.catalog import Type
from cowrie_assets.db.engine import create_engine_from_settings, open_database
from cowrie_assets.db.settings import EngineSettings
from cowrie_assets.db.tables import METADATA
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.policies import Treatment
from cowrie_assets.reporting.compare import ReportVerdict, compare_reports
from cowrie_assets.reporting.queries.catalogue import REPORTS
from cowrie_assets.reporting.queries.facts import MOST, Facts, Window
from cowrie_assets.validation.verdicts import Verdict
from cowrie_assets_tests.dirty import make
from cowrie_assets_tests.test_dirty import migrate as migrate_dirty
from cowrie_assets_tests.test_dirty import pipeline as dirty_pipeline
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query

ALL, SOME = Window(limit=MOST), Window(date(2026, 11, 24), date(2026, 11, 24), "lab-sensor-01")


def answers(line: Pipeline, left_out: dict[str, Any]) -> list[dict[str, Any]]:
    """The reports of source (without what is left out) and target, some in a window too."""
    source = create_engine_from_settings(EngineSettings(url=str(line.settings.source)), write=False)
    target = sa.create_engine("postgresql+psycopg://", creator=line.connect, poolclass=NullPool)
    found: list[dict[str, Any]] = []
    for engine, conditions in ((source, left_out), (target, {})):
        with engine.connect() as connection:
            facts = Facts(connection, conditions)
            present = {name: report for name, report in REPORTS.items() if facts.has(report.table)}
            found.append({name: report.find(facts, ALL) for name, report in present.items()})
            found[-1] |= {f"{n} in a day": present[n].find(facts, SOME) for n in {"hours", "sessions"} & present.keys()}
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
    assert {name for name, rows in source.items() if not rows} == {"enriched"}
    found = compare_reports(line, line.totals())
    assert outcome(found) == dict.fromkeys(REPORTS, "PASS"), found
    assert all(verdict.rows for verdict in found if verdict.report != "enriched")
    lines = "SELECT count(DISTINCT source_rowid) FROM cowrie_migration.repairs WHERE table_name = 'raw_events'"
    left_out = query(pg_url, lines)[0][0]
    assert left_out > 100
    assert {v.detail for v in found if v.report not in ("sessions", "enriched")} == {
        f"without {left_out} rows that were repaired or set aside"
    }


@pytest.mark.parametrize("seed", range(2))
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


def test_what_differs_fails_and_what_cannot_be_compared_is_not_checked(
    real_v3: Path, pg_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(real_v3, path)
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "INSERT INTO raw_events (source, payload) VALUES"
            """ ('x', '{"eventid": "cowrie.command.input", "input": "id", "timestamp": "2026-11-24T05:00:00Z"}')"""
        )
    expected = dict.fromkeys(REPORTS, "PASS")
    assert outcome(compare_reports(line, line.totals())) == expected  # newer rows are no difference

    first = "WHERE id = (SELECT min(id) FROM raw_events)"
    query(pg_url, f'UPDATE raw_events SET payload = payload || \'{{"sensor": "x"}}\' {first}')
    found = compare_reports(line, line.totals())
    assert outcome(found) == (expected := expected | {"sensors": "FAIL"})
    [shown] = [verdict.detail for verdict in found if verdict.verdict is Verdict.FAIL]
    assert re.match(
        r"row 1 is \('lab-sensor-01', 126\d\d, .* in the source, \('lab-sensor-01', 126\d\d, .* here$", shown
    )
    query(pg_url, "UPDATE session_summaries SET event_count = event_count + 1")
    assert outcome(compare_reports(line, line.totals())) == (expected := expected | {"sessions": "FAIL"})

    query(pg_url, "INSERT INTO raw_events (source, payload) VALUES ('x', '{}')")
    over_events = {name: "NOT CHECKED" for name, report in REPORTS.items() if report.table == "raw_events"}
    found = compare_reports(line, line.totals())
    assert outcome(found) == expected | over_events
    assert {v.detail for v in found if v.report in over_events} == {"others wrote 1 rows into raw_events"}

    query(pg_url, "ALTER TABLE session_summaries ALTER COLUMN event_count TYPE text")
    found = compare_reports(line, line.totals())
    assert outcome(found) == dict.fromkeys(REPORTS, "NOT CHECKED")
    assert all("The reports of the target failed" in v.detail for v in found)


def test_unknown_tables_are_not_checked(real_other: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_other, pg_url, tmp_path)
    migrate(line)
    found = compare_reports(line, line.totals())
    assert outcome(found) == dict.fromkeys(REPORTS, "NOT CHECKED")
    assert {v.detail for v in found} == {"the source has no raw_events", "the source has no session_summaries"}


def test_documents_as_json_are_not_checked(pg_url: str, tmp_path: Path) -> None:
    engine = open_database(str(tmp_path / "s.sqlite"), write=True, create=True)
    METADATA.create_all(engine)
    engine.dispose()
    line = pipeline_for(tmp_path / "s.sqlite", pg_url, tmp_path, treatment=Treatment(json_type=Type.JSON))
    migrate(line)
    found = compare_reports(line, line.totals())
    assert {(v.verdict.value, v.detail) for v in found} == {
        ("NOT CHECKED", "the target stores documents as json, byte for byte")
    }
