"""Loading's edges: values no btree holds, rows PostgreSQL refuses, large cells, orphans, transient failures.

Not here: whole migrations of real databases (`test_migration.py`).
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from cowrie_assets.catalog import TABLES, Column, Table, Type
from cowrie_assets.cleaning import table as cleaning_table
from cowrie_assets.errors import LoadError
from cowrie_assets.loading.connection import connect
from cowrie_assets.loading.copy import copy_rows
from cowrie_assets.loading.ddl import create_table
from cowrie_assets.loading.failures import retried
from cowrie_assets.staging.files import ROWID
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import database, opened

COMMANDS = (
    "CREATE TABLE command_stats (id INTEGER NOT NULL, session_id VARCHAR(64) NOT NULL, command_normalized TEXT NOT NULL,"
    " first_seen DATETIME, CONSTRAINT pk PRIMARY KEY (id), CONSTRAINT uq_command_stats_session_command"
    " UNIQUE (session_id, command_normalized))",
)


def incompressible(length: int, seed: int = 1) -> str:
    return "".join(
        random.Random(seed).choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", k=length)
    )


def commands(path: Path, *texts: str) -> Path:
    database(path, *COMMANDS)
    with opened(path) as connection:
        connection.executemany(
            "INSERT INTO command_stats (session_id, command_normalized, first_seen) VALUES ('s', ?, '2026-11-01')",
            [(t,) for t in texts],
        )
    return path


def test_a_value_no_btree_holds_gets_an_index_that_holds_it(pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(commands(tmp_path / "s", "ls", incompressible(20_005)), pg_url, tmp_path)
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    (definition,) = query(
        pg_url, "SELECT indexdef FROM pg_indexes WHERE indexname = 'uq_command_stats_session_command'"
    )
    assert "UNIQUE" in definition[0]
    assert "md5(" in definition[0]
    with psycopg.connect(pg_url) as other, pytest.raises(psycopg.errors.UniqueViolation):
        other.execute("INSERT INTO command_stats (session_id, command_normalized) VALUES ('s', 'ls')")


def test_a_long_value_after_the_index_was_built_makes_room(pg_url: str, tmp_path: Path) -> None:
    path = commands(tmp_path / "s", "ls")
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    with opened(path) as connection:
        connection.execute("UPDATE command_stats SET command_normalized = ?", (incompressible(9_000),))
    migrate(pipeline_for(path, pg_url, tmp_path))
    assert query(pg_url, "SELECT length(command_normalized) FROM command_stats") == [(9_000,)]
    names = {r[0] for r in query(pg_url, "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%md5(%'")}
    assert names == {"uq_command_stats_session_command", "ix_command_stats_command"}


def test_values_that_fit_leave_the_constraint_as_declared(pg_url: str, tmp_path: Path) -> None:
    migrate(pipeline_for(commands(tmp_path / "s", "x" * 20_000), pg_url, tmp_path))
    query(
        pg_url,
        "INSERT INTO command_stats (session_id, command_normalized) VALUES ('s', repeat('x', 20000))"
        " ON CONFLICT (session_id, command_normalized) DO UPDATE SET occurrences = 5",
    )
    assert query(pg_url, "SELECT occurrences FROM command_stats") == [(5,)]


NASTY = [
    "",
    "\\N",
    "NULL",
    '"',
    '""',
    "a\n\\.\nb",
    "\\.",
    "a,b",
    "\r\n",
    "\t",
    "\\x41",
    "é😀\uffff",
    " x ",
    "'",
    "\x01\x7f",
    "\\",
]


def test_every_text_arrives_as_it_is(pg_url: str) -> None:
    table = Table("t", (Column("id", Type.BIGINT, nullable=False), Column("v", Type.TEXT)), ("id",))
    values = [*NASTY, None, *(chr(c) for c in range(1, 256))]
    rows = pa.table(
        {ROWID: range(len(values)), "id": pa.array(range(len(values)), pa.int64()), "v": pa.array(values, pa.string())}
    )
    with connect(pg_url) as connection:
        connection.execute(create_table(table).encode())
        assert copy_rows(connection, table, rows, lambda message, rows: False) == []
        assert [r[0] for r in connection.execute("SELECT v FROM t ORDER BY id")] == values
        alone = pa.table({ROWID: range(len(values)), "v": pa.array(values, pa.string())})
        connection.execute("CREATE TABLE o (v text)")
        copy_rows(connection, Table("o", (Column("v", Type.TEXT),), ()), alone, lambda message, rows: False)
        found = connection.execute("SELECT v FROM o").fetchall()
    assert sorted(map(repr, (r[0] for r in found))) == sorted(map(repr, values))


def test_a_refused_row_is_alone_and_the_others_go_in(pg_url: str) -> None:
    table = TABLES["dead_letter_events"]
    count = 100
    bad = {7, 63}
    payloads = ["{}" if i not in bad else '{"a": "\\u0000"}' for i in range(count)]
    rows = pa.table(
        {
            ROWID: pa.array(range(count), pa.int64()),
            "id": pa.array(range(count), pa.int64()),
            "reason": pa.array(["r"] * count),
            "payload": pa.array(payloads),
        }
    )
    with connect(pg_url) as connection:
        connection.execute(create_table(table).encode())
        refused = copy_rows(connection, table, rows, lambda message, rows: False)
        assert {(r.rowid, r.sqlstate) for r in refused} == {(i, "22P05") for i in bad}
        assert connection.execute("SELECT count(*) FROM dead_letter_events").fetchone() == (count - 2,)


def test_a_row_that_only_postgresql_refuses_is_set_aside(pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(commands(tmp_path / "s", "ls", "rm", "id"), pg_url, tmp_path)
    line.prepare()
    query(pg_url, "ALTER TABLE command_stats ADD CHECK (command_normalized <> 'rm')")
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    ((rowid, rule, original),) = query(pg_url, "SELECT source_rowid, rule, original FROM cowrie_migration.quarantine")
    assert (rowid, rule) == (2, "postgres.23514")
    assert original["session_id"] == {"type": "text", "value": "cw=="}
    assert query(pg_url, "SELECT count(*) FROM command_stats") == [(2,)]


def test_large_cells_of_rows_set_aside_lie_in_parts(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning_table, "LARGE_CELL", 1_000)
    monkeypatch.setattr("cowrie_assets.loading.ledger.LARGE_PART", 2_000)
    content = "?" * 5_000
    path = database(
        tmp_path / "s",
        "CREATE TABLE dead_letter_events (id INTEGER PRIMARY KEY, reason TEXT NOT NULL, payload JSON NOT NULL,"
        " created_at DATETIME)",
        f"INSERT INTO dead_letter_events VALUES (4, 'r', '{content}', '2026-11-01 00:00:00')",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    parts = query(pg_url, "SELECT bytes FROM cowrie_migration.large_cells WHERE source_rowid = 4 ORDER BY part")
    assert b"".join(bytes(p[0]) for p in parts) == content.encode()
    assert len(parts) == 3
    ((original,),) = query(pg_url, "SELECT original -> 'payload' FROM cowrie_migration.quarantine")
    assert original == {"type": "text", "value": None, "large": True}


@pytest.mark.parametrize(
    ("state", "value", "repairs"),
    [
        ((), "6", 0),
        (("CREATE TABLE schema_state (key TEXT PRIMARY KEY, value TEXT)",), "6", 0),
        (("CREATE TABLE schema_state (key TEXT PRIMARY KEY, value TEXT)",
          "INSERT INTO schema_state VALUES ('schema_version', '3')"), "6", 1),
        (("CREATE TABLE schema_state (key TEXT PRIMARY KEY, value TEXT)",
          "INSERT INTO schema_state VALUES ('schema_version', '8')"), "8", 0),
    ],
)  # fmt: skip
def test_the_target_says_version_6(
    state: tuple[str, ...], value: str, repairs: int, pg_url: str, tmp_path: Path
) -> None:
    path = commands(tmp_path / "s", "ls")
    database(path, *state)
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert query(pg_url, "SELECT value FROM schema_state WHERE key = 'schema_version'") == [(value,)]
    assert query(pg_url, "SELECT count(*) FROM cowrie_migration.repairs") == [(repairs,)]
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    assert {t.verdict.value for t in line.totals()} == {"PASS"}
    assert pipeline_for(path, pg_url, tmp_path).prepare().created == ()


def test_orphans_are_listed_and_a_kept_foreign_key_is_valid(pg_url: str, tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE good (p INTEGER REFERENCES parent (id))",
        "CREATE TABLE bad (p INTEGER REFERENCES parent (id))",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO good VALUES (1), (NULL)",
        "INSERT INTO bad VALUES (1), (77)",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    findings = line.finish().findings
    assert [(f[0], f[1]) for f in findings] == [("bad", "fk_bad_p")]
    assert "1 orphans, 77" in findings[0][2]
    assert query(pg_url, "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1") == [
        ("fk_bad_p", False),
        ("fk_good_p", True),
    ]


def test_a_keyless_and_a_composite_key_table_are_replaced_exactly(pg_url: str, tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE bare (a TEXT)",
        "CREATE TABLE pair (a TEXT, b BOOLEAN, c DATETIME, PRIMARY KEY (a, b, c)) WITHOUT ROWID",
        "INSERT INTO bare VALUES ('x'), ('x')",
        "INSERT INTO pair VALUES ('k', 1, '2026-11-01 00:00:00.5'), ('k', 0, '2026-11-01')",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    with line.locked():
        for table in ("bare", "pair"):
            assert line.load(table, "all", "again", force=True).loaded == 2
    assert query(pg_url, "SELECT (SELECT count(*) FROM bare), (SELECT count(*) FROM pair)") == [(2, 2)]
    query(pg_url, "INSERT INTO bare VALUES ('theirs')")
    with line.locked(), pytest.raises(LoadError, match="cannot be told apart"):
        line.load("bare", "all", "again", force=True)


def test_transient_failures_are_tried_again_and_others_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cowrie_assets.loading.failures.time.sleep", lambda seconds: None)
    tries: list[int] = []

    def twice_deadlocked() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise psycopg.errors.DeadlockDetected("deadlock")
        return "done"

    assert retried(twice_deadlocked, "Loading") == "done"

    def full() -> None:
        tries.append(1)
        raise psycopg.errors.DiskFull("no space")

    tries.clear()
    with pytest.raises(LoadError, match="disk is full: free space"):
        retried(full, "Loading")
    assert len(tries) == 1


def test_the_ledger_is_json_that_reads_back(pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(commands(tmp_path / "s", "ls"), pg_url, tmp_path)
    migrate(line)
    ((content,),) = query(pg_url, "SELECT plan FROM cowrie_migration.plan")
    assert json.loads(json.dumps(content)) == json.loads(json.dumps(line.plan.to_json()))


def test_a_large_cell_that_only_postgresql_refuses_lies_in_parts_too(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning_table, "LARGE_CELL", 1_000)
    text = "rm " + "x" * 3_000
    line = pipeline_for(commands(tmp_path / "s", "ls", text), pg_url, tmp_path)
    line.prepare()
    query(pg_url, "ALTER TABLE command_stats ADD CHECK (command_normalized NOT LIKE 'rm%')")
    migrate(line)
    assert query(pg_url, "SELECT source_rowid, column_name, bytes FROM cowrie_migration.large_cells") == [
        (2, "command_normalized", text.encode())
    ]
    ((original,),) = query(pg_url, "SELECT original -> 'command_normalized' FROM cowrie_migration.quarantine")
    assert original == {"type": "text", "value": None, "large": True}
