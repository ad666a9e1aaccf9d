"""Each rule of JSON documents: an example in, the text and the rules out; and what holds for every document.

Not here: what a real server says to the results (`test_json_differential.py`).
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.cleaning.json_column import JsonColumn, clean_json, number_as_json


def column(*documents: bytes | None, fields: tuple[str, ...] = ()) -> JsonColumn:
    return clean_json(pa.array(documents, pa.binary()), fields)


def cleaned(document: bytes) -> tuple[str | None, tuple[str, ...]]:
    """The text and the rules, or None and the reason of the refusal."""
    result = column(document)
    rules = result.repairs[0].rules if result.repairs else ()
    if result.rejects:
        rules = (result.rejects[0].rule,)
    return result.values[0].as_py(), rules


@pytest.mark.parametrize(
    "document",
    [b"{}", b"null", b"123", b'"x"', b'  {"a" : 1}  ', rb'{"a": "x\\u0000y"}', rb'{"a": "\ud83d\ude00"}',
     b'{"a": 1e400, "b": 1.10, "c": 12345678901234567890123, "d": 1e131071}', '{"ü": "€"}'.encode(),
     rb'{"malformed": "\"src_ip\": \"1.2.3.4\","}', rb'"{\"doubly\": \"encoded\"}"', b"[" * 9_000 + b"]" * 9_000,
     b'{"a": " -0", "b": "9e1234"}', b'{"b": [{"a": 1}, {"a": 2}]}',
     rb'{"a": "\\ud800", "b": "\\\\u0000"}', b'{"a": 1e-16383, "b": -0.5, "c": 0e5}'],
)  # fmt: skip
def test_what_jsonb_takes_without_loss_is_not_touched(document: bytes) -> None:
    assert cleaned(document) == (document.decode(), ())


@pytest.mark.parametrize(
    ("document", "text", "rule"),
    [
        (rb'{"a": "x\u0000y"}', r'{"a": "x\\x00y"}', "json.nul"),
        (rb'{"a\u0000": 1}', r'{"a\\x00": 1}', "json.nul"),
        (b'{"a": "x\x00y"}', r'{"a": "x\\x00y"}', "json.nul"),
        (rb'{"a": "\uD800x"}', r'{"a": "\\uD800x"}', "json.surrogate"),
        (rb'{"a": "\udc00\ud800"}', r'{"a": "\\udc00\\ud800"}', "json.surrogate"),
        (rb'{"a": "\uDC00\uD83D\uDE00\uDbFf"}', r'{"a": "\\uDC00\uD83D\uDE00\\uDbFf"}', "json.surrogate"),
        (rb'{"a": "\\\uDfFf"}', r'{"a": "\\\\uDfFf"}', "json.surrogate"),
        (rb'{"\ud800": 1}', r'{"\\ud800": 1}', "json.surrogate"),
        (b'{"a": NaN, "b": -Infinity}', '{"a": "NaN", "b": "-Infinity"}', "json.nonfinite"),
        (b'{"a": 1e-16384}', '{"a": "1e-16384"}', "json.number"),
        (b'{"a": 0e-99999}', '{"a": "0e-99999"}', "json.number"),
        (b'{"a": 1e131072}', '{"a": "1e131072"}', "json.number"),
        (b'{"a": 1, "b": 2, "a": 3}', '{"b": 2, "a": 3}', "json.duplicate"),
        (rb'{"a": 1, "\u0061": 2}', r'{"\u0061": 2}', "json.duplicate"),
        (rb'{"a": 1, "b": 2, "\u0061": {"c": 1, "c": 2}, "b": 3}', r'{"\u0061": {"c": 2}, "b": 3}', "json.duplicate"),
        (b'[{"a": 1}, {"a": [{"b": 1, "b": 2}]}]', '[{"a": 1}, {"a": [{"b": 2}]}]', "json.duplicate"),
        (rb'{"a\u0000": 1, "a\\x00": 2}', r'{"a\\x00": 2}', "json.duplicate"),
        (b'{"x": {"a": 1, "a": {"b": 1, "b": 2}}}', '{"x": {"a": {"b": 2}}}', "json.duplicate"),
        (b'{"a": -0, "b": -0.0, "c": -0.1}', '{"a": 0, "b": 0.0, "c": -0.1}', "json.negzero"),
        (b'{"a": "\xff"}', r'{"a": "\\xff"}', "json.utf8"),
        (b'{"a": "\xc3\xa9\xc3", "\xed\xa0\x80": 1}', r'{"a": "é\\xc3", "\\xed\\xa0\\x80": 1}', "json.utf8"),
        (b'{"a": "tab\there"}', r'{"a": "tab\u0009here"}', "json.control"),
        (b'{"a": 1}\x00\x00', '{"a": 1}', "json.trailing"),
        (b'{"a": 1} and more', '{"a": 1}', "json.trailing"),
        (b"{'a': 1, b: 0x1F, c: .5, d: +1, e: 'x',}", '{"a": 1, "b": 31, "c": 0.5, "d": 1, "e": "x"}', "json.json5"),
        (rb'{\"a\": 1}', '{"a": 1, "_migration_note": "json.escaped"}', "json.escaped"),
        (b'"src_ip": "1.2.3.4", "a": 1,', '{"src_ip": "1.2.3.4", "a": 1, "_migration_note": "json.fragment"}',
         "json.fragment"),
        (b'{"a": 1, "b": "x", "c": 37', '{"a": 1, "b": "x", "_migration_note": "json.truncated"}', "json.truncated"),
        (b'{"a": 1, "b": {"x": 1', '{"a": 1, "_migration_note": "json.truncated"}', "json.truncated"),
        (b'{"a": 1, "b": "unfin', '{"a": 1, "_migration_note": "json.truncated"}', "json.truncated"),
        (b'{"_migration_note": "mine", "b": 1, "c"',
         '{"_migration_note": "mine", "b": 1, "_migration_note_2": "json.truncated"}', "json.truncated"),
        (b'garbage "session": "abc", junk "eventid": "e', '{"session": "abc", "_migration_note": "json.fields"}',
         "json.fields"),
    ],
)  # fmt: skip
def test_a_repair(document: bytes, text: str, rule: str) -> None:
    assert cleaned(document) == (text, (rule,))


@pytest.mark.parametrize(
    ("document", "text", "rules"),
    [
        (rb'{"a": "\u0000\ud800", "b": NaN, "a": -0}', '{"b": "NaN", "a": 0}',
         ("json.nonfinite", "json.negzero", "json.duplicate")),
        (b'{"a": "\xff\x01\x00", "b": 1e999999} tail', r'{"a": "\\xff\u0001\\x00", "b": "1e999999"}',
         ("json.trailing", "json.utf8", "json.nul", "json.control", "json.number")),
        (b"{'a': -Infinity, b: -.0}", '{"a": "-Infinity", "b": 0.0}', ("json.json5", "json.nonfinite", "json.negzero")),
        (rb'{\"a\": \"\u0000\"}', r'{"a": "\\x00", "_migration_note": "json.escaped"}', ("json.escaped", "json.nul")),
        (rb'[1, \"x\"]', '[1, "x"]', ("json.escaped",)),
    ],
)  # fmt: skip
def test_rules_that_meet(document: bytes, text: str, rules: tuple[str, ...]) -> None:
    """Rules are named in their fixed order, those of what fell away are not; an array has no place for a note."""
    assert cleaned(document) == (text, rules)


@pytest.mark.parametrize(
    ("document", "rule"),
    [(b"", "json.unreadable"), (b" \n", "json.unreadable"), (b"{", "json.unreadable"), (b"nonsense", "json.unreadable"),
     (b'{"a": ', "json.unreadable"), (b"\x00\x00", "json.unreadable"), (b"[" * 10_001 + b"]" * 10_001, "json.depth")],
)  # fmt: skip
def test_what_holds_nothing_is_refused(document: bytes, rule: str) -> None:
    assert cleaned(document) == (None, (rule,))


@pytest.mark.parametrize("backslashes", range(10))
def test_only_an_odd_run_of_backslashes_makes_a_nul(backslashes: int) -> None:
    document = b'{"a": "' + b"\\" * backslashes + b'u0000"}'
    text, rules = cleaned(document)
    if backslashes % 2:
        pairs = "\\" * (backslashes - 1)
        assert (text, rules) == ('{"a": "' + pairs + r'\\x00"}', ("json.nul",))
    else:
        assert (text, rules) == (document.decode(), ())


def test_null_stays_null_and_rules_add_up() -> None:
    result = column(None, rb'{"a": "\u0000", "b": NaN}', b"{}")
    assert result.values.to_pylist() == [None, r'{"a": "\\x00", "b": "NaN"}', "{}"]
    assert [(r.row, set(r.rules)) for r in result.repairs] == [(1, {"json.nul", "json.nonfinite"})]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(5, ("5", ())), (-(2**63), (str(-(2**63)), ())), (1.5, ("1.5", ("json.real",))), (1e300, ("1e+300", ("json.real",))),
     (float("inf"), ('"inf"', ("json.real",))), (float("-inf"), ('"-inf"', ("json.real",)))],
)  # fmt: skip
def test_numbers_that_affinity_made(number: int | float, expected: tuple[str, tuple[str, ...]]) -> None:
    assert number_as_json(number) == expected


@pytest.mark.parametrize(
    ("document", "text"),
    [(b'{"f": "x"}', "x"), (b'{"f": 1e5}', "100000"), (b'{"f": 1.5e-3}', "0.0015"), (b'{"f": 1.10}', "1.10"),
     (b'{"f": true}', "true"), (b'{"f": null}', None), (b'{"g": 1}', None), (b"[1]", None), (b'"f"', None),
     (b'{"f": {"bb": 1, "a": [1, "x"]}}', '{"a": [1, "x"], "bb": 1}'), (b'{"f": 1, "f": 2}', "2"),
     (rb'{"f": "\u0000"}', r"\x00")],
)  # fmt: skip
def test_a_member_is_what_the_arrow_operator_gives(document: bytes, text: str | None) -> None:
    assert column(document, fields=("f",)).fields["f"].to_pylist() == [text]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.one_of(
    VALUES.map(lambda v: json.dumps(v).encode()),
    VALUES.map(lambda v: json.dumps(v, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.tuples(VALUES, st.integers(0, 60)).map(lambda p: json.dumps(p[0]).encode()[: p[1]]),
    st.binary(max_size=30),
)


@given(st.lists(DOCUMENTS, min_size=1, max_size=8))
def test_what_comes_out_goes_in_unchanged(documents: list[bytes]) -> None:
    first = column(*documents)
    again = clean_json(pa.array([None if v is None else v.encode() for v in first.values.to_pylist()], pa.binary()))
    assert again.values == first.values
    assert (again.repairs, again.rejects) == ([], [])


@given(st.lists(DOCUMENTS, min_size=1, max_size=8))
def test_only_a_guess_about_an_object_leaves_a_note(documents: list[bytes]) -> None:
    result = column(*documents)
    guesses = {"json.escaped", "json.fragment", "json.truncated", "json.fields"}
    rules = {repair.row: repair.rules for repair in result.repairs}
    for row, text in enumerate(result.values.to_pylist()):
        guessed = guesses.intersection(rules.get(row, ()))
        if text is not None:
            notes = [f'"_migration_note": "{rule}"}}' for rule in guessed if text.startswith("{")]
            assert [text[-len(note) :] for note in notes] == notes
            assert ("_migration_note" in text) == bool(notes)


@given(VALUES)
def test_the_value_is_the_one_that_was_there(value: Any) -> None:
    """Python's own reading of the result is that of the input, but for what jsonb cannot hold."""
    document = json.dumps(value)
    text, rules = cleaned(document.encode())
    assert text is not None
    if not rules:
        assert text == document
    assert {"json.nul", "json.surrogate", "json.nonfinite", "json.negzero"} >= set(rules)


@given(st.dictionaries(st.sampled_from(["session", "eventid", "x"]), VALUES, max_size=3))
def test_the_fast_path_reads_members_as_the_slow_one(value: dict[str, Any]) -> None:
    plain = json.dumps(value).encode()
    # A negative zero in a member of its own sends the same document down the slow way.
    slow = plain[:-1] + (b', "z": -0}' if value else b'"z": -0}')
    names = ("session", "eventid")
    assert column(plain, fields=names).fields == column(slow, fields=names).fields
