"""Dates, numbers and texts against a real server: what the kernels pass is taken by COPY, and comes back equal.

Belongs here: generated and damaged cells, through the kernels and `loading/copy.py`, and oracles that share no code
with them. Not here: documents (`test_json_differential.py`), single rules (`test_cleaning.py`, `test_instants.py`), the
ledger's replacements (`test_scalar_differential.py`).
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import psycopg
import pyarrow as pa
import pytest

from cowrie_assets.catalog import Column, Table, Type
from cowrie_assets.cleaning import scalars
from cowrie_assets.cleaning.json_cells import clean_json_cells
from cowrie_assets.cleaning.outcome import Outcome
from cowrie_assets.cleaning.text import clean_text
from cowrie_assets.loading.copy import copy_rows
from cowrie_assets.loading.ddl import create_table
from cowrie_assets.source.cells import Cells
from cowrie_assets.staging.files import ROWID
from cowrie_assets_tests.cells_for_differential import dates, numbers, texts

BATCH = 1_000
Connection = psycopg.Connection[tuple[object, ...]]
Check = Callable[[int, int], Counter[str]]

# What the server reads, in microseconds since 1970: its own word for the infinities, NULL where it refuses.
_READ = """
CREATE FUNCTION micros(t timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN isfinite(t) THEN trunc(extract(epoch FROM t) * 1000000)::text ELSE t::text END $$;
CREATE FUNCTION reads(cell text) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN RETURN micros(cell::timestamptz); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$
"""


@pytest.fixture
def connection(pg_url: str) -> Iterator[Connection]:
    with psycopg.connect(pg_url, autocommit=True, options="-c TimeZone=UTC -c DateStyle=ISO") as opened:
        opened.execute(_READ)
        yield opened


def through_copy(connection: Connection, columns: dict[str, tuple[Type, pa.Array]], select: str) -> list[tuple]:  # type: ignore[type-arg]
    """Send columns through the real COPY into a new table `t`, and return what `select` gives, in the rows' order."""
    rows = len(next(iter(columns.values()))[1])
    place = pa.array(range(rows), pa.int64())
    described = (Column("place", Type.BIGINT), *(Column(name, kind) for name, (kind, _) in columns.items()))
    table = Table("t", described, key=())
    arrays = [place, place, *(array for _, array in columns.values())]
    with connection.transaction(force_rollback=True):
        connection.execute(create_table(table).encode())
        sent = pa.Table.from_arrays(arrays, names=[ROWID, *(c.name for c in described)])
        assert copy_rows(connection, table, sent, lambda message, rows: False) == []
        with connection.cursor(binary=True) as cursor:
            found = cursor.execute(f"SELECT {select} FROM t ORDER BY place".encode()).fetchall()
    assert len(found) == rows
    return found


def sendable(cell: object) -> str | None:
    """A text cell as a client can send it to PostgreSQL, else None."""
    if not isinstance(cell, bytearray) or b"\0" in cell:
        return None
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return None


def accounted(cells: list[object], outcome: Outcome) -> None:
    """A cell has a value, or was NULL, or is refused: nothing else becomes NULL."""
    refused = {refusal.row for refusal in outcome.refusals}
    assert refused == {
        row for row, value in enumerate(outcome.values.is_null().to_pylist()) if value and cells[row] is not None
    }


def epoch_micros(number: float) -> int | None:
    """The documented reading of an epoch number, in exact fractions of what was typed."""
    if not math.isfinite(number):
        return None
    typed = Fraction(repr(number))
    for digits in (0, 3, 6):
        seconds = typed / 10**digits
        if datetime(2000, 1, 1, tzinfo=UTC).timestamp() <= seconds < datetime(2100, 1, 1, tzinfo=UTC).timestamp():
            return math.floor(seconds * 1_000_000)
    return None


def cut_micros(text: str) -> int:
    """What a text with too long a fraction says, by Python's own ISO parser, which cuts."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def check_dates(connection: Connection, cells: list[object]) -> Counter[str]:
    outcome = scalars.clean_instant(Cells.encode(cells))
    accounted(cells, outcome)
    rules = {repair.row: repair.rules[0] for repair in outcome.repairs}
    sent = pa.array([sendable(cell) for cell in cells], pa.string())
    columns = {"v": (Type.TIMESTAMPTZ, outcome.values), "original": (Type.TEXT, sent)}
    found = through_copy(connection, columns, "micros(v), reads(original)")
    counts: Counter[str] = Counter()
    for row, (cell, given, (stored, read)) in enumerate(
        zip(cells, outcome.values.cast(pa.int64()).to_pylist(), found, strict=True)
    ):
        assert stored == (None if given is None else str(given)), (cell, given, stored)
        if isinstance(cell, (int, float)):
            assert given == epoch_micros(cell), cell
            assert (row in rules) == (given is not None), cell
        elif given is None:
            counts["PostgreSQL alone"] += read is not None
        elif row in rules:
            assert isinstance(cell, bytearray)
            assert given == cut_micros(cell.decode()), cell
        else:
            assert read == str(given), (cell, given, read)
        counts[rules.get(row, "refused" if given is None else "as it is")] += 1
    return counts


def check_numbers(connection: Connection, cells: list[object]) -> Counter[str]:
    encoded = Cells.encode(cells)
    kernels: dict[str, tuple[Type, Outcome]] = {
        "i": (Type.BIGINT, scalars.clean_integer(encoded)),
        "d": (Type.DOUBLE, scalars.clean_real(encoded)),
        "b": (Type.BOOLEAN, scalars.clean_boolean(encoded)),
        "s": (Type.TEXT, clean_text(encoded)),
        "j": (Type.JSONB, clean_json_cells(encoded)[0]),
    }
    for _, outcome in kernels.values():
        accounted(cells, outcome)
    columns = {name: (kind, outcome.values) for name, (kind, outcome) in kernels.items()}
    found = through_copy(connection, columns, "i, d, b, s, j::text")
    as_is = {name: {r.row for r in outcome.repairs} for name, (_, outcome) in kernels.items()}
    counts: Counter[str] = Counter()
    for row, (cell, (integer, double, boolean, text, document)) in enumerate(zip(cells, found, strict=True)):
        if cell is None:
            assert (integer, double, boolean, text, document) == (None,) * 5
            continue
        whole = isinstance(cell, int)
        assert integer == (cell if whole else None)
        assert boolean is ({0: False, 1: True}.get(cell) if whole else None)  # type: ignore[call-overload]
        exact = not whole or abs(cell) <= 2**53  # type: ignore[arg-type]
        assert (None if double is None else struct.pack("d", double)) == (struct.pack("d", cell) if exact else None)
        assert (int(text) if whole else float(text)) == cell
        assert math.copysign(1, float(text)) == math.copysign(1, cell)
        if whole or math.isfinite(cell):
            assert Decimal(document) == Decimal(repr(cell))
        else:
            assert document == json.dumps(str(cell))
        assert (row in as_is["j"]) == (not whole)
        counts["integer" if whole else "real"] += 1
        counts["refused"] += (integer is None) + (double is None) + (boolean is None)
    return counts


def visible(raw: bytes) -> str:
    """The documented text of any bytes, a character at a time."""
    shown = raw.decode("utf-8", "surrogateescape").replace("\0", "\\x00")
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in shown)


def check_texts(connection: Connection, cells: list[object]) -> Counter[str]:
    outcome = clean_text(Cells.encode(cells))
    accounted(cells, outcome)
    blobs = [bytes(cell) if isinstance(cell, (bytes, bytearray)) else None for cell in cells]
    columns = {"v": (Type.TEXT, outcome.values), "raw": (Type.BYTEA, pa.array(blobs, pa.binary()))}
    found = through_copy(connection, columns, "v, raw")
    repaired = {repair.row: repair for repair in outcome.repairs}
    counts: Counter[str] = Counter()
    for row, (cell, (text, raw)) in enumerate(zip(cells, found, strict=True)):
        assert raw == blobs[row]
        if cell is None:
            assert text is None
            continue
        assert isinstance(cell, (bytes, bytearray))
        assert text == visible(bytes(cell)), cell
        plain = isinstance(cell, bytearray) and sendable(cell) is not None
        assert (row in repaired) == (not plain), cell
        assert not plain or text.encode() == cell
        counts["as it is" if plain else repaired[row].rules[-1]] += 1
    return counts


OUTCOMES = {
    "dates": {"cells", "as it is", "refused", "PostgreSQL alone", "date.epoch", "date.fraction"},
    "numbers": {"cells", "integer", "real", "refused"},
    "texts": {"cells", "as it is", "text.nul", "text.utf8", "text.blob"},
}
CHECKS = {"dates": (dates, check_dates), "numbers": (numbers, check_numbers), "texts": (texts, check_texts)}


def run(connection: Connection, kind: str, count: int, seed: int) -> Counter[str]:
    """Generate that many cells, assert all that can be asserted of them, and count what became of them."""
    make, check = CHECKS[kind]
    dice = random.Random(seed)
    counts: Counter[str] = Counter()
    for start in range(0, count, BATCH):
        cells = make(dice, min(BATCH, count - start))
        counts += check(connection, cells)
        counts["cells"] += len(cells)
    return counts


@pytest.mark.parametrize("kind", CHECKS)
def test_the_server_agrees_about_some_thousands(kind: str, connection: Connection) -> None:
    counts = run(connection, kind, 10_000, seed=1)
    assert {name for name, seen in counts.items() if seen > 20} == OUTCOMES[kind]


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", CHECKS)
def test_the_server_agrees_about_1_000_000(kind: str, connection: Connection) -> None:
    counts = run(connection, kind, 1_000_000, seed=2)
    assert counts["cells"] == 1_000_000
    print(kind, dict(counts))


def test_every_code_point_and_every_pair_of_bytes(connection: Connection) -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    cells: list[object] = [bytearray("".join(points[at : at + 64]).encode()) for at in range(0, len(points), 64)]
    cells += [bytearray((first, second)) for first in range(256) for second in range(0, 256, 5)]
    assert check_texts(connection, cells)["as it is"] > len(points) // 64
