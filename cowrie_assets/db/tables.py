"""The catalog's tables as SQLAlchemy tables: one truth, two notations.

Belongs here: the translation. Not here: what the tables are (`catalog.py`), rows as objects (`models.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from ..catalog import TABLES, Column, Table, Type
from .types import Flag, Json, Moment, Whole, Words

METADATA = sa.MetaData()

_TYPES: dict[Type, Callable[[], Any]] = {
    Type.TEXT: Words,
    Type.BIGINT: Whole,
    Type.DOUBLE: sa.Double,
    Type.BOOLEAN: Flag,
    Type.TIMESTAMPTZ: Moment,
    Type.JSONB: Json,
    Type.JSON: Json,
    Type.BYTEA: sa.LargeBinary,
}


def _default(column: Column) -> Any:
    """The default as an expression, so that each backend spells it its own way."""
    if column.default is None:
        return None
    return {"false": sa.false(), "true": sa.true()}.get(column.default, sa.text(column.default))


def _column(column: Column, table: Table) -> sa.Column[Any]:
    identity = (sa.Identity(always=False),) if column.name == table.serial else ()
    return sa.Column(
        column.name,
        _TYPES[column.type](),
        *identity,
        nullable=column.nullable,
        server_default=None if identity else _default(column),
    )


def build_table(table: Table, metadata: sa.MetaData) -> sa.Table:
    """The SQLAlchemy table of a catalog entry, with key, constraints and indexes under the entry's names."""
    built = sa.Table(table.name, metadata, *(_column(column, table) for column in table.columns))
    if table.key:
        built.append_constraint(sa.PrimaryKeyConstraint(*table.key, name=table.key_name))
    for index in table.indexes:
        if index.constraint:
            built.append_constraint(sa.UniqueConstraint(*index.columns, name=index.name))
        else:
            sa.Index(index.name, *(built.c[name] for name in index.columns), unique=index.unique)
    return built


SQL_TABLES: dict[str, sa.Table] = {name: build_table(table, METADATA) for name, table in TABLES.items()}
"""The seven tables by name, in the catalog's order."""
