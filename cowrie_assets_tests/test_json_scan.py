"""The tokenizer: it accepts what JSON is, at any depth and length, and knows a cut text from a wrong one."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.cleaning.json_scan import (
    BLANK,
    KEY,
    MAX_DEPTH,
    OPEN,
    STRING,
    JsonDepthError,
    JsonSyntaxError,
    tokens,
    unescape,
)

ALPHABET = ["{", "}", "[", "]", ",", ":", '"a"', '"', "\\", "\\n", "\\u0041", "\\x", "0", "-1", ".5", "e3", "1.5", "-"]
ALPHABET += ["true", "false", "null", "nul", " ", "\n", "\t", "\x0b", "\u00a0", "x", "é"]


def accepts(text: str) -> bool:
    try:
        end = [end for _, _, end in tokens(text)][-1]
    except JsonSyntaxError:
        return False
    return not text[end:].strip(BLANK)


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(ALPHABET), max_size=12).map("".join))
def test_it_accepts_what_orjson_accepts(text: str) -> None:
    try:
        orjson.loads(text)
        valid = True
    except orjson.JSONDecodeError as error:
        # What the exact rules repair is let through here: raw control characters within a string.
        valid = "control character" in str(error) and accepts(text)
    assert accepts(text) == valid


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.booleans())
def test_tokens_are_the_members_in_their_order(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    strings: list[str] = []

    def collect(item: object) -> None:
        if isinstance(item, str):
            strings.append(item)
        elif isinstance(item, list):
            for inner in item:
                collect(inner)
        elif isinstance(item, dict):
            for key, inner in item.items():
                strings.append(key)
                collect(inner)

    collect(json.loads(text))
    found = [unescape(text[start + 1 : end - 1]) for kind, start, end in tokens(text) if kind in (STRING, KEY)]
    assert found == strings


@given(VALUES.filter(lambda value: isinstance(value, list | dict) and bool(value)), st.data())
def test_every_beginning_of_a_document_is_cut_and_nothing_else(value: object, data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(JsonSyntaxError) as cut:
        list(tokens(text[:at]))
    assert cut.value.cut
    with pytest.raises(JsonSyntaxError) as wrong:
        list(tokens(text[:-1] + "\x01"))
    assert not wrong.value.cut


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}"), ('[1,{"a":', "}]")])
def test_depth_is_bounded_and_never_a_recursion(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    deepest = MAX_DEPTH // levels
    text = opening * (deepest - 1) + "[]" + closing * (deepest - 1)
    assert sum(kind == OPEN for kind, _, _ in tokens(text)) == (deepest - 1) * levels + 1
    with pytest.raises(JsonDepthError, match="10000 levels"):
        list(tokens(opening * (deepest + 1)))


def test_a_long_document_takes_linear_time() -> None:
    text = '{"a": "' + "\\u12ab\\\\" * 500_000 + '", "b": [' + "1.5e3," * 100_000 + "1]}"
    assert len(list(tokens(text))) == 100_001 + 7
    for hostile in (
        '"' + "\\u12ab" * 500_000,
        "[" + " " * 3_000_000 + "x",
        '{"a"' + " " * 3_000_000,
        "1" * 3_000_000 + "x,",
    ):
        assert not accepts(hostile)
    for hostile in ("/*" * 500_000, "/**/" * 500_000 + "'", "'" + "\\'" * 500_000, "[" + "\u00a0" * 1_000_000):
        with pytest.raises(JsonSyntaxError):
            list(tokens(hostile, json5=True))
