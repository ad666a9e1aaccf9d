r"""Questions to JSON columns as SQL expressions that answer alike on SQLite and PostgreSQL.

Belongs here: the expressions. Not here: the functions SQLite calls for them (`sqlite_functions.py`), reading a cell in
Python (`json_value.py`).

PostgreSQL answers by its operators. SQLite's own JSON functions answer otherwise: they take the first of duplicate keys
(`->>` the last), end text at a NUL, lose digits (`1.10`), make 1 of true, raise on malformed JSON; so on connections of
ours Python functions answer, which read a cell as the migration would store it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from .json_value import Step
from .types import Moment, cell_of, storable

NUMBER = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
"""Text that is a number: JSON's own grammar, leading zeros allowed."""
NUMBER_LENGTH = 15_000
"""Longest text read as a number: 15,000 digits and an exponent of three are within `numeric` (16,383 decimals)."""
SMALLEST, LARGEST = "1e-307", "1e308"
"""Sizes that a double holds with all its digits; beyond them PostgreSQL's cast raises or loses some."""

_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29"
_DAY = "(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31"
TIME = (
    rf"^(?:(?!0000)[0-9]{{4}}-(?:{_DAY})|{_LEAP})"
    r"(?:[ T](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)?)?$"
)
"""Text that is a date to the migration (`source/instants.py`), as one pattern: PostgreSQL 15 cannot try a cast."""


class Ask(FunctionElement[Any]):
    """A question to a document: its clauses are the document and the path's steps.

    The steps are literals in the SQL: to PostgreSQL a parameter in SELECT and another in GROUP BY are not one
    expression.
    """

    inherit_cache = True

    def __init__(self, document: Any, *path: Step) -> None:
        super().__init__(document, *map(_step, path))


def _step(step: Step) -> sa.ColumnElement[Any]:
    if isinstance(step, str):
        return sa.literal(step, sa.Text(), literal_execute=True)
    return sa.literal_column(f"{step:d}", sa.Integer())


class JsonText(Ask):
    """See `text_at`."""

    inherit_cache = True
    name = "cowrie_json_text"
    type = sa.Text()


class JsonPart(Ask):
    """The part itself, as `jsonb`; on SQLite its text."""

    inherit_cache = True
    name = "cowrie_json_part"
    type = sa.Text()


class JsonType(Ask):
    """See `type_at`."""

    inherit_cache = True
    name = "cowrie_json_type"
    type = sa.Text()


class JsonFilled(Ask):
    """See `not_empty`."""

    inherit_cache = True
    name = "cowrie_json_filled"
    type = sa.Boolean()


class JsonNumber(Ask):
    """See `number_at`."""

    inherit_cache = True
    name = "cowrie_json_number"
    type = sa.Double()


class JsonTime(Ask):
    """See `time_at`."""

    inherit_cache = True
    name = "cowrie_json_time"
    type = Moment()


class JsonElements(Ask):
    """See `elements`."""

    inherit_cache = True
    name = "cowrie_json_elements"


class JsonEqual(FunctionElement[bool]):
    """A part (first clause) equals a JSON text (second clause)."""

    inherit_cache = True
    name = "cowrie_json_equal"
    type = sa.Boolean()


class Like(FunctionElement[bool]):
    """LIKE as PostgreSQL has it: exact case, a backslash escapes."""

    inherit_cache = True
    name = "cowrie_like"
    type = sa.Boolean()


class MomentOf(FunctionElement[Any]):
    """See `moment_of`."""

    inherit_cache = True
    name = "cowrie_moment"
    type = Moment()


class Former(FunctionElement[str]):
    """See `former_generated`."""

    inherit_cache = True
    name = "former_generated"
    type = sa.Text()


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


# --- PostgreSQL: operators -----------------------------------------------------------------------------------------


def _followed(clauses: Sequence[Any], compiler: SQLCompiler, **kw: Any) -> str:
    document, *steps = clauses
    part = compiler.process(document, **kw)
    for step in steps:
        if isinstance(step, sa.ColumnClause):
            # Not `->`, to which a scalar is an array of one: '"a"'::jsonb -> 0 is "a".
            position = int(step.name)
            subscript = f"{position}" if position >= 0 else f"last - {-position - 1}"
            part = f"jsonb_path_query_first({part}, 'strict $[{subscript}]', '{{}}', true)"
        else:
            part = f"{part} -> {compiler.process(step, **kw)}"
    return part


@compiles(JsonPart, "postgresql")
def _part(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({_followed(list(element.clauses), compiler, **kw)})"


@compiles(JsonText, "postgresql")
def _text(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    *holder, last = element.clauses
    if not holder or isinstance(last, sa.ColumnClause):
        return f"({_followed([*holder, last], compiler, **kw)} #>> '{{}}')"
    # The last step by `->>`, as people and expression indexes write it.
    return f"({_followed(holder, compiler, **kw)} ->> {compiler.process(last, **kw)})"


@compiles(JsonType, "postgresql")
def _type(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    return f"jsonb_typeof({_part(element, compiler, **kw)})"


@compiles(JsonFilled, "postgresql")
def _filled(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    return f"coalesce({_part(element, compiler, **kw)} NOT IN ('null', '\"\"', '[]', '{{}}'), false)"


@compiles(JsonElements, "postgresql")
def _elements(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    part = _part(element, compiler, **kw)
    return f"jsonb_array_elements_text(CASE jsonb_typeof({part}) WHEN 'array' THEN {part} END)"


@compiles(JsonNumber, "postgresql")
def _number(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    text = _text(element, compiler, **kw)
    return (
        f"CASE WHEN length({text}) <= {NUMBER_LENGTH} AND {text} ~ '{NUMBER}' THEN"
        f" CASE WHEN {text}::numeric = 0 OR abs({text}::numeric) BETWEEN {SMALLEST} AND {LARGEST}"
        f" THEN {text}::numeric::double precision END END"
    )


@compiles(JsonTime, "postgresql")
def _time(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    text = _text(element, compiler, **kw)
    # timestamptz rounds what exceeds six digits; the migration cuts.
    moment = f"regexp_replace({text}, '(\\.[0-9]{{6}})[0-9]+', '\\1')::timestamptz"
    return (
        f"CASE WHEN jsonb_typeof({_part(element, compiler, **kw)}) = 'string' AND {text} ~ '{TIME}' THEN"
        f" CASE WHEN {moment} BETWEEN '0001-01-01Z' AND '9999-12-31 23:59:59.999999Z' THEN {moment} END END"
    )


@compiles(JsonEqual, "postgresql")
def _equal(element: JsonEqual, compiler: SQLCompiler, **kw: Any) -> str:
    part, value = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({part} = CAST({value} AS JSONB))"


@compiles(Like, "postgresql")
def _like(element: Like, compiler: SQLCompiler, **kw: Any) -> str:
    text, pattern = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({text} LIKE {pattern})"


@compiles(MomentOf, "postgresql")
def _moment(element: MomentOf, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(Former, "postgresql")
def _former(element: Former, compiler: SQLCompiler, **kw: Any) -> str:
    column, text = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"coalesce({column}, {text})"


# --- SQLite: functions of `sqlite_functions.py` ----------------------------------------------------------------------


def _call(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    document, *steps = element.clauses
    cell = compiler.process(cell_of(document), **kw)
    return f"{element.name}({', '.join([cell, *(compiler.process(step, **kw) for step in steps)])})"


for _ask in (JsonText, JsonPart, JsonType, JsonFilled, JsonNumber, JsonTime):
    compiles(_ask, "sqlite")(_call)


def _call_plain(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    return f"{element.name}({', '.join(compiler.process(clause, **kw) for clause in element.clauses)})"


for _plain in (JsonEqual, Like, MomentOf):
    compiles(_plain, "sqlite")(_call_plain)


@compiles(JsonElements, "sqlite")
def _each(element: Ask, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({_call(element, compiler, **kw)})"


@compiles(Former, "sqlite")
def _former_sqlite(element: Former, compiler: SQLCompiler, **kw: Any) -> str:
    column, text = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CASE WHEN cowrie_generated() THEN {text} ELSE coalesce({column}, {text}) END"
