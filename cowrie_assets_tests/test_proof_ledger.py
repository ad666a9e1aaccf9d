"""What the proof makes of lines in the ledger about rows that are hard to name: set aside, without a key, without a rowid.

Not here: faults put into a good load (`test_proof.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cowrie_assets.export.compare import compare, kinds_of
from cowrie_assets.export.run import export
from cowrie_assets.pipeline import Pipeline
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
