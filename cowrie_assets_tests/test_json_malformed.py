"""Malformed documents: whatever damage was done, only what stands complete in the text comes out, and it says so.

Not here: single examples of each step (`test_json_rules.py`).
"""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.cleaning.json_document import Document, Unusable, clean_document
from cowrie_assets.cleaning.json_scan import unescape
from cowrie_assets_tests.test_json_differential import GUESSES, make_cell

NAMES = st.sampled_from(["session", "eventid", "src_port", "duration", "input", "x", "é", "a b"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(0.5, 1e6) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
EVENTS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=6)


def guessed(text: str, rule: str) -> dict[str, Any]:
    """Return the members that a step found, without its note."""
    found = clean_document(text.encode())
    assert isinstance(found, Document)
    assert found.rules == (rule,)
    members: dict[str, Any] = json.loads(found.text)
    assert members.pop("_migration_note") == rule
    assert list(json.loads(found.text))[-1] == "_migration_note"
    return members


def complete(event: dict[str, Any], length: int) -> dict[str, Any]:
    """Return the members that surely stand whole in so many characters of the event."""
    kept: dict[str, Any] = {}
    for name, value in event.items():
        end = len(json.dumps(kept | {name: value})) - 1
        if length < end + (not isinstance(value, str | list | dict)):
            break
        kept[name] = value
    return kept


@given(EVENTS, st.data())
def test_a_cut_event_keeps_its_complete_members_and_invents_none(event: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(event)
    length = data.draw(st.integers(0, len(text) - 1))
    cut, kept = text[:length], complete(event, length)
    if kept:
        assert guessed(cut, "json.truncated") == kept
        return
    found = clean_document(cut.encode())
    if isinstance(found, Unusable):
        assert found.rule == "json.unreadable"
    else:  # Cowrie's own fields within the one member that was cut
        members = guessed(cut, "json.fields")
        assert members
        assert all(f'"{name}": {json.dumps(value)}' in cut for name, value in members.items())


@given(EVENTS, st.data())
def test_a_fragment_keeps_its_complete_members(event: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(event)
    assert guessed(text[1:], "json.fragment") == event
    assert guessed(text[1:-1] + ",\n", "json.fragment") == event
    length = data.draw(st.integers(0, len(text) - 1))
    kept = complete(event, length)
    if kept:
        assert guessed(" " + text[1:length], "json.fragment") == kept


@given(EVENTS)
def test_an_escaped_document_is_the_document(event: dict[str, Any]) -> None:
    assert guessed(json.dumps(json.dumps(event))[1:-1], "json.escaped") == event


@given(EVENTS, st.binary(max_size=12))
def test_what_follows_a_document_is_dropped(event: dict[str, Any], rest: bytes) -> None:
    text = json.dumps(event)
    assert clean_document(text.encode() + b"\0" + rest) == Document(text, ("json.trailing",))


@given(EVENTS, st.sampled_from(["// it's \"\n", "/* ,}] */\n", "\u00a0\n", "\n\v", "\ufeff\n"]))
def test_json5_between_the_tokens_changes_no_value(event: dict[str, Any], noise: str) -> None:
    lines = json.dumps(event, indent=1).replace("\n", noise)
    found = clean_document(lines.encode())
    assert isinstance(found, Document)
    assert found.rules == ("json.json5",)
    assert json.loads(found.text) == event


@pytest.mark.parametrize(
    ("number", "written"),
    [("0x1F", "31"), ("-0Xff", "-255"), ("+1", "1"), (".5", "0.5"), ("5.", "5.0"), ("-.5e3", "-0.5e3"), ("1.e5", "1.0e5")]
    + [("+Infinity", '"Infinity"'), ("-inf", '"-inf"'), ("0x" + "f" * 3_500, str(16**3_500 - 1)), ("-0x0", "0")],
)  # fmt: skip
def test_json5_numbers_keep_their_value(number: str, written: str) -> None:
    found = clean_document(f"[{number}, ]".encode())
    assert isinstance(found, Document)
    assert found.text == f"[{written} ]"
    assert found.rules[0] == "json.json5"


@pytest.mark.parametrize(
    ("string", "written"),
    [(r"'it\'s \"x\" \"'", r'"it\'s \"x\" \""'.replace(r"\'", "'")), (r"'\x41\v\0'", r'"\u0041\u000b\\x00"')]
    + [("'a\\\nb\\\r\nc'", '"abc"'), ("'\"'", r'"\""'), (r"'\ud83d\ude00\ud800'", r'"\ud83d\ude00\\ud800"')],
)
def test_json5_strings_keep_their_value(string: str, written: str) -> None:
    found = clean_document(f"{{{'a'}: {string}}}".encode())
    assert isinstance(found, Document)
    assert found.text == f'{{"a": {written}}}'


@pytest.mark.parametrize(
    "text",
    [r"{'a': '\q'}", r"{'a': '\01'}", "{'a': 007}", "{'a': 0x}", "{a b: 1}", "{'a': 1,,}", "[,]", "{'a': undefined}", "/*"]
    + ["{'a': None}", "{'a': 0x" + "f" * 3_501 + "}", "{'a': 1} x", "{'a' 1}", r"['\xff" + "']]", "{,}", "{'a': - 1}"],
)  # fmt: skip
def test_what_is_no_json5_either_is_refused(text: str) -> None:
    assert isinstance(clean_document(text.encode()), Unusable)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ('{"session": "s", "input": "echo "hi"", "timestamp": "t", "x": 1}', {"session": "s", "timestamp": "t"}),
        ('{"session": "s" "eventid": "e", "src_port": 22}', {"eventid": "e", "src_port": 22}),
        ('"session": "one", ... "session": "other", "eventid": "e", "src_port": 377', {"eventid": "e"}),
        ('x "session": "same", "session":"same"} "src_ip": 1.2.3.4, "url": nul, "version": null}', None),
        (r'x "message": "\"session\": \"inner\"", y', {"message": '"session": "inner"'}),
    ],
)
def test_known_fields_are_taken_only_where_they_are_certain(text: str, members: dict[str, Any] | None) -> None:
    assert guessed(text, "json.fields") == (members or {"session": "same", "version": None})


@pytest.mark.parametrize(
    "text", ["{}x", "[]\0", "{} // no", '{"a": 37', '{"a": tru', '"a": 1', "{", '{"a', "[root/123]"]
)
def test_nothing_is_never_an_empty_object(text: str) -> None:
    found = clean_document(text.encode())
    assert isinstance(found, Unusable)
    assert found.rule == "json.unreadable"
    assert "\n" not in found.detail


def test_a_guess_is_repaired_by_the_exact_rules_and_keeps_an_older_note() -> None:
    text = rb'{"a": "\u0000", "_migration_note": 1, "_migration_note_2": NaN, "b": "\ud8'
    found = clean_document(text)
    assert isinstance(found, Document)
    assert found.rules == ("json.truncated", "json.nul", "json.nonfinite")
    assert found.text.endswith(
        '"_migration_note": 1, "_migration_note_2": "NaN", "_migration_note_3": "json.truncated"}'
    )


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """An event as its writer had it, with a few places cut out, doubled or written over."""
    text = json.dumps(draw(EVENTS), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = json.dumps(text)[1:-1]
    for _ in range(draw(st.integers(1, 3))):
        start, length = draw(st.integers(0, len(text))), draw(st.integers(0, 6))
        noise = draw(
            st.sampled_from(["", "", '"', "}", "{", ",", ":", "\\", " log line ", text[start : start + length]])
        )
        text = text[:start] + noise + text[start + length :]
    return text


def of_the_generator(seed: int) -> str:
    return make_cell(random.Random(seed)).decode("utf-8", "replace")


@given(damaged() | st.integers(0, 2**32).map(of_the_generator), st.booleans())
def test_a_guess_takes_its_members_from_the_text_and_passes_the_exact_rules(text: str, jsonb: bool) -> None:
    found = clean_document(text.encode(), jsonb=jsonb)
    if isinstance(found, Unusable):
        return
    assert clean_document(found.text.encode(), jsonb=jsonb) == Document(found.text, ())
    guess = found.rules[0] if found.rules and found.rules[0] in GUESSES else None
    note = re.search(r', "(_migration_note[_0-9]*)": "([a-z.]+)"}$', found.text)
    if guess is None:
        assert note is None or note[0] in text
        return
    if found.rules != (guess,):
        return  # the exact rules changed it further; their own tests say how
    body = found.text.removesuffix(f', "_migration_note": "{guess}"}}')
    if body == found.text:  # an array has no note, and a note of the text's own keeps its name
        assert guess == "json.escaped" or "_migration_note" in text
        return
    if guess == "json.fields":
        members = re.findall(r'"[a-z_]+": (?:"(?:[^"\\]|\\.)*"|[^",]+)', body)
        assert "{" + ", ".join(members) == body
        assert all(re.search(re.escape(m).replace(":\\ ", r"\s*:\s*", 1), text) for m in members)
    else:
        assert body[1:] in (unescape(text) if guess == "json.escaped" else text)
