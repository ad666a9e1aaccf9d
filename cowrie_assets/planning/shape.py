"""The target's shape for one source: the catalog's tables, and what only this source has.

Belongs here: mapping declarations to target types. Not here: DDL (`loading/ddl.py`).
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import TABLES, Column, Index, Table, Type
from ..cleaning.json_column import clean_json
from ..cleaning.scalars import clean_blob, clean_boolean, clean_instant, clean_integer, clean_real
from ..cleaning.text import clean_text
from ..source.cells import Cells, Storage
from ..source.schema import SourceColumn, SourceTable

_NOT_TEXT = pa.array([Storage.INTEGER, Storage.REAL, Storage.BLOB], pa.int8())
_LITERAL = re.compile(r"-?\d+(\.\d+)?|'[^'\x00]*'|NULL|CURRENT_TIMESTAMP", re.IGNORECASE)


def candidates(declared: str, json_type: Type = Type.JSONB) -> tuple[Type, ...]:
    """The target types for a declared type, the first that fits every cell is taken; text always does."""
    name = declared.upper()
    if "JSON" in name:
        return (json_type,)
    if "BOOL" in name:
        return (Type.BOOLEAN,)
    if "DATE" in name or "TIME" in name:
        return (Type.TIMESTAMPTZ,)
    if "INT" in name:
        return (Type.BIGINT,)
    if "CHAR" in name or "CLOB" in name or "TEXT" in name:
        return ()
    if "BLOB" in name:
        return (Type.BYTEA,)
    if any(word in name for word in ("REAL", "FLOA", "DOUB")):
        return (Type.DOUBLE,)
    if "NUM" in name or "DEC" in name:
        return (Type.BIGINT, Type.DOUBLE)
    return (Type.BIGINT, Type.DOUBLE, Type.BYTEA)


def first_misfit(kind: Type, cells: Cells) -> int | None:
    """The first row whose cell does not go into that type unchanged, or None."""
    if cells.storage is Storage.NULL:
        return None
    if kind in (Type.JSONB, Type.JSON):
        json = clean_json(cells.of(Storage.TEXT), jsonb=kind is Type.JSONB)
        no_text = pc.indices_nonzero(pc.is_in(cells.classes(), value_set=_NOT_TEXT))[:1].to_pylist()
        return min((*no_text, *(r.row for r in json.repairs), *(r.row for r in json.rejects)), default=None)
    kernel = {
        Type.BIGINT: clean_integer,
        Type.DOUBLE: clean_real,
        Type.BOOLEAN: clean_boolean,
        Type.TIMESTAMPTZ: clean_instant,
        Type.BYTEA: clean_blob,
        Type.TEXT: clean_text,
    }[kind]
    outcome = kernel(cells)
    return min((*(r.row for r in outcome.repairs), *(r.row for r in outcome.refusals)), default=None)


def is_known(table: SourceTable) -> bool:
    """Whether the catalog describes this table: it has the name, the key and every column that cannot be defaulted."""
    entry = TABLES.get(table.name)
    if entry is None:
        return False
    names = {c.name for c in table.columns}
    return all(c.name in names for c in entry.columns if c.name in entry.key or (not c.nullable and c.default is None))


def target_table(source: SourceTable, types: dict[str, Type], json_type: Type = Type.JSONB) -> Table:
    """The target's table for a source's table.

    Args:
        source: the declaration.
        types: the type of each column that the catalog does not know.
        json_type: how documents of the catalog's columns are stored.
    """
    if is_known(source):
        entry = TABLES[source.name].with_json(json_type)
        known = {c.name for c in entry.columns}
        extra = tuple(
            Column(c.name, types[c.name], default=_default(c, types[c.name]))
            for c in source.columns
            if c.name not in known and not c.generated
        )
        return _with_source_indexes(entry.with_columns(extra), source)
    columns = tuple(
        Column(
            c.name,
            types[c.name],
            nullable=not (c.not_null or c.key),
            default=_default(c, types[c.name]),
        )
        for c in source.columns
        if not c.generated
    )
    bare = Table(source.name, columns, key=source.key, known=False)
    return _with_source_indexes(bare, source)


def _default(column: SourceColumn, kind: Type) -> str | None:
    text = column.default
    if text is None or not _LITERAL.fullmatch(text) or text.upper() == "NULL":
        return None
    if kind is Type.BOOLEAN:
        return {"0": "false", "1": "true"}.get(text.strip("'"))
    if kind in (Type.JSONB, Type.JSON, Type.BYTEA) or (kind is Type.TIMESTAMPTZ) != (
        text.upper() == "CURRENT_TIMESTAMP"
    ):
        return None
    if kind in (Type.BIGINT, Type.DOUBLE):
        bare = text.strip("'")
        return bare if re.fullmatch(r"-?\d{1,18}" if kind is Type.BIGINT else r"-?\d{1,18}(\.\d+)?", bare) else None
    return text if text.startswith("'") or kind is Type.TIMESTAMPTZ else f"'{text}'"


def _with_source_indexes(table: Table, source: SourceTable) -> Table:
    names = {c.name for c in table.columns}
    unique = set(table.unique_sets)
    taken = {i.columns for i in table.indexes} | unique
    used = {i.name for i in table.indexes}
    indexes = list(table.indexes)
    for index in reversed(source.indexes):
        # PRAGMA index_list is newest first. A doubled one is built once; the plan lists those that are not plain.
        columns = tuple(c for c in index.columns if c is not None)
        if not index.plain or not set(columns) <= names or index.origin == "pk":
            continue
        # Version 1's UNIQUE (source, source_offset) became a wider one: carried along it would refuse later events.
        outgrown = table.known and index.unique and any(set(columns) < set(wider) for wider in table.unique_sets)
        if columns in (unique if index.unique else taken) or outgrown:
            continue
        name = index.name
        if name.startswith("sqlite_autoindex_"):
            name = f"uq_{table.name}_{'_'.join(columns)}"
        if name in used:
            continue
        taken.add(columns)
        if index.unique:
            unique.add(columns)
        used.add(name)
        indexes.append(Index(name, columns, unique=index.unique, constraint=index.unique))
    return Table(table.name, table.columns, table.key, table.key_name, tuple(indexes), table.dated_by, table.known)
