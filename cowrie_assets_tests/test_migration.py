"""The whole pipeline over real databases, and what breaks it: reruns, changes, refusals, damaged targets.

Not here: Dagster (`test_dagster.py`) or the command line (`test_cli.py`).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cowrie_assets.errors import PlanError, TargetError
from cowrie_assets.loading.reset import plan_reset, reset
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.planning.plan import Plan
from cowrie_assets.settings import Grain, Settings
from cowrie_assets.validation.verdicts import PartitionProof, Verdict
from cowrie_assets_tests.test_source import opened


def pipeline_for(source: Path, url: str, folder: Path, **settings: Any) -> Pipeline:
    return Pipeline(
        Settings(source=source, target=url, staging=str(folder / "staging"), home=folder / "home", **settings)
    )


def units(plan: Plan) -> list[tuple[str, list[str]]]:
    return [(table, list(plan.partitions(table))) for table in (*plan.dated, *plan.others)]


def migrate(line: Pipeline) -> Counter[str]:
    """Every stage in order; how many partitions each stage made anew."""
    made: Counter[str] = Counter()
    for table, keys in units(line.plan):
        made["staging"] += sum(new for _, new in line.stage(table, keys).values())
    line.prepare()
    with line.locked():
        for table, keys in units(line.plan):
            for key in keys:
                made["quality"] += line.analyse(table, key)[1]
                made["cleaned"] += line.clean(table, key)[1]
                made["postgres"] += line.load(table, key, "test").made
    line.finish()
    return made


def verdicts(line: Pipeline) -> list[PartitionProof]:
    return [count for table, keys in units(line.plan) for count in line.validate(table, keys)]


def query(url: str, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables and of the ledger, without what differs from run to run."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for schema, table in query(
        url, "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'cowrie_migration')"
    ):
        row = "to_jsonb(t) - 'run_id' - 'loaded_at' - 'verified_at' - 'verified' - 'pinned_at' - 'finished_at' #- '{plan,created}'"
        rows = query(url, f'SELECT ({row})::text FROM {schema}."{table}" t ORDER BY 1')
        found[f"{schema}.{table}"] = rows
    return found


@pytest.fixture
def migrated(real_v6: Path, pg_url: str, tmp_path: Path) -> Pipeline:
    line = pipeline_for(real_v6, pg_url, tmp_path)
    migrate(line)
    return line


@pytest.mark.parametrize("name", ["real_v3", "real_v6", "real_other"])
def test_every_row_of_a_real_database_is_accounted_for(
    name: str, request: pytest.FixtureRequest, pg_url: str, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(name)
    before = source.read_bytes()
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict for v in verdicts(line)} == {Verdict.PASS}
    assert {t.verdict for t in line.totals()} == {Verdict.PASS}
    with opened(source) as sqlite:
        for table in line.plan.tables:
            (rows,) = sqlite.execute(f'SELECT count(*) FROM "{table}"').fetchone()
            loaded = query(pg_url, f'SELECT count(*) FROM "{table}"')[0][0]
            aside = query(pg_url, "SELECT count(*) FROM cowrie_migration.quarantine WHERE table_name = %s", (table,))
            assert rows == loaded + aside[0][0], table
    assert source.read_bytes() == before


def test_a_row_written_once_more_is_the_applications_where_the_source_holds_such_rows(
    real_other: Path, pg_url: str, tmp_path: Path
) -> None:
    line = pipeline_for(real_other, pg_url, tmp_path)
    migrate(line)
    query(pg_url, "INSERT INTO clients (version) SELECT version FROM clients WHERE id = 1")
    query(pg_url, "INSERT INTO sensors (ip) SELECT ip FROM sensors WHERE id = 1")
    assert {v.verdict for v in verdicts(line)} == {Verdict.PASS}
    found = {t.table: (t.verdict, t.others, t.detail) for t in line.totals() if t.others}
    assert found == {
        "clients": (Verdict.PASS, 1, ""),
        "sensors": (Verdict.FAIL, 1, "row 2 is row 1 once more"),
    }


def test_sums_by_rule_of_the_real_databases(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    migrate(pipeline_for(real_v6, pg_url, tmp_path))
    rules = query(
        pg_url,
        "SELECT table_name, column_name, rule, count(*) FROM cowrie_migration.repairs"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )
    assert rules == [
        ("raw_events", "payload", "json.nonfinite", 3),
        ("raw_events", "payload", "json.nul", 144),
        ("raw_events", "payload", "json.surrogate", 11),
        ("session_summaries", "session_id", "text.nul", 1),
    ]
    assert query(pg_url, "SELECT count(*) FROM cowrie_migration.quarantine") == [(0,)]


def test_unrepaired_cells_arrive_identical(migrated: Pipeline, pg_url: str, real_v6: Path) -> None:
    repaired = {
        row[0]
        for row in query(pg_url, "SELECT source_rowid FROM cowrie_migration.repairs WHERE table_name = 'raw_events'")
    }
    names = "id, ingest_id, source, source_offset, source_inode, source_generation, payload_hash, risk_score"
    with opened(real_v6) as sqlite:
        source = sqlite.execute(f"SELECT {names} FROM raw_events ORDER BY id").fetchall()
        payloads = [r for r in sqlite.execute("SELECT id, payload FROM raw_events") if r[0] not in repaired]
        dates = sqlite.execute("SELECT id, ingest_at FROM raw_events").fetchall()
    assert query(pg_url, f"SELECT {names} FROM raw_events ORDER BY id") == source
    same = query(
        pg_url,
        "SELECT count(*) FROM unnest(%s::bigint[], %s::text[]) s(id, p) JOIN raw_events r USING (id)"
        " WHERE r.payload = s.p::jsonb",
        ([p[0] for p in payloads], [p[1] for p in payloads]),
    )
    assert same == [(len(payloads),)]
    instants = query(
        pg_url,
        "SELECT count(*) FROM unnest(%s::bigint[], %s::text[]) s(id, d) JOIN raw_events r USING (id)"
        " WHERE r.ingest_at = (s.d || '+00')::timestamptz",
        ([d[0] for d in dates], [d[1] for d in dates]),
    )
    assert instants == [(len(dates),)]


def test_repairs_hold_the_exact_original_and_the_replacement_is_in_the_target(
    migrated: Pipeline, pg_url: str, real_v6: Path
) -> None:
    rows = query(
        pg_url,
        "SELECT source_rowid, original, original_type, replacement, target_key FROM cowrie_migration.repairs"
        " WHERE column_name = 'payload'",
    )
    assert len(rows) == 158
    with opened(real_v6) as sqlite:
        for rowid, original, kind, replacement, key in rows:
            stored, stored_kind = sqlite.execute(
                "SELECT CAST(payload AS BLOB), typeof(payload) FROM raw_events WHERE id = ?", (rowid,)
            ).fetchone()
            assert (bytes(original), kind, key) == (stored, stored_kind, str(rowid))
            assert query(pg_url, "SELECT payload = %s::jsonb FROM raw_events WHERE id = %s", (replacement, rowid)) == [
                (True,)
            ]


def test_former_generated_columns_equal_the_payload(migrated: Pipeline, pg_url: str) -> None:
    differing = query(
        pg_url,
        "SELECT count(*) FROM raw_events WHERE session_id IS DISTINCT FROM payload ->> 'session'"
        " OR event_type IS DISTINCT FROM payload ->> 'eventid'"
        " OR event_timestamp IS DISTINCT FROM payload ->> 'timestamp'",
    )
    assert differing == [(0,)]
    derived = query(
        pg_url,
        "SELECT column_name, sum((SELECT sum(upper(r) - lower(r)) FROM unnest(source_rowids) r))"
        " FROM cowrie_migration.derivations GROUP BY 1 ORDER BY 1",
    )
    filled = query(pg_url, "SELECT count(event_timestamp), count(event_type), count(session_id) FROM raw_events")
    assert [d[1] for d in derived] == list(filled[0])


def test_the_application_goes_on(migrated: Pipeline, pg_url: str) -> None:
    with psycopg.connect(pg_url) as connection:
        connection.execute(
            "INSERT INTO raw_events (source, source_offset, source_inode, payload) VALUES ('s', 1, 'i', '{}')"
        )
        connection.execute("INSERT INTO command_stats (session_id, command_normalized) VALUES ('s', 'c')")
        connection.execute("INSERT INTO files (session_id, shasum) VALUES ('s', 'h')")
        connection.execute("INSERT INTO dead_letter_events (reason, payload) VALUES ('r', '{}')")
        for statement in (
            "INSERT INTO raw_events (source, source_offset, source_inode, payload) VALUES ('s', 1, 'i', '{}')"
            " ON CONFLICT (source, source_inode, source_generation, source_offset) DO UPDATE SET payload = '[]'",
            "INSERT INTO command_stats (session_id, command_normalized) VALUES ('s', 'c')"
            " ON CONFLICT (session_id, command_normalized) DO UPDATE SET occurrences = 9",
            "INSERT INTO files (session_id, shasum) VALUES ('s', 'h')"
            " ON CONFLICT (session_id, shasum) DO UPDATE SET file_size = 9",
            "INSERT INTO session_summaries (session_id) VALUES ('x') ON CONFLICT (session_id) DO NOTHING",
            "INSERT INTO ingest_cursors (source) VALUES ('x') ON CONFLICT (source) DO NOTHING",
            "INSERT INTO schema_state VALUES ('schema_version', '9') ON CONFLICT (key) DO UPDATE SET value = '6'",
        ):
            assert connection.execute(statement.encode()).rowcount == 1
        kept = connection.execute("SELECT quarantined, source_generation FROM raw_events WHERE source = 's'").fetchone()
        assert kept == (False, 0)
        flags = connection.execute("SELECT vt_malicious, enrichment_status FROM files WHERE shasum = 'h'").fetchone()
        assert flags == (False, "pending")


def test_a_second_run_does_nothing_and_force_gives_the_same(migrated: Pipeline, pg_url: str) -> None:
    before = contents(pg_url)
    again = Pipeline(migrated.settings)
    assert sum(migrate(again).values()) == 0
    assert contents(pg_url) == before
    with again.locked():
        for table, keys in units(again.plan):
            again.stage(table, keys, force=True)
            for key in keys:
                again.clean(table, key, force=True)
                assert again.load(table, key, "again", force=True).made
    assert contents(pg_url) == before


def test_only_a_changed_partition_is_loaded_again(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    source = tmp_path / "copy.sqlite"
    shutil.copy(real_v6, source)
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    with opened(source) as sqlite:
        sqlite.execute("UPDATE files SET file_size = 77 WHERE id = 5")
    made = migrate(Pipeline(line.settings))
    assert made["postgres"] == 1
    assert query(pg_url, "SELECT file_size FROM files WHERE id = 5") == [(77,)]


@pytest.mark.parametrize("moved_to", ["2025-09-22 10:00:00", "2026-11-24 10:00:00"])
@pytest.mark.parametrize(("table", "column"), [("session_summaries", "first_event_at"), ("files", "first_seen")])
def test_a_row_that_moved_to_another_window_arrives_there(
    table: str, column: str, moved_to: str, real_v6: Path, pg_url: str, tmp_path: Path
) -> None:
    source = tmp_path / "copy.sqlite"
    shutil.copy(real_v6, source)
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    with opened(source) as sqlite:
        where = f"rowid IN (SELECT rowid FROM {table} WHERE {column} NOT LIKE '{moved_to[:4]}%' ORDER BY rowid LIMIT 1)"
        assert sqlite.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (moved_to,)).rowcount == 1
        (rows,) = sqlite.execute(f"SELECT count(*) FROM {table}").fetchone()
    again = Pipeline(line.settings)
    migrate(again)
    assert {v.verdict for v in verdicts(again)} == {Verdict.PASS}
    assert query(pg_url, f"SELECT count(*), count(*) FILTER (WHERE {column} = '{moved_to}+00') FROM {table}") == [
        (rows, 1)
    ]
    assert query(pg_url, "SELECT count(*) FROM cowrie_migration.quarantine") == [(0,)]


def test_rows_after_the_plan_are_counted_apart(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    source = tmp_path / "copy.sqlite"
    shutil.copy(real_v6, source)
    line = pipeline_for(source, pg_url, tmp_path)
    assert line.plan.tables["files"].rows == 133
    with opened(source) as sqlite:
        sqlite.execute("INSERT INTO files (session_id, shasum, first_seen) VALUES ('late', 'x', '2026-11-24 01:00:00')")
    migrate(line)
    assert query(pg_url, "SELECT count(*) FROM files WHERE session_id = 'late'") == [(0,)]
    total = next(t for t in line.totals() if t.table == "files")
    assert (total.rows, total.after_plan, total.verdict) == (133, 1, Verdict.PASS)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM raw_events WHERE id = (SELECT min(id) FROM raw_events)", "target"),
        ("DELETE FROM session_summaries WHERE session_id = (SELECT min(session_id) FROM session_summaries)", "target"),
        ("DELETE FROM cowrie_migration.repairs WHERE source_rowid = (SELECT min(source_rowid) FROM"
         " cowrie_migration.repairs)", "repaired"),
        ("INSERT INTO cowrie_migration.quarantine SELECT 'files', 999999, 'r', 'd', '{}', NULL, partition_key, NULL FROM"
         " cowrie_migration.partitions WHERE table_name = 'files' AND source_rows > 0 LIMIT 1", "quarantine"),
    ],
)  # fmt: skip
def test_damage_to_target_or_ledger_fails_the_row_equation(
    migrated: Pipeline, pg_url: str, damage: str, what: str
) -> None:
    query(pg_url, damage)
    failed = [v for v in verdicts(migrated) if v.verdict is not Verdict.PASS]
    assert len(failed) == 1
    assert failed[0].verdict is Verdict.FAIL
    assert what in failed[0].detail


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM cowrie_migration.partitions WHERE table_name = 'raw_events' AND source_rows > 5000",
         "is missing"),
        ("INSERT INTO cowrie_migration.partitions (table_name, partition_key, source_rows, loaded_at)"
         " SELECT table_name, 'doubled', source_rows, loaded_at FROM cowrie_migration.partitions WHERE table_name = 'raw_events' AND"
         " source_rows > 5000", "is not in the plan"),
        ("UPDATE cowrie_migration.partitions SET source_rows = source_rows + 1 WHERE table_name = 'raw_events' AND"
         " source_rows > 5000", "sum to"),
    ],
)  # fmt: skip
def test_a_missing_or_doubled_partition_fails_the_total(
    migrated: Pipeline, pg_url: str, damage: str, what: str
) -> None:
    query(pg_url, damage)
    total = next(t for t in migrated.totals() if t.table == "raw_events")
    assert total.verdict is Verdict.FAIL
    assert what in total.detail


def test_another_grain_or_source_is_refused_with_the_command(
    migrated: Pipeline, real_v3: Path, pg_url: str, tmp_path: Path
) -> None:
    other_grain = pipeline_for(migrated.settings.require_source(), pg_url, tmp_path / "g", grain=Grain.MONTH)
    with pytest.raises(PlanError, match=r"grain week, now month.*cowrie-assets reset"):
        other_grain.prepare()
    other_source = pipeline_for(real_v3, pg_url, tmp_path / "s", grain=Grain.WEEK)
    with pytest.raises(PlanError, match="cowrie-assets reset"):
        other_source.prepare()


def test_another_migrations_target_is_not_judged(
    migrated: Pipeline, real_v3: Path, pg_url: str, tmp_path: Path
) -> None:
    assert {v.verdict for v in verdicts(migrated)} == {Verdict.PASS}
    before = contents(pg_url)
    with pytest.raises(PlanError, match="another plan"):
        verdicts(pipeline_for(real_v3, pg_url, tmp_path / "other", grain=Grain.WEEK))
    assert contents(pg_url) == before


def test_rows_of_others_are_refused_unless_append(real_v3: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v3, pg_url, tmp_path)
    line.prepare()
    query(pg_url, "DROP SCHEMA cowrie_migration CASCADE")
    query(pg_url, "INSERT INTO dead_letter_events (id, reason, payload) VALUES (90000, 'mine', '{}')")
    with pytest.raises(TargetError, match=r"already holds rows.*--append"):
        line.prepare()
    appending = pipeline_for(real_v3, pg_url, tmp_path, append=True)
    migrate(appending)
    assert {v.verdict for v in verdicts(appending)} == {Verdict.PASS}
    assert query(pg_url, "SELECT count(*) FROM dead_letter_events") == [(91,)]


def test_one_migration_at_a_time(real_v3: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v3, pg_url, tmp_path)
    with psycopg.connect(pg_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x636F77726965,))
        with pytest.raises(TargetError, match="Another migration is running"), line.locked(wait=0):
            pass
    with line.locked(wait=5):
        assert line.prepare().created


def test_reset_takes_ours_and_leaves_theirs(migrated: Pipeline, pg_url: str) -> None:
    query(pg_url, "INSERT INTO files (session_id, shasum) VALUES ('theirs', 'h')")
    with psycopg.connect(pg_url) as connection:
        plan, steps = plan_reset(connection)
        connection.commit()
        reset(connection, plan, steps)
    assert query(pg_url, "SELECT session_id FROM files") == [("theirs",)]
    assert query(pg_url, "SELECT to_regclass('raw_events'), to_regclass('cowrie_migration.plan')") == [(None, None)]


def test_an_other_than_utf8_target_is_refused(server_url: str, real_v3: Path, tmp_path: Path) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    line = pipeline_for(real_v3, psycopg.conninfo.make_conninfo(server_url, dbname="latin"), tmp_path)
    with pytest.raises(TargetError, match="UTF8 is needed"):
        line.prepare()


@pytest.mark.parametrize("url", ["postgresql://u:secret@127.0.0.1:1/none", "postgresql://u:secret@nowhere.invalid/db"])
def test_an_unreachable_target_is_one_line_without_the_password(url: str, real_v3: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError) as caught:
        pipeline_for(real_v3, url, tmp_path).prepare()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
