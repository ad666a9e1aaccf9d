"""Dates, numbers, booleans, blobs and texts against a real server: what a kernel passes is taken, and is the same.

Not here: documents (`test_json_differential.py`).
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow as pa
import pytest

from cowrie_assets.catalog import Column, Table, Type
from cowrie_assets.cleaning.outcome import Outcome
from cowrie_assets.cleaning.scalars import clean_blob, clean_boolean, clean_instant, clean_integer, clean_real
from cowrie_assets.cleaning.text import clean_text
from cowrie_assets.loading.copy import copy_rows
from cowrie_assets.loading.ddl import create_table
from cowrie_assets.source.cells import Cells
from cowrie_assets.staging.files import ROWID

KERNELS = {
    Type.TIMESTAMPTZ: clean_instant,
    Type.BIGINT: clean_integer,
    Type.DOUBLE: clean_real,
    Type.BOOLEAN: clean_boolean,
    Type.BYTEA: clean_blob,
    Type.TEXT: clean_text,
}
TABLE = Table("t", tuple(Column(kind.name.lower(), kind) for kind in KERNELS), key=())
WORDS = ["now", "today", "tomorrow", "epoch", "infinity", "-infinity", "allballs", "24:00:00", "23:59:60", "J2460941",
         "09/22/2025", "2025-265", "2025-W39-1", "2025", "", "NULL", "\\N", "\\.", "true", "FALSE", "t", "yes", "on", "0x10",
         "1_000", "1e5", "NaN", "Infinity", "-0", " 1", "1 ", "a\0b", "é\u2028", '"', "'", ",", "\r\n", "\\x41", "\\"]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 1758542400, 1758542400123, 1758542400123456,
           20250922, 0.0, -0.0, 1.5, 0.1, 1e308, 5e-324, 1e16, float("inf"), float("-inf"), 1758542400.123456, 2.0**53]  # fmt: skip
PIECES = ["0", "9", "T", " ", "Z", "-", ":", ".", "+", "24", "60", "99", "BC", "é", "\0", "/", "AD", "+16:00", "-0530"]


def date(random_: random.Random) -> str:
    moment = datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=random_.randrange(1, 315_537_897_599))
    if random_.random() < 0.5:
        moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=random_.randrange(86_400 * 700))
    zone = random_.choice(["", "", "Z", "+00:00", "+02:00", "-05:30", "+0530", "+15:59", "-15:59", "+03", "+16:00"])
    fraction = random_.choice(
        ["", "", f".{random_.randrange(10**6):06d}", f".{random_.randrange(10**9):09d}", ".5", ","]
    )
    text = moment.strftime(random_.choice(["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"])).zfill(19) + fraction + zone
    for _ in range(random_.choice([0, 0, 0, 1, 1, 2])):
        at = random_.randrange(len(text) + 1)
        text = text[:at] + random_.choice(PIECES) + text[at + random_.choice([0, 1, 2]) :]
    return text[: random_.choice([10, 16, 40, 40, 40])]


def cell(random_: random.Random) -> object:
    kind = random_.randrange(8)
    if kind < 4:
        return bytearray(date(random_).encode())
    if kind == 4:
        return bytearray(random_.choice(WORDS).encode())
    if kind == 5:
        number = random_.choice(NUMBERS)
        return number if random_.random() < 0.5 else type(number)(random_.uniform(-1e15, 1e15))
    if kind == 6:
        return random_.choice([None, bytearray(random_.randbytes(6)), random_.randbytes(random_.randrange(9))])
    return bytearray("".join(random_.choices([*WORDS, *PIECES, *map(chr, range(1, 160))], k=4)).encode())


def agreement(url: str, count: int, seed: int) -> Counter[str]:
    """Clean the same cells as every type, load them as a migration does, and compare; counts by type."""
    random_ = random.Random(seed)
    stored = [cell(random_) for _ in range(count)]
    cells = Cells.encode(stored)
    outcomes: dict[Type, Outcome] = {kind: kernel(cells) for kind, kernel in KERNELS.items()}
    rows = pa.table(
        {ROWID: pa.array(range(count), pa.int64())} | {k.name.lower(): o.values for k, o in outcomes.items()}
    )
    counts: Counter[str] = Counter()
    with psycopg.connect(url) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE OR REPLACE FUNCTION read(said text) RETURNS timestamptz LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN said::timestamptz; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$"
        )
        connection.execute("DROP TABLE IF EXISTS t")
        connection.execute(create_table(TABLE).replace("CREATE TABLE", "CREATE UNLOGGED TABLE", 1).encode())
        connection.execute("ALTER TABLE t ADD row serial")
        assert copy_rows(connection, TABLE, rows, lambda message, rows: False) == []
        loaded = connection.execute(
            "SELECT row - 1, bigint, double, boolean, bytea, text, timestamptz::text, timestamptz FROM t"
        ).fetchall()
        dates = {
            row: original.decode()
            for row, original in enumerate(stored)
            if isinstance(original, bytearray)
            and outcomes[Type.TIMESTAMPTZ].values[row].is_valid
            and row not in {r.row for r in outcomes[Type.TIMESTAMPTZ].repairs}
        }
        wrong = connection.execute(
            "SELECT said, timestamptz FROM unnest(%s::int[], %s::text[]) AS u (i, said) JOIN t ON t.row = u.i + 1"
            " WHERE read(said) IS DISTINCT FROM timestamptz",
            (list(dates), list(dates.values())),
        ).fetchall()
        assert wrong == []
        counts["dates"] = len(dates)
    repaired = {kind: {r.row: r.text for r in o.repairs} for kind, o in outcomes.items()}
    for row, integer, real, flag, raw, text, instant, _ in loaded:
        original = stored[row]
        assert integer == (original if isinstance(original, int) else None)
        fits = isinstance(original, float) or (isinstance(original, int) and abs(original) <= 2**53)
        assert repr(real) == repr(float(original) if fits else None)  # type: ignore[arg-type]
        assert raw == (original if isinstance(original, bytes) else None)
        assert flag == ({0: False, 1: True}.get(original) if isinstance(original, int) else flag)
        assert flag is None or isinstance(original, int) or repaired[Type.BOOLEAN][row] == str(flag).lower()
        if row in repaired[Type.TEXT]:
            assert text == repaired[Type.TEXT][row]
        else:
            assert original is None or isinstance(original, bytearray)
            assert text == (None if original is None else original.decode())
        if row in repaired[Type.TIMESTAMPTZ]:
            assert instant == repaired[Type.TIMESTAMPTZ][row]
        counts["passed"] += 1
    return counts


def test_the_server_agrees_about_4_000_cells_of_every_type(pg_url: str) -> None:
    counts = agreement(pg_url, 4_000, seed=1)
    assert counts["passed"] == 4_000
    assert counts["dates"] > 400


@pytest.mark.fuzz
def test_the_server_agrees_about_400_000_cells_of_every_type(pg_url: str) -> None:
    counts = sum((agreement(pg_url, 40_000, seed) for seed in range(10, 20)), Counter[str]())
    assert counts["dates"] > 40_000
