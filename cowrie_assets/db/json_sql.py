"""How a question to a JSON column is written in each backend's SQL.

Belongs here: the constructs behind `json_access.py` and their compilation. Not here: what a question means (there), the
functions that SQLite calls (`sqlite_functions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from .json_value import Step
from .types import Moment, cell_of

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
    """See `text_at` in `json_access.py`."""

    inherit_cache = True
    name = "cowrie_json_text"
    type = sa.Text()


class SoundText(Ask):
    """`JsonText` of a member of a document that the migration takes as it is: no damage, no key twice.

    On SQLite its own function answers for a string, at a third of the time.
    """

    inherit_cache = True
    name = "cowrie_json_text"
    type = sa.Text()


class JsonPart(Ask):
    """The part itself, as `jsonb`; on SQLite its text."""

    inherit_cache = True
    name = "cowrie_json_part"
    type = sa.Text()


class JsonType(Ask):
    """See `type_at` in `json_access.py`."""

    inherit_cache = True
    name = "cowrie_json_type"
    type = sa.Text()


class JsonFilled(Ask):
    """See `not_empty` in `json_access.py`."""

    inherit_cache = True
    name = "cowrie_json_filled"
    type = sa.Boolean()


class JsonNumber(Ask):
    """See `number_at` in `json_access.py`."""

    inherit_cache = True
    name = "cowrie_json_number"
    type = sa.Double()


class JsonTime(Ask):
    """See `time_at` in `json_access.py`."""

    inherit_cache = True
    name = "cowrie_json_time"
    type = Moment()


class JsonElements(Ask):
    """See `elements` in `json_access.py`."""

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
    """See `moment_of` in `json_access.py`."""

    inherit_cache = True
    name = "cowrie_moment"
    type = Moment()


class Former(FunctionElement[str]):
    """See `former_generated` in `json_access.py`."""

    inherit_cache = True
    name = "former_generated"
    type = sa.Text()


# --- PostgreSQL: operators -----------------------------------------------------------------------------------------


def _followed(clauses: Sequence[Any], compiler: SQLCompiler, **kw: Any) -> str:
    document, *steps = clauses
    # For a target whose documents are json (COWRIE_JSON_TYPE); to jsonb the cast is nothing, also for indexes.
    part = f"CAST({compiler.process(document, **kw)} AS JSONB)"
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


compiles(SoundText, "postgresql")(_text)


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
    return instant_sql(text, f"jsonb_typeof({_part(element, compiler, **kw)}) = 'string' AND ")


def instant_sql(text: str, guard: str = "") -> str:
    """PostgreSQL's expression that reads a text as the migration reads a date; NULL where it is none."""
    # timestamptz rounds what exceeds six digits; the migration cuts.
    moment = f"regexp_replace({text}, '(\\.[0-9]{{6}})[0-9]+', '\\1')::timestamptz"
    return (
        f"CASE WHEN {guard}{text} ~ '{TIME}' THEN"
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


@compiles(SoundText, "sqlite")
def _sound(element: SoundText, compiler: SQLCompiler, **kw: Any) -> str:
    document, step = element.clauses
    cell = compiler.process(document, **kw)
    path = f"'$.' || {compiler.process(step, **kw)}"
    return (
        f"CASE WHEN typeof({cell}) <> 'text' OR NOT json_valid({cell}) THEN {_call(element, compiler, **kw)}"
        f" ELSE CASE coalesce(json_type({cell}, {path}), 'null') WHEN 'null' THEN NULL"
        f" WHEN 'text' THEN json_extract({cell}, {path}) ELSE {_call(element, compiler, **kw)} END END"
    )


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
