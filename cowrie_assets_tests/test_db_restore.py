"""`db restore` that fails or is refused: the target is as it was, and nothing is left beside it.

Not here: restores that work (`test_db_backup.py`).
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from .db_backends import SQLITE, DbCommand, content, emptied


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


@SQLITE
def test_what_a_former_database_left_is_not_played_into_a_new_one(
    filled: sa.Engine, empty_url: str, tmp_path: Path, db_command: DbCommand
) -> None:
    """SQLite takes any `-wal` of that name for the file's own: the new database would have the former one's tables."""
    file, new = tmp_path / "b", tmp_path / "new.sqlite"
    assert db_command("backup", "--database", empty_url, "--to", str(file))[0] == 0
    for suffix in ("-wal", "-journal"):
        left = tmp_path / f"new.sqlite{suffix}"
        left.write_bytes(b"of a database that was deleted")
        for command in (("restore", str(file), "--to"), ("backup", "--database", empty_url, "--to")):
            code, _, err = db_command(*command, str(new))
            assert (code, f"{left} is left of another database" in err) == (2, True), err
            assert not new.exists()
        left.unlink()
    assert db_command("restore", str(file), "--to", str(new))[0] == 0
