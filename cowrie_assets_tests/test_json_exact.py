"""The exact rules together: each changes its own token and not a byte around it, in documents composed at random.

Not here: single examples of each rule (`test_json_rules.py`).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.cleaning.json_document import Document, clean_document
from cowrie_assets.cleaning.json_exact import RULES, number_rule
from cowrie_assets.cleaning.json_size import MAX_JSONB_BYTES, MAX_MEMBERS, size_excess

Change = tuple[str, str, str]
"""What stands in the cell, what must stand there afterwards, and by which rule."""

PIECES: list[Change] = [
    (r"\u0000", r"\\x00", "json.nul"),
    ("\0", r"\\x00", "json.nul"),
    ("\n", r"\u000a", "json.control"),
    ("\x1f", r"\u001f", "json.control"),
    (r"\ud800.", r"\\ud800.", "json.surrogate"),
    (r"\uDfFf", r"\\uDfFf", "json.surrogate"),
    (r"\udc00\ud83d\ude00", r"\\udc00\ud83d\ude00", "json.surrogate"),
    ("\udcff", r"\\xff", "json.utf8"),
    ("\udced\udca0\udc80", r"\\xed\\xa0\\x80", "json.utf8"),  # a surrogate in the bytes of UTF-8
]
PIECES += [
    (same, same, "") for same in ("a", " ", r"\\", r"\n", r"\"", r"\ud83d\ude00", "é", "😀", "\x7f", "u0000", r"\/")
]
SCALARS: list[Change] = [(word, f'"{word}"', "json.nonfinite") for word in ("NaN", "Infinity", "-Infinity")]
SCALARS += [(f"-{zero}", zero, "json.negzero") for zero in ("0", "0.0", "0e5", "0.00E-3")]
SCALARS += [(big, f'"{big}"', "json.number") for big in ("1e131072", "-1e-16384", "0e-99999", "1e99999999999")]
SCALARS += [(same, same, "") for same in ("1", "-0.5", "1e131071", "1.10", "true", "null", "{}", '[1 ,{"k":2}]')]


def joined(parts: list[Change]) -> tuple[str, str, set[str]]:
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts), {part[2] for part in parts} - {""}


STRINGS = st.lists(st.sampled_from(PIECES), max_size=8).map(joined)
BLANKS = st.sampled_from(["", " ", "\n", "\r\n\t"])


@st.composite
def members(draw: st.DrawFn, name: str) -> tuple[str, str, set[str]]:
    """Draw a member whose key begins with a name of its own."""
    key, new_key, rules = draw(STRINGS)
    value, new_value, more = draw(STRINGS.map(lambda s: (f'"{s[0]}"', f'"{s[1]}"', s[2])) | st.sampled_from(SCALARS))
    before, between, after = draw(BLANKS), draw(BLANKS) + ":" + draw(BLANKS), draw(BLANKS)
    return (
        f'{before}"{name}{key}"{between}{value}{after}',
        f'{before}"{name}{new_key}"{between}{new_value}{after}',
        rules | ({more} - {""} if isinstance(more, str) else more),
    )


@given(st.data())
def test_each_rule_changes_its_token_and_no_other_byte(data: st.DataObject) -> None:
    drawn = [data.draw(members(f"k{number}")) for number in range(data.draw(st.integers(1, 5)))]
    raw = "{" + ",".join(member[0] for member in drawn) + "}\n"
    new = "{" + ",".join(member[1] for member in drawn) + "}\n"
    rules = set().union(*(member[2] for member in drawn))
    found = clean_document(raw.encode("utf-8", "surrogateescape"))
    assert found == Document(new, tuple(rule for rule in RULES if rule in rules))


SPELLED = {
    "a": ("a", r"\u0061"),
    "k/": ("k/", r"k\/", r"\u006b\u002F"),
    r"\x00": (r"\\x00", r"\u0000", "\0"),
    "": ("",),
}
KEYS = st.sampled_from([(key, spelling) for key, spellings in SPELLED.items() for spelling in spellings])


def objects(values: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    def build(drawn: list[tuple[tuple[str, str], tuple[str, str]]]) -> tuple[str, str]:
        last = {key: number for number, ((key, _), _) in enumerate(drawn)}
        repaired = [
            f'"{spelling.replace(chr(0), NUL).replace(ESCAPED_NUL, NUL)}" : {new}'
            for number, ((key, spelling), (_, new)) in enumerate(drawn)
            if last[key] == number
        ]
        return "{ " + ",\n".join(f'"{spelling}" : {raw}' for (_, spelling), (raw, _) in drawn) + "}", (
            "{ " + ",\n".join(repaired) + "}"
        )

    return st.lists(st.tuples(KEYS, values), max_size=5).map(build)


NUL, ESCAPED_NUL = r"\\x00", r"\u0000"


@given(st.recursive(st.sampled_from([("1", "1"), ("NaN", '"NaN"'), ("[]", "[]")]), objects, max_leaves=20))
def test_of_members_under_one_key_the_last_stays_however_it_is_spelled(pair: tuple[str, str]) -> None:
    raw, new = pair
    found = clean_document(raw.encode())
    assert isinstance(found, Document)
    assert found.text == new
    assert ("json.duplicate" in found.rules) == (new.count('" : ') < raw.count('" : '))


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        ("1e131071", None),
        ("1e131072", "json.number"),
        ("0.1e131072", None),
        ("0.1e131073", "json.number"),
        ("9" * 131_072, None),
        ("9" * 131_073, "json.number"),
        ("1" + "0" * 131_071 + "e-16383", None),
        ("1e-16383", None),
        ("1e-16384", "json.number"),
        ("0e-16383", None),
        ("0.0e-16383", "json.number"),
        ("0." + "1" * 16_383, None),
        ("0." + "1" * 16_384, "json.number"),
        ("0." + "1" * 15_400 + "e-999", "json.number"),
        ("0." + "0" * 150_000 + "1e149999", None),
        ("0e1073741822", None),
        ("0e1073741824", "json.number"),
        ("0e" + "0" * 5_000 + "5", None),
        ("1e-" + "0" * 5_000 + "5", None),
        ("-0e-16384", "json.number"),
        ("-0e-16383", "json.negzero"),
        ("-0.5", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bounds_of_numbers(number: str, rule: str | None) -> None:
    assert number_rule(number) == rule
    assert clean_document(f"[{number}]".encode()) == Document(
        {None: f"[{number}]", "json.number": f'["{number}"]', "json.negzero": f"[{number[1:]}]"}[rule],
        () if rule is None else (rule,),
    )


def test_bounds_of_size() -> None:
    longest = MAX_JSONB_BYTES - 8
    assert size_excess('["' + "a" * longest + '"]') is None
    assert "268435456 bytes" in (size_excess('"' + "é" * (longest // 2) + 'aa"') or "")
    assert size_excess('{"a":["' + "a" * (longest - 19) + '"]}') is None
    assert "268435456 bytes" in (size_excess('{"a":["' + "a" * (longest - 18) + '"]}') or "")


@pytest.mark.slow
def test_bounds_of_members() -> None:
    assert size_excess("[" + "0," * (MAX_MEMBERS - 1) + "0]") is None
    assert "16777216 members" in (size_excess("[" + "0," * MAX_MEMBERS + "0]") or "")
