"""COPY of cleaned rows; what PostgreSQL refuses is narrowed to the row and set aside.

Belongs here: Arrow to CSV to COPY, halving. Not here: transactions and the ledger (`load.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from ..catalog import Table, Type
from ..staging.files import ROWID
from .connection import describe, driver
from .ddl import listed, quoted

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_OPTIONS = pacsv.WriteOptions(include_header=False, quoting_style="all_valid")
"""Every value quoted, so that '' stays apart from NULL and no value is taken for a number or the end of data."""
_ROW_FAULTS = ("22", "23", "54")
"""SQLSTATE classes that one row's content causes: data exception, integrity, program limit."""


@dataclass(frozen=True)
class Refused:
    """A row that PostgreSQL refused."""

    rowid: int
    sqlstate: str
    message: str


def to_csv(rows: pa.Table, table: Table) -> pa.Buffer:
    """Rows (without the rowid column) as CSV for COPY."""
    arrays = []
    for column in rows.column_names:
        values = rows.column(column)
        if table.column(column).type is Type.BYTEA:
            values = pa.array([None if v is None else "\\x" + v.hex() for v in values.to_pylist()], pa.string())
        arrays.append(values)
    sink = pa.BufferOutputStream()
    pacsv.write_csv(pa.Table.from_arrays(arrays, names=rows.column_names), sink, _OPTIONS)
    return sink.getvalue()


def copy_rows(
    connection: Connection, table: Table, rows: pa.Table, on_overflow: Callable[[str, pa.Table], bool]
) -> list[Refused]:
    """COPY rows within the open transaction.

    A refused batch is rolled back to its savepoint and halved until the row is alone.

    Args:
        connection: in a transaction.
        table: the target's table.
        rows: cleaned rows with their rowid column.
        on_overflow: called with the message of SQLSTATE 54000 (an index cannot hold a value) and the rows; True where
            it made room.

    Returns:
        The rows that PostgreSQL refused, one by one.
    """
    psycopg = driver()
    try:
        with connection.transaction():
            _copy(connection, table, rows.drop_columns([ROWID]))
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if not state.startswith(_ROW_FAULTS):
            raise
        if state == "54000" and on_overflow(str(error), rows):
            return copy_rows(connection, table, rows, on_overflow)
        if rows.num_rows == 1:
            return [Refused(rows.column(ROWID)[0].as_py(), state, describe(error))]
        half = rows.num_rows // 2
        first = copy_rows(connection, table, rows.slice(0, half), on_overflow)
        return first + copy_rows(connection, table, rows.slice(half), on_overflow)
    return []


def _copy(connection: Connection, table: Table, rows: pa.Table) -> None:
    names = tuple(rows.column_names)
    statement = f"COPY {quoted(table.name)} ({listed(names)}) FROM STDIN (FORMAT csv)"
    with connection.cursor() as cursor:
        with cursor.copy(statement.encode()) as copy:
            copy.write(memoryview(to_csv(rows, table)))
        if cursor.rowcount != rows.num_rows:
            raise RuntimeError(f"COPY into {table.name} took {cursor.rowcount} of {rows.num_rows} rows")
