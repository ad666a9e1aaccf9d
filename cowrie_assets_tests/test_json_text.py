"""Printing: numbers, strings and containers as PostgreSQL prints them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.cleaning.json_text import field_texts, jsonb_text, numeric_text

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(NUMBERS)
def test_numbers_are_printed_without_exponent_and_with_all_their_digits(number: str) -> None:
    printed = format(Decimal(number), "f")
    assert numeric_text(number) == (printed if Decimal(number) else printed.removeprefix("-"))


@pytest.mark.parametrize(
    "number, text",
    [("1e5", "100000"), ("1.10", "1.10"), ("1.5e-3", "0.0015"), ("1.50e1", "15.0"), ("0e-5", "0.00000")]
    + [("-0.00", "0.00"), ("0e1000000000", "0"), ("100e-2", "1.00"), ("-12e-1", "-1.2"), ("12345e-0002", "123.45")],
)
def test_numbers_of_interest(number: str, text: str) -> None:
    assert numeric_text(number) == text


def test_keys_are_ordered_by_their_bytes_and_the_last_of_two_counts() -> None:
    text = r'{"b": 1, "aa": [], "é": {}, "a": [1e2, "x\u0001\u007f\/\"\\\n", null], "": true, "\u0062": 2}'
    assert (
        jsonb_text(text) == r'{"": true, "a": [100, "x\u0001' + "\x7f" + r'/\"\\\n", null], "b": 2, "aa": [], "é": {}}'
    )


def test_members_as_text() -> None:
    text = r'{"s": "a\u0062\n", "n": 1.0e1, "t": true, "z": null, "o": {"s": "inner", "k": [1]}, "s\u0031": "x"}'
    assert field_texts(text, ("s", "n", "t", "z", "o", "s1", "k")) == {
        "s": "ab\n",
        "n": "10",
        "t": "true",
        "z": None,
        "o": '{"k": [1], "s": "inner"}',
        "s1": "x",
    }


@pytest.mark.parametrize("text", ["null", '"s"', "[1]", ' ["s", "x"]', "1", "{}"])
def test_only_an_object_has_members(text: str) -> None:
    assert field_texts(text, ("s", "0")) == {}


def test_the_deepest_document_is_printed() -> None:
    text = '{"a":[1,' * 4_999 + "[]" + "]}" * 4_999
    assert jsonb_text(text) == text.replace(":", ": ").replace(",", ", ")
    assert (field_texts(text, ("a",))["a"] or "").startswith('[1, {"a": [1')
