"""What SQLite needs of us on every connection: text as the migration would store it, the functions of `json_access`.

Belongs here: functions that SQLite calls. Not here: connections and pragmas (`engine.py`).

Other programs cannot call these functions: no index, view or trigger may use them. Measured over 200,000 events of 490
bytes (CPU, without the scan): json_extract 0.10 s, and wrong in the cases that `json_access` names; text_at, exists,
not_empty, like 0.35 to 0.45 s, equals and number_at 0.55 s, time_at 1.4 s.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any

from ..cleaning.json_text import jsonb_text
from .json_sql import LARGEST, NUMBER, NUMBER_LENGTH, SMALLEST
from .json_value import Cell, Step, comparable, element_texts, is_filled, part_text, string_at, text_at, type_at
from .types import read_moment, visible_text

_NUMBER = re.compile(NUMBER.removesuffix("$"))


def _text(cell: Cell, *path: Step) -> str | None:
    return text_at(cell, path)


def _part(cell: Cell, *path: Step) -> str | None:
    return part_text(cell, path)


def _type(cell: Cell, *path: Step) -> str | None:
    return type_at(cell, path)


def _filled(cell: Cell, *path: Step) -> bool:
    return is_filled(cell, path)


def _number(cell: Cell, *path: Step) -> float | None:
    text = text_at(cell, path)
    if text is None or len(text) > NUMBER_LENGTH or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    fits = number == 0 or Decimal(SMALLEST) <= abs(number) <= Decimal(LARGEST)
    return float(number) + 0.0 if fits else None  # + 0.0: numeric knows no -0


def _time(cell: Cell, *path: Step) -> str | None:
    return _moment(string_at(cell, path))


def _moment(cell: Cell) -> str | None:
    moment = read_moment(cell)
    return None if moment is None else moment.replace(tzinfo=None).isoformat(" ")


_instant = lru_cache(maxsize=4_096)(_moment)  # asked of hours: a month has 720


def _visible(cell: Cell) -> str | None:
    return visible_text(cell) if isinstance(cell, bytes) else None if cell is None else str(cell)


def _elements(cell: Cell, *path: Step) -> str:
    return json.dumps(element_texts(cell, path))


def _equal(part: str | None, value: str) -> bool | None:
    return None if part is None else comparable(part) == _comparable_value(value)


@lru_cache
def _comparable_value(value: str) -> str:
    return comparable(jsonb_text(value))


def _like(text: str | None, pattern: str) -> bool | None:
    return None if text is None else _pattern(pattern).fullmatch(text) is not None


@lru_cache
def _pattern(pattern: str) -> re.Pattern[str]:
    def translated(match: re.Match[str]) -> str:
        mark = match[0]
        return {"%": ".*", "_": "."}.get(mark) or re.escape(mark[-1])

    return re.compile(re.sub(r"\\.|.", translated, pattern, flags=re.DOTALL), re.DOTALL)


_FUNCTIONS = {
    "cowrie_json_text": _text,
    "cowrie_json_part": _part,
    "cowrie_json_type": _type,
    "cowrie_json_filled": _filled,
    "cowrie_json_number": _number,
    "cowrie_json_time": _time,
    "cowrie_json_elements": _elements,
    "cowrie_json_equal": _equal,
    "cowrie_like": _like,
    "cowrie_moment": _moment,
    "cowrie_instant": _instant,
    "cowrie_visible": _visible,
}


def prepare_connection(connection: Any) -> None:
    """Give a new sqlite3 connection its text factory and functions."""
    connection.text_factory = visible_text
    for name, function in _FUNCTIONS.items():
        connection.create_function(name, -1, function, deterministic=True)
    columns = connection.execute("PRAGMA table_xinfo(raw_events)").fetchall()
    generated = int(any(hidden in (2, 3) for *_, hidden in columns))
    connection.create_function("cowrie_generated", 0, lambda: generated, deterministic=True)
