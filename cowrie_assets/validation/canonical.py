"""The canonical form of a value, from a stored cell and from the target's text: equal forms are equal values.

Belongs here: one small form for each type. Not here: comparing (`cells.py`), JSON documents (`json_values.py`), or
anything the cleaning knows.

| type | form |
|---|---|
| text | its bytes |
| bigint | the integer |
| double precision | its 64 bits (-0.0 is not 0.0) |
| boolean | 0 or 1 |
| timestamptz | microseconds since 1970, UTC |
| jsonb | keys as a set, numbers as decimals: compared by `json_values` |
| json | its bytes |
| bytea | its bytes |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Type
from ..source.cells import Cells, Storage

TARGET_TYPES: dict[Type, pa.DataType] = {
    Type.TEXT: pa.binary(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BOOLEAN: pa.bool_(),
    Type.TIMESTAMPTZ: pa.binary(),
    Type.JSONB: pa.binary(),
    Type.JSON: pa.binary(),
    Type.BYTEA: pa.binary(),
}
"""The Arrow type in which each column's text form is read from COPY."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_USUAL = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?(?:Z|\+00)?$"
_DATE = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    rb"(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|([+-])([0-9]{2})(?::?[0-9]{2})?)?)?"
)
_CUT = re.compile(rb"\.[0-9]{6}0*[1-9]")
"""A fraction of more than six digits that says something: `timestamptz` cannot hold it."""
_MAX_OFFSET = 15
"""Hours; PostgreSQL refuses an offset from 16:00 on (22009)."""


@dataclass(frozen=True)
class Form:
    """A column in canonical form.

    Attributes:
        values: NULL where the cell is NULL, or has no value in the target's type.
        none: the rows that are not NULL and have no value in the target's type: each needs a line in the ledger.
    """

    values: pa.Array
    none: pa.BooleanArray


def stored_form(kind: Type, cells: Cells, *, widened: bool = False) -> Form:
    """The form of stored cells.

    Args:
        kind: the target's type; for JSON the documents themselves are the form.
        cells: as SQLite stores them.
        widened: the column became text because its cells are of several classes: a number's digits are its value.
    """
    values = _stored(kind, cells, widened)
    missing = pc.and_(pc.is_null(values), pc.not_equal(cells.classes(), int(Storage.NULL)))
    return Form(values, missing)


def _stored(kind: Type, cells: Cells, widened: bool) -> pa.Array:
    if kind is Type.BIGINT:
        return cells.of(Storage.INTEGER)
    if kind is Type.DOUBLE:
        whole = cells.of(Storage.INTEGER)
        fits = pc.and_(pc.greater_equal(whole, -(2**53)), pc.less_equal(whole, 2**53))
        exact = pc.if_else(fits, whole, pa.scalar(None, pa.int64())).cast(pa.float64())
        return pc.coalesce(cells.of(Storage.REAL), exact).view(pa.int64())
    if kind is Type.BOOLEAN:
        whole = cells.of(Storage.INTEGER)
        flag = pc.or_(pc.equal(whole, 0), pc.equal(whole, 1))
        return pc.if_else(flag, whole, pa.scalar(None, pa.int64())).cast(pa.bool_())
    if kind is Type.TIMESTAMPTZ:
        return instants(cells.of(Storage.TEXT))
    if kind is Type.BYTEA:
        return cells.of(Storage.BLOB)
    texts = cells.of(Storage.TEXT)
    if kind is Type.TEXT:
        texts = _holdable(texts)
    if widened or kind is not Type.TEXT:
        digits = cells.of(Storage.INTEGER).cast(pa.string()).cast(pa.binary())
        texts = pc.coalesce(texts, digits)
    if widened and cells.storage in (None, Storage.REAL):
        reals = [None if v is None else repr(v).encode() for v in cells.of(Storage.REAL).to_pylist()]
        texts = pc.coalesce(texts, pa.array(reals, pa.binary()))
    return texts


def _holdable(texts: pa.BinaryArray) -> pa.BinaryArray:
    """Text that PostgreSQL holds: UTF-8 without NUL; NULL for the rest."""
    try:
        texts.cast(pa.string())
        bad = pc.match_substring(texts, "\x00")
    except pa.ArrowInvalid:
        bad = pa.array([v is not None and not _is_text(v) for v in texts.to_pylist()])
    return pc.if_else(pc.fill_null(bad, False), pa.scalar(None, pa.binary()), texts)


def _is_text(value: bytes) -> bool:
    try:
        return "\x00" not in value.decode()
    except UnicodeDecodeError:
        return False


def target_form(kind: Type, values: pa.Array) -> pa.Array:
    """The form of the target's values, read from COPY in `TARGET_TYPES`; unreadable instants (`infinity`) are NULL."""
    if kind is Type.DOUBLE:
        return values.view(pa.int64())
    if kind is Type.TIMESTAMPTZ:
        return instants(values)
    if kind is Type.BYTEA:  # COPY's text is hexadecimal
        return pa.array([None if v is None else bytes.fromhex(v.decode()) for v in values.to_pylist()], pa.binary())
    return values


def recorded_form(kind: Type, text: str | None) -> pa.Array:
    """The form of a ledger's `replacement`: one value."""
    raw = None if text is None else text.encode()
    if kind in (Type.TEXT, Type.JSONB, Type.JSON, Type.TIMESTAMPTZ):
        return target_form(kind, pa.array([raw], pa.binary()))
    if text is None:
        return target_form(kind, pa.nulls(1, TARGET_TYPES[kind]))
    if kind is Type.BYTEA:
        return pa.array([bytes.fromhex(text.removeprefix("\\x"))], pa.binary())
    if kind is Type.BOOLEAN:
        return pa.array([{"true": True, "false": False}[text]])
    return target_form(kind, pa.array([int(text) if kind is Type.BIGINT else float(text)]))


def instants(texts: pa.BinaryArray) -> pa.Int64Array:
    """Microseconds since 1970 of ISO dates; NULL for NULL and for what is no date or does not fit microseconds."""
    usual = pc.and_(pc.match_substring_regex(texts, _USUAL), pc.invert(pc.starts_with(texts, "0000")))
    usual = pc.fill_null(usual, False)
    plain = pc.if_else(usual, texts, pa.scalar(None, pa.binary())).cast(pa.string())
    plain = pc.replace_substring(pc.replace_substring(plain, "Z", ""), "+00", "")
    try:
        values = plain.cast(pa.timestamp("us")).cast(pa.int64())
    except pa.ArrowInvalid:
        usual, values = pa.array(np.zeros(len(texts), np.bool_)), pa.nulls(len(texts), pa.int64())
    rest = pc.indices_nonzero(pc.and_(pc.is_valid(texts), pc.invert(usual))).to_pylist()
    if not rest:
        return values
    listed = values.to_pylist()
    for row in rest:
        listed[row] = _instant(texts[row].as_py())
    return pa.array(listed, pa.int64())


def _instant(text: bytes) -> int | None:
    match = _DATE.fullmatch(text)
    if match is None or _CUT.search(text) or (match.group(2) and int(match.group(2)) > _MAX_OFFSET):
        return None
    try:
        moment = datetime.fromisoformat(text.decode())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1)
