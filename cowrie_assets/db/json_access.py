r"""Questions to JSON columns as SQL expressions that answer alike on SQLite and PostgreSQL.

Belongs here: the questions. Not here: how they are written in SQL (`json_sql.py`), reading a cell in Python
(`json_value.py`).

PostgreSQL answers by its operators. SQLite's own JSON functions answer otherwise: they take the first of duplicate keys
(`->>` the last), end text at a NUL, lose digits (`1.10`), make 1 of true, raise on malformed JSON; so on connections of
ours Python functions answer, which read a cell as the migration would store it. What that costs is said in
`sqlite_functions.py`.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from .json_sql import (
    Former,
    JsonElements,
    JsonEqual,
    JsonFilled,
    JsonNumber,
    JsonPart,
    JsonText,
    JsonTime,
    JsonType,
    Like,
    MomentOf,
)
from .json_value import Step
from .types import storable


def text_at(document: Any, *path: Step) -> JsonText:
    """The text of what the path leads to, as `->>` gives it; NULL for `null` and where nothing is there.

    Args:
        document: a JSON column or expression.
        path: names of members and positions of elements (from 0; negative from the end); none: the document.
    """
    return JsonText(document, *path)


def type_at(document: Any, *path: Step) -> JsonType:
    """`object`, `array`, `string`, `number`, `boolean` or `null`; NULL where nothing is there."""
    return JsonType(document, *path)


def exists(document: Any, *path: Step) -> sa.ColumnElement[bool]:
    """Whether the path leads to anything, `null` included."""
    return JsonType(document, *path).is_not(None)


def not_empty(document: Any, *path: Step) -> JsonFilled:
    """Whether it leads to something other than `null`, `""`, `[]` and `{}`; never NULL."""
    return JsonFilled(document, *path)


def equals(document: Any, value: Any, *path: Step) -> JsonEqual:
    """Whether it leads to this Python value (None: `null`), as `jsonb` compares: 1 is 1.0, true is not 1.

    NULL where nothing is there.
    """
    return JsonEqual(JsonPart(document, *path), sa.literal(json.dumps(storable(value)), sa.Text()))


def like(document: Any, pattern: str, *path: Step) -> Like:
    """Whether the text matches a LIKE pattern, in exact case, with a backslash as escape; NULL without text.

    Raises:
        ValueError: for a pattern that ends in a lone backslash.
    """
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise ValueError(f"The LIKE pattern {pattern!r} ends in its escape character.")
    return Like(JsonText(document, *path), sa.literal(pattern, sa.Text()))


def number_at(document: Any, *path: Step) -> JsonNumber:
    """A number, or a string that is one (`NUMBER`), as a double; NULL for all else and for what no double holds."""
    return JsonNumber(document, *path)


def time_at(document: Any, *path: Step) -> JsonTime:
    """A text that is a date to the migration as an instant (UTC where it names no offset), fractions cut to
    microseconds; NULL for all else, numbers included.
    """  # noqa: D205 - one sentence
    return JsonTime(document, *path)


def moment_of(column: Any) -> MomentOf:
    """A date column as a comparable instant: itself on PostgreSQL; on SQLite whatever form its cells have.

    On SQLite no index serves it: where a window is wide, compare the column itself too.
    """
    return MomentOf(column)


def elements(document: Any, *path: Step) -> sa.TableValuedAlias:
    """The elements of an array as rows to join, one column `value` of texts as `->>` gives them; no rows without array.

    Example:
        `urls = elements(RawEvent.payload, "urls"); select(RawEvent.id, urls.c.value).select_from(RawEvent, urls)`
    """
    return JsonElements(document, *path).table_valued("value", joins_implicitly=True)


def former_generated(column: Any, document: Any, name: str) -> Former:
    """A column that old schemas generate from a member: as stored; the member's text where it is NULL or generated."""
    return Former(column, JsonText(document, name))
