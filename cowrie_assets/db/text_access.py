r"""Columns that are no JSON, as SQL expressions that answer alike on SQLite and PostgreSQL.

Belongs here: text, integers, flags and the hours of event times. Not here: members of documents (`json_access.py`).

A SQLite column holds whatever was put there; each expression reads a cell as the migration would store it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from .json_sql import instant_sql
from .types import Moment


class visible(FunctionElement[str]):  # noqa: N801 - these are SQL functions
    r"""A text column as PostgreSQL holds it: `\x00` for a NUL, `\xff` for a byte that is no UTF-8."""

    inherit_cache = True
    name = "visible"
    type = sa.Text()


class bytewise(FunctionElement[str]):  # noqa: N801
    """A text to order by: by its UTF-8 bytes, whatever the database's collation."""

    inherit_cache = True
    name = "bytewise"
    type = sa.Text()


class whole(FunctionElement[int]):  # noqa: N801
    """An integer column; NULL for what is no integer."""

    inherit_cache = True
    name = "whole"
    type = sa.BigInteger()


class flagged(FunctionElement[bool]):  # noqa: N801
    """Whether a boolean column is true; false where it is NULL or no boolean."""

    inherit_cache = True
    name = "flagged"
    type = sa.Boolean()


class hour_key(FunctionElement[str]):  # noqa: N801
    """A time's text with minutes and seconds made zero where it has the form that Cowrie writes, else unchanged.

    It lies in the same hour and day, is a date just where the text is one, and there are few of them: 720 for a month
    of events, whose dates are then read once an hour and not once an event.
    """

    inherit_cache = True
    name = "hour_key"
    type = sa.Text()


class instant_of(FunctionElement[Any]):  # noqa: N801
    """The instant that a text names, as the migration reads dates (UTC where it has no offset); NULL if it is none."""

    inherit_cache = True
    name = "instant_of"
    type = Moment()


class hour_of(FunctionElement[str]):  # noqa: N801
    """An instant's hour in UTC, `2026-11-24 05`."""

    inherit_cache = True
    name = "hour_of"
    type = sa.Text()


def _only(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@compiles(visible, "postgresql")
@compiles(whole, "postgresql")
def _as_it_is(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    return _only(element, compiler, **kw)


@compiles(bytewise, "postgresql")
def _bytewise(element: bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return f'({_only(element, compiler, **kw)} COLLATE "C")'


@compiles(flagged, "postgresql")
def _flagged(element: flagged, compiler: SQLCompiler, **kw: Any) -> str:
    return f"coalesce({_only(element, compiler, **kw)}, false)"


@compiles(hour_key, "postgresql")
def _hour_key(element: hour_key, compiler: SQLCompiler, **kw: Any) -> str:
    text = _only(element, compiler, **kw)
    # Not a regular expression: over a million texts it takes 2 s, these tests 0.6 s.
    usual = (
        f"{text} LIKE '____-__-__T__:__:__.______Z' AND translate({text}, '0123456789', '') = '--T::.Z'"
        f" AND substr({text}, 15, 1) < '6' COLLATE \"C\" AND substr({text}, 18, 1) < '6' COLLATE \"C\""
    )
    return f"CASE WHEN {usual} THEN left({text}, 13) || ':00:00Z' ELSE {text} END"


@compiles(instant_of, "postgresql")
def _instant_of(element: instant_of, compiler: SQLCompiler, **kw: Any) -> str:
    return instant_sql(_only(element, compiler, **kw))


@compiles(hour_of, "postgresql")
def _hour_of(element: hour_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"to_char({_only(element, compiler, **kw)} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24')"


# --- SQLite ----------------------------------------------------------------------------------------------------------


@compiles(bytewise, "sqlite")
def _as_stored(element: bytewise, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({_only(element, compiler, **kw)} COLLATE BINARY)"


@compiles(visible, "sqlite")
def _visible(element: visible, compiler: SQLCompiler, **kw: Any) -> str:
    cell = _only(element, compiler, **kw)
    # Printable ASCII, as nearly all of it is, needs no call. GLOB ends at a NUL, instr of blobs does not.
    plain = f"typeof({cell}) = 'text' AND {cell} NOT GLOB '*[^ -~]*' AND NOT instr(CAST({cell} AS BLOB), x'00')"
    raw = f"CASE typeof({cell}) WHEN 'text' THEN CAST({cell} AS BLOB) ELSE {cell} END"
    return f"CASE WHEN {plain} THEN {cell} ELSE cowrie_visible({raw}) END"


@compiles(whole, "sqlite")
def _whole(element: whole, compiler: SQLCompiler, **kw: Any) -> str:
    cell = _only(element, compiler, **kw)
    return f"CASE typeof({cell}) WHEN 'integer' THEN {cell} END"


@compiles(flagged, "sqlite")
def _true(element: flagged, compiler: SQLCompiler, **kw: Any) -> str:
    cell = _only(element, compiler, **kw)
    return f"coalesce({cell} = 1 OR (typeof({cell}) = 'text' AND lower({cell}) = 'true'), 0)"


@compiles(hour_key, "sqlite")
def _hour_key_sqlite(element: hour_key, compiler: SQLCompiler, **kw: Any) -> str:
    text = _only(element, compiler, **kw)
    digits = {count: "[0-9]" * count for count in (2, 4, 6)}
    day = f"{digits[4]}-{digits[2]}-{digits[2]}T{digits[2]}"
    usual = f"{day}:[0-5][0-9]:[0-5][0-9].{digits[6]}Z"
    return f"CASE WHEN {text} GLOB '{usual}' THEN substr({text}, 1, 13) || ':00:00Z' ELSE {text} END"


@compiles(instant_of, "sqlite")
def _instant_of_sqlite(element: instant_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"cowrie_instant({_only(element, compiler, **kw)})"


@compiles(hour_of, "sqlite")
def _hour_of_sqlite(element: hour_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"substr({_only(element, compiler, **kw)}, 1, 13)"
