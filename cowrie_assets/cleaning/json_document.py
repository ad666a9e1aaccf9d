"""What becomes of one JSON cell: untouched, repaired, or set aside.

Belongs here: the order of the rules for one document. Not here: the rules, and whole columns (`json_column`).
"""

from __future__ import annotations

from typing import NamedTuple

from .json_exact import Repaired, repair
from .json_heuristics import has_members, recover
from .json_scan import BLANK, JsonDepthError, JsonSyntaxError
from .json_size import size_excess


class Document(NamedTuple):
    """A document that `jsonb` takes.

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


def clean_document(cell: bytes) -> Document | Unusable:
    """Decide about one document, by the exact rules where they suffice, else by the first step that finds something.

    Args:
        cell: the bytes as SQLite holds them, whatever they are.
    """
    text = cell.decode("utf-8", "surrogateescape")
    try:
        found, reason = _found(text)
    except JsonDepthError as error:
        return Unusable("json.depth", str(error))
    if found is None:
        return Unusable("json.unreadable", reason)
    excess = size_excess(found.text)
    return Unusable("json.size", excess) if excess else Document(found.text, found.rules)


def _found(text: str) -> tuple[Repaired | None, str]:
    """Return what was found and, where that is nothing, why."""
    if not text.strip(BLANK + "\0"):
        return None, "The text is blank."
    try:
        found = repair(text)
    except JsonSyntaxError as error:
        return recover(text), f"No JSON and nothing complete in it: {error}"
    if not found.rest:
        return found, ""
    if found.text.lstrip(BLANK)[0] in "{[" and has_members(found.text):
        return Repaired(found.text, ("json.trailing", *found.rules), ""), ""
    return recover(text), f"No JSON and nothing complete in it: {len(found.rest)} characters follow a value."
