"""Tables full of cells that do not belong there: what the rules let pass PostgreSQL takes, and every row is counted.

Not here: one cell at a time (`test_cleaning.py`).
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cowrie_assets.catalog import TABLES, Column, Type
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import opened

DECLARED = {
    Type.TEXT: "VARCHAR(64)",
    Type.BIGINT: "INTEGER",
    Type.BOOLEAN: "BOOLEAN",
    Type.TIMESTAMPTZ: "DATETIME",
    Type.JSONB: "JSON",
}
TEXTS = [
    "", "a", "\0", "a\0b", "\ufffd", "x" * 3_000, "now", "2025-01-01 00:00:00", "2025-01-01T00:00:00.123456789Z",
    "24:00:00", "infinity", "{}", "null", '{"session": "s", "timestamp": "2026-10-01T00:00:00Z"}', '{"a": "\\u0000"}',
    '{"a": "\\ud800"}', '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": -0}', '{cut "session": "q"', "1e400", "-0", "123",
    "1.10", "t", "true", "1", "0", "\\.", "\\N", "é", "😀", "2026-02-29", "9999-12-31 23:59:59.999999",
    '{"session": 5, "eventid": {"b": 1}, "timestamp": [1]}', '{"session": "\\u0000x"}', "[1,2]", '"str"', "{'json5': 1}",
]  # fmt: skip
NUMBERS = [0, 1, 2, -1, 2**40, 2**63 - 1, -(2**63), 1758542400, 1.5, float("inf"), -0.0, 1e300, 1758542400.5]
BLOBS = [b"", b"x", b"\xff\0", b"{}"]
BROKEN_TEXTS = [b"\xff", b"a\xed\xa0\x80", b"\xc3", b'{"a": "\xff"}']


def good(column: Column, row: int) -> object:
    return {
        Type.TEXT: f"v{row}",
        Type.BIGINT: row,
        Type.BOOLEAN: row % 2,
        Type.TIMESTAMPTZ: f"2026-10-{1 + row % 28:02d} 00:00:00",
        Type.JSONB: f'{{"session": "s{row}", "timestamp": "2026-10-{1 + row % 28:02d}T00:00:00Z"}}',
    }[column.type]


def hostile_source(path: Path, seed: int, rows: int) -> None:
    """All seven tables without constraints; 15 of 100 cells at random from the lists above."""
    dice = random.Random(seed)
    anything = [None, *NUMBERS, *BLOBS, *TEXTS, *map(bytearray, BROKEN_TEXTS)]
    with opened(path) as connection:
        for table in TABLES.values():
            columns = ", ".join(
                f'"{c.name}" {"INTEGER PRIMARY KEY" if c.name == "id" else DECLARED[c.type]}' for c in table.columns
            )
            connection.execute(f"CREATE TABLE {table.name} ({columns})")
            for row in range(1, rows + 1):
                values, marks = [], []
                for column in table.columns:
                    value = dice.choice(anything) if dice.random() < 0.15 else good(column, row)
                    broken = isinstance(value, bytearray)
                    values.append(
                        row if column.name == "id" else bytes(value) if isinstance(value, bytearray) else value
                    )
                    marks.append("CAST(? AS TEXT)" if broken and column.name != "id" else "?")
                connection.execute(f"INSERT INTO {table.name} VALUES ({', '.join(marks)})", values)


def check(path: Path, url: str, folder: Path) -> None:
    line = pipeline_for(path, url, folder)
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    assert {t.verdict.value for t in line.totals()} == {"PASS"}
    assert line.finish().findings == []
    refused = query(
        url, "SELECT table_name, rule, detail FROM cowrie_migration.quarantine WHERE rule LIKE 'postgres.%'"
    )
    assert refused == []
    underived = "SELECT count(*) FROM raw_events WHERE session_id IS NULL AND payload ->> 'session' IS NOT NULL"
    assert query(url, underived) == [(0,)]


def test_what_the_rules_let_pass_postgresql_takes(pg_url: str, tmp_path: Path) -> None:
    hostile_source(tmp_path / "s.sqlite", 1, 200)
    check(tmp_path / "s.sqlite", pg_url, tmp_path)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(2, 22))
def test_what_the_rules_let_pass_postgresql_takes_at_length(seed: int, pg_url: str, tmp_path: Path) -> None:
    hostile_source(tmp_path / "s.sqlite", seed, 1_000)
    check(tmp_path / "s.sqlite", pg_url, tmp_path)
