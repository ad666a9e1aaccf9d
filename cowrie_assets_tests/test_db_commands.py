"""`cowrie-assets db` on a database as a whole: schema, soundness, size, on both backends; faults are put in and found.

Not here: backups (`test_db_backup.py`), failures (`test_db_failures.py`), rows (`test_db_files.py`, `test_db_repair.py`).
"""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import sqlalchemy as sa

from cowrie_assets.catalog import SCHEMA_VERSION, TABLES
from cowrie_assets.cli.db import db
from cowrie_assets.cli.migrate import migrate as whole_migration
from cowrie_assets.db.integrity import Verdict, check_integrity
from cowrie_assets.db.migrations.database import Database
from cowrie_assets.db.migrations.extras import EXTRAS
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.db.optimize import optimize
from cowrie_assets.db.tables import METADATA, SQL_TABLES

from .db_backends import POSTGRES, SQLITE, DbCommand

EVENT = "INSERT INTO raw_events (source, source_offset, payload) VALUES ('/log', {n}, '{{}}')"


def wrong(engine: sa.Engine, deep: bool = True) -> dict[str, str]:
    return {c.name: c.detail for c in check_integrity(engine, deep=deep) if c.verdict is Verdict.WRONG}


def run(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_migrate_shows_then_applies_then_has_nothing_to_do(
    database: sa.Engine, empty_url: str, db_command: DbCommand
) -> None:
    database.connect().close()  # the file is there
    code, out, _ = db_command("migrate", "--database", empty_url, "--dry-run")
    assert code == 0
    assert "Would apply version 6" in out
    assert "CREATE TABLE" in out
    assert not sa.inspect(database).get_table_names()
    assert db_command("check", "--database", empty_url)[0] == 1
    code, out, _ = db_command("migrate", "--database", empty_url, "--json")
    applied = json.loads(out)["applied"]
    assert [a["version"] for a in applied] == list(range(1, SCHEMA_VERSION + 1))
    assert "up to date" in db_command("migrate", "--database", empty_url)[1]
    code, out, _ = db_command("check", "--database", empty_url)
    assert (code, "as it should be" in out) == (0, True)


def test_check_names_what_differs(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database)
    run(database, "DROP INDEX ix_raw_events_session_id")
    code, out, _ = db_command("check", "--database", empty_url)
    assert (code, "ix_raw_events_session_id" in out) == (0, True)
    run(database, "DROP TABLE files")
    code, out, _ = db_command("check", "--database", empty_url, "--json")
    drift = json.loads(out)["drift"]
    assert code == 1
    assert {(d["table"], d["actual"]) for d in drift if d["serious"]} == {("files", "missing")}


def test_extras_are_an_option(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database)
    _, out, _ = db_command("migrate", "--database", empty_url, "--extras", "--json")
    made = {statement.split()[3] for statement in json.loads(out)["extras"]}
    with database.connect() as connection:
        found = set(Database(connection).indexes("raw_events")) - {i.name for i in TABLES["raw_events"].indexes}
    expected = {extra.name for extra in EXTRAS} if database.dialect.name == "postgresql" else set()
    assert made == expected
    assert made <= found


def test_a_sound_database_is_called_so(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database)
    run(database, *(EVENT.format(n=n) for n in range(3)))
    code, out, _ = db_command("integrity", "--database", empty_url, "--json")
    quick = json.loads(out)
    assert code == 0
    assert {c["verdict"] for c in quick if c["name"].endswith("(deep)")} == {"NOT CHECKED"}
    assert {c["verdict"] for c in quick if not c["name"].endswith("(deep)")} == {"OK"}
    code, out, _ = db_command("integrity", "--database", empty_url, "--deep", "--json")
    deep = json.loads(out)
    assert (code, {c["verdict"] for c in deep}) == (0, {"OK"})
    assert {c["name"] for c in quick} - {c["name"] for c in deep} == {
        c["name"] for c in quick if c["name"].endswith("(deep)")
    }


def test_without_tables_nothing_is_said_of_rows(database: sa.Engine) -> None:
    verdicts = {c.name: c.verdict for c in check_integrity(database, deep=True)}
    assert verdicts["schema"] is Verdict.WRONG
    assert verdicts["orphans"] is verdicts["duplicates"] is Verdict.NOT_CHECKED


def test_orphans_and_duplicates(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    METADATA.create_all(database)
    columns = ", ".join(c.name for c in TABLES["files"].columns)
    run(
        database,
        "INSERT INTO session_summaries (session_id) VALUES ('known')",
        "INSERT INTO files (session_id, shasum) VALUES ('known', 'a'), ('lost', 'a')",
        f"CREATE TABLE copied AS SELECT {columns} FROM files",
        "DROP TABLE files",
        "ALTER TABLE copied RENAME TO files",
        "INSERT INTO files SELECT * FROM files WHERE session_id = 'lost'",
    )
    found = wrong(database)
    assert found["orphans"] == "files: 1 sessions without a summary (lost)"
    assert found["duplicates"] == (
        "files: 1 values of (id) more than once; files: 1 values of (session_id, shasum) more than once"
    )
    assert db_command("integrity", "--deep", "--database", empty_url)[0] == 1


def test_sessions_of_events_without_a_summary_are_counted(database: sa.Engine) -> None:
    """No fault: the loader summarises only the sessions that its sensors' filters match."""
    METADATA.create_all(database)
    run(database, "INSERT INTO session_summaries (session_id) VALUES ('known')")
    rows = [("known", None), (None, "known"), (None, "lost"), ("lost", "known"), ("lost too", None), (None, None)]
    with database.begin() as connection:
        connection.execute(
            sa.insert(SQL_TABLES["raw_events"]),
            [
                {"source": "/l", "source_offset": n, "session_id": stored, "payload": {"session": told} if told else {}}
                for n, (stored, told) in enumerate(rows)
            ],
        )
    (orphans,) = [c for c in check_integrity(database, deep=True) if c.name == "orphans"]
    assert (orphans.verdict, orphans.detail) == (
        Verdict.OK,
        "each session of command_stats and files has a summary; 2 other sessions have events only",
    )


@POSTGRES
def test_a_sequence_that_is_behind(database: sa.Engine) -> None:
    migrate(database)
    assert "sequences" not in wrong(database, deep=False)
    run(database, "INSERT INTO raw_events (id, source, source_offset, payload) VALUES (7, '/log', 1, '{}')")
    assert wrong(database, deep=False)["sequences"] == "the next raw_events.id would be 1, 7 is there"


@POSTGRES
def test_what_was_never_validated(database: sa.Engine) -> None:
    migrate(database)
    run(
        database,
        "ALTER TABLE files ADD CONSTRAINT named CHECK (shasum <> '') NOT VALID",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_files_shasum'::regclass",
    )
    assert wrong(database, deep=False)["catalog"] == (
        "index ix_files_shasum is not valid; constraint named of files is not validated"
    )


@POSTGRES
def test_an_index_that_lacks_rows(database: sa.Engine) -> None:
    migrate(database)
    name = "'ix_raw_events_source_kept'::regclass"
    run(
        database,
        "CREATE INDEX ix_raw_events_source_kept ON raw_events (payload_hash)",
        *(EVENT.format(n=n) for n in range(2)),
        f"UPDATE pg_index SET indisready = false WHERE indexrelid = {name}",
        "INSERT INTO raw_events (source, payload, payload_hash) SELECT '/log', '{}', n FROM generate_series(1, 9) n",
        f"UPDATE pg_index SET indisready = true WHERE indexrelid = {name}",
    )
    assert wrong(database)["indexes"] == "ix_raw_events_source_kept leads to 2 of 11 rows of raw_events"
    with database.connect() as connection:
        offered = connection.exec_driver_sql("SELECT name FROM pg_available_extensions WHERE name = 'amcheck'").all()
    for _ in offered:  # the embedded server does not bring it
        run(database, "CREATE EXTENSION amcheck")
        assert "lacks matching index tuple" in wrong(database)["indexes"]


@POSTGRES
def test_indexes_that_are_not_looked_at_are_named(database: sa.Engine) -> None:
    migrate(database)
    run(database, "CREATE INDEX ix_partial ON files (shasum) WHERE vt_malicious")
    (indexes,) = [c for c in check_integrity(database, deep=True) if c.name == "indexes"]
    assert indexes.verdict is Verdict.OK
    assert indexes.detail.endswith("NOT CHECKED at all: ix_partial")


@SQLITE
def test_a_damaged_index_and_json_that_is_none(database: sa.Engine) -> None:
    migrate(database)
    run(
        database,
        *(EVENT.format(n=n) for n in range(2)),
        "UPDATE raw_events SET payload = '{' WHERE id = 2",
        "UPDATE raw_events SET session_id = 's' WHERE id = 1",
    )
    assert wrong(database) == {"JSON": "raw_events.payload: 1 cells are no JSON (rows 2)"}
    run(
        database,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, '(session_id)', '(source)')"
        " WHERE name = 'ix_raw_events_session_id'",
    )
    database.dispose()
    assert "missing from index ix_raw_events_session_id" in wrong(database)["storage"]


def test_optimize_says_the_size_before_and_after(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database)
    big = "x" * 1_000
    run(database, *(EVENT.format(n=n).replace("{}", f'{{"a": "{big}"}}') for n in range(2_000)))
    run(database, "DELETE FROM raw_events")
    code, out, _ = db_command("optimize", "--database", empty_url, "--json")
    done = json.loads(out)
    assert code == 0
    assert done["after"] < done["before"] - 1_000_000
    words = " ".join(done["statements"])
    assert all(word in words for word in ("VACUUM", "ANALYZE", "REINDEX"))
    _, out, _ = db_command("optimize", "--database", empty_url, "--analyze")
    assert "ANALYZE" in out
    assert "VACUUM" not in out


@SQLITE
def test_without_room_nothing_is_begun(
    database: sa.Engine, monkeypatch: pytest.MonkeyPatch, db_command: DbCommand
) -> None:
    migrate(database)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
    code, _, err = db_command("optimize", "--database", str(database.url.database))
    assert code == 2
    assert "VACUUM of" in err
    assert "0 MB are free" in err
    assert optimize(database, ["analyze"]).statements[0] == "ANALYZE"


@SQLITE
def test_a_file_in_use_is_one_line(database: sa.Engine, monkeypatch: pytest.MonkeyPatch, db_command: DbCommand) -> None:
    migrate(database)
    run(database, "UPDATE schema_state SET value = '5' WHERE key = 'schema_version'")  # else there is nothing to do
    monkeypatch.setenv("COWRIE_DB_BUSY_TIMEOUT", "0")
    with database.connect().execution_options(cowrie_begin="BEGIN IMMEDIATE") as connection, connection.begin():
        for arguments in (["optimize"], ["repair", "--apply"], ["migrate"]):
            code, _, err = db_command(*arguments, "--database", str(database.url.database))
            assert (code, len(err.splitlines())) == (2, 1)
            assert "locked" in err or "another process" in err


def test_a_dry_run_changes_no_byte(tmp_path: Path, real_v3: Path, db_command: DbCommand) -> None:
    path = tmp_path / "v3.sqlite"
    shutil.copy(real_v3, path)
    before = path.read_bytes()
    code, out, _ = db_command("migrate", "--database", str(path), "--dry-run")
    assert (code, "Would apply version 4" in out) == (0, True)
    for command in ("check", "integrity", "analyze", "repair"):
        db_command(command, "--database", str(path))
    assert path.read_bytes() == before


def test_a_database_that_is_not_there(tmp_path: Path, db_command: DbCommand) -> None:
    for arguments in (["check"], ["integrity"], ["optimize"], ["analyze"], ["backup", "--to", str(tmp_path / "b")]):
        code, _, err = db_command(*arguments, "--database", str(tmp_path / "none.sqlite"))
        assert (code, "does not exist" in err, len(err.splitlines())) == (2, True, 1)


def test_a_damaged_page_is_one_line(tmp_path: Path, real_v6: Path, db_command: DbCommand) -> None:
    path = tmp_path / "damaged.sqlite"
    content = bytearray(real_v6.read_bytes())
    content[200_000:400_000] = b"\xff" * 200_000
    path.write_bytes(content)
    for arguments in (["analyze"], ["repair"], ["backup", "--to", str(tmp_path / "b")]):
        code, _, err = db_command(*arguments, "--database", str(path))
        assert (code, "malformed" in err, len(err.splitlines())) == (2, True, 1)
    assert not (tmp_path / "b").exists()
    code, out, _ = db_command("integrity", "--deep", "--database", str(path), "--json")
    verdicts = {c["name"]: c["verdict"] for c in json.loads(out)}
    assert (code, verdicts["storage"], verdicts["duplicates"]) == (1, "WRONG", "WRONG")


def test_to_postgres_is_the_migration() -> None:
    command = db.commands["to-postgres"]
    assert (command.callback, command.params) == (whole_migration.callback, whole_migration.params)
