"""The text forms that PostgreSQL gives a `jsonb` value: what `->>` and `::text` return, without asking it.

Belongs here: printing. Not here: whether `jsonb` takes the value at all; every text here is a repaired document.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from .json_scan import CLOSE, KEY, NUMBER, OPEN, STRING, Token, tokens, unescape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")

# A printed value: text, or a container's parts, which are joined only at the end so that depth costs no copies.
_Part: TypeAlias = "str | list[_Part]"


def numeric_text(number: str) -> str:
    """Print a JSON number as PostgreSQL's `numeric` does: no exponent, every fraction digit that it was given."""
    match = _NUMBER.fullmatch(number)
    if match is None:
        raise ValueError("not a JSON number")
    sign, whole, fraction, exponent = match.groups(default="")
    shift = int(exponent or 0)
    if shift < 0:
        whole = whole.rjust(-shift, "0")
        whole, fraction = whole[:shift], whole[shift:] + fraction
    elif (whole + fraction).strip("0"):
        whole, fraction = whole + fraction[:shift].ljust(shift, "0"), fraction[shift:]
    else:  # the exponent of a zero may have nine digits
        fraction = fraction[shift:]
    whole = whole.lstrip("0") or "0"
    text = f"{whole}.{fraction}" if fraction else whole
    return sign + text if text.strip("0.") else text


def _container(members: dict[str, _Part] | list[_Part]) -> list[_Part]:
    """Print a container; `jsonb` orders an object's keys by their length in bytes, then by their bytes."""
    parts: list[_Part] = []
    if isinstance(members, list):
        for value in members:
            parts += (", ", value)
        return ["[", *parts[1:], "]"]
    encoded = {key.encode(): value for key, value in members.items()}
    for key in sorted(encoded, key=lambda key: (len(key), key)):
        parts += (", ", _quoted(key.decode()), ": ", encoded[key])
    return ["{", *parts[1:], "}"]


def _quoted(value: str) -> str:
    # Python and PostgreSQL escape the same: the quote, the backslash and what lies below U+0020, spelled alike.
    return json.dumps(value, ensure_ascii=False)


def _value(text: str, first: Token, stream: Iterator[Token]) -> _Part:
    """Print the value whose first token is given; what belongs to it is taken from the stream."""
    stack: list[dict[str, _Part] | list[_Part]] = []
    keys: list[str] = []
    for kind, start, end in chain([first], stream):
        part: _Part
        if kind == KEY:
            keys.append(unescape(text[start + 1 : end - 1]))
            continue
        if kind == OPEN:
            stack.append({} if text[start] == "{" else [])
            continue
        if kind == CLOSE:
            part = _container(stack.pop())
        elif kind == STRING:
            part = _quoted(unescape(text[start + 1 : end - 1]))
        else:
            part = numeric_text(text[start:end]) if kind == NUMBER else text[start:end]
        if not stack:
            return part
        holder = stack[-1]
        if isinstance(holder, dict):
            holder[keys.pop()] = part
        else:
            holder.append(part)
    raise ValueError("not a repaired document")


def _joined(value: _Part) -> str:
    """Join a tree of parts, whatever its depth."""
    pieces: list[str] = []
    stack: list[Iterator[_Part]] = [iter([value])]
    while stack:
        for part in stack[-1]:
            if not isinstance(part, str):
                stack.append(iter(part))
                break
            pieces.append(part)
        else:
            stack.pop()
    return "".join(pieces)


def jsonb_text(text: str) -> str:
    """Print a repaired document as `jsonb::text` does."""
    stream = tokens(text)
    return _joined(_value(text, next(stream), stream))


def field_texts(text: str, names: Collection[str], *, jsonb: bool = True) -> dict[str, str | None]:
    """Return what `->>` gives for each name that the document has as a member.

    Args:
        text: a repaired document, of any type; only an object has members.
        names: the members asked for.
        jsonb: what `->>` gives of jsonb; False for json, which prints numbers and containers as they are spelled.

    Returns:
        Name to text; None for a JSON null. A name that is no member is missing.
    """
    found: dict[str, str | None] = {}
    stream = tokens(text)
    _, start, _ = next(stream)
    if text[start] != "{":
        return found
    for kind, start, end in stream:
        if kind == CLOSE:
            break
        name = unescape(text[start + 1 : end - 1])
        kind, start, end = first = next(stream)
        if name not in names or not jsonb:
            depth = int(kind == OPEN)
            while depth:
                kind, _, end = next(stream)
                depth += {OPEN: 1, CLOSE: -1}.get(kind, 0)
        if name not in names:
            continue
        if text[start] == '"':
            found[name] = unescape(text[start + 1 : end - 1])
        elif text[start:end] == "null":
            found[name] = None
        else:
            found[name] = _joined(_value(text, first, stream)) if jsonb else text[start:end]
    return found
