"""When two JSON documents are the same value: keys as a set, numbers as decimals, strings by code point.

Belongs here: comparing documents. Not here: anything the cleaning knows; this is the proof's own reading of JSON.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

_TOKEN = re.compile(
    r"[ \t\n\r]*+(?:([{}\[\],:])|(\"(?:[^\"\\\x00-\x1f]|\\.)*+\")"
    r"|(-?)(0|[1-9][0-9]*+)(?:\.([0-9]++))?(?:[eE]([+-]?[0-9]++))?|(true|false|null))"
)
_BLANK = " \t\n\r"

# Where the fast path may not be trusted. Numbers of more than 15 digits or with an exponent need not survive a double;
# the others do (IEEE 754 binary64 keeps 15 decimal digits). A number only follows a bracket, colon, comma or blank.
_NUMBERS = r"(?:^|[\[:,\s])-?(?:[0-9.]{16}|[0-9.]+[eE])|(?:^|[\[:,\s])-0"
# A key's end spelled so that counting `":` misses it: a blank before the colon, or an escaped quote or colon.
_SPELLING = r'"\s+:|\\u00(?:22|3[aA]|00)'
_PART = 8192


class Exact(NamedTuple):
    """A document's canonical form, and whether `jsonb` would lose something of it (a duplicate key, the sign of -0)."""

    form: str
    loses: bool


def exact(document: bytes) -> Exact | None:
    """The canonical form of a document of any depth; None where it is no JSON or `jsonb` cannot hold it.

    Keys are sorted, of duplicates the last counts, a number is its digits without leading and trailing zeros and a
    power of ten, a string is escaped only where JSON demands it.
    """
    try:
        text = document.decode()
    except UnicodeDecodeError:
        return None
    try:
        return _parse(text)
    except (ValueError, IndexError):
        return None


def _parse(text: str) -> Exact:
    # One frame an open container: its members (a dict, or a list of items), and the key that waits for its value.
    stack: list[tuple[dict[str, str] | list[str], str | None]] = []
    loses, position, value = False, 0, ""
    expect_value, may_close = True, False
    members: dict[str, str] | list[str]
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(position)
        position = match.end()
        mark, string, sign, whole, fraction, power, word = match.groups()
        closed = False
        if mark in ("{", "["):
            _require(expect_value)
            stack.append(({} if mark == "{" else [], None))
            expect_value, may_close = mark == "[", True
            continue
        if mark in ("}", "]"):
            members, key = stack.pop()
            _require(may_close and key is None and isinstance(members, dict) == (mark == "}"))
            value, closed = _container(members), True
        elif mark is not None:
            raise ValueError(mark)  # commas and colons are taken where they belong
        elif string is not None and not expect_value:
            members, key = stack[-1]
            _require(isinstance(members, dict) and key is None)
            name = _string(string)
            match = _TOKEN.match(text, position)
            _require(match is not None and match.group(1) == ":")
            position = match.end() if match else position
            stack[-1] = (members, name)
            expect_value, may_close = True, False
            continue
        else:
            _require(expect_value)
            if string is not None:
                value = _string(string)
            elif word is not None:
                value = word
            else:
                value = _number(sign, whole, fraction or "", power or "0")
                loses = loses or (value == "0" and sign == "-")
        _require(closed or expect_value)
        if not stack:
            _require(not text[position:].strip(_BLANK))
            return Exact(value, loses)
        members, key = stack[-1]
        if isinstance(members, dict):
            _require(key is not None)
            assert key is not None  # noqa: S101 - narrows the type
            loses = loses or key in members
            members[key] = value
            stack[-1] = (members, None)
        else:
            members.append(value)
        match = _TOKEN.match(text, position)
        _require(match is not None and match.group(1) in (",", "}", "]"))
        if match and match.group(1) == ",":
            position = match.end()
            expect_value, may_close = isinstance(members, list), False
        else:
            expect_value, may_close = False, True


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def _container(members: dict[str, str] | list[str]) -> str:
    if isinstance(members, list):
        return "[" + ",".join(members) + "]"
    return "{" + ",".join(f"{key}:{members[key]}" for key in sorted(members)) + "}"


def _string(token: str) -> str:
    if "\\" not in token:
        return token
    value = json.loads(token)
    if "\x00" in value:
        raise ValueError(token)
    value.encode()  # a lone surrogate is a ValueError
    return json.dumps(value, ensure_ascii=False)


def _number(sign: str, whole: str, fraction: str, power: str) -> str:
    digits = (whole + fraction).lstrip("0")
    exponent = int(power) - len(fraction)
    bare = digits.rstrip("0")
    if not bare:
        return "0"
    exponent += len(digits) - len(bare)
    return f"{sign}{bare}" if not exponent else f"{sign}{bare}e{exponent}"


def unequal(source: pa.BinaryArray, target: pa.BinaryArray) -> list[int]:
    """The rows whose documents are not the same value, or where the source's loses something in `jsonb`.

    Most rows are decided by orjson alone: both documents, sorted and written anew, are the same bytes, no number is
    beyond a double, and both have as many ends of keys (`":`), so that no key of the source is there twice. All others
    are compared exactly.

    Args:
        source: documents as text; a NULL equals a NULL only.
        target: as many, in the same order.
    """
    wrong: list[int] = []
    for start in range(0, len(source), _PART):
        ours, theirs = source.slice(start, _PART), target.slice(start, _PART)
        doubtful = _doubtful(ours, theirs)
        dumps, loads, option = orjson.dumps, orjson.loads, orjson.OPT_SORT_KEYS
        rows = zip(ours.to_pylist(), theirs.to_pylist(), doubtful, strict=True)
        for row, (a, b, doubt) in enumerate(rows, start):
            if not doubt:
                try:
                    if dumps(loads(a), option=option) == dumps(loads(b), option=option):
                        continue
                except (orjson.JSONDecodeError, orjson.JSONEncodeError):
                    pass
            if not same(a, b):
                wrong.append(row)
    return wrong


def same(source: bytes | None, target: bytes | None) -> bool:
    """Whether the target's document is the source's value and nothing of it is lost."""
    if source is None or target is None:
        return source is target
    ours = exact(source)
    if ours is None or ours.loses:
        return False
    theirs = exact(target)
    return theirs is not None and theirs.form == ours.form


def _doubtful(source: pa.BinaryArray, target: pa.BinaryArray) -> list[bool]:
    odd = pc.or_(
        pc.match_substring_regex(source, f"{_NUMBERS}|{_SPELLING}"), pc.match_substring_regex(target, _NUMBERS)
    )
    uneven = pc.not_equal(pc.count_substring(source, '":'), pc.count_substring(target, '":'))
    both: np.ndarray = pc.fill_null(pc.or_(odd, uneven), True).to_numpy(zero_copy_only=False)
    listed: list[bool] = both.tolist()
    return listed
