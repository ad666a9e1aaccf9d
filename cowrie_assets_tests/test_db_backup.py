"""`db backup` and `db restore` on both backends: what comes back is what was there, and damage on the way is noticed.

Not here: other commands of `db`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.db import backup as module
from cowrie_assets.db import embedded, postgres_tools, sqlite_copy
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.db.postgres_tools import Tools, find_tools, run_tool
from cowrie_assets.errors import BackupError, DatabaseError, MissingExtraError

from .db_backends import POSTGRES, SQLITE, DbCommand

PAYLOAD = '{"session": "s%d", "n": 1.10, "text": "\\u00e9\\n"}'


@pytest.fixture
def filled(database: sa.Engine) -> sa.Engine:
    """A database of each backend with rows, a gap in the ids, and a table that the catalog does not know."""
    migrate(database)
    with database.begin() as connection:
        for number in (1, 2, 7):
            connection.execute(
                sa.text("INSERT INTO raw_events (id, source, source_offset, payload) VALUES (:id, '/l', :id, :payload)")
                if database.dialect.name == "sqlite"
                else sa.text(
                    "INSERT INTO raw_events (id, source, source_offset, payload)"
                    " VALUES (:id, '/l', :id, CAST(:payload AS jsonb))"
                ),
                {"id": number, "payload": PAYLOAD % number},
            )
        connection.execute(sa.text('CREATE TABLE "odd 100% name" (a text, b double precision)'))
        connection.execute(sa.text("INSERT INTO \"odd 100% name\" VALUES ('x', 0.1), (NULL, 1e300)"))
    return database


def content(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return [
            sorted(tuple(map(repr, row)) for row in connection.execute(sa.text(f"SELECT * FROM {table}")))
            for table in ("raw_events", '"odd 100% name"', "schema_state")
        ]


def emptied(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for table in sa.inspect(connection).get_table_names():
            connection.execute(sa.text(f'DROP TABLE "{table}"'))


def test_what_comes_back_is_what_was_there(
    filled: sa.Engine, empty_url: str, tmp_path: Path, db_command: DbCommand
) -> None:
    file, before = tmp_path / "copy", content(filled)
    code, out, _ = db_command("backup", "--database", empty_url, "--to", str(file), "--json")
    done = json.loads(out)
    assert (code, done["verified"], done["bytes"]) == (0, True, file.stat().st_size)
    assert (done["rows"]["raw_events"], done["rows"]["odd 100% name"]) == (3, 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {p.name for p in tmp_path.iterdir() if "copy" in p.name or "verify" in p.name} == {"copy"}

    code, _, err = db_command("restore", str(file), "--to", empty_url)
    assert (code, "is not empty" in err, "--overwrite" in err) == (2, True, True)
    with filled.begin() as connection:
        connection.exec_driver_sql("DELETE FROM raw_events")
        connection.execute(sa.text('DROP TABLE "odd 100% name"'))
    filled.dispose()
    code, out, _ = db_command("restore", str(file), "--to", empty_url, "--overwrite", "--json")
    assert (code, json.loads(out)["rows"]["raw_events"]) == (0, 3)
    assert content(filled) == before
    emptied(filled)
    filled.dispose()
    assert db_command("restore", str(file), "--to", empty_url)[0] == 0
    assert content(filled) == before


def test_a_backup_is_one_moment_of_a_database_that_is_written(
    filled: sa.Engine, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, db_command: DbCommand
) -> None:
    """Rows arrive between the snapshot and the copy, and between the copy and the digests."""
    pages = sqlite_copy.pages

    def arrive(*_: Any) -> None:
        with filled.begin() as connection:
            connection.execute(sa.text("INSERT INTO raw_events (source, payload) VALUES ('/late', '{}')"))

    def around(work: Any) -> Any:
        def worked(*arguments: Any) -> None:
            arrive()
            work(*arguments)
            arrive()

        return worked

    with filled.begin() as connection:
        if filled.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER SEQUENCE raw_events_id_seq RESTART 100")
    monkeypatch.setattr(sqlite_copy, "pages", around(pages))
    monkeypatch.setattr(module, "run_tool", around(run_tool))
    code, out, _ = db_command("backup", "--database", empty_url, "--to", str(tmp_path / "b"), "--json")
    assert (code, json.loads(out)["rows"]["raw_events"]) == (0, 3)
    assert len(content(filled)[0]) == 7


def test_an_unverified_backup_says_so(filled: sa.Engine, empty_url: str, tmp_path: Path, db_command: DbCommand) -> None:
    code, out, _ = db_command("backup", "--database", empty_url, "--to", str(tmp_path / "b"), "--no-verify")
    assert (code, "NOT VERIFIED" in out) == (0, True)
    code, out, _ = db_command("backup", "--database", empty_url, "--to", str(tmp_path / "c"))
    assert (code, "VERIFIED" in out, "NOT VERIFIED" in out) == (0, True, False)
    code, _, err = db_command("backup", "--database", empty_url, "--to", str(tmp_path / "b"))
    assert (code, "exists already" in err) == (2, True)


def test_a_copy_that_differs_is_no_backup(
    filled: sa.Engine, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, db_command: DbCommand
) -> None:
    damages = {
        "DELETE FROM raw_events WHERE id = 7": "3 rows in the database, 2 rows",
        "UPDATE raw_events SET source = '/k' WHERE id = 7": "of other content",
    }
    todo = list(damages)
    pages, load = sqlite_copy.pages, module._load

    def copied(source: Any, copy: Any, path: Path) -> None:
        pages(source, copy, path)
        copy.execute(todo[0])

    def loaded(tools: Tools, source: Path, url: str, *, overwrite: bool) -> None:
        load(tools, source, url, overwrite=overwrite)
        with psycopg.connect(url) as connection:
            connection.execute(todo[0].encode())

    monkeypatch.setattr(sqlite_copy, "pages", copied)
    monkeypatch.setattr(module, "_load", loaded)
    while todo:
        said = damages[todo[0]]
        code, _, err = db_command("backup", "--database", empty_url, "--to", str(tmp_path / "b"))
        assert (code, "differs in raw_events" in err, said in err) == (1, True, True)
        assert not list(tmp_path.glob("b*"))
        todo.pop(0)


def damaged(whole: bytes, way: str) -> bytes:
    """A backup's bytes with a hole in the middle, or cut."""
    middle = len(whole) // 2
    if way == "hole":
        return whole[: middle - 20_000] + b"\xff" * 40_000 + whole[middle + 20_000 :]
    return whole[:middle]


@pytest.mark.parametrize("way", ["hole", "cut"])
def test_a_damaged_backup_leaves_the_target_as_it_was(
    filled: sa.Engine, empty_url: str, tmp_path: Path, db_command: DbCommand, way: str
) -> None:
    file = tmp_path / "b"
    with filled.begin() as connection:
        for number in range(20, 320):
            connection.execute(
                sa.text("INSERT INTO raw_events (id, source, source_offset, payload) VALUES (:id, :noise, :id, '{}')"),
                {"id": number, "noise": random.Random(number).randbytes(400).hex()},  # does not compress
            )
    assert db_command("backup", "--database", empty_url, "--to", str(file), "--no-verify")[0] == 0
    with filled.begin() as connection:
        connection.exec_driver_sql("UPDATE raw_events SET source = '/newer' WHERE id = 1")
    before = content(filled)
    file.write_bytes(damaged(file.read_bytes(), way))
    filled.dispose()
    there = {p.name for p in tmp_path.iterdir()}
    code, _, err = db_command("restore", str(file), "--to", empty_url, "--overwrite")
    assert (code, len(err.splitlines()), "plan --replace" in err) == (2, 1, False), err
    assert "backup" in err
    assert content(filled) == before
    emptied(filled)
    filled.dispose()
    assert db_command("restore", str(file), "--to", empty_url)[0] == 2
    assert sa.inspect(filled).get_table_names() == []
    filled.dispose()
    assert {p.name for p in tmp_path.iterdir()} - {"b-shm", "b-wal"} == there - {"b-shm", "b-wal"}


@SQLITE
@pytest.mark.parametrize("way", ["hole", "cut", "index"])
def test_a_damaged_backup_leaves_no_new_file(
    filled: sa.Engine, empty_url: str, tmp_path: Path, db_command: DbCommand, way: str
) -> None:
    """Also where only an index is damaged, which no digest of rows sees."""
    file = tmp_path / "b"
    assert db_command("backup", "--database", empty_url, "--to", str(file))[0] == 0
    with closing(sqlite3.connect(file)) as made:
        (root,) = made.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_raw_events_session_id'").fetchone()
        made.execute("PRAGMA journal_mode = DELETE")
    whole = bytearray(file.read_bytes())
    if way == "index":
        whole[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
        file.write_bytes(whole)
    else:
        file.write_bytes(damaged(bytes(whole), way))
    before = content(filled)
    filled.dispose()
    there = {p.name for p in tmp_path.iterdir()}
    code, _, err = db_command("restore", str(file), "--to", str(tmp_path / "new.sqlite"))
    assert (code, len(err.splitlines()), "The backup" in err) == (2, 1, True)
    assert db_command("restore", str(file), "--to", empty_url, "--overwrite")[0] == 2
    assert {p.name for p in tmp_path.iterdir()} == there
    assert content(filled) == before


@SQLITE
def test_a_backup_is_not_restored_into_itself(filled: sa.Engine, tmp_path: Path, db_command: DbCommand) -> None:
    file, link = tmp_path / "b", tmp_path / "link"
    assert db_command("backup", "--database", str(filled.url.database), "--to", str(file))[0] == 0
    link.symlink_to(file)
    before, there = file.read_bytes(), {p.name for p in tmp_path.iterdir()}
    for name in (file, link):
        code, _, err = db_command("restore", str(file), "--to", str(name), "--overwrite")
        assert (code, "is the backup itself" in err) == (2, True)
    assert file.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == there


@SQLITE
def test_a_restore_that_is_refused_changes_no_byte(
    filled: sa.Engine, tmp_path: Path, real_v3: Path, db_command: DbCommand
) -> None:
    target = tmp_path / "there.sqlite"
    shutil.copy(real_v3, target)
    before = target.read_bytes()
    assert db_command("backup", "--database", str(filled.url.database), "--to", str(tmp_path / "b"))[0] == 0
    code, _, err = db_command("restore", str(tmp_path / "b"), "--to", str(target))
    assert (code, "is not empty" in err) == (2, True)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob("there.sqlite?*"))


@SQLITE
def test_a_restore_that_is_killed_while_it_replaces(filled: sa.Engine, tmp_path: Path, db_command: DbCommand) -> None:
    """Half of the pages are in the target's file by then; its journal takes them back."""
    target, file = Path(str(filled.url.database)), tmp_path / "b"
    with filled.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE filler AS SELECT randomblob(4000000) x")
    assert db_command("backup", "--database", str(target), "--to", str(file))[0] == 0
    with filled.begin() as connection:
        connection.exec_driver_sql("UPDATE raw_events SET source = '/newer'")
        connection.exec_driver_sql("UPDATE filler SET x = randomblob(4000000)")
    before = content(filled)
    filled.dispose()
    code = f"""
import os
from pathlib import Path
from cowrie_assets.db import backup, sqlite_copy
def killed(source, copy, path):
    source.backup(copy, pages=100, progress=lambda _, left, pages: left < 100 and os._exit(9))
whole = sqlite_copy.pages
sqlite_copy.pages = lambda s, c, path: (killed if path == Path({str(target)!r}) else whole)(s, c, path)
backup.restore(Path({str(file)!r}), {str(target)!r}, overwrite=True)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert target.with_name(f"{target.name}-journal").stat().st_size > 1_000_000
    assert content(filled) == before
    filled.dispose()
    assert db_command("restore", str(file), "--to", str(target), "--overwrite")[0] == 0
    assert "/newer" not in str(content(filled))


@SQLITE
def test_a_damaged_target_is_replaced(filled: sa.Engine, tmp_path: Path, db_command: DbCommand) -> None:
    target, file = Path(str(filled.url.database)), tmp_path / "b"
    assert db_command("backup", "--database", str(target), "--to", str(file))[0] == 0
    before = content(filled)
    filled.dispose()
    target.write_bytes(damaged(target.read_bytes(), "hole"))
    code, _, err = db_command("restore", str(file), "--to", str(target), "--overwrite")
    assert (code, err) == (0, "")
    assert content(filled) == before


def test_a_place_that_cannot_be_written_is_refused(
    filled: sa.Engine, empty_url: str, tmp_path: Path, real_v3: Path, db_command: DbCommand
) -> None:
    for place in (tmp_path / "none" / "b", tmp_path / ("n" * 250), tmp_path / ("n" * 300), Path("/proc/b")):
        code, _, err = db_command("backup", "--database", empty_url, "--to", str(place))
        assert (code, len(err.splitlines())) == (2, 1)
        if len(place.name) != 250:  # there nothing is written beside it under a longer name
            code, _, err = db_command("restore", str(real_v3), "--to", str(place))
            assert (code, len(err.splitlines())) == (2, 1)


def test_what_is_no_backup(tmp_path: Path, empty_url: str, real_v3: Path, db_command: DbCommand) -> None:
    text = tmp_path / "text"
    text.write_text("no backup")
    code, _, err = db_command("restore", str(text), "--to", empty_url)
    assert (code, "neither a SQLite database nor an archive" in err) == (2, True)
    code, _, err = db_command("restore", str(tmp_path / "none"), "--to", empty_url)
    assert (code, "cannot be read" in err) == (2, True)
    text.write_bytes(b"PGDMP")
    wrong = str(real_v3) if empty_url.startswith("postgresql") else str(text)
    code, _, err = db_command("restore", wrong, "--to", empty_url)
    assert (code, "cannot go into" in err, "to-postgres" in err) == (2, True, wrong == str(real_v3))


@SQLITE
def test_a_file_that_is_open_is_not_replaced(
    filled: sa.Engine, empty_url: str, tmp_path: Path, db_command: DbCommand
) -> None:
    assert db_command("backup", "--database", empty_url, "--to", str(tmp_path / "b"))[0] == 0
    with filled.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM raw_events").all()
        code, _, err = db_command("restore", str(tmp_path / "b"), "--to", empty_url, "--overwrite")
    assert (code, "is in use" in err) == (2, True)
    for_ever = sqlite3.connect(empty_url, isolation_level=None)
    with closing(for_ever):  # without a WAL nothing but the locks says so
        filled.dispose()
        for_ever.execute("PRAGMA journal_mode = DELETE")
        for_ever.execute("BEGIN")
        for_ever.execute("SELECT * FROM raw_events").fetchall()
        code, _, err = db_command("restore", str(tmp_path / "b"), "--to", empty_url, "--overwrite")
    assert (code, "is in use" in err) == (2, True)


def program(folder: Path, version: str, body: str = "") -> Path:
    folder.mkdir(parents=True)
    for name in ("pg_dump", "pg_restore"):
        file = folder / name
        file.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} (PostgreSQL) {version}" && exit\n{body}\n')
        file.chmod(0o755)
    return folder


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No pg_dump on this machine but what a test puts into this folder."""

    def missing(_: str) -> Path:
        raise MissingExtraError("not installed")

    monkeypatch.setattr(postgres_tools, "PACKAGED", str(tmp_path / "packaged"))
    monkeypatch.setattr(embedded, "binary", missing)
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}{os.pathsep}/bin")
    monkeypatch.setattr(postgres_tools, "_folders", postgres_tools._folders)
    return tmp_path


def test_the_nearest_version_that_is_not_older(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(nowhere / "first", "18.1 (Debian 18.1-1)")
    program(nowhere / "packaged" / "15" / "bin", "15.18")
    shipped = program(nowhere / "shipped", "16.2")
    monkeypatch.setattr(embedded, "binary", lambda name: shipped / name)
    assert find_tools(15) == Tools(nowhere / "packaged" / "15" / "bin", 15)
    assert find_tools(16) == Tools(shipped, 16)
    assert find_tools(17) == Tools(nowhere / "first", 18)
    with pytest.raises(DatabaseError, match=r"of version 18, older than the server \(19\).*postgresql-client-19"):
        find_tools(19)


def test_a_wrapper_is_not_asked(nowhere: Path) -> None:
    wrapper = program(nowhere / "wrapper", "18.0") / "pg_dump"
    wrapper.rename(wrapper.with_name("pg_wrapper"))
    (nowhere / "first").mkdir()
    (nowhere / "first" / "pg_dump").symlink_to(wrapper.with_name("pg_wrapper"))
    fine = program(nowhere / "second", "15.1")
    assert find_tools(14) == Tools(fine, 15)


def test_no_password_on_the_command_line(nowhere: Path) -> None:
    folder = program(nowhere / "first", "15.1", 'echo "pg_dump: error: $* $PGPASSWORD" >&2; exit 1')
    url = "postgresql://user:geheim@host:5433/db?sslmode=disable"
    with pytest.raises(BackupError) as failed:
        run_tool(Tools(folder, 15), "pg_dump", url, ["--format=custom"])
    said = str(failed.value)
    assert all(word in said for word in ("user=user", "host=host", "port=5433", "sslmode=disable", "--format=custom"))
    assert said.count("geheim") == 1  # the environment's
    assert said.endswith("geheim.")
    with pytest.raises(DatabaseError, match="sslpassword"):
        run_tool(Tools(folder, 15), "pg_dump", f"{url}&sslpassword=x", [])


@POSTGRES
def test_who_may_create_no_database_is_told_before(
    filled: sa.Engine, empty_url: str, tmp_path: Path, db_command: DbCommand
) -> None:
    role = f"t_{os.getpid()}_plain"
    with filled.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        connection.exec_driver_sql(f"GRANT pg_read_all_data TO {role}")
    try:
        url = empty_url.replace("user=postgres", f"user={role}")
        code, _, err = db_command("backup", "--database", url, "--to", str(tmp_path / "b"))
        assert (code, "--no-verify" in err) == (2, True)
        assert db_command("backup", "--database", url, "--to", str(tmp_path / "b"), "--no-verify")[0] == 0
    finally:
        with filled.begin() as connection:
            connection.exec_driver_sql(f"DROP ROLE {role}")
