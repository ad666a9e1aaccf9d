"""Reads the target's rows for the proof: by key, over COPY, as Arrow.

Belongs here: the SELECTs and the reading of CSV. Not here: comparing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from ..catalog import Column, Table, Type
from ..db.names import bound
from ..source.ranges import last_of, multirange
from ..source.reader import BATCH_BYTES, Range
from .canonical import TARGET_TYPES

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_NULL = "\\N"
_CONVERT: dict[str, Any] = {
    "null_values": [_NULL],
    "strings_can_be_null": True,
    "quoted_strings_can_be_null": False,
    "true_values": ["t"],
    "false_values": ["f"],
}
MEMBER = "\0member:"
"""Prefix of the columns that say whether a derived cell equals its payload's member: no SQL name holds a NUL."""


def chosen(table: Table, columns: Sequence[Column]) -> tuple[list[str], dict[str, pa.DataType]]:
    """The SELECT list for columns, and the Arrow types in which COPY's text is read."""
    select = [f"encode(t.{bound(c.name)}, 'hex')" if c.type is Type.BYTEA else f"t.{bound(c.name)}" for c in columns]
    types = {c.name: TARGET_TYPES[c.type] for c in columns}
    for column in table.columns:
        if column.derived and column in columns:
            document, member = column.derived
            literal = member.replace("'", "''")
            cell = f"t.{bound(column.name)}"
            select.append(f"{cell} IS NOT DISTINCT FROM (t.{bound(document)} ->> '{literal}')")
            types[f"{MEMBER}{column.name}"] = pa.bool_()
    return select, types


def rows_by_id(connection: Connection, table: Table, columns: Sequence[Column], ids: Sequence[Range]) -> pa.Table:
    """Rows whose integer key lies in the closed ranges, in no promised order.

    Sorted by the server they took nine times as long: a batch is larger than its work_mem.
    """
    key = f"t.{bound(table.serial or '')}"
    select, types = chosen(table, columns)
    sql = (
        f"SELECT {', '.join(select)} FROM unnest(%s::int8multirange) AS span(ids)"
        f" JOIN {bound(table.name)} t ON {key} >= lower(span.ids) AND {key} <= {last_of('span.ids')}"
    )
    return _read(connection, sql, (multirange(ids),), types)


def rows_by_key(
    connection: Connection, table: Table, columns: Sequence[Column], keys: Sequence[tuple[str, ...]]
) -> pa.Table:
    """Rows of these keys, given as the text of each part."""
    select, types = chosen(table, columns)
    arrays, names, tests = [], [], []
    for number, name in enumerate(table.key):
        arrays.append([k[number] for k in keys])
        names.append(f"k{number}")
        tests.append(f"t.{bound(name)} = k.k{number}::{table.column(name).type.value}")
    placeholders = ", ".join(["%s::text[]"] * len(arrays))
    sql = (
        f"SELECT {', '.join(select)} FROM unnest({placeholders}) AS k({', '.join(names)})"
        f" JOIN {bound(table.name)} t ON {' AND '.join(tests)}"
    )
    return _read(connection, sql, tuple(arrays), types)


def all_rows(connection: Connection, table: Table, columns: Sequence[Column]) -> Iterator[pa.Table]:
    """Every row of a table without a key, in blocks bounded by bytes."""
    select, types = chosen(table, columns)
    sql = f"SELECT {', '.join(select)} FROM {bound(table.name)} t"
    for content in _blocks(connection, sql, (), BATCH_BYTES):
        yield _table(content, types)


def _read(connection: Connection, sql: str, parameters: tuple[Any, ...], types: dict[str, pa.DataType]) -> pa.Table:
    return _table(b"".join(_blocks(connection, sql, parameters, BATCH_BYTES)), types)


def _blocks(connection: Connection, sql: str, parameters: tuple[Any, ...], size: int) -> Iterator[bytes]:
    """CSV in whole rows (PostgreSQL sends one a message), at least `size` bytes at a time."""
    statement = f"COPY ({sql}) TO STDOUT (FORMAT csv, NULL '{_NULL}')"
    if not parameters:
        statement = statement.replace("%%", "%")  # as psycopg does it where there are parameters
    with connection.cursor() as cursor, cursor.copy(statement.encode(), parameters or None) as copy:
        held, held_bytes = [], 0
        for row in copy:
            held.append(row)
            held_bytes += len(row)
            if held_bytes >= size:
                yield b"".join(held)
                held, held_bytes = [], 0
        if held:
            yield b"".join(held)


def _table(content: bytes, types: dict[str, pa.DataType]) -> pa.Table:
    if not content:
        return pa.table({n: pa.array([], t) for n, t in types.items()})
    # One block: a row must not be longer than a block, and no row's length is known before.
    return pacsv.read_csv(
        pa.py_buffer(content),
        read_options=pacsv.ReadOptions(column_names=list(types), block_size=len(content) + 1, use_threads=False),
        # A row of one empty text is an empty line.
        parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(column_types=types, **_CONVERT),
    )
