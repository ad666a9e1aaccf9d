"""Column types that mean the same on SQLite and PostgreSQL, and read what a SQLite file really holds.

Belongs here: how a value passes between Python and a column. Not here: which column has which type (`tables.py`).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from .json_value import JSON_NULL, Cell, MalformedJson, python_value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _AsStored(UserDefinedType[Any]):
    """A SQLite column of a declared type whose cells come as they are stored, whatever their class."""

    cache_ok = True

    def __init__(self, declared: str) -> None:
        self.declared = declared

    def get_col_spec(self, **_: Any) -> str:
        return self.declared


class cell_of(sa.sql.functions.FunctionElement[Any]):  # noqa: N801 - an SQL construct
    """A JSON column's cell for `json_value`: text as its bytes (they may be no UTF-8), SQL NULL apart from `null`."""

    inherit_cache = True
    name = "cell_of"


@compiles(cell_of)
def _cell_as_text(element: cell_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS TEXT)"


@compiles(cell_of, "sqlite")
def _cell_as_blob(element: cell_of, compiler: SQLCompiler, **kw: Any) -> str:
    # A real is not cast: SQLite would print 15 of its digits.
    column = compiler.process(element.clauses, **kw)
    return f"CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) ELSE {column} END"


class Json(TypeDecorator[Any]):
    r"""`jsonb` on PostgreSQL, JSON text on SQLite.

    Read: SQL NULL is None, JSON `null` is JSON_NULL, a cell without JSON is MalformedJson; what `jsonb` cannot hold
    reads as the migration would repair it. Written: None is SQL NULL, JSON_NULL is `null`; a NUL, a lone surrogate and
    NaN in the value are made visible as the migration does, so that both backends hold the same.
    """

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The backend's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(sa.JSON(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Python to a value that `jsonb` holds."""
        return sa.JSON.NULL if value is JSON_NULL else storable(value)

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Select the cell itself: the drivers' own reading would make None of `null`, and fail on damaged text."""
        return sa.type_coerce(cell_of(column), self)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """The cell to Python."""
        return python_value


def storable(value: Any) -> Any:
    """The value as `jsonb` holds it: NULs, lone surrogates and non-finite numbers made visible."""
    if isinstance(value, MalformedJson):
        raise ValueError("A malformed JSON cell cannot be written back as a value.")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return None if value is JSON_NULL else value


class Moment(TypeDecorator[datetime]):
    """`timestamptz` on PostgreSQL, the processor's text in UTC on SQLite (`2026-11-24 05:48:08[.828261]`).

    Read on SQLite: whatever the migration's date kernel reads (`T`, `Z`, offsets, epoch numbers), as an aware datetime
    in UTC; None for NULL and for what is no date. Written without a fraction where that is zero: as text, only so
    does `>= midnight` hold the rows of that very second. Naive datetimes are refused.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The backend's type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_AsStored("DATETIME"))
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """An aware datetime to what the column holds."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: write datetime.now(UTC) or .replace(tzinfo=UTC).")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None).isoformat(" ") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """What the column holds to an aware datetime in UTC."""
        return value.astimezone(UTC) if isinstance(value, datetime) else read_moment(value)


@cache
def _date_kernel() -> tuple[Any, Any]:
    from ..source.instants import parse_number, parse_text  # with Arrow: 0.2 s, and only SQLite needs it

    return parse_text, parse_number


def read_moment(cell: Cell) -> datetime | None:
    """A SQLite cell as an aware datetime in UTC, None where it is no date."""
    parse_text, parse_number = _date_kernel()
    if isinstance(cell, str):
        cell = cell.encode()
    if isinstance(cell, bytes):
        read = parse_text(cell)
        micros = read[0] if read else None
    else:
        micros = None if cell is None else parse_number(cell)
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


class Flag(TypeDecorator[bool]):
    """`boolean`; on SQLite 1, 0, the words true and false, and None for what is no boolean, as the migration reads."""

    impl = sa.Boolean
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The backend's type."""
        return dialect.type_descriptor(_AsStored("BOOLEAN") if dialect.name == "sqlite" else sa.Boolean())

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        """Python's True and False only."""
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{value!r} is no boolean.")
        return int(value) if dialect.name == "sqlite" and value is not None else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        """What the column holds to a boolean."""
        word = value.lower() if isinstance(value, str) else value
        return {0: False, 1: True, "false": False, "true": True}.get(word)


class Whole(TypeDecorator[int]):
    """`bigint`; on SQLite None for what is no integer, as the migration reads."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The backend's type."""
        # SQLite numbers rows by itself only where the key's declared type is INTEGER (lang_createtable.html#rowid).
        return dialect.type_descriptor(sa.Integer() if dialect.name == "sqlite" else sa.BigInteger())

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """What the column holds to an integer."""
        return None if dialect.name == "sqlite" and not isinstance(value, int) else value


def visible_text(raw: bytes) -> str:
    r"""A text cell as PostgreSQL holds it after the migration: `\x00` for a NUL, `\xff` for a byte that is no UTF-8.

    It is the text factory of our SQLite connections: Python's own raises on such bytes, and its cursor never passes the
    row. What lies there can be had by `CAST(column AS BLOB)`; a row is found by its stored bytes, not by this text.
    """
    text = raw.decode("utf-8", "backslashreplace")
    return text.replace("\x00", "\\x00") if "\x00" in text else text


class Words(TypeDecorator[str]):
    """`text`; on SQLite blobs and numbers read as the text that the migration makes of them."""

    impl = sa.Text
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """The cell to text; PostgreSQL's is text already."""
        return _words if dialect.name == "sqlite" else None


def _words(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return visible_text(cell) if isinstance(cell, bytes) else repr(cell)
