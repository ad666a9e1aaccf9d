"""What the proof makes of lines in the ledger about rows that are hard to name: set aside, without a key, without a rowid.

Not here: faults put into a good load (`test_proof.py`).
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from cowrie_assets.export.compare import compare, kinds_of
from cowrie_assets.export.run import export
from cowrie_assets.loading.ledger import seal
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.validation.duplicates import ALONE, LOADED
from cowrie_assets_tests.test_keys import faults
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts


def source(path: Path, *statements: str | tuple[str, Sequence[Sequence[object]]]) -> Path:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement) if isinstance(statement, str) else db.executemany(*statement)
        db.commit()
    return path


def rebuilt(line: Pipeline, path: Path) -> list[str]:
    """How a source that is exported again differs from the source."""
    export(line.connect, path)
    return [
        f"{d.table} {d.column}: {d.left}, {d.right}"
        for d in compare(line.checked_source(), path, kinds_of(line.plan)).differences
    ]


def test_a_repair_to_null_of_a_cell_without_value_is_right_in_a_table_without_key(tmp_path: Path, pg_url: str) -> None:
    path = source(
        tmp_path / "s.sqlite",
        "CREATE TABLE ac (a TEXT UNIQUE, b INTEGER, c TEXT)",
        ("INSERT INTO ac VALUES (?, ?, ?)", [(f"k{i}", i, "text") for i in range(50)]),
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    source(
        path,
        "UPDATE ac SET b = 'notint', c = x'00ff' WHERE a = 'k7'",
        "DELETE FROM ac WHERE a = 'k8'",
        "UPDATE ac SET c = c || 'q' WHERE b > 40",
    )
    again = pipeline_for(path, pg_url, tmp_path)
    migrate(again)
    assert faults(again) == []
    assert query(pg_url, "SELECT count(*), count(b) FROM ac") == [(49, 48)]
    query(
        pg_url,
        "UPDATE cowrie_migration.repairs SET column_name = 'a', original = 'k7', replacement = 'k7' WHERE column_name = 'b'",
    )
    assert "a repair is listed, and the cell is what the source has" in "".join(faults(again))


def test_repairs_of_rows_without_rowid_and_key_are_of_their_rows(tmp_path: Path, pg_url: str) -> None:
    path = source(
        tmp_path / "s.sqlite",
        'CREATE TABLE allrow ("rowid" TEXT, "_rowid_" TEXT, oid TEXT)',
        "INSERT INTO allrow VALUES ('a', 'b', 'x')",
        "INSERT INTO allrow VALUES ('a', 'b', x'78')",
        "INSERT INTO allrow VALUES ('a', x'62', 'x')",
        "INSERT INTO allrow VALUES ('a', x'62', 'x')",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert faults(line) == []
    assert query(pg_url, "SELECT source_rowid, column_name FROM cowrie_migration.repairs ORDER BY 1") == [
        (2, "oid"),
        (3, "_rowid_"),
        (4, "_rowid_"),
    ]
    assert rebuilt(line, tmp_path / "again.sqlite") == []
    query(pg_url, "DELETE FROM cowrie_migration.repairs WHERE source_rowid = 3")
    assert [v.verdict for v in verdicts(line)] == ["FAIL"]


def put_aside(url: str, table: str, rowid: int, original: str, key: str, text: str, *, delete: bool = False) -> None:
    """Change the ledger as a load would have written it that set a loaded row aside as a duplicate, counts and seal."""
    where = f"WHERE table_name = '{table}'"
    query(
        url,
        "INSERT INTO cowrie_migration.quarantine (table_name, source_rowid, rule, detail, original, target_key,"
        f" partition_key) VALUES ('{table}', {rowid}, 'key.duplicate', '', '{original}', '{text}', 'all')",
    )
    query(
        url,
        "UPDATE cowrie_migration.partitions SET loaded_rows = loaded_rows - 1, quarantined_rows = quarantined_rows + 1,"
        f" key_ids = key_ids - int8multirange(int8range({key}, {key} + 1)), keys = array_remove(keys, '{text}') {where}",
    )
    if delete:
        query(url, f"DELETE FROM {table} WHERE k = {key}")
    with psycopg.connect(url) as connection:
        seal(connection, table, "all")


def kept(**cells: tuple[str, str]) -> str:
    values = {
        n: {"type": k, "value": base64.b64encode(v.encode()).decode() if k == "text" else v}
        for n, (k, v) in cells.items()
    }
    return json.dumps(values)


@pytest.mark.parametrize("kind", ["INTEGER", "REAL"])
@pytest.mark.parametrize("delete", [False, True])
def test_a_duplicate_of_no_other_row_is_found(tmp_path: Path, pg_url: str, kind: str, delete: bool) -> None:
    path = source(
        tmp_path / "s.sqlite",
        f"CREATE TABLE t (k {kind} PRIMARY KEY, v TEXT)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'a')",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert faults(line) == []
    number = ("integer", "1") if kind == "INTEGER" else ("real", "1.0")
    put_aside(pg_url, "t", 1, kept(k=number, v=("text", "a")), "1", "1", delete=delete)
    found = verdicts(line)
    assert [(v.verdict, v.faults) for v in found] == [("FAIL", [])]
    assert [(d.rowid, d.key, d.what) for v in found for d in v.differences] == [(1, "1", ALONE if delete else LOADED)]


@pytest.mark.parametrize("rowids", [True, False])
def test_duplicates_that_another_row_explains_are_none(tmp_path: Path, pg_url: str, rowids: bool) -> None:
    path = source(
        tmp_path / "s.sqlite",
        f"CREATE TABLE t (d DATETIME PRIMARY KEY, v TEXT, u TEXT UNIQUE) {'' if rowids else 'WITHOUT ROWID'}",
        # One instant spelled thrice; the second says the same as the first, the third does not.
        "INSERT INTO t VALUES ('2025-01-01 00:00:00', 'a', NULL), ('2025-01-01T00:00:00Z', 'a', NULL)",
        "INSERT INTO t VALUES ('2025-01-01 01:00:00+01:00', 'b', NULL)",
        # What a NUL becomes is what another row has; both are repaired; and other unique columns than the key.
        "INSERT INTO t VALUES ('2025-01-02', 'c', 'nul\\x00'), ('2025-01-03', 'c', 'nul' || char(0))",
        "CREATE TABLE nuls (k TEXT PRIMARY KEY, v TEXT)",
        "INSERT INTO nuls VALUES (x'6100', 'a'), ('a' || char(0), 'a'), ('z', NULL)",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    found = verdicts(line)
    assert {v.table: (v.verdict, v.quarantined, v.differences) for v in found} == {
        "t": ("PASS", 3, []),
        "nuls": ("PASS", 1, []),
    }
    rules = query(
        pg_url, "SELECT rule, detail FROM cowrie_migration.quarantine WHERE table_name = 't' ORDER BY source_rowid"
    )
    if rowids:
        assert rules == [
            ("key.duplicate", "(d) is also the key of row 1"),
            ("key.duplicate", "(d) is also the key of row 1"),
            ("key.duplicate", "(u) is also the key of row 4"),
        ]
    else:  # SQLite tells no names of these rows
        assert sorted(rule for rule, _ in rules) == ["key.duplicate", "postgres.23505", "postgres.23505"]


def test_a_duplicate_of_several_columns_whose_key_the_ledger_garbles_is_found(tmp_path: Path, pg_url: str) -> None:
    path = source(
        tmp_path / "s.sqlite",
        "CREATE TABLE t (k INTEGER NOT NULL, u TEXT NOT NULL, PRIMARY KEY (k, u))",
        "INSERT INTO t VALUES (1, 'a'), (2, 'nul' || char(0))",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    put_aside(pg_url, "t", 1, kept(k=("integer", "1"), u=("text", "a")), "1", "no list")
    assert [d.what for v in verdicts(line) for d in v.differences] == [LOADED]
