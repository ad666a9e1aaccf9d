"""Random small tables of every declared type, cells of every class: migrated and exported, each comes back exactly.

Not here: real databases and the command (`test_export.py`).
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.export.compare import compare, kinds_of
from cowrie_assets.export.run import export
from cowrie_assets_tests.conftest import empty
from cowrie_assets_tests.test_migration import migrate, pipeline_for
from cowrie_assets_tests.test_source import opened

DECLARED = (
    "", "INTEGER", "INT", "TEXT", "VARCHAR(3)", "BLOB", "REAL", "DOUBLE", "NUMERIC", "DECIMAL(10,2)", "BOOLEAN", "DATE",
    "DATETIME", "TIMESTAMP", "JSON", "JSONTEXT", "BLOBJSON", "ANY", "FLOATING POINT", "STRING", "DATETEXT",
)  # fmt: skip
NAMES = ('a"b', "c'd", "select", "Ünï", "e f", "g%s", "h{", "i\\", "rowid", "key")
WORDS = (
    "", "5", " 5", "5.0", "1e5", "-0", "inf", "nan", "true", "2025-09-22", "2025-09-22 01:02:03", "2025-09-22T01:02:03Z",
    "2025-09-22 01:02:03.5+02:00", "2025-09-22 01:02:03.1234567", "{}", '{"a": 1.10, "b": [1e2]}', '{"a":1,"a":2}',
    '"x"', "null", "[-0]", '{"a": "\\u0000"}', "\0", "a\0", "é", "x" * 300, "9223372036854775808", "0x10", "1_0",
)  # fmt: skip
CELLS = st.one_of(
    st.none(),
    st.sampled_from(WORDS),
    st.integers(-(2**63), 2**63 - 1) | st.sampled_from((0, 1, 2, -1, 2**53, 2**53 + 1, 1758542400)),
    st.floats(allow_nan=False) | st.sampled_from((0.0, -0.0, 1.0, 5.5, 1e300, float("inf"), 1758542400.25)),
    st.binary(max_size=4) | st.sampled_from((b"{}", b"\0", b"5")),
    st.builds(bytearray, st.sampled_from((b"\xff", b"a\xc3", b"\xed\xa0\x80", b'{"a": "\xff"}'))),  # text, no UTF-8
    st.text(st.characters(codec="utf-8"), max_size=5),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[str], list[list[Any]]]:
    """A CREATE TABLE with `{name}`, its stored columns, and rows; homogeneous columns are as likely as mixed ones."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    quoted = ['"' + n.replace('"', '""') + '"' for n in names]
    declared = [draw(st.sampled_from(DECLARED)) for _ in names]
    kind = draw(st.sampled_from(("keyless", "rowid", "autoincrement", "key", "without rowid", "unique", "generated")))
    lines = [f"{n} {d}" for n, d in zip(quoted, declared, strict=True)]
    if kind in ("rowid", "autoincrement"):
        lines.append(f"id INTEGER PRIMARY KEY{' AUTOINCREMENT' * (kind == 'autoincrement')}")
    elif kind in ("key", "without rowid"):
        lines.append(f"PRIMARY KEY ({', '.join(quoted[:2])})")
    elif kind == "unique":
        lines.append(f"UNIQUE ({quoted[0]})")
    elif kind == "generated":
        lines.append(f"g AS ({quoted[0]} || 'g')")
    pools = [draw(st.lists(CELLS, min_size=1, max_size=4)) for _ in names]
    rows = draw(st.lists(st.tuples(*(st.sampled_from(pool) for pool in pools)), max_size=8))
    sql = f"CREATE TABLE {{name}} ({', '.join(lines)}){' WITHOUT ROWID' * (kind == 'without rowid')}"
    return sql, quoted, [list(row) for row in rows]


def build(path: Path, drawn: list[tuple[str, list[str], list[list[Any]]]]) -> None:
    with opened(path) as connection:
        for number, (sql, names, rows) in enumerate(drawn):
            connection.execute(sql.replace("{name}", f'"t""{number}"'))
            for row in rows:
                marks = ", ".join("CAST(? AS TEXT)" if isinstance(cell, bytearray) else "?" for cell in row)
                # What the source's own constraints refuse was never in it; text as a rowid is refused even by OR IGNORE.
                with suppress(sqlite3.IntegrityError):
                    connection.execute(
                        f'INSERT OR IGNORE INTO "t""{number}" ({", ".join(names)}) VALUES ({marks})',
                        [bytes(cell) if isinstance(cell, bytearray) else cell for cell in row],
                    )


def round_trip(source: Path, url: str, folder: Path) -> None:
    with psycopg.connect(url) as connection:
        empty(connection)
    line = pipeline_for(source, url, folder)
    migrate(line)
    result = export(line.connect, folder / "back.sqlite")
    assert result.whole
    found = compare(source, folder / "back.sqlite", kinds_of(result.plan))
    assert found.differences == []
    assert found.count == 0
    assert found.rows == sum(t.loaded + t.set_aside for t in result.tables)


def check(drawn: list[tuple[str, list[str], list[list[Any]]]], url: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        build(Path(name) / "s.sqlite", drawn)
        round_trip(Path(name) / "s.sqlite", url, Path(name))


SLOW = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)


@settings(max_examples=8, deadline=None, suppress_health_check=SLOW)
@given(drawn=st.lists(tables(), min_size=1, max_size=6))
def test_random_tables_come_back_exactly(drawn: list[Any], pg_url: str) -> None:
    check(drawn, pg_url)


@pytest.mark.fuzz
@settings(max_examples=400, deadline=None, suppress_health_check=SLOW)
@given(drawn=st.lists(tables(), min_size=1, max_size=8))
def test_random_tables_come_back_exactly_at_length(drawn: list[Any], pg_url: str) -> None:
    check(drawn, pg_url)
