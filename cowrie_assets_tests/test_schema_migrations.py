"""Schema versions: a database at each of them is brought up to date with its rows, once, on both backends.

Not here: migrating rows to PostgreSQL (`test_migration.py`).
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from cowrie_assets.catalog import SCHEMA_VERSION, TABLES
from cowrie_assets.db.connecting import label
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.migrations.drift import Difference, check_drift
from cowrie_assets.db.migrations.runner import MIGRATIONS, current_version, migrate, newer_note
from cowrie_assets.db.models import RawEvent
from cowrie_assets.errors import SchemaError
from cowrie_assets.loading.ddl import create_holding_index, create_index, create_table

from .db_backends import POSTGRES, SQLITE

FROZEN = {
    1: "67a928e78009effb",
    2: "26bb89b0ecf2bcc7",
    3: "291a8d389867dc8c",
    4: "78906b919bcbefb0",
    5: "b24c9ac22d66bcc4",
    6: "6c946c4651336146",
}
"""The checksums of what has been released: a version that databases have must not change."""

EVENT = '{"session": "s%d", "eventid": "cowrie.login.failed", "timestamp": "2026-11-24T05:42:48.828261Z", "n": 1.10}'


def rows(connection: sa.Connection, table: str, columns: list[str] | None = None) -> list[Any]:
    """All rows, with rowids on SQLite, of the given columns (all of them by default)."""
    names = columns or [str(c["name"]) for c in sa.inspect(connection).get_columns(table)]
    chosen = ", ".join(f'"{n}"' for n in names)
    rowid = "rowid, " if connection.dialect.name == "sqlite" else ""
    found = connection.exec_driver_sql(f"SELECT {rowid}{chosen} FROM {table}")
    return sorted((tuple(row) for row in found), key=repr)


def columns(connection: sa.Connection, table: str) -> list[str]:
    return [str(c["name"]) for c in sa.inspect(connection).get_columns(table)]


def fill(connection: sa.Connection, version: int) -> None:
    """A few rows in every table that the version has; ids with a gap."""
    for number in (1, 2, 7):
        generation = ", source_generation" if version >= 2 else ""
        connection.exec_driver_sql(
            f"INSERT INTO raw_events (id, source, source_offset, payload{generation}) VALUES"
            f" ({number}, 'log', {number}, '{EVENT % number}'{', 3' if generation else ''})"
        )
        connection.exec_driver_sql(f"INSERT INTO session_summaries (session_id, event_count) VALUES ('s{number}', 5)")
        connection.exec_driver_sql(
            f"INSERT INTO command_stats (id, session_id, command_normalized) VALUES ({number}, 's{number}', 'ls')"
        )
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT setval(pg_get_serial_sequence('raw_events', 'id'), 7)")
    if version >= 2:
        connection.exec_driver_sql("INSERT INTO ingest_cursors (source) VALUES ('log')")
        connection.exec_driver_sql("INSERT INTO dead_letter_events (id, reason, payload) VALUES (9, 'r', '{\"a\": 1}')")
    if version >= 3:
        connection.exec_driver_sql("UPDATE session_summaries SET enrichment = 'null'")
    if version >= 4:
        connection.exec_driver_sql("INSERT INTO files (id, session_id, shasum) VALUES (4, 's1', 'ab')")


def test_a_new_database_gets_everything_once(database: sa.Engine) -> None:
    assert [a.version for a in migrate(database)] == [1, 2, 3, 4, 5, 6]
    assert migrate(database) == []
    with database.connect() as connection:
        assert current_version(connection) == SCHEMA_VERSION
        assert check_drift(connection) == []
        keys = set(connection.execute(sa.text("SELECT key FROM schema_state")).scalars())
    assert keys == {"schema_version", *(f"migration:{n}" for n in range(1, 7))}


@pytest.mark.parametrize("version", range(1, 7))
def test_each_version_is_upgraded_with_its_rows(database: sa.Engine, version: int) -> None:
    migrate(database, to=version)
    with database.begin() as connection:
        fill(connection, version)
    with database.connect() as connection:
        assert current_version(connection) == version
        before = {
            table: (columns(connection, table), rows(connection, table))
            for table in sa.inspect(connection).get_table_names()
            if table != "schema_state"
        }
    assert [a.version for a in migrate(database)] == list(range(version + 1, 7))
    with database.connect() as connection:
        for table, (names, content) in before.items():
            assert rows(connection, table, names) == content
        assert check_drift(connection) == []
        if database.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
    with Session(database) as session:
        events = session.scalars(sa.select(RawEvent).order_by(RawEvent.id)).all()
        assert [e.session_id_computed for e in events] == ["s1", "s2", "s7"]
        assert [e.session_id for e in events] == (["s1", "s2", "s7"] if version < 5 else [None] * 3)
        session.add(RawEvent(source="new", payload={}, session_id="mine"))
        session.flush()  # an id of its own, a session id that is not computed
        assert session.scalar(sa.select(RawEvent.session_id).where(RawEvent.source == "new")) == "mine"


@SQLITE
def test_a_file_has_every_index_under_its_name(database: sa.Engine) -> None:
    migrate(database)
    inspector = sa.inspect(database)
    names = {i["name"] for t in TABLES for i in inspector.get_indexes(t)}
    names |= {u["name"] for t in TABLES for u in inspector.get_unique_constraints(t)}
    assert {i.name for t in TABLES.values() for i in t.indexes} <= names


@POSTGRES
def test_it_ends_in_the_shape_of_the_migrations_target(database: sa.Engine) -> None:
    shapes = []
    for make in (migrate, _make_target):
        with database.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        make(database)
        with database.connect() as connection:
            query = (
                "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN"
                " ('p', 'u') AND connamespace = 'public'::regnamespace UNION SELECT tablename, indexname, indexdef"
                " FROM pg_indexes WHERE schemaname = 'public' UNION SELECT table_name, column_name, concat_ws(' ',"
                " data_type, is_nullable, is_identity, is_generated) FROM information_schema.columns"
                " WHERE table_schema = 'public'"
            )
            shapes.append({tuple(row) for row in connection.exec_driver_sql(query)})
    assert shapes[0] == shapes[1]


def _make_target(database: sa.Engine, *, holding: bool = False) -> None:
    with database.begin() as connection:
        for table in TABLES.values():
            connection.exec_driver_sql(create_table(table))
            for index in table.indexes:
                make = create_holding_index if holding else create_index
                connection.exec_driver_sql(make(table, index))
        connection.exec_driver_sql("INSERT INTO schema_state VALUES ('schema_version', '6')")


@pytest.mark.parametrize("holding", [False, True])
@POSTGRES
def test_a_target_of_the_migration_is_up_to_date(database: sa.Engine, holding: bool) -> None:
    _make_target(database, holding=holding)
    assert migrate(database) == []
    with database.connect() as connection:
        assert check_drift(connection) == []


def test_a_new_file_is_as_the_processor_makes_it(tmp_path: Path, real_v6: Path) -> None:
    engine = open_database(str(tmp_path / "new.sqlite"), write=True, create=True)
    migrate(engine)
    shapes = []
    for url in (str(tmp_path / "new.sqlite"), str(real_v6)):
        with open_database(url, write=False).connect() as connection:
            found = {}
            for table in TABLES:
                info = connection.exec_driver_sql(f"PRAGMA table_xinfo({table})").all()
                found[table] = {tuple(row)[1:] for row in info}
            indexes = (
                "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND name <> 'uq_raw_events_source_gen'"
            )
            found["indexes"] = {tuple(row) for row in connection.exec_driver_sql(indexes)}
            shapes.append(found)
    engine.dispose()
    assert shapes[0] == shapes[1]


@pytest.fixture
def copy_v3(real_v3: Path, tmp_path: Path) -> Path:
    path = tmp_path / "v3.sqlite"
    shutil.copy(real_v3, path)
    return path


def test_a_real_database_keeps_all_it_has(copy_v3: Path) -> None:
    engine = open_database(str(copy_v3), write=True)
    with engine.begin() as connection:
        for statement in (
            "DELETE FROM raw_events WHERE id % 7 = 0",
            "ALTER TABLE raw_events ADD COLUMN theirs TEXT DEFAULT 'x'",
            "CREATE INDEX ix_theirs ON raw_events (payload_hash) WHERE risk_score > 1",
            "CREATE VIEW theirs AS SELECT id, session_id FROM raw_events",
            "CREATE TRIGGER theirs_too AFTER DELETE ON raw_events BEGIN SELECT 1; END",
            "CREATE TABLE child (event INTEGER REFERENCES raw_events (id))",
            "INSERT INTO child SELECT id FROM raw_events LIMIT 3",
        ):
            connection.exec_driver_sql(statement)
    named = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY 1, 2"
    with engine.connect() as connection:
        names = connection.exec_driver_sql(named).all()
        before = {table: rows(connection, table) for table in sa.inspect(connection).get_table_names()}
        view = connection.exec_driver_sql("SELECT count(*), count(session_id) FROM theirs").one()
    assert [a.version for a in migrate(engine)] == [4, 5, 6]
    with engine.connect() as connection:
        assert set(names) <= set(connection.exec_driver_sql(named).all())
        for table, content in before.items():
            if table != "schema_state":
                assert rows(connection, table) == content
        assert connection.exec_driver_sql("SELECT count(*), count(session_id) FROM theirs").one() == view
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert check_drift(connection) == []
        connection.exec_driver_sql("INSERT INTO session_summaries (session_id) VALUES ('new')")
        kind = "SELECT typeof(vt_flagged), vt_flagged FROM session_summaries WHERE session_id = 'new'"
        assert tuple(connection.exec_driver_sql(kind).one()) == ("integer", 0)
    engine.dispose()


@SQLITE
def test_malformed_payloads_pass_the_rebuild(database: sa.Engine) -> None:
    migrate(database, to=4)
    with database.begin() as connection:
        fill(connection, 4)
        # SQLite lets no malformed JSON in where a column is generated from it, but such a column be added later.
        members = {"session_id": "session", "event_type": "eventid", "event_timestamp": "timestamp"}
        for column in members:
            connection.exec_driver_sql(f"DROP INDEX ix_raw_events_{column}")
            connection.exec_driver_sql(f"ALTER TABLE raw_events DROP COLUMN {column}")
        connection.exec_driver_sql("INSERT INTO raw_events (source, payload) VALUES ('x', '{\"session\": \"cut')")
        for column, member in members.items():
            connection.exec_driver_sql(
                f"ALTER TABLE raw_events ADD COLUMN {column} TEXT AS (json_extract(payload, '$.{member}'))"
            )
    with database.connect() as connection, pytest.raises(OperationalError, match="malformed"):
        connection.exec_driver_sql("SELECT session_id FROM raw_events").all()
    migrate(database)
    with database.connect() as connection:
        found = connection.exec_driver_sql("SELECT session_id, payload FROM raw_events WHERE source = 'x'").one()
        assert tuple(found) == (None, '{"session": "cut')
        assert connection.exec_driver_sql("SELECT count(session_id) FROM raw_events").scalar_one() == 3


def test_one_that_the_processor_upgraded_in_place_is_understood(copy_v3: Path) -> None:
    engine = open_database(str(copy_v3), write=True)
    migrate(engine, to=4)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_state SET value = '6' WHERE key = 'schema_version'")
    assert migrate(engine) == []
    with engine.connect() as connection:
        found = [d for d in check_drift(connection) if not d.what.startswith("default")]
        assert found == [
            Difference("raw_events", f"column {name}", "plain", "generated", serious=False)
            for name in ("session_id", "event_type", "event_timestamp")
        ]
    with Session(engine) as session:
        event = session.scalars(sa.select(RawEvent).limit(1)).one()
        assert event.session_id == event.session_id_computed == event.payload["session"]
    engine.dispose()


def test_a_dry_run_tells_and_changes_nothing(database: sa.Engine) -> None:
    migrate(database, to=3)
    with database.begin() as connection:
        fill(connection, 3)
    planned = migrate(database, dry_run=True)
    with database.connect() as connection:
        assert current_version(connection) == 3
        assert not sa.inspect(connection).has_table("files")
    done = migrate(database)
    stamped = ("INSERT INTO schema_state", "PRAGMA schema_version")
    for one, other in zip(planned, done, strict=True):
        assert (one.version, one.checksum, one.at) == (other.version, other.checksum, None)
        pairs = zip(one.statements, other.statements, strict=True)
        assert all(a == b or a.startswith(stamped) and b.startswith(stamped) for a, b in pairs)
    assert "CREATE TABLE files" in planned[0].sql


def test_a_source_can_be_rehearsed_on(real_v3: Path) -> None:
    engine = open_database(str(real_v3), write=False)
    before = real_v3.read_bytes()
    assert [a.version for a in migrate(engine, dry_run=True)] == [4, 5, 6]
    engine.dispose()
    assert real_v3.read_bytes() == before


def test_two_at_once_apply_each_version_once(empty_url: str) -> None:
    engines = [open_database(empty_url, write=True, create=True) for _ in range(3)]
    barrier = Barrier(len(engines))

    def run(engine: sa.Engine) -> list[int]:
        barrier.wait()
        return [a.version for a in migrate(engine)]

    with ThreadPoolExecutor(len(engines)) as pool:
        done = list(pool.map(run, engines))
    assert sorted(v for versions in done for v in versions) == [1, 2, 3, 4, 5, 6]
    with engines[0].connect() as connection:
        assert check_drift(connection) == []
    for engine in engines:
        engine.dispose()


def test_one_that_is_held_is_named(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWRIE_DB_BUSY_TIMEOUT", "0")
    impatient = empty_url + "&options=-c%20lock_timeout%3D100ms" if "://" in empty_url else empty_url
    holder, engine = (open_database(impatient, write=True, create=True) for _ in range(2))
    with holder.connect().execution_options(cowrie_begin="BEGIN IMMEDIATE") as connection:
        if holder.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({0x636F77726965})")
        else:
            connection.exec_driver_sql("CREATE TABLE x (y)")
        with pytest.raises(SchemaError, match="another process"):
            migrate(engine)
    assert len(migrate(engine)) == 6
    holder.dispose()
    engine.dispose()


def test_a_newer_database_is_read_and_not_migrated(database: sa.Engine) -> None:
    migrate(database)
    with database.begin() as connection:
        fill(connection, 6)
        connection.exec_driver_sql("UPDATE schema_state SET value = '23' WHERE key = 'schema_version'")
    with database.connect() as connection:
        note = newer_note(connection)
        assert note is not None
        assert "23" in note
        assert "6" in note
        assert check_drift(connection) == []
    with Session(database) as session:
        assert len(session.scalars(sa.select(RawEvent)).all()) == 3
    for dry_run in (False, True):
        with pytest.raises(SchemaError, match=r"version 23.* 6\.") as raised:
            migrate(database, dry_run=dry_run)
        assert label(database) in str(raised.value)


def test_what_fails_is_undone(database: sa.Engine) -> None:
    migrate(database, to=3)
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW files AS SELECT 1 AS x")
    with pytest.raises(SchemaError, match="undone"):
        migrate(database)
    with database.connect() as connection:
        assert current_version(connection) == 3
    with database.begin() as connection:
        connection.exec_driver_sql("DROP VIEW files")
    assert [a.version for a in migrate(database)] == [4, 5, 6]


def test_what_an_earlier_version_should_have_left_is_added(database: sa.Engine) -> None:
    migrate(database, to=3)
    with database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE command_stats")
        connection.exec_driver_sql("DROP INDEX ix_raw_events_ingest_at")
    with database.connect() as connection:
        missing = {(d.table, d.what) for d in check_drift(connection)}
        assert {("command_stats", "table"), ("raw_events", "index ix_raw_events_ingest_at")} <= missing
    assert [a.version for a in migrate(database)] == [1, 4, 5, 6]
    with database.connect() as connection:
        assert check_drift(connection) == []


def test_a_file_of_another_program_is_refused(real_other: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    shutil.copy(real_other, path)
    engine = open_database(str(path), write=True)
    with pytest.raises(SchemaError, match="no table of a Cowrie processor"):
        migrate(engine)
    engine.dispose()


def test_a_version_that_is_no_number_is_named(database: sa.Engine) -> None:
    migrate(database, to=1)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_state SET value = 'six' WHERE key = 'schema_version'")
    with database.connect() as connection, pytest.raises(SchemaError, match="six"):
        current_version(connection)


def test_released_versions_do_not_change() -> None:
    assert {m.version: m.checksum for m in MIGRATIONS} == FROZEN
