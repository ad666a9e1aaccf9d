"""Keys of every type, alone and among several columns: loaded, proven, loaded again, and gone after a reset.

Not here: which of two rows with one key stays (`test_plan.py`), cells that are no keys (`test_scalar_differential.py`).
"""

from __future__ import annotations

import math
import random
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from cowrie_assets.cleaning.scalars import double_text
from cowrie_assets.loading.reset import plan_reset, reset
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.validation.doubles import float8_text
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts

REALS = [1.0, 2.5, 0.1, -1.5, 1e15, 1e16, 1e23, 1e-5, 1e-4, 123456789012345.0, 5e-324, math.inf, -math.inf, 0]
KEYS: dict[str, Sequence[object]] = {
    "REAL": REALS,
    "NUMERIC": [1, 2.5, 1e23, -7],
    "": [1.5, 2.0, 1e15],
    "INTEGER": [1, -5, 2**53 + 1],
    "BOOLEAN": [0, 1],
    "BLOB": [b"", b"\x00\xff", b"abc"],
    "TEXT": ["", "a", "ü€𝄞", "tab\t\x1f:", "1.0", "\\N", '"'],
    "JSON": ['{"b": 1, "a":2}', '{"a":2,"b":1}', "[1,2]", '"a"'],
    "DATE": ["2025-01-01", "0999-12-31", "2025-01-03"],
    "DATETIME": ["2025-01-01 00:00:00", "2025-01-01T00:00:00.5Z", "2025-01-01 01:00:00.123400+02:00", "0001-01-02"],
}


def made(path: Path, declared: str, values: Sequence[object], *, several: bool, rowid: bool) -> None:
    key = "PRIMARY KEY (a, k)" if several else "PRIMARY KEY (k)"
    # INT, as INTEGER PRIMARY KEY is the rowid itself.
    kind = "INT" if declared == "INTEGER" else declared
    with closing(sqlite3.connect(path)) as db:
        suffix = "" if rowid else " WITHOUT ROWID"
        # A cell that is repaired, so that the ledger has lines that name a key.
        db.execute(f"CREATE TABLE t (a TEXT NOT NULL, k {kind} NOT NULL, n INTEGER, v TEXT, {key}){suffix}")
        rows = [("x", value, i, "nul\x00" if i % 2 else "v") for i, value in enumerate(values)]
        db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
        db.execute("CREATE TABLE d (k DATETIME PRIMARY KEY, v JSON)")
        db.execute("INSERT INTO d VALUES ('2025-01-01', '{')")
        db.commit()


def faults(line: Pipeline) -> list[str]:
    return [f"{v.table}: {v.detail} {v.differences}" for v in verdicts(line) if v.verdict != "PASS" or v.quarantined]


def undo(line: Pipeline) -> None:
    with line.connect() as connection:
        plan, steps = plan_reset(connection)
        connection.commit()
        reset(connection, plan, steps)


@pytest.mark.parametrize("several", [False, True], ids=["alone", "of-several"])
@pytest.mark.parametrize("declared", KEYS)
def test_a_key_of_any_type_is_found_again(tmp_path: Path, pg_url: str, declared: str, several: bool) -> None:
    for rowid in (True, False):
        path, folder = tmp_path / f"{rowid}.sqlite", tmp_path / str(rowid)
        made(path, declared, KEYS[declared], several=several, rowid=rowid)
        folder.mkdir()
        line = pipeline_for(path, pg_url, folder)
        migrate(line)
        assert faults(line) == []
        with line.locked():
            line.load("t", "all", "again", force=True)
        assert faults(line) == []
        assert query(pg_url, "SELECT count(*) FROM t") == [(len(KEYS[declared]),)]
        query(pg_url, "INSERT INTO t SELECT 'theirs', k, 7, 'theirs' FROM t LIMIT 1" if several else "SELECT 1")
        undo(line)
        if several:
            assert query(pg_url, "SELECT a FROM t") == [("theirs",)]
            query(pg_url, "DROP TABLE t")
        assert query(pg_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_reset_takes_our_rows_with_keys_that_are_doubles_and_no_others(tmp_path: Path, pg_url: str) -> None:
    path = tmp_path / "s.sqlite"
    made(path, "REAL", REALS, several=False, rowid=True)
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    query(pg_url, "INSERT INTO t (a, k) VALUES ('theirs', 77)")
    undo(line)
    assert query(pg_url, "SELECT a, k FROM t") == [("theirs", 77.0)]


def test_a_role_with_other_forms_of_output_finds_its_keys(tmp_path: Path, admin_url: str, pg_url: str) -> None:
    database = psycopg.conninfo.conninfo_to_dict(pg_url)["dbname"]
    query(admin_url, f"ALTER DATABASE {database} SET bytea_output = 'escape'")
    query(admin_url, f"ALTER DATABASE {database} SET extra_float_digits = 0")
    for declared in ("REAL", "BLOB"):
        path, folder = tmp_path / f"{declared}.sqlite", tmp_path / declared
        made(path, declared, [*KEYS[declared], *([0.1 + 0.2] if declared == "REAL" else [])], several=False, rowid=True)
        folder.mkdir()
        line = pipeline_for(path, pg_url, folder)
        migrate(line)
        assert faults(line) == []
        undo(line)


def test_a_zero_with_a_sign_is_the_same_key(tmp_path: Path, pg_url: str) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (k PRIMARY KEY, n TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(-0.0, "nul\x00"), (1.5, "")])
        db.commit()
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert faults(line) == []
    query(pg_url, "UPDATE t SET k = 0 WHERE k = 0")
    found = [d for v in verdicts(line) for d in v.differences]
    assert [(d.key, d.column) for d in found] == [("0", "k")]
    with line.locked():
        line.load("t", "all", "again", force=True)
    assert faults(line) == []
    assert query(pg_url, "SELECT k::text FROM t ORDER BY k") == [("-0",), ("1.5",)]


def doubles(count: int, seed: int) -> Iterator[float]:
    """Doubles at the edges of their text forms, and random ones."""
    rng = random.Random(seed)
    yield from (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308)
    for exponent in range(-330, 309):
        for digits in ("1", "9", "9.999999999999999", "1.0000000000000002", "5", "1.5", "123456789.0123456"):
            yield float(f"{digits}e{exponent}")
    for power in range(-1074, 1024):
        number = math.ldexp(1.0, power)
        yield from (number, -number, math.nextafter(number, 0), math.nextafter(number, math.inf))
    for _ in range(count):
        yield struct.unpack("<d", rng.randbytes(8))[0]
        yield float(rng.randrange(10 ** rng.randrange(1, 25)))
        yield rng.randrange(10**17) / 10 ** rng.randrange(25)
        yield struct.unpack("<d", struct.pack("<Q", rng.randrange(1 << rng.randrange(1, 53))))[0]
        # Between two doubles: what the shortest digits say, to one who reads ties as even.
        yield float((2 * rng.randrange(2**52, 2**53) + 1) << rng.randrange(4))
        yield float(rng.randrange(1, 1000) * 10 ** rng.randrange(15, 40))


def disagreements(url: str, spell: Callable[[float], str], values: Sequence[float]) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        connection.execute("SET extra_float_digits = 1")
        rows = connection.execute(
            "SELECT k::text FROM unnest(%b::float8[]) WITH ORDINALITY u (k, n) ORDER BY n", (list(values),)
        )
        return [(spell(v), text) for v, (text,) in zip(values, rows.fetchall(), strict=True) if spell(v) != text]


@pytest.mark.parametrize("spell", [double_text, float8_text])
def test_the_server_spells_doubles_the_same_way(server_url: str, spell: Callable[[float], str]) -> None:
    assert disagreements(server_url, spell, list(doubles(5_000, seed=3))) == []


@pytest.mark.fuzz
@pytest.mark.parametrize("spell", [double_text, float8_text])
def test_the_server_spells_a_million_doubles_the_same_way(server_url: str, spell: Callable[[float], str]) -> None:
    for seed in range(10):
        assert disagreements(server_url, spell, list(doubles(17_000, seed=seed))) == []
