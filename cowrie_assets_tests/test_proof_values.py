"""The proof's own reading of values: JSON documents, dates, and the forms of every type.

Not here: whole migrations (`test_proof.py`).
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.catalog import Type
from cowrie_assets.source.cells import Cells
from cowrie_assets.validation.canonical import instants, recorded_form, stored_form
from cowrie_assets.validation.json_values import exact, same, unequal

SAME = [
    ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
    ("1.10", "1.1"),
    ("12.0", "12"),
    ("1e5", "100000"),
    ("0.00001", "1E-5"),
    ("-1.50", "-1.5"),
    ("[]", " [ ] "),
    ('"\\u0041"', '"A"'),
    ('"\\ud83d\\ude00"', '"😀"'),
    ('{"a\\u0022": true}', '{"a\\"": true}'),
    ("18446744073709551616", "18446744073709551616"),
    ("[" * 10_000 + "]" * 10_000, "[" * 10_000 + "]" * 10_000),
]
APART = [
    ("1", "1.0000000000000000000001"),
    ("0.1", "0.1000000000000000055511151231257827"),
    ("9007199254740993", "9007199254740992"),
    ("18446744073709551616", "18446744073709551617"),
    ('{"a": true, "b": 1}', '{"a": 1, "b": true}'),
    ("true", "1"),
    ("false", "0"),
    ("null", '"null"'),
    ('""', "null"),
    ('"a"', '"A"'),
    ('"a "', '"a"'),
    ('{"a": 1}', '{"a": 1, "b": null}'),
    ("[1, 2]", "[2, 1]"),
    ('{"a": 1, "a": 2}', '{"a": 2}'),
    ('{"a" : 1, "\\u0061": 2}', '{"a": 2}'),
    ('{"x": {"a\\u003a": 1, "b": {"c": 1, "c": 1}}}', '{"x": {"a:": 1, "b": {"c": 1}}}'),
    ("-0", "0"),
    ("[-0.0]", "[0.0]"),
    ('"\\u0000"', '"\\u0000"'),
    ('"\\ud800"', '"\\ud800"'),
    ("[1, 2", "[1, 2]"),
    ("[1,]", "[1]"),
    ('{"a": 1,}', '{"a": 1}'),
    ("01", "1"),
    ("NaN", '"NaN"'),
    ("[" * 10_000 + "]" * 10_000, "[" * 9_999 + "]" * 9_999),
]


@pytest.mark.parametrize(("source", "target", "equal"), [(*p, True) for p in SAME] + [(*p, False) for p in APART])
def test_documents_are_equal_by_value(source: str, target: str, equal: bool) -> None:
    a, b = source.encode(), target.encode()
    assert same(a, b) is equal
    assert unequal(pa.array([a], pa.binary()), pa.array([b], pa.binary())) == ([] if equal else [0])


def test_null_equals_null_only() -> None:
    source = pa.array([None, None, b"1"], pa.binary())
    assert unequal(source, pa.array([None, b"null", None], pa.binary())) == [1, 2]


_numbers = st.one_of(
    st.integers(), st.integers(-(2**70), 2**70), st.decimals(allow_nan=False, allow_infinity=False).map(str)
)
_leaves = st.one_of(st.none(), st.booleans(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8), _numbers)
_documents = st.recursive(
    _leaves,
    lambda d: st.one_of(st.lists(d, max_size=4), st.dictionaries(st.text(max_size=4), d, max_size=4)),
    max_leaves=12,
)


def holdable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def oracle(text: str) -> Any:
    """A document as Python values that compare as JSON values do; None for what is lost or refused."""
    lost: list[object] = []

    def pairs(members: list[tuple[str, Any]]) -> Any:
        if len(dict(members)) < len(members) or not all(holdable(key) for key, _ in members):
            lost.append(members)
        return ("object", tuple(sorted(dict(members).items(), key=lambda m: m[0])))

    def number(digits: str) -> Any:
        value = Decimal(digits)
        if not value and digits.startswith("-"):
            lost.append(digits)
        return ("number", value)

    def marked(value: Any) -> Any:
        if isinstance(value, tuple) and value[0] == "object":
            return ("object", tuple((k, marked(v)) for k, v in value[1]))
        if isinstance(value, list):
            return ("array", tuple(map(marked, value)))
        if isinstance(value, bool):
            return ("word", value)
        if isinstance(value, str):
            if not holdable(value):
                lost.append(value)
            return ("text", value)
        return value

    found = marked(json.loads(text, object_pairs_hook=pairs, parse_float=number, parse_int=number))
    return None if lost else (found,)


@settings(max_examples=150, deadline=None)
@given(_documents, _documents, st.integers(0, 3))
def test_the_fast_path_agrees_with_python(first: Any, second: Any, spelling: int) -> None:
    a = json.dumps(first, ensure_ascii=bool(spelling & 1), separators=(",", ":") if spelling & 2 else None)
    for b in (json.dumps(first, sort_keys=True, ensure_ascii=not spelling & 1), json.dumps(second)):
        ours, theirs = oracle(a), oracle(b)
        expected = ours is not None and theirs is not None and ours == theirs
        raw = a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass")
        assert (unequal(pa.array([raw[0]], pa.binary()), pa.array([raw[1]], pa.binary())) == []) is expected


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from('{}[]:,"\\u0a1-.eE tnrfals'), max_size=24))
def test_what_is_no_json_has_no_form(text: str) -> None:
    try:
        json.loads(text, parse_constant=lambda word: 1 / 0)
        valid = True
    except (ValueError, ZeroDivisionError):
        valid = False
    assert valid or exact(text.encode()) is None


def test_forms_equal_what_jsonb_holds(server_url: str) -> None:
    """Documents and PostgreSQL's text of them have one form."""
    documents = [a for a, _ in SAME if len(a) < 1_000] + ['{"z": [1.50, {"b": null}], "aa": "\\u00e9\\n", "": -1e-7}']
    with psycopg.connect(server_url) as connection:
        for document in documents:
            row = connection.execute("SELECT (%s::jsonb)::text", (document,)).fetchone()
            assert row is not None
            assert same(document.encode(), row[0].encode())


DATES = {
    "2025-09-22 19:24:50.304226": 1758569090304226,
    "2026-11-24T05:42:48.828261Z": 1795498968828261,
    "2025-09-22": 1758499200000000,
    "2025-09-22T10:00+02:00": 1758528000000000,
    "2025-09-22 10:00:00-0330": 1758547800000000,
    "1969-12-31 23:59:59.999999+00": -1,
    "2025-09-22 10:00:00.1234560": 1758535200123456,
    "0001-01-01 00:00:00": -62135596800000000,
    "9999-12-31 23:59:59.999999": 253402300799999999,
    "2024-02-29": 1709164800000000,
}
NO_DATES = [
    "", "now", "infinity", "24:00:00", "2025-09-22 24:00:00", "2025-09-22 23:59:60", "09/22/2025", "J2460941", "2025-W39-1",
    "2025-265", "2025-02-30", "0000-01-01", "2025-09-22 10", "2025-09-22 10:00:00.1234567", "2025-09-22 10:00+16:00",
    "20250922", "2025-09-22 ", " 2025-09-22", "2025-09-22 10:00:00 BC", "0001-01-01 00:00:00+00 BC",
]  # fmt: skip


def test_dates_have_the_microseconds_that_they_say() -> None:
    texts = pa.array([t.encode() for t in DATES] + [None], pa.binary())
    assert instants(texts).to_pylist() == [*DATES.values(), None]
    assert [instants(pa.array([t.encode()], pa.binary()))[0].as_py() for t in DATES] == list(DATES.values())


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_no_date_has_no_form(text: str) -> None:
    assert instants(pa.array([text.encode()], pa.binary())).to_pylist() == [None]


@pytest.mark.parametrize(
    ("kind", "cell", "form"),
    [
        (Type.TEXT, bytearray(b"a"), b"a"),
        (Type.TEXT, bytearray(b""), b""),
        (Type.TEXT, bytearray(b"a\0"), None),
        (Type.TEXT, bytearray(b"\xff"), None),
        (Type.TEXT, b"a", None),
        (Type.TEXT, 5, None),
        (Type.BIGINT, -(2**63), -(2**63)),
        (Type.BIGINT, 1.0, None),
        (Type.BIGINT, bytearray(b"1"), None),
        (Type.BOOLEAN, 1, True),
        (Type.BOOLEAN, 2, None),
        (Type.BOOLEAN, bytearray(b"true"), None),
        (Type.DOUBLE, 2**53, 0x4340000000000000),
        (Type.DOUBLE, 2**53 + 1, None),
        (Type.DOUBLE, -0.0, -(2**63)),
        (Type.DOUBLE, 0.0, 0),
        (Type.BYTEA, b"\0", b"\0"),
        (Type.BYTEA, bytearray(b"a"), None),
        (Type.JSONB, 5, b"5"),
        (Type.JSONB, 5.0, None),
        (Type.JSONB, b"5", None),
        (Type.TIMESTAMPTZ, 1758499200, None),
    ],
)
def test_a_stored_cell_has_one_form_or_needs_the_ledger(kind: Type, cell: object, form: object) -> None:
    found = stored_form(kind, Cells.encode([cell, None]))
    assert found.values.to_pylist() == [form, None]
    assert found.none.to_pylist() == [form is None, False]


def test_numbers_of_a_widened_column_are_their_digits() -> None:
    found = stored_form(Type.TEXT, Cells.encode([5, 1.5, bytearray(b"a"), b"b", None]), widened=True)
    assert found.values.to_pylist() == [b"5", b"1.5", b"a", None, None]
    assert found.none.to_pylist() == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("kind", "text", "form"),
    [
        (Type.TEXT, "a", b"a"),
        (Type.BIGINT, "-5", -5),
        (Type.DOUBLE, "-0.0", -(2**63)),
        (Type.BOOLEAN, "false", False),
        (Type.TIMESTAMPTZ, "2025-09-22 00:00:00+00", 1758499200000000),
        (Type.BYTEA, "\\x00ff", b"\0\xff"),
        *((kind, None, None) for kind in Type),
    ],
)
def test_a_recorded_replacement_has_its_columns_form(kind: Type, text: str | None, form: object) -> None:
    assert recorded_form(kind, text).to_pylist() == [form]
