r"""A stored JSON cell as the value that `jsonb` holds for it, whichever backend it lies in.

Belongs here: reading a cell and finding a member, in Python. Not here: SQL (`json_access.py`), the rules (`cleaning/`).

A SQLite cell may be what `jsonb` refuses or alters: a NUL (`\u0000`), a lone surrogate, NaN, duplicate keys, a number
that affinity made of text. The migration's own kernel decides what becomes of it, so that a query on the source answers
as the same query does on the migrated target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

from ..cleaning.json_document import Document, clean_document
from ..cleaning.json_exact import PLAIN_LENGTH
from ..cleaning.json_scan import CLOSE, KEY, NUMBER, OPEN, tokens, unescape
from ..cleaning.json_text import jsonb_text

Cell: TypeAlias = bytes | str | int | float | None
"""What a JSON column gives: text as bytes or str, numbers where affinity made some, None for SQL NULL."""
Step: TypeAlias = str | int
"""A step of a path: a member's name, or an element's position from 0 (negative: from the end)."""

# Where orjson's numbers may not be jsonb's: integers beyond 64 bits, and exponents of four digits; no shorter number
# leaves jsonb's range (`cleaning/json_exact.py`).
_ODD_NUMBER: Final = re.compile(rb"[0-9]{19}|[0-9][eE][+-]?[0-9]{3}")
_MOST_DIGITS: Final = 4_000

_MISSING: Final = object()
_UNREAD: Final = object()


class JsonNull:
    """The type of `JSON_NULL`, which is JSON's `null` where None is SQL's NULL; false in a condition."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "JSON_NULL"


JSON_NULL: Final = JsonNull()


class MalformedJson(str):
    """The text of a cell in which no JSON can be found, or which Python cannot hold (nested too deep)."""

    __slots__ = ()


def document_text(cell: Cell) -> str | None:
    """The JSON text that `jsonb` takes for the cell; None for SQL NULL and where nothing can be found."""
    if cell is None:
        return None
    if isinstance(cell, (int, float)):
        from ..cleaning.json_column import number_as_json  # with Arrow: 0.2 s that nearly no process needs

        return number_as_json(cell)[0]
    found = clean_document(cell if isinstance(cell, bytes) else cell.encode("utf-8", "surrogateescape"))
    return found.text if isinstance(found, Document) else None


def python_value(cell: Cell) -> Any:
    """The cell as Python: None for SQL NULL, JSON_NULL for `null`, MalformedJson where there is no JSON."""
    if cell is None:
        return None
    value = _at(cell, ())
    if value is _UNREAD:
        text = document_text(cell)
        if text is None:
            return _malformed(cell)
        try:
            # As jsonb prints it: 1e400 is an integer there, and no float.
            value = json.loads(jsonb_text(text), parse_int=_whole)
        except RecursionError:
            return _malformed(cell)
    return JSON_NULL if value is None else value


def _whole(digits: str) -> int | float:
    """An integer; beyond the digits that Python converts (sys.set_int_max_str_digits) the float, which is infinite."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _malformed(cell: Cell) -> MalformedJson:
    return MalformedJson(cell.decode("utf-8", "backslashreplace") if isinstance(cell, bytes) else cell)


def _at(cell: Cell, path: Sequence[Step]) -> Any:
    """What the path leads to, _MISSING, or _UNREAD where orjson does not give what `jsonb` has.

    It does but for the digits of a float, an integer beyond 64 bits (a float to it) and a number beyond jsonb's
    range, which is a string there.
    """
    if not isinstance(cell, (bytes, str)):
        return _UNREAD
    value = _remembered(cell) if path else _read(cell)  # the whole document is its caller's, who may change it
    if value is _UNREAD:
        return _UNREAD
    for step in path:
        if isinstance(step, str):
            value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
        else:
            fits = isinstance(value, list) and -len(value) <= step < len(value)
            value = value[step] if fits else _MISSING
    if isinstance(value, (float, dict, list)):
        raw = cell if isinstance(cell, bytes) else cell.encode()
        if len(raw) > PLAIN_LENGTH or _ODD_NUMBER.search(raw):
            return _UNREAD
    return value


def _read(cell: bytes | str) -> Any:
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return _UNREAD
    return _UNREAD if (b"\\u0000" in cell if isinstance(cell, bytes) else "\\u0000" in cell) else value


# A query asks several members of one row, one call after the other: five of them over 200,000 events of 490 bytes take
# 1.6 s when each call parses, 0.5 s with the last document at hand.
_remembered = lru_cache(maxsize=1)(_read)


def text_at(cell: Cell, path: Sequence[Step]) -> str | None:
    """What `->>` gives: a string as it is, all else printed as `jsonb` prints it; None for null and for nothing."""
    value = _at(cell, path)
    if isinstance(value, str):
        return value
    if value is None or value is _MISSING:
        return None
    if isinstance(value, int):
        return str(value).lower()  # a boolean is an int too
    part = part_text(cell, path)
    if part is None or part == "null":
        return None
    return unescape(part[1:-1]) if part[0] == '"' else part


_TYPES: Final = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
_TYPE_OF_MARK: Final = {"{": "object", "[": "array", '"': "string", "t": "boolean", "f": "boolean", "n": "null"}


def type_at(cell: Cell, path: Sequence[Step]) -> str | None:
    """What `jsonb_typeof` gives: object, array, string, number, boolean, null; None where nothing is there."""
    value = _at(cell, path)
    if value is _MISSING:
        return None
    if value is not _UNREAD:
        return _TYPES.get(type(value), "number")
    part = part_text(cell, path)
    return None if part is None else _TYPE_OF_MARK.get(part[0], "number")


def string_at(cell: Cell, path: Sequence[Step]) -> str | None:
    """The string that the path leads to; None where it is something else or nothing."""
    value = _at(cell, path)
    if value is not _UNREAD:
        return value if isinstance(value, str) else None
    part = part_text(cell, path)
    return unescape(part[1:-1]) if part is not None and part[0] == '"' else None


def is_filled(cell: Cell, path: Sequence[Step]) -> bool:
    """Whether the path leads to something other than null, an empty string, array or object."""
    value = _at(cell, path)
    if value is not _UNREAD:
        return value is not _MISSING and value is not None and value not in ("", [], {})
    return (part_text(cell, path) or "null") not in ("null", '""', "[]", "{}")


def part_text(cell: Cell, path: Sequence[Step]) -> str | None:
    """The part that the path leads to, printed as `jsonb::text`; None where nothing is there."""
    value = _at(cell, path)
    if value is _MISSING:
        return None
    if value is None or isinstance(value, (str, int)):
        return json.dumps(value, ensure_ascii=False)
    text = document_text(cell)
    for step in path:
        if text is not None:
            text = _child(text, step)
    return None if text is None else jsonb_text(text)


def element_texts(cell: Cell, path: Sequence[Step]) -> list[str | None]:
    """The elements of the array that the path leads to, each as `->>` gives it; empty where there is no array."""
    part = part_text(cell, path)
    if part is None or part[0] != "[":
        return []
    return [text_at(child.encode(), ()) for _, child in _children(part)]


def comparable(text: str) -> str:
    """A form of a printed part that is equal where `jsonb` values are: numbers without the zeros that end them."""
    if text[0] not in "{[-0123456789":
        return text
    marks = ((kind, text[start:end]) for kind, start, end in tokens(text))
    return ",".join(mark.rstrip("0").rstrip(".") if kind == NUMBER and "." in mark else mark for kind, mark in marks)


def _child(text: str, step: Step) -> str | None:
    """The text of a member or element of a repaired document; of duplicate members the last."""
    children, mark = _children(text), text.lstrip()[:1]
    if isinstance(step, str):
        return dict(children).get(step) if mark == "{" else None
    values = [child for _, child in children] if mark == "[" else []
    return values[step] if -len(values) <= step < len(values) else None


def _children(text: str) -> list[tuple[str, str]]:
    """The (name, text) of a container's children, in order; an array's have no name."""
    stream = tokens(text)
    kind, _, _ = next(stream)
    found: list[tuple[str, str]] = []
    if kind != OPEN:
        return found
    name = ""
    for kind, start, end in stream:
        if kind == CLOSE:
            break
        if kind == KEY:
            name = unescape(text[start + 1 : end - 1])
            continue
        depth = int(kind == OPEN)
        while depth:
            kind, _, end = next(stream)
            depth += {OPEN: 1, CLOSE: -1}.get(kind, 0)
        found.append((name, text[start:end]))
    return found
