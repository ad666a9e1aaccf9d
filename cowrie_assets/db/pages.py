"""A table's rows page by page, as the cells that the catalogue's rules read, on either backend.

Belongs here: keyset paging and the cells. Not here: the rules (`cleaning/`), what is done with their findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from ..catalog import TABLES, Column, Table, Type
from ..errors import DatabaseError
from ..loading.ledger import SCHEMA
from ..planning.plan import TablePlan
from ..planning.shape import is_known
from ..policies import Treatment
from ..source.cells import Cells
from ..source.reader import Batch, read_table
from ..source.schema import SourceColumn, SourceTable, quoted, read_schema
from .connecting import failure_hint
from .relations import is_postgres, sqlite_file

PAGE_ROWS = 5_000
"""Rows of a page on PostgreSQL; on SQLite a page is what the source reader hands on, some 8 MB."""
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Page:
    """Rows and their keys: rowids on SQLite, the primary key's values on PostgreSQL."""

    batch: Batch
    keys: list[Any]

    def key_of(self, rowid: int) -> Any:
        """The key of the row that the rules call by this number."""
        return self._by_number[rowid]

    @cached_property
    def _by_number(self) -> dict[int, Any]:
        return dict(zip(self.batch.rowids.to_pylist(), self.keys, strict=True))


@dataclass(frozen=True)
class Pages:
    """How one table is read.

    Attributes:
        plan: what the rules are told: the table's stored columns that the catalog knows.
        key: the column that rows are found by.
    """

    plan: TablePlan
    key: str
    postgres: bool

    @property
    def table(self) -> Table:
        """The catalog's table."""
        return TABLES[self.plan.source.name]

    def read(
        self, connection: sa.Connection, after: Any, *, lock: bool = False, suspicious: bool = False
    ) -> Page | None:
        """The page behind a key (None: the first), or None at the end.

        Args:
            connection: in a transaction.
            after: the last key of the page before.
            lock: nobody else may change these rows until the transaction ends (PostgreSQL; on SQLite begin it so).
            suspicious: leave out rows that PostgreSQL's types and the stored columns show to be clean.
        """
        if self.postgres:
            return self._read_postgres(connection, after, lock, suspicious)
        if after == _HIGHEST:
            return None
        source = self.plan.source
        ranges = [(_LOWEST if after is None else after + 1, _HIGHEST)]
        with as_stored(connection) as raw, closing(read_table(raw, source, ranges)) as batches:  # type: ignore[type-var]
            batch = next(batches, None)
        return None if batch is None else Page(batch, batch.rowids.to_pylist())

    def _read_postgres(self, connection: sa.Connection, after: Any, lock: bool, suspicious: bool) -> Page | None:
        columns = [self.table.column(name) for name in self.plan.source.stored]
        chosen = ", ".join(f"{_expression(c)} AS {quoted(c.name)}" for c in columns)
        tests = [] if after is None else [f"{quoted(self.key)} > :after"]
        if suspicious:
            tests.append(f"({' OR '.join(self._suspicions(columns)) or 'false'})")
        where = f"WHERE {' AND '.join(tests)} " if tests else ""
        sql = (
            f"SELECT {quoted(self.key)} AS k, {chosen} FROM {quoted(self.table.name)} {where}ORDER BY k"
            f" LIMIT {PAGE_ROWS}{' FOR UPDATE' if lock else ''}"
        )
        rows = connection.execute(sa.text(sql), {} if after is None else {"after": after}).all()
        if not rows:
            return None
        keys, *cells = zip(*rows, strict=True)
        numbers = keys if self.table.serial else range(1, len(keys) + 1)
        encoded = {c.name: Cells.encode([_cell(v) for v in v]) for c, v in zip(columns, cells, strict=True)}
        return Page(Batch(pa.array(numbers, pa.int64()), encoded), list(keys))

    def _suspicions(self, columns: list[Column]) -> Iterator[str]:
        stored = self.plan.source.stored
        for column in columns:
            if column.derived and column.derived[0] in stored:
                document, member = column.derived
                yield f"({quoted(column.name)} IS NULL AND {quoted(document)} ->> '{member}' IS NOT NULL)"
            elif column.type is Type.TIMESTAMPTZ:
                yield f"NOT isfinite({quoted(column.name)})"
            elif column.type is Type.JSONB and self.plan.treatment.json_type is Type.JSON:
                yield f"{quoted(column.name)} IS NOT NULL"


def pages_of(connection: sa.Connection, treatment: Treatment) -> tuple[dict[str, Pages], list[str]]:
    """How each known table is read, and the tables and columns (`table.column`) that the rules know nothing of."""
    if is_postgres(connection):
        found = _postgres_tables(connection)
    else:
        with as_stored(connection) as raw:
            found = read_schema(raw).tables
    known: dict[str, Pages] = {}
    unknown: list[str] = []
    for name, table in TABLES.items():
        source = found.get(name)
        if source is None or not is_known(source) or source.rowid is None:
            continue
        names = {c.name for c in table.columns}
        unknown += [f"{name}.{c.name}" for c in source.columns if c.name not in names]
        source = replace(source, columns=tuple(c for c in source.columns if c.name in names), indexes=())
        postgres = is_postgres(connection)
        documents = {c.name for c in table.columns if c.type is Type.JSONB}
        plain = postgres and any(c.declared == "json" for c in source.columns if c.name in documents)
        told = replace(treatment, json_type=Type.JSON if plain else Type.JSONB) if postgres else treatment
        plan = TablePlan(source, 0, None, {}, {}, treatment=told)
        known[name] = Pages(plan, table.key[0] if postgres else str(source.rowid), postgres)
    # The ledger of repairs is ours, and holds originals.
    return known, sorted([*unknown, *(n for n in found.keys() - known.keys() if not n.startswith(f"{SCHEMA}_"))])


def _postgres_tables(connection: sa.Connection) -> dict[str, SourceTable]:
    rows = connection.exec_driver_sql(
        "SELECT c.relname, a.attname, format_type(a.atttypid, NULL), a.attnotnull, a.attgenerated <> ''"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname, a.attnum"
    )
    found: dict[str, list[SourceColumn]] = {}
    for table, name, kind, not_null, generated in rows:
        found.setdefault(table, []).append(SourceColumn(name, kind, not_null, None, 0, generated))
    return {name: SourceTable(name, tuple(columns), (), "ctid", None) for name, columns in found.items()}


def _expression(column: Column) -> str:
    name = quoted(column.name)
    if column.type in (Type.JSONB, Type.JSON, Type.TIMESTAMPTZ):
        return f"{name}::text"
    return f"{name}::int" if column.type is Type.BOOLEAN else name


def _cell(value: Any) -> Any:
    return bytearray(value.encode()) if isinstance(value, str) else value


@contextmanager
def as_stored(connection: sa.Connection) -> Iterator[Any]:
    """The driver's own connection while text comes as bytearray, blobs as bytes."""
    raw: Any = connection.connection.driver_connection
    usual = raw.text_factory
    raw.text_factory = bytearray
    try:
        yield raw
    except raw.Error as error:  # not through SQLAlchemy, which would make it its own
        raise DatabaseError(
            f"{sqlite_file(connection)} cannot be read: {error}.", hint=failure_hint(str(error))
        ) from error
    finally:
        raw.text_factory = usual
