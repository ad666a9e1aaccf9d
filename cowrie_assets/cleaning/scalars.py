"""Integers, reals, booleans, dates and blobs: what fits stays, what is none of its type is refused.

Belongs here: the kernels of scalar columns. Not here: what becomes of a refused cell (`table.py`).
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from ..source.cells import Cells, Storage, original_bytes
from ..source.instants import INSTANT, read_instants
from .outcome import Outcome, Refusal, Repair

BOOL_TEXT_RULE = "bool.text"
_WORDS = {b"true": True, b"false": False}


def shown(cells: Cells, row: int) -> str:
    """A cell for a detail text: class and the first bytes, escaped."""
    storage, value = cells.value(row)
    return f"{storage.label} {(original_bytes(storage, value) or b'')[:60]!r}"


def _refuse(cells: Cells, values: pa.Array, rule: str, what: str) -> list[Refusal]:
    lost = pc.and_(pc.is_null(values), pc.not_equal(cells.classes(), int(Storage.NULL)))
    return [Refusal(row, rule, f"{what}: {shown(cells, row)}") for row in pc.indices_nonzero(lost).to_pylist()]


def clean_integer(cells: Cells) -> Outcome:
    """int64 out: SQLite's integers are bigint's; other classes are refused (affinity made integers of all it could)."""
    values = cells.of(Storage.INTEGER)
    return Outcome(values, [], _refuse(cells, values, "integer.none", "not an integer"))


def clean_real(cells: Cells) -> Outcome:
    """float64 out: reals, and integers up to 2^53 in size, which a double holds exactly."""
    integers = cells.of(Storage.INTEGER)
    # Two comparisons: the size of -2^63 overflows.
    in_range = pc.and_(pc.greater_equal(integers, -(2**53)), pc.less_equal(integers, 2**53))
    small = pc.fill_null(in_range, False)
    exact = pc.if_else(small, integers, pa.scalar(None, pa.int64())).cast(pa.float64())
    values = pc.coalesce(cells.of(Storage.REAL), exact)
    return Outcome(values, [], _refuse(cells, values, "real.none", "not a number a double holds"))


def clean_blob(cells: Cells) -> Outcome:
    """Binary out: blobs only."""
    values = cells.of(Storage.BLOB)
    return Outcome(values, [], _refuse(cells, values, "blob.none", "not a blob"))


def clean_boolean(cells: Cells) -> Outcome:
    """Bool out: 0 and 1; the words true and false as repairs; nothing else is a boolean."""
    integers = cells.of(Storage.INTEGER)
    known = pc.is_in(integers, value_set=pa.array([0, 1], pa.int64()))
    values = pc.equal(pc.if_else(known, integers, pa.scalar(None, pa.int64())), 1)
    repairs: list[Repair] = []
    if cells.storage in (None, Storage.TEXT):
        listed = values.to_pylist()
        words = cells.of(Storage.TEXT)
        for row in pc.indices_nonzero(pc.is_valid(words)).to_pylist():
            word = _WORDS.get(words[row].as_py().lower())
            if word is not None:
                listed[row] = word
                repairs.append(Repair(row, (BOOL_TEXT_RULE,), str(word).lower()))
        values = pa.array(listed, pa.bool_())
    return Outcome(values, repairs, _refuse(cells, values, "bool.none", "not a boolean"))


def clean_instant(cells: Cells) -> Outcome:
    """timestamp[us, UTC] out: the instant that the text says; epoch numbers and cut fractions as repairs."""
    read = read_instants(cells)
    texts = instant_texts(read.values.take(pa.array(sorted(read.rules), pa.int64())))
    repairs = [Repair(row, (read.rules[row],), text) for row, text in zip(sorted(read.rules), texts, strict=True)]
    return Outcome(read.values, repairs, _refuse(cells, read.values, "date.unreadable", "not a date"))


def instant_text(values: pa.TimestampArray, row: int) -> str:
    """One instant's text form in the ledger."""
    return instant_texts(values.slice(row, 1))[0]


def instant_texts(values: pa.TimestampArray) -> list[str]:
    """Instants as the ledger has them: `2026-11-24 05:42:48.828261+00`, as PostgreSQL prints them in UTC."""
    texts = pc.strftime(values.cast(pa.timestamp("us", "UTC")), "%Y-%m-%d %H:%M:%S").to_pylist()
    return [f"{text.rstrip('0').rstrip('.') if '.' in text else text}+00" for text in texts]


def postgres_text(value: object) -> str | None:
    """A cleaned value as PostgreSQL's own cast to text prints it; None for NULL."""
    if isinstance(value, datetime):
        return instant_texts(pa.array([value], INSTANT))[0]
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, float):
        return double_text(value)
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def key_part(value: object) -> str | None:
    """A part of a key as the ledger has it: `postgres_text`, but one text for 0.0 and -0.0, which are one key."""
    return postgres_text(value + 0.0 if isinstance(value, float) else value)


def double_text(value: float) -> str:
    """A double as PostgreSQL prints it: Python's digits as a rule, and an exponent from 15 digits before the point."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if abs(value) < 1e15:
        return repr(value).removesuffix(".0")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    first, rest = str(digits[0]), "".join(map(str, digits[1:]))
    text = f"{'-' * sign}{first}{'.' * bool(rest)}{rest}e+{int(exponent) + len(rest)}"
    if abs(value) < 2**53 or not _is_tie(text, value):
        return text
    longer = (f"{value:.{count}e}" for count in range(len(digits), 17))
    return next(text for text in longer if not _is_tie(text, value))


def _is_tie(text: str, value: float) -> bool:
    """Whether digits lie halfway between a whole double and a neighbour.

    Python takes 1e+23 for a double's shortest digits, since ties are read as even. PostgreSQL does not count on that
    and writes 9.999999999999999e+22.
    """
    exact, size = abs(int(value)), abs(value)
    step = int(math.ulp(size))
    below = int(math.nextafter(size, 0.0))
    return 2 * abs(int(Decimal(text))) in (exact + below, 2 * exact + step)
