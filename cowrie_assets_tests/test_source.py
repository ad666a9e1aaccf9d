"""Reading SQLite: every cell as stored, nothing written, one clear error for what cannot be read.

Not here: dates (`test_instants.py`) or the plan (`test_plan.py`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cowrie_assets.errors import SourceError
from cowrie_assets.source import reader
from cowrie_assets.source.cells import Cells, Storage, concat, original_bytes
from cowrie_assets.source.reader import Batch, join, read_table
from cowrie_assets.source.schema import read_schema
from cowrie_assets.source.sqlite import read_only, source_state


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that commits and closes; sqlite3's own block only commits."""
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def database(path: Path, *statements: str) -> Path:
    with opened(path) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


def rows(path: Path, table: str = "t", **options: object) -> Batch:
    with read_only(path) as connection:
        source = read_schema(connection).tables[table]
        return join(list(read_table(connection, source, **options)))  # type: ignore[arg-type]


def _directory(path: Path) -> None:
    path.mkdir()


def _missing(path: Path) -> None:
    assert not path.exists()


def _random(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _truncated(path: Path) -> None:
    database(path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (zeroblob(100000))")
    path.write_bytes(path.read_bytes()[:20_000])


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _name_that_is_no_utf8(path: Path) -> None:
    database(
        path,
        "CREATE TABLE t (a)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET name = CAST(x'74ff' AS TEXT), tbl_name = CAST(x'74ff' AS TEXT),"
        " sql = CAST(x'435245415445205441424c452074ff20286129' AS TEXT)",
    )


def _no_table(path: Path) -> None:
    database(path, "CREATE TABLE t (a)", "DROP TABLE t")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_missing, "does not exist"),
        (_directory, "is a directory"),
        (Path.touch, "is empty"),
        (_random, "not a SQLite database, or is encrypted"),
        (_truncated, "is truncated"),
        (_no_table, "no user table"),
        (_pipe, "a device or pipe"),
        (_name_that_is_no_utf8, "no UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(make: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    path = tmp_path / "source.sqlite"
    make(path)
    with pytest.raises(SourceError, match=says), read_only(path) as connection:
        read_schema(connection)


def test_a_locked_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(tmp_path / "s", "CREATE TABLE t (a)")
    monkeypatch.setattr("cowrie_assets.source.sqlite.BUSY_SECONDS", 0.1)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SourceError, match="locked by another process"), read_only(path):
        pass
    writer.close()


def test_a_wal_source_is_read_beside_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "s"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (a INTEGER)")
    writer.execute("INSERT INTO t VALUES (1)")
    with read_only(path) as connection:
        table = read_schema(connection).tables["t"]
        writer.execute("INSERT INTO t VALUES (2)")
        seen = join(list(read_table(connection, table)))
    assert len(seen) == 1
    assert len(rows(path)) == 2
    writer.close()


def test_every_committed_change_changes_the_state(tmp_path: Path) -> None:
    path = tmp_path / "s"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (a INTEGER)")
    writer.execute("INSERT INTO t VALUES (0)")
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    seen = [source_state(path)]
    for value in range(1, 9):
        time.sleep(0.02)  # more than the granularity of a file's time
        writer.execute("UPDATE t SET a = ?", (value,))
        seen.append(source_state(path))
        if value % 3 == 0:
            # The next commit overwrites the WAL from its start, within its old size.
            writer.execute("PRAGMA wal_checkpoint(RESTART)")
        if value % 4 == 0:
            writer.close()
            seen.append(source_state(path))
            writer = sqlite3.connect(path, isolation_level=None)
    writer.close()
    assert len(set(seen)) == len(seen)
    before = source_state(path)
    rows(path)
    assert source_state(path) == before


def test_the_main_file_does_not_change(real_v3: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(real_v3, path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    before = path.read_bytes()
    for table in ("raw_events", "session_summaries"):
        rows(path, table)
    assert path.read_bytes() == before


def test_every_storage_class_survives(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (NULL), (1), (-9223372036854775808), (1.5), (9e999), ('x'), (''), (x'00ff'), (x''),"
        " (CAST(x'61ff62' AS TEXT)), ('a' || char(0) || 'b')",
    )
    cells = rows(path).columns["a"]
    assert [cells.value(i) for i in range(len(cells))] == [
        (Storage.NULL, None),
        (Storage.INTEGER, 1),
        (Storage.INTEGER, -(2**63)),
        (Storage.REAL, 1.5),
        (Storage.REAL, float("inf")),
        (Storage.TEXT, b"x"),
        (Storage.TEXT, b""),
        (Storage.BLOB, b"\x00\xff"),
        (Storage.BLOB, b""),
        (Storage.TEXT, b"a\xffb"),
        (Storage.TEXT, b"a\x00b"),
    ]


def test_generated_columns_are_not_read(real_v3: Path) -> None:
    assert "session_id" not in rows(real_v3, "raw_events").columns
    assert "payload" in rows(real_v3, "raw_events").columns


def test_a_malformed_payload_does_not_stop_the_table(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, p JSON)",
        "INSERT INTO t (p) VALUES ('{\"a\": 1}'), ('{broken'), ('{\"a\": 3}')",
        "ALTER TABLE t ADD COLUMN s TEXT GENERATED ALWAYS AS (json_extract(p, '$.a')) VIRTUAL",
    )
    assert len(rows(path)) == 3


def test_odd_tables(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        'CREATE TABLE "a ""b; DROP" ("c ""d" TEXT, rowid TEXT)',
        "INSERT INTO \"a \"\"b; DROP\" VALUES ('v', 'not the rowid')",
        "CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID",
        "INSERT INTO w VALUES ('b', 2), ('a', 1)",
        "CREATE TABLE n (id INTEGER PRIMARY KEY)",
        "INSERT INTO n VALUES (-5), (0), (9)",
    )
    odd = rows(path, 'a "b; DROP')
    assert odd.rowids.to_pylist() == [1]
    assert odd.columns["rowid"].value(0) == (Storage.TEXT, b"not the rowid")
    assert rows(path, "w").columns["k"].data.to_pylist() == [b"a", b"b"]
    assert rows(path, "w").rowids.to_pylist() == [1, 2]
    assert rows(path, "n").rowids.to_pylist() == [-5, 0, 9]
    assert rows(path, "n", ranges=[(-5, -1), (5, 9)]).rowids.to_pylist() == [-5, 9]


def test_a_run_of_huge_cells_behind_small_ones_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 1 << 20)
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (a)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) INSERT INTO t SELECT 'x' FROM n",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        " INSERT INTO t SELECT zeroblob(50000) FROM n",
    )
    with read_only(path) as connection:
        sizes = [b.nbytes for b in read_table(connection, read_schema(connection).tables["t"])]
    # A block ends with the row that passes the bound, and so does a batch: never 256 huge rows at once.
    assert max(sizes) < 2 * (1 << 20) + 60_000
    assert sum(sizes) > 50_000_000


def test_a_link_is_followed_to_the_wal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    path, link = tmp_path / "real" / "s", tmp_path / "link"
    link.symlink_to(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (a INTEGER)")
        writer.execute("INSERT INTO t VALUES (1)")
        before = source_state(link)
        writer.execute("INSERT INTO t VALUES (2)")
        assert source_state(link) != before
        # Nor does a folder that cannot be written hide what only the WAL holds.
        monkeypatch.setattr("cowrie_assets.source.sqlite.os.access", lambda *_: False)
        assert len(rows(link)) == 2


def test_locks_hold_also_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(tmp_path / "s", "CREATE TABLE t (a)")
    monkeypatch.setattr("cowrie_assets.source.sqlite.BUSY_SECONDS", 0.1)
    monkeypatch.setattr("cowrie_assets.source.sqlite.os.access", lambda *_: False)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceError, match="locked by another process"), read_only(path):
            pass


def test_a_descending_integer_key_is_not_the_rowid(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE d (id INTEGER PRIMARY KEY DESC, rowid, oid)",
        "CREATE TABLE a (id INTEGER PRIMARY KEY, rowid, oid, _rowid_)",
    )
    with read_only(path) as connection:
        tables = read_schema(connection).tables
    assert (tables["d"].rowid, tables["d"].rowid_key) == ("_rowid_", None)
    assert (tables["a"].rowid, tables["a"].rowid_key) == ('"id"', "id")


def test_a_file_name_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "s\udcff ?#%.sqlite"
    database(tmp_path / "s", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)").rename(path)
    assert len(rows(path)) == 1


def test_concat_joins_columns_of_different_classes() -> None:
    parts: list[list[object]] = [[1, None], [None], [bytearray(b"x"), b"y", 1.5], [2]]
    joined = concat([Cells.encode(p) for p in parts])
    assert joined.values() == [v for p in parts for v in p]


@pytest.mark.parametrize(
    ("cell", "original"),
    [(None, None), (-7, b"-7"), (1.1, b"1.1"), (1e300, b"1e+300"), (bytearray(b"a\x00"), b"a\x00"), (b"\xff", b"\xff")],
)
def test_original_bytes_are_those_of_the_contract(cell: object, original: bytes | None) -> None:
    assert original_bytes(*Cells.encode([cell]).value(0)) == original


def test_a_column_dropped_since_the_plan_is_an_error_and_not_its_own_name(tmp_path: Path) -> None:
    path = database(tmp_path / "s", "CREATE TABLE t (a TEXT, b TEXT)", "INSERT INTO t VALUES ('x', 'y')")
    with read_only(path) as connection:
        planned = read_schema(connection).tables["t"]
    database(path, "ALTER TABLE t DROP COLUMN b")
    with pytest.raises(SourceError, match="no such column"), read_only(path) as connection:
        list(read_table(connection, planned))
