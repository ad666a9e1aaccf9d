"""Files caught in the middle of something: a checkpoint, a crash, a copy that was cut off, a folder nobody may write.

Not here: what is no SQLite file at all (`test_source.py`).
"""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cowrie_assets.errors import SourceError
from cowrie_assets.source.sqlite import read_only
from cowrie_assets_tests.test_source import database, rows

PAGE = 4096


def writer_of(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def test_a_checkpoint_under_way_is_no_truncation(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(writer_of(path)) as writer:
        writer.execute("CREATE TABLE t (a)")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("INSERT INTO t VALUES (zeroblob(100000))")
        # A checkpoint copies pages in their order: the first one, with the new page count, before the file has grown.
        wal = Path(f"{path}-wal").read_bytes()
        frames = [wal[at : at + 24 + PAGE] for at in range(32, len(wal), 24 + PAGE)]
        first = [frame[24:] for frame in frames if struct.unpack(">I", frame[:4]) == (1,)][-1]
        with path.open("r+b") as file:
            file.write(first)
        assert len(rows(path)) == 1


def test_a_crash_in_the_middle_of_a_write_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = database(tmp_path / "s", "CREATE TABLE t (a)", *["INSERT INTO t VALUES (zeroblob(5000))"] * 50)
    crash = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN'); c.execute('UPDATE t SET a = 1'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", crash, str(path)], check=True)
    before = path.read_bytes()
    with pytest.raises(SourceError, match="in the middle of a write"), read_only(path):
        pass
    assert path.read_bytes() == before
    assert Path(f"{path}-journal").exists()


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize(("size", "says"), [(50, "within its header"), (20_000, "it has 20,000")])
def test_a_copy_that_was_cut_off_is_truncated(mode: str, size: int, says: str, tmp_path: Path) -> None:
    path = database(
        tmp_path / "s", f"PRAGMA journal_mode = {mode}", "CREATE TABLE t (a)", "INSERT INTO t VALUES (zeroblob(90000))"
    )
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SourceError, match=f"is truncated.*{says}"), read_only(path):
        pass


def test_a_wal_database_is_read_in_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(tmp_path / "s", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    monkeypatch.setattr("cowrie_assets.source.sqlite.os.access", lambda *_: False)
    assert len(rows(path)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_an_idle_writer_counts_as_one_in_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    monkeypatch.setattr("cowrie_assets.source.sqlite.os.access", lambda *_: False)
    with closing(writer_of(path)) as writer:
        writer.execute("CREATE TABLE t (a)")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert Path(f"{path}-wal").stat().st_size == 0
        with read_only(path) as connection:
            writer.execute("INSERT INTO t VALUES (1)")
            # Reading as if the file could not change would go on without looking at the WAL.
            connection.execute("COMMIT")
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
