"""When two cells are equal though their bytes differ: dates by their instant, JSON by its value.

Belongs here: one form for each value. Not here: reading cells (`compare.py`).

Only what the target holds without loss has such a form: a date in the grammar of at most six digits, a JSON document
without doubled keys, -0, NUL or lone surrogates. Everything else is repaired or set aside, so its bytes must be equal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from ..catalog import Type
from ..source.instants import parse_text

_TOKEN = re.compile(r'\s*(?:("(?:[^"\\\x00-\x1f]|\\.)*")|([\[\]{},:])|(-?[0-9][-+0-9.eE]*)|(true|false|null))')
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL, but not an escaped backslash before `u0000`."""


def canonical(kind: Type | None, cell: Any) -> Hashable:
    """A form that is equal for equal values of a column of that target type.

    Args:
        kind: the target's type; None where nothing is known.
        cell: as sqlite3 gives it, text as bytearray.

    Returns:
        A text that names class and value.
    """
    if isinstance(cell, bytearray):
        if kind is Type.TIMESTAMPTZ:
            read = parse_text(bytes(cell))
            if read is not None and read[1] is None:
                return f"instant {read[0]}"
        elif kind is Type.JSONB:
            form = _document(bytes(cell))
            if form is not None:
                return f"json {form}"
    # repr tells bytearray (text) from bytes (blob), 1 from 1.0 and 0.0 from -0.0.
    return repr(cell)


def _document(raw: bytes) -> str | None:
    """A JSON document with sorted keys and its numbers as exact decimals; None where it has no such form."""
    if b"\\u0000" in raw and _NUL.search(raw):
        return None
    try:
        text = raw.decode()
        try:
            form = _ENCODER.encode(_DECODER.decode(text))
        except RecursionError:
            form = _deep(text)
        form.encode()
    except ValueError:  # UnicodeError too: a lone surrogate
        return None
    return form


def _refused(word: str) -> Any:
    raise ValueError(word)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("doubled key")
    return members


@lru_cache(4096)
def _number(text: str) -> str:
    """A number as digits and exponent, marked by a NUL as no string of a document is."""
    sign, digits, exponent = Decimal(text).as_tuple()
    if not isinstance(exponent, int) or (sign and not any(digits)):
        raise ValueError(text)
    shown = "".join(map(str, digits)).lstrip("0")
    bare = shown.rstrip("0")
    return f"\x00{'-' if sign else ''}{bare}e{exponent + len(shown) - len(bare) if bare else 0}"


_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_refused, object_pairs_hook=_members)
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


def _deep(text: str) -> str:
    """The same for a document deeper than Python's parser goes: a digest a container, without recursion."""
    stack: list[tuple[str, list[str]]] = [("", [])]
    at = 0
    text = text.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(text[at : at + 20])
        at = token.end()
        string, mark, number, word = token.groups()
        if mark in ("[", "{"):
            stack.append((mark, []))
        elif mark in ("]", "}"):
            opened, parts = stack.pop()
            if opened != {"]": "[", "}": "{"}[mark]:
                raise ValueError(mark)
            if opened == "{":
                keys, values = parts[::2], parts[1::2]
                if len(set(keys)) < len(keys) or len(keys) != len(values):
                    raise ValueError("doubled key")
                parts = [f"{key}:{value}" for key, value in sorted(zip(keys, values, strict=True))]
            stack[-1][1].append(opened + hashlib.blake2b(",".join(parts).encode(), digest_size=16).hexdigest())
        elif string or number or word:
            stack[-1][1].append(
                json.dumps(json.loads(string), ensure_ascii=False) if string else _number(number) if number else word
            )
    if len(stack) != 1 or len(stack[0][1]) != 1:
        raise ValueError("no single document")
    return stack[0][1][0]
