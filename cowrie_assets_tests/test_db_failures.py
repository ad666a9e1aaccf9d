"""Commands on databases that fail or are refused: what they say, the exit code, and what they leave.

Not here: backups (`test_db_backup.py`, `test_db_restore.py`), what the commands do where nothing fails (`test_db_commands.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.cli.main import main
from cowrie_assets.db import backfill_files, optimize
from cowrie_assets.db.connecting import clear_errors
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.errors import DatabaseError

from .db_backends import POSTGRES, SQLITE, DbCommand

SHA = "ab" * 32
DOWNLOAD = (
    "INSERT INTO raw_events (source, source_offset, payload, event_type) VALUES ('/log', {n}, '"
    '{{"eventid": "cowrie.session.file_download", "session": "s{n}", "shasum": "' + SHA + '"}}'
    "', 'cowrie.session.file_download')"
)


def run(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement.replace(":", "\\:")))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A database of our schema, without a WAL."""
    path = tmp_path / "plain.sqlite"
    own = open_database(str(path), write=True, create=True)
    migrate(own)
    own.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    return path


@SQLITE
def test_what_is_refused_or_has_nothing_to_do_changes_no_byte(
    empty_url: str, plain: Path, tmp_path: Path, real_v3: Path, monkeypatch: pytest.MonkeyPatch, db_command: DbCommand
) -> None:
    foreign, old, newer = tmp_path / "foreign.sqlite", tmp_path / "old.sqlite", tmp_path / "newer.sqlite"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE auth (id INTEGER)")
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE TABLE raw_events (id INTEGER)")
    shutil.copy(plain, newer)
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("UPDATE schema_state SET value = '7' WHERE key = 'schema_version'")
        connection.commit()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    for path, arguments, code in (
        (foreign, ["migrate"], 2),
        (newer, ["migrate"], 2),
        (plain, ["migrate"], 0),
        (old, ["backfill-files"], 2),
        (plain, ["backfill-files"], 0),
        (plain, ["optimize"], 2),
    ):
        before = path.read_bytes()
        assert db_command(*arguments, "--database", str(path))[0] == code, arguments
        assert path.read_bytes() == before, arguments
        assert not list(tmp_path.glob(f"{path.name}?*"))


@SQLITE
def test_what_writes_switches_to_wal(empty_url: str, plain: Path, tmp_path: Path, db_command: DbCommand) -> None:
    def mode(path: Path) -> Any:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("PRAGMA journal_mode").fetchone()[0]

    with closing(sqlite3.connect(plain)) as connection:
        connection.execute(DOWNLOAD.format(n=1))
        connection.commit()
    for arguments in (["backfill-files"], ["repair", "--apply"], ["optimize", "--analyze"]):
        path = tmp_path / f"{arguments[0]}.sqlite"
        shutil.copy(plain, path)
        assert mode(path) == "delete"
        assert db_command(*arguments, "--database", str(path))[0] == 0
        assert mode(path) == "wal"


@SQLITE
def test_a_damaged_file_is_sent_to_what_helps_it(
    empty_url: str, tmp_path: Path, real_v6: Path, db_command: DbCommand
) -> None:
    path = tmp_path / "damaged.sqlite"
    content = bytearray(real_v6.read_bytes())
    content[200_000:400_000] = b"\xff" * 200_000
    path.write_bytes(content)
    for arguments in (["analyze"], ["repair"], ["backup", "--to", str(tmp_path / "b")]):
        code, _, err = db_command(*arguments, "--database", str(path))
        assert (code, len(err.splitlines())) == (2, 1)
        assert "cowrie-assets db integrity --deep" in err
        assert not [word for word in ("plan --replace", "the source", "behind rowid", "db check") if word in err], err
        assert "restore a backup" in err
    code, _, err = db_command("restore", str(path), "--to", str(tmp_path / "new.sqlite"))
    assert (code, "of the backup is damaged" in err, "plan --replace" in err) == (2, True, False)
    assert "`cowrie-assets migrate`" in err


@pytest.fixture
def stranger(database: sa.Engine, empty_url: str) -> Iterator[str]:
    """The URL of a user who may read the table of events, and nothing else."""
    role = f"t_{os.getpid()}_stranger"
    migrate(database)
    run(
        database,
        DOWNLOAD.format(n=1),
        f"CREATE ROLE {role} LOGIN",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT ON raw_events TO {role}",
    )
    yield empty_url.replace("user=postgres", f"user={role}")
    run(database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@POSTGRES
def test_who_lacks_a_right_is_told_which(stranger: str, tmp_path: Path, db_command: DbCommand) -> None:
    for arguments in (["check"], ["analyze"], ["files"], ["backfill-files"], ["repair", "--apply"]):
        code, _, err = db_command(*arguments, "--database", stranger)
        assert (code, len(err.splitlines())) == (2, 1), arguments
        assert "permission denied" in err
        assert "db check" not in err
        assert "Grant" in err


@SQLITE
def test_a_locked_file_is_said_to_be(plain: Path, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the lock comes after the file was opened."""
    monkeypatch.setenv("COWRIE_DB_BUSY_TIMEOUT", "0")
    engine = open_database(str(plain), write=True)
    with closing(sqlite3.connect(plain, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError) as raised, clear_errors(engine, "Counting"), engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM files")
    assert "Stop what uses it" in str(raised.value)
    assert "debug session" in str(raised.value)
    assert "db check" not in str(raised.value)
    engine.dispose()


@POSTGRES
def test_a_check_without_the_right_to_make_it_is_no_success(stranger: str, db_command: DbCommand) -> None:
    code, out, _ = db_command("integrity", "--deep", "--database", stranger, "--json")
    checks = {c["name"]: (c["verdict"], c["denied"]) for c in json.loads(out)}
    assert code == 1
    assert checks["orphans"] == checks["duplicates"] == checks["indexes"] == ("NOT CHECKED", True)
    assert checks["catalog"] == ("OK", False)
    code, out, _ = db_command("integrity", "--deep", "--database", stranger)
    assert (code, "GRANT SELECT" in out) == (1, True)


def test_a_check_that_is_left_out_is_none_that_failed(
    database: sa.Engine, empty_url: str, db_command: DbCommand
) -> None:
    migrate(database)
    code, out, _ = db_command("integrity", "--database", empty_url, "--json")
    assert (code, {c["denied"] for c in json.loads(out)}) == (0, {False})


@SQLITE
def test_a_database_of_something_else(empty_url: str, tmp_path: Path, db_command: DbCommand) -> None:
    path = tmp_path / "cowrie.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        for table in ("auth", "clients", "sessions"):
            connection.execute(f"CREATE TABLE {table} (id INTEGER)")
    for command in ("check", "migrate"):
        code, _, err = db_command(command, "--database", str(path))
        assert (code, len(err.splitlines())) == (2, 1)
        assert "holds auth, clients, sessions, and no table of a Cowrie processor" in err
        assert "a new file for `cowrie-assets db migrate`" in err


@SQLITE
def test_a_new_file_gets_the_schema(empty_url: str, tmp_path: Path, db_command: DbCommand) -> None:
    new, empty = tmp_path / "new.sqlite", tmp_path / "empty.sqlite"
    empty.touch()
    for path in (new, empty):
        there = path.exists()
        code, out, _ = db_command("migrate", "--database", str(path), "--dry-run")
        assert (code, out.count("Would apply")) == (0, 6)
        assert path.exists() == there
        code, out, _ = db_command("migrate", "--database", str(path))
        assert (code, out.count("Applied version"), f"Created {path}" in out) == (0, 6, not there)
        assert db_command("check", "--database", str(path))[0] == 0
    missing = tmp_path / "none" / "new.sqlite"
    code, _, err = db_command("migrate", "--database", str(missing))
    assert (code, len(err.splitlines()), "folder" in err) == (2, 1, True)
    code, _, err = db_command("migrate", "--database", str(tmp_path / ("n" * 300)))
    assert (code, len(err.splitlines()), "File name too long" in err) == (2, 1, True)


@POSTGRES
def test_a_lock_on_a_table_names_who_holds_it(
    database: sa.Engine, empty_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    migrate(database)
    url = f"{empty_url}&options=-c%20lock_timeout%3D100ms"
    with psycopg.connect(empty_url) as holder:
        holder.execute("LOCK TABLE raw_events")
        for arguments in (["report", "commands"], ["report", "hours"], ["debug", "session", "s1"]):
            with pytest.raises(SystemExit) as ended:
                main([*arguments, "--database", url])
            err = capfd.readouterr().err
            assert (ended.value.code, len(err.splitlines())) == (2, 1)
            assert f"Process {holder.info.backend_pid} holds AccessExclusiveLock on raw_events" in err
            assert "start again" in err


def test_what_fails_after_a_commit_failed_on_the_way(
    database: sa.Engine, empty_url: str, monkeypatch: pytest.MonkeyPatch, db_command: DbCommand
) -> None:
    migrate(database)
    run(database, *(DOWNLOAD.format(n=n) for n in (1, 2)))
    monkeypatch.setattr(backfill_files, "PAGE", 1)
    write, calls, at = backfill_files._write, [], [0]

    def broken(connection: sa.Connection, *found: Any) -> None:
        calls.append(found)
        if len(calls) == at[0]:
            connection.execute(sa.text("SELECT 1 FROM nothing_there"))
        write(connection, *found)

    monkeypatch.setattr(backfill_files, "_write", broken)
    for failing, expected, rows in ((1, 2, 0), (2, 3, 1)):
        calls.clear()
        at[:] = [failing]
        assert db_command("backfill-files", "--database", empty_url)[0] == expected
        with database.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM files")).scalar_one() == rows
    assert json.loads(db_command("backfill-files", "--database", empty_url, "--json")[1])["added"] == 1


def test_what_optimize_did_before_it_failed_is_no_nothing(
    database: sa.Engine, empty_url: str, monkeypatch: pytest.MonkeyPatch, db_command: DbCommand
) -> None:
    migrate(database)
    for statements, expected in ((["nonsense"], 2), (["ANALYZE", "nonsense"], 3)):
        for name in ("_for_sqlite", "_for_postgres"):
            monkeypatch.setattr(optimize, name, lambda *_, found=statements: found)
        code, _, err = db_command("optimize", "--database", empty_url)
        assert (code, len(err.splitlines())) == (expected, 1)
