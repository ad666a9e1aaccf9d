"""`db backup` on both backends: what comes back is what was there, and damage on the way is noticed.

Not here: restores that fail or are refused (`test_db_restore.py`), other commands of `db`.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.db import backup as module
from cowrie_assets.db import embedded, postgres_tools, sqlite_copy
from cowrie_assets.db.postgres_tools import Tools, find_tools, run_tool
from cowrie_assets.errors import BackupError, DatabaseError, MissingExtraError

from .db_backends import POSTGRES, DbCommand, content, emptied


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
