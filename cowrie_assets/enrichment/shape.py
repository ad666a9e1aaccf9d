"""Members of a service's JSON, read without trust.

Belongs here: typed access that never raises on a wrong shape, and text that any database takes. Not here: services.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

TEXT_LIMIT = 200
"""Characters kept of a text; the longest threat labels seen in the documentation have below 100."""
LIST_LIMIT = 20


def mapping(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def text(value: Any, limit: int = TEXT_LIMIT) -> str | None:
    """The text without control characters (jsonb and text refuse NUL), cut; None where it is none or empty."""
    if not isinstance(value, str):
        return None
    clean = "".join(c if c.isprintable() else " " for c in value[: 4 * limit])
    return " ".join(clean.split())[:limit] or None


def number(value: Any) -> int | None:
    """The integer, also of a text of digits, if it is from 0 to 2^53; else None."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    return value if type(value) is int and 0 <= value <= 2**53 else None


def instant(value: Any) -> datetime | None:
    """The Unix time as a datetime in UTC; None where it is none or beyond the year 9998."""
    seconds = number(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and seconds < 253_370_764_800 else None


def texts(value: Any) -> list[str]:
    """The texts of a list, each once, sorted, not more than `LIST_LIMIT`."""
    found = {clean for item in value if (clean := text(item))} if isinstance(value, list) else set()
    return sorted(found)[:LIST_LIMIT]


def kept(**members: Any) -> dict[str, Any]:
    """The members that say something."""
    return {name: value for name, value in members.items() if value not in (None, [], {})}
