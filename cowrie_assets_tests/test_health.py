"""What `health` finds on both backends: each check, thresholds, the time limit.

Not here: the command, the endpoint and Dagster (`test_health_ways.py`).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.db.engine import open_database
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.db.tables import SQL_TABLES
from cowrie_assets.errors import SettingsError
from cowrie_assets.health.connections import connect_once
from cowrie_assets.health.database import check_database
from cowrie_assets.health.events import check_events
from cowrie_assets.health.probe import NAMES, Probe
from cowrie_assets.health.report import Check, Report, Status, duration
from cowrie_assets.health.settings import HealthSettings, load_health_settings
from cowrie_assets.health.status_files import check_status_files, read_status
from cowrie_assets.loading.ledger import DDL
from cowrie_assets.settings import Settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EVENTS = SQL_TABLES["raw_events"]
ROOMY = HealthSettings(free_percent=0, free_critical_percent=0)


def events(engine: sa.Engine, *stamps: Any, column: bool = False) -> None:
    """Rows whose payloads have these timestamps, in this order."""
    rows = [
        {
            "source": "/log",
            "source_offset": number,
            "ingest_at": NOW,
            "payload": {"timestamp": stamp},
            "event_timestamp": stamp if column else None,
        }
        for number, stamp in enumerate(stamps)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(EVENTS), rows)


def look(url: str, limits: HealthSettings = ROOMY, **settings: Any) -> Report:
    given = Settings(target=url if "://" in url else None, **settings)
    return Probe(lambda: connect_once(url, limits.timeout), url, given, limits).look(NOW)


def found(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


@pytest.fixture
def ready(empty_url: str, database: sa.Engine) -> str:
    """A database at the newest schema with an event of an hour ago."""
    migrate(database)
    events(database, "2026-11-24T11:00:00.000000Z")
    return empty_url


def run(url: str, *statements: str) -> None:
    engine = open_database(url, write=True)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_well_database(ready: str) -> None:
    report = look(ready)
    assert (report.status, tuple(check.name for check in report.checks)) == (Status.OK, NAMES)
    assert found(report, "schema").text == "version 6"
    assert found(report, "events").text == "the newest is of 2026-11-24 11:00:00 UTC, 60 min ago"
    assert found(report, "database").details["bytes"] > 10_000
    assert json.loads(json.dumps(report.as_json()))["checks"]["status_files"]["checked"] is False


@pytest.mark.parametrize(
    ("version", "status", "text"),
    [
        ("3", Status.WARNING, "version 3, older than 6"),
        ("9", Status.WARNING, "schema version 9, this program knows 6"),
        ("\x1b[31mred", Status.CRITICAL, "which is no number"),
    ],
)
def test_other_schema_versions(ready: str, version: str, status: Status, text: str) -> None:
    run(ready, f"UPDATE schema_state SET value = '{version}' WHERE key = 'schema_version'")
    check = found(look(ready), "schema")
    assert check.status is status
    assert text in check.text
    assert "\x1b" not in check.text


def test_a_database_of_something_else(empty_url: str, database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE other (id INTEGER)")
    report = look(empty_url)
    assert found(report, "schema").status is Status.CRITICAL
    assert found(report, "events").text == "NOT CHECKED: there is no table raw_events"


@pytest.mark.parametrize(
    ("stamps", "limits", "status", "text"),
    [
        ((), {}, Status.WARNING, "there are none"),
        (("2026-11-23T09:00:00Z",), {}, Status.WARNING, "27 h ago"),
        (("2026-11-23T11:00:00Z",), {}, Status.OK, "25 h ago"),
        (("2026-11-23T11:00:00Z",), {"event_hours": 1}, Status.WARNING, "25 h ago"),
        (("2026-11-23T11:00:00Z",), {"event_critical_hours": 24}, Status.CRITICAL, "25 h ago"),
        (("2026-11-24T11:59:30Z", "9999-12-31T00:00:00Z", "2026-11-26"), {}, Status.OK, "30 s ago"),
        (("not-a-date", "", "2025-W39-1T", 1758542400), {}, Status.WARNING, "none of the last 4 has a date"),
        (("2026-11-24T13:00:00+02:00", "2026-11-20"), {}, Status.OK, "2026-11-24 11:00:00 UTC"),
    ],
)
def test_the_newest_event(
    empty_url: str, database: sa.Engine, stamps: tuple[str, ...], limits: dict[str, Any], status: Status, text: str
) -> None:
    migrate(database)
    if stamps:
        events(database, *stamps)
    with connect_once(empty_url, 5) as connection:
        check = check_events(connection, HealthSettings(**limits), NOW)
    assert (check.status, text in check.text) == (status, True), check.text


def test_newest_by_date_where_older_ones_were_loaded_later(empty_url: str, database: sa.Engine) -> None:
    migrate(database)
    late = [f"2026-09-0{1 + number % 9}T00:00:00Z" for number in range(100)]
    events(database, "2026-11-24T10:00:00Z", *late, "not-a-date", "9999-12-31", column=True)
    with connect_once(empty_url, 5) as connection:
        assert "2 h ago" in check_events(connection, ROOMY, NOW).text


def test_no_table_is_read_through(empty_url: str, database: sa.Engine) -> None:
    migrate(database)
    for batch in range(10):
        with database.begin() as connection:
            rows = [
                {"source": f"/{batch}", "source_offset": n, "payload": {}, "event_timestamp": f"2026-01-01T{n}"}
                for n in range(500)
            ]
            connection.execute(sa.insert(EVENTS), rows)
    with connect_once(empty_url, 5) as connection:
        if connection.dialect.name == "sqlite":
            raw = connection.connection.dbapi_connection
            assert raw is not None
            ticks: list[int] = []
            raw.set_progress_handler(lambda: ticks.append(1), 1000)
            check_events(connection, ROOMY, NOW)
            check_database(connection)
            assert len(ticks) < 5  # thousands of SQLite's steps; to read 5,000 rows takes more than 20
            return
        statements: list[tuple[str, Any]] = []
        sa.event.listen(connection, "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
        connection.exec_driver_sql("SET enable_seqscan = off")  # few rows fit few pages: an index must be usable
        check_events(connection, ROOMY, NOW)
        asked = list(statements)  # the plans' own statements are listened to as well
        plans = [
            str(connection.exec_driver_sql(f"EXPLAIN {text}", values).all())
            for text, values in asked
            if "raw_events.payload" in text or "event_timestamp" in text
        ]
    assert len(plans) == 2
    assert not [plan for plan in plans if "Seq Scan" in plan]


def test_while_keys_are_not_built_nothing_is_scanned(ready: str) -> None:
    if "://" not in ready:
        assert found(look(ready), "events").checked  # SQLite's rowid is always there
        return
    run(ready, "ALTER TABLE raw_events DROP CONSTRAINT pk_raw_events")
    check = found(look(ready), "events")
    assert (check.checked, "NOT CHECKED: the key of raw_events is not built" in check.text) == (False, True)


PARTITION = "INSERT INTO cowrie_migration.partitions (table_name, partition_key, loaded_rows, quarantined_rows, loaded_at, verdict)"


@pytest.mark.parametrize(
    ("rows", "finished", "status", "text"),
    [
        ("('a', '1', 5, 1, now(), 'PASS'), ('a', '2', 7, 0, now(), 'PASS')", True, Status.OK, "12 rows in 2 partitions, 1 set aside"),
        ("('a', '1', 5, 1, now(), 'PASS'), ('a', '2', 7, 0, now(), 'FAIL')", True, Status.CRITICAL, "1 of 2 partitions differ"),
        ("('a', '1', 5, 1, now(), 'PASS'), ('a', '2', NULL, NULL, NULL, 'NOT CHECKED')", False, Status.WARNING, "1 of 2 partitions are not loaded"),
        ("('a', '1', 5, 1, now(), 'NOT CHECKED')", True, Status.WARNING, "1 loaded partitions are not verified"),
        ("('a', '1', 5, 1, now(), 'PASS')", False, Status.WARNING, "indexes and constraints are not built"),
    ],
)  # fmt: skip
def test_the_ledger(ready: str, rows: str, finished: bool, status: Status, text: str) -> None:
    if "://" not in ready:
        assert found(look(ready), "migration").text == "a SQLite file has no ledger; there is no plan of it"
        return
    at = "now()" if finished else "NULL"
    plan = f"INSERT INTO cowrie_migration.plan (format, plan_id, plan, finished_at) VALUES (3, 'p', '{{}}', {at})"
    run(ready, DDL, plan, f"{PARTITION} VALUES {rows}")
    check = found(look(ready), "migration")
    assert (check.status, text in check.text) == (status, True), check.text
    assert (check.details["plan"], check.details["running"]) == (True, False)


def test_an_index_that_is_invalid(ready: str) -> None:
    if "://" not in ready:
        assert found(look(ready), "database").status is Status.OK
        return
    run(ready, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_raw_events_session_id'::regclass")
    check = found(look(ready), "database")
    assert (check.status, "invalid indexes: ix_raw_events_session_id" in check.text) == (Status.WARNING, True)


def test_a_file_in_wal_mode_is_read_without_a_change(real_v3: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    shutil.copy(real_v3, copy)
    with closing(sqlite3.connect(copy)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    before = copy.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["copy.sqlite"]
    look(str(copy))
    assert copy.read_bytes() == before
    # What README and `health --help` say: SQLite's own files stay, and the WAL holds nothing.
    assert {path.name for path in tmp_path.iterdir()} == {"copy.sqlite", "copy.sqlite-shm", "copy.sqlite-wal"}
    assert (tmp_path / "copy.sqlite-wal").stat().st_size == 0


def test_the_plan_of_a_source_is_seen(tmp_path: Path, real_v3: Path) -> None:
    assert "no plan" in found(look(str(real_v3), staging=str(tmp_path)), "migration").text
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    assert "its plan is there" in found(look(str(real_v3), staging=str(tmp_path)), "migration").text


@pytest.mark.parametrize("damage", ["cut", "zeroed", "text", "empty", "missing"])
def test_a_damaged_file_is_critical(real_v3: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "database.sqlite"
    content = bytearray(real_v3.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "zeroed":
        content[4096:] = bytes(len(content) - 4096)
    elif damage == "text":
        content[:] = b"hello " * 100
    elif damage == "empty":
        content.clear()
    if damage != "missing":
        file.write_bytes(content)
    report = look(str(file))
    assert found(report, "database").status is Status.CRITICAL or found(report, "schema").status is Status.CRITICAL
    assert report.status is Status.CRITICAL


def test_a_server_that_is_not_there_names_no_password() -> None:
    report = look("postgresql://u:geheim@127.0.0.1:1/d")
    assert found(report, "database").status is Status.CRITICAL
    assert "no server answers" in found(report, "database").text
    assert "geheim" not in json.dumps(report.as_json())
    assert [check.checked for check in report.checks[1:4]] == [False] * 3
    assert found(report, "disk").checked


def test_what_hangs_is_critical_and_holds_nothing_up(tmp_path: Path) -> None:
    release = threading.Event()

    def hung() -> AbstractContextManager[sa.Connection]:
        release.wait(60)
        raise AssertionError("released")

    probe = Probe(hung, None, Settings(home=tmp_path), HealthSettings(timeout=0.3))
    started = time.monotonic()
    first, second = probe.look(), probe.look()
    assert time.monotonic() - started < 5
    assert second.seconds < 0.25  # it does not wait for the same thread again
    for report in (first, second):
        assert found(report, "database").text == "no answer within 0.3 s"
        assert found(report, "events").text == "NOT CHECKED: it waits for database"
        assert found(report, "disk").checked
        assert report.status is Status.CRITICAL
    release.set()


def test_what_fails_unexpectedly_is_told(tmp_path: Path) -> None:
    def broken() -> AbstractContextManager[sa.Connection]:
        raise RuntimeError("\x1b[31mpostgresql://u:geheim@h/d is odd")

    check = found(Probe(broken, None, Settings(home=tmp_path), ROOMY).look(), "database")
    assert check.status is Status.CRITICAL
    assert "is odd" in check.text
    assert "\x1b" not in check.text
    assert "geheim" not in check.text


def test_disk_thresholds(real_v3: Path, tmp_path: Path) -> None:
    def disk(**limits: Any) -> Check:
        return found(look(str(real_v3), HealthSettings(**limits), home=tmp_path / "none" / "yet"), "disk")

    assert disk(free_percent=0, free_critical_percent=0).status is Status.OK
    assert disk(free_percent=100, free_critical_percent=0).status is Status.WARNING
    assert disk(free_percent=100, free_critical_percent=100).status is Status.CRITICAL
    assert set(disk().details["folders"]) == {"database", "staging"}


def status(folder: Path, name: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")


def test_status_files(tmp_path: Path) -> None:
    def check(**changes: Any) -> Check:
        return check_status_files(HealthSettings(status_dir=tmp_path, **changes), NOW)

    assert (check().status, "has no status file" in check().text) == (Status.WARNING, True)
    fresh = {"phase": "delta", "last_updated": "2026-11-24T11:00:00+00:00", "metrics": {}, "dead_letter": {"total": 7}}
    status(tmp_path, "delta.json", fresh)
    status(tmp_path, "delta.tmp", "{")
    assert (check().status, check().text) == (Status.OK, "delta: 60 min ago")
    assert check().details["files"][0]["dead_letters"] == 7
    assert "stale" in check(status_hours=0.5).text
    status(tmp_path, "bulk.json", fresh | {"phase": "bulk", "last_updated": "2026-11-20T12:00:00"})
    assert (check().status, check().text) == (Status.WARNING, "bulk: 4 days ago, stale; delta: 60 min ago")


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "[" * 100_000, " " * (1 << 20) + "{}"])
def test_an_unreadable_status_file_is_a_warning(tmp_path: Path, content: str) -> None:
    status(tmp_path, "bulk.json", content)
    check = check_status_files(HealthSettings(status_dir=tmp_path), NOW)
    assert (check.status, check.text.startswith("bulk: is no JSON")) == (Status.WARNING, True)


def test_a_folder_of_status_files_that_is_missing_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    assert "is no file" in check_status_files(HealthSettings(status_dir=tmp_path), NOW).text
    check = check_status_files(HealthSettings(status_dir=tmp_path / "none"), NOW)
    assert (check.status, "cannot be read" in check.text) == (Status.WARNING, True)


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 1e400, "", "\x1b[31m", "2026-11-24", "0001-01-01T00:00:00+14:00", [], [{}], {"total": "x"}]
)


@given(content=st.dictionaries(st.sampled_from(["phase", "last_updated", "dead_letter", "metrics"]), VALUES))
def test_any_json_object_is_a_status(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    status(folder, "any.json", content)
    read = read_status(folder / "any.json")
    assert read.error is None
    assert read.updated is not None  # the file's own time where it names none
    assert read.phase.isprintable()


def test_settings_come_from_options_then_environment_then_file(tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text(
        "[health]\ntimeout = 1\nevent_hours = 2\nfree_percent = 7\n", encoding="utf-8"
    )
    env = {"COWRIE_HEALTH_EVENT_HOURS": "3", "COWRIE_STATUS_DIR": "/s", "COWRIE_HEALTH_TIMEOUT": "4"}
    read = load_health_settings({"timeout": 9.0, "event_hours": None}, env, tmp_path)
    assert (read.timeout, read.event_hours, read.free_percent, read.status_dir) == (9, 3, 7, Path("/s"))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda folder: load_health_settings({"timeout": float("nan")}, {}, folder), "--timeout"),
        (lambda folder: load_health_settings({}, {"COWRIE_HEALTH_FREE_PERCENT": "101"}, folder), "FREE_PERCENT='101'"),
        (lambda folder: load_health_settings({}, {"COWRIE_HEALTH_EVENT_HOURS": "often"}, folder), "EVENT_HOURS"),
        (lambda folder: load_health_settings({}, {}, folder), "is no table of status_dir"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, make: Callable[[Path], object], named: str) -> None:
    (tmp_path / "sensors.toml").write_text("[health]\nhours = 1\n" if "table" in named else "", encoding="utf-8")
    with pytest.raises(SettingsError, match=named):
        make(tmp_path)


def test_durations() -> None:
    expected = {0: "0 s", 119: "119 s", 120: "2 min", 7199: "120 min", 7200: "2 h", 172_800: "2 days"}
    assert {seconds: duration(seconds) for seconds in expected} == expected


def test_a_day_ahead_is_a_wrong_clock_not_an_event(empty_url: str, database: sa.Engine) -> None:
    migrate(database)
    ahead = [(NOW + timedelta(hours=hours)).isoformat() for hours in (-3, 23, 25)]
    events(database, *ahead)
    with connect_once(empty_url, 5) as connection:
        check = check_events(connection, ROOMY, NOW)
    assert check.details["newest"] == ahead[1]
