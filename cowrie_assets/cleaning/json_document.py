"""What becomes of one JSON cell: untouched, repaired, or set aside.

Belongs here: the order of the rules for one document. Not here: the rules, and whole columns (`json_column`).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .json_exact import Repaired, repair
from .json_heuristics import has_members, recover
from .json_scan import BLANK, IS_STRING, JsonDepthError, JsonSyntaxError, unescape
from .json_size import size_excess

_WRAPPER: Final = re.compile(rf'\s*\{{\s*"malformed"\s*:\s*({IS_STRING.pattern})\s*\}}\s*')
"""A dead letter around a text that its writer could not read."""


class Document(NamedTuple):
    """A document that the target takes.

    Attributes:
        text: the JSON text.
        rules: the rules that were applied, in order; empty where the text is as it was.
    """

    text: str
    rules: tuple[str, ...]


class Unusable(NamedTuple):
    """A document in which nothing could be found (`json.unreadable`), or too deep or too large for `jsonb`."""

    rule: str
    detail: str


def clean_document(cell: bytes, *, jsonb: bool = True, unwrap: bool = False) -> Document | Unusable:
    """Decide about one document, by the exact rules where they suffice, else by the first step that finds something.

    Args:
        cell: the bytes as SQLite holds them, whatever they are.
        jsonb: it goes into jsonb; False where it goes into json.
        unwrap: a wrapper `{"malformed": "…"}` gives way to the object in it, where there is one (`json.wrapped`).
    """
    text = cell.decode("utf-8", "surrogateescape")
    try:
        found, reason = _found(text, jsonb, unwrap)
    except JsonDepthError as error:
        return Unusable("json.depth", str(error))
    if found is None:
        return Unusable("json.unreadable", reason)
    excess = size_excess(found.text, jsonb=jsonb)
    return Unusable("json.size", excess) if excess else Document(found.text, found.rules)


def _found(text: str, jsonb: bool, unwrap: bool) -> tuple[Repaired | None, str]:
    """Return what was found and, where that is nothing, why."""
    wrapper = _WRAPPER.fullmatch(text) if unwrap else None
    if wrapper:
        inner, _ = _found(unescape(wrapper[1][1:-1]), jsonb, unwrap=False)
        if inner and inner.text.lstrip(BLANK)[0] == "{" and has_members(inner.text):
            return Repaired(inner.text, ("json.wrapped", *inner.rules), ""), ""
    if not text.strip(BLANK + "\0"):
        return None, "The text is blank."
    try:
        found = repair(text, jsonb=jsonb)
    except JsonSyntaxError as error:
        return recover(text, jsonb=jsonb), f"No JSON and nothing complete in it: {error}"
    if not found.rest:
        return found, ""
    if found.text.lstrip(BLANK)[0] in "{[" and has_members(found.text):
        return Repaired(found.text, ("json.trailing", *found.rules), ""), ""
    reason = f"No JSON and nothing complete in it: {len(found.rest)} characters follow a value."
    return recover(text, jsonb=jsonb), reason
