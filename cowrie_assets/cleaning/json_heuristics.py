"""What can still be found in a malformed document, step by step, from the certain to the guessed.

Belongs here: the steps for texts that no exact rule makes into JSON. Not here: the exact rules (`json_exact`), and any
invention: each step takes over only members that stand complete in the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .json_exact import Repaired, repair
from .json_scan import (
    BLANK,
    CLOSE,
    IS_STRING,
    KEY,
    OPEN,
    SCALAR,
    STRING,
    JsonSyntaxError,
    tokens,
    unescape,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOTE: Final = "_migration_note"
"""The member that says which guess made an object."""

KNOWN_FIELDS: Final = (
    "session",
    "eventid",
    "timestamp",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "username",
    "password",
    "input",
    "message",
    "sensor",
    "protocol",
    "url",
    "shasum",
    "outfile",
    "duration",
    "version",
)
"""Cowrie's own fields, which `json.fields` looks for."""

# A number must be followed by something, else it may have been cut; a string ends with its quote, but a quote inside
# it that was never escaped looks the same, so that a string must be followed by what ends a member, too.
_FIELD: Final = re.compile(rf'(?<!\\)"({"|".join(KNOWN_FIELDS)})"\s*:\s*({SCALAR})(?=\s*[,}}]|(?<=")\s*\Z)')
_ENDS_NUMBER: Final = frozenset(BLANK + ",}")
_EMPTY: Final = re.compile(r"\s*(?:\{\s*\}|\[\s*\])\s*")


def has_members(text: str) -> bool:
    """Tell whether a repaired document is anything but an empty object or array."""
    return _EMPTY.fullmatch(text) is None


def _complete_members(text: str) -> str | None:
    """Return the object of the complete members of a text that begins with `{`.

    None where there is none, where the text is not merely cut but wrong, or where more follows the object.
    """
    depth = 0
    kept = None
    end = 0
    try:
        for kind, _, end in tokens(text):
            depth += {OPEN: 1, CLOSE: -1}.get(kind, 0)
            if depth == 0:
                kept = end - 1
            # What is no string or container may have been longer, unless something follows that ends it.
            elif depth == 1 and (
                kind in (STRING, CLOSE) or (kind not in (KEY, OPEN) and text[end : end + 1] in _ENDS_NUMBER)
            ):
                kept = end
    except JsonSyntaxError as error:
        if not error.cut:
            return None
        end = len(text)
    return None if kept is None or text[end:].strip(BLANK) else f"{text[:kept]}}}"


def _escaped(text: str) -> str | None:
    r"""`{\"a\": 1}`: a document that was written into a string and lost its outer quotes."""
    body = text.strip(BLANK)
    return unescape(body) if body[:1] in ("{", "[") and IS_STRING.fullmatch(f'"{body}"') else None


def _fragment(text: str) -> str | None:
    """`"a": 1, "b": 2,`: members without the braces around them, or without the first."""
    body = text.strip(BLANK + ",")
    return _complete_members(f"{{{text.lstrip(BLANK + ',')}") if body.startswith('"') else None


def _truncated(text: str) -> str | None:
    """`{"a": 1, "b": 2`: an object whose end is missing."""
    body = text.lstrip(BLANK)
    return _complete_members(body) if body.startswith("{") else None


def _fields(text: str) -> str | None:
    """Cowrie's own fields, wherever they stand; one that stands there with two values is not taken."""
    found: dict[str, set[str]] = {}
    for name, value in _FIELD.findall(text):
        found.setdefault(name, set()).add(value)
    members = [f'"{name}": {values.pop()}' for name, values in found.items() if len(values) == 1]
    return "{" + ", ".join(members) + "}" if members else None


_GUESSES: Final[tuple[tuple[str, Callable[[str], str | None]], ...]] = (
    ("json.escaped", _escaped),
    ("json.fragment", _fragment),
    ("json.truncated", _truncated),
    ("json.fields", _fields),
)


def _accepted(text: str, *, jsonb: bool, json5: bool = False) -> Repaired | None:
    """Put a step's result through the exact rules, which alone decide whether it is JSON."""
    try:
        found = repair(text, json5=json5, jsonb=jsonb)
    except JsonSyntaxError:
        return None
    return found if not found.rest and has_members(found.text) else None


def _noted(text: str, rule: str) -> str:
    """Add the note to an object, under a name that the object does not have."""
    body = text.strip(BLANK)
    if not body.startswith("{"):
        return text
    names = set()
    depth = 0
    for kind, start, end in tokens(body):
        depth += {OPEN: 1, CLOSE: -1}.get(kind, 0)
        if kind == KEY and depth == 1:
            names.add(unescape(body[start + 1 : end - 1]))
    note, number = NOTE, 1
    while note in names:
        number += 1
        note = f"{NOTE}_{number}"
    return f'{body[:-1].rstrip(BLANK)}, "{note}": "{rule}"}}'


def recover(text: str, *, jsonb: bool = True) -> Repaired | None:
    """Find what a malformed document holds; the first step with a result wins.

    Args:
        text: a document that is no JSON by the exact rules.
        jsonb: as `repair` takes it.

    Returns:
        The new document, whose rules begin with that of the step, or None where nothing was found.

    Raises:
        json_scan.JsonDepthError: what was found is nested too deeply.
    """
    found = _accepted(text, jsonb=jsonb, json5=True)
    if found is not None:
        return Repaired(found.text, ("json.json5", *(rule for rule in found.rules if rule != "json.json5")), "")
    unpadded = text.rstrip("\0")
    for rule, guess in _GUESSES:
        candidate = guess(unpadded)
        found = None if candidate is None else _accepted(candidate, jsonb=jsonb)
        if found is not None:
            return Repaired(_noted(found.text, rule), (rule, *found.rules), "")
    return None
