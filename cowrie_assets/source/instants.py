"""The one grammar of dates: a stored cell in, an instant in UTC microseconds out.

Belongs here: the kernel that partitioning, cleaning and validation share. Not here: what becomes of an unreadable date.

The grammar: `YYYY-MM-DD`, or that with a blank or `T` and `HH:MM[:SS[.f…]]` (1 to 9 digits), then nothing (UTC), `Z` or
an offset `±HH[:MM]` of at most 15:59. Integers and reals are epoch seconds, milliseconds or microseconds, told apart by
size, from 2000-01-01 to 2100-01-01. Everything else is unreadable, also what PostgreSQL would take with another meaning
(`now`, `24:00:00`, `:60`, `infinity`, `09/22/2025`, `J2460941`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from .cells import Cells, Storage, Value

INSTANT = pa.timestamp("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EPOCH_RULE = "date.epoch"
FRACTION_RULE = "date.fraction"

_EPOCH_FROM, _EPOCH_TO = 946_684_800, 4_102_444_800
"""2000-01-01 and 2100-01-01 in epoch seconds: a day number such as 20250922 is not an epoch."""

_FULL = (
    rb"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-"
    rb"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    rb"[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z?"
)
_FAST = "^(?:" + _FULL.decode() + ")$"
"""What Arrow's own parser reads with the same meaning (it takes a year 0000, which is none). 29 February, offsets and
longer fractions go the slow way."""

_GRAMMAR = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    rb"(?:[ T]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)


@dataclass(frozen=True)
class Instants:
    """Dates read from cells.

    Attributes:
        values: timestamp[us, UTC]; NULL where the cell is NULL or unreadable.
        rules: row -> rule, where the instant is not just what the text says (epoch number, cut fraction).
    """

    values: pa.TimestampArray
    rules: dict[int, str]


def parse_text(text: bytes) -> tuple[int, str | None] | None:
    """Microseconds since 1970 of a date as text and the rule it took, or None where it is unreadable."""
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(g) if g else 0 for g in match.groups()[:6])
    fraction, zone = match.group(7) or b"", match.group(8)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=_zone(zone))
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    micros = (moment - EPOCH) // timedelta(microseconds=1) + int(fraction[:6].ljust(6, b"0") or b"0")
    return micros, FRACTION_RULE if fraction[6:].strip(b"0") else None


def _zone(zone: bytes | None) -> timezone:
    if zone in (None, b"Z"):
        return UTC
    assert zone is not None  # noqa: S101 - narrows the type; None returned above
    digits = zone[1:].replace(b":", b"")
    hours, minutes = int(digits[:2]), int(digits[2:] or b"0")
    if hours > 15 or minutes > 59:
        # PostgreSQL refuses offsets from 16:00 on (22009).
        raise ValueError(zone)
    delta = timedelta(hours=hours, minutes=minutes)
    return timezone(-delta if zone[:1] == b"-" else delta)


def parse_number(number: int | float) -> int | None:
    """Microseconds since 1970 of an epoch number in seconds, milliseconds or microseconds, or None."""
    for unit in (1, 1_000, 1_000_000):
        if _EPOCH_FROM * unit <= number < _EPOCH_TO * unit:
            # Decimal(repr) keeps the digits that were typed; a float product could move the last microsecond.
            return int(Decimal(repr(number)) * (1_000_000 // unit))
    return None


def parse_value(storage: Storage, value: Value) -> tuple[int, str | None] | None:
    """Like `parse_text` for a cell of any storage class; a blob is no date."""
    if storage is Storage.TEXT and isinstance(value, bytes):
        return parse_text(value)
    if storage in (Storage.INTEGER, Storage.REAL) and isinstance(value, (int, float)):
        micros = parse_number(value)
        return None if micros is None else (micros, EPOCH_RULE)
    return None


def read_instants(cells: Cells) -> Instants:
    """Read a column of dates: text by Arrow where it has the usual form, the others cell by cell."""
    if cells.storage is Storage.NULL:
        return Instants(pa.nulls(len(cells), INSTANT), {})
    text = cells.of(Storage.TEXT)
    usual = pc.fill_null(pc.match_substring_regex(text, _FAST), False)
    plain = pc.if_else(usual, text, pa.scalar(None, pa.binary())).cast(pa.string())
    plain = pc.replace_substring(plain, "Z", "")
    values = plain.cast(pa.timestamp("us")).cast(pa.int64()).cast(INSTANT)
    rest = pc.and_(pc.not_equal(cells.classes(), int(Storage.NULL)), pc.invert(usual))
    slow = pc.indices_nonzero(rest).to_pylist()
    if not slow:
        return Instants(values, {})
    micros = values.cast(pa.int64()).to_pylist()
    rules: dict[int, str] = {}
    for row in slow:
        read = parse_value(*cells.value(row))
        if read is not None:
            micros[row], rule = read
            if rule:
                rules[row] = rule
    return Instants(pa.array(micros, pa.int64()).cast(INSTANT), rules)
