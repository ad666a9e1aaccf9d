"""Streams the target's rows and the ledger's details of them, all of one snapshot.

Belongs here: SQL over the target and the ledger. Not here: what a cell was (`restore.py`), SQLite (`write.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog import Table, Type
from ..errors import ExportError
from ..loading.ddl import digest_sql, identity, key_sql, quoted
from ..planning.plan import TablePlan
from ..source.cells import Storage
from ..source.ranges import Ranges, Rowids, last_of

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

LARGE = 1 << 20
"""Bytes of an original from which it is fetched only when its row is written."""

_WIRE = {Type.BIGINT: "int8", Type.DOUBLE: "float8", Type.BOOLEAN: "int4", Type.BYTEA: "bytea"}
_VERSION_ROW = "t.key = 'schema_version'"


@dataclass(frozen=True)
class Large:
    """An original text or blob that is still in the ledger, at `place`."""

    place: str
    storage: Storage


@dataclass(frozen=True)
class Fix:
    """A cell of `repairs`: what the source held."""

    column: str
    storage: Storage
    original: bytes | Large | None


@dataclass(frozen=True)
class Expected:
    """What the ledger says of a table's loaded partitions."""

    loaded: int
    quarantined: int


def literal(text: str) -> str:
    """A text as SQL; COPY takes no parameters."""
    return "'" + text.replace("'", "''") + "'"


class Snapshot(AbstractContextManager["Snapshot"]):
    """Two connections that see the same moment: rows stream over one while the other answers questions about them."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """Open both, read only."""
        self._stack = ExitStack()
        self._streams: list[Generator[tuple[Any, ...], None, None]] = []
        try:
            self.rows, self.side = (self._stack.enter_context(closing(connect())) for _ in range(2))
            begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            self.rows.execute(begin)
            (name,) = self._one(self.rows, "SELECT pg_export_snapshot()")
            self.side.execute(begin)
            self.side.execute(f"SET TRANSACTION SNAPSHOT {literal(name)}".encode())
            # Rows without a key come in the order in which they lie: nothing may start in mid-table or in parallel.
            self.rows.execute("SET LOCAL synchronize_seqscans = off; SET LOCAL max_parallel_workers_per_gather = 0")
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *error: object) -> None:
        """Close both; after an error a COPY may be half read, and it holds its connection's lock."""
        for stream in self._streams:
            stream.close()
        self._stack.close()

    def _copy(self, query: str, types: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        def read() -> Generator[tuple[Any, ...], None, None]:
            statement = f"COPY ({query}) TO STDOUT (FORMAT binary)"
            with self.rows.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                copy.set_types(types)
                yield from copy.rows()

        self._streams.append(stream := read())
        return stream

    @staticmethod
    def _one(connection: Connection, query: str, *parameters: object) -> tuple[Any, ...]:
        row = connection.execute(query.encode(), parameters or None).fetchone()
        assert row is not None  # noqa: S101 - every query here is an aggregate or a function
        return row

    def pending(self) -> list[tuple[str, str]]:
        """The (table, partition) that are not loaded, or whose rows moved to another since."""
        rows = self.side.execute(
            "SELECT table_name, partition_key FROM cowrie_migration.partitions"
            " WHERE loaded_at IS NULL OR inputs IS NULL ORDER BY 1, 2"
        ).fetchall()
        return [(table, key) for table, key in rows]

    def expected(self, table: str) -> Expected:
        """The sums of what was loaded."""
        sums = self._one(
            self.side,
            "SELECT coalesce(sum(loaded_rows), 0)::bigint, coalesce(sum(quarantined_rows), 0)::bigint"
            " FROM cowrie_migration.partitions WHERE table_name = %s AND loaded_at IS NOT NULL",
            table,
        )
        return Expected(*sums)

    def count(self, table: Table) -> int:
        """Rows in the target now, but for the version that `finish` added; 0 where the table is gone."""
        if self._one(self.side, "SELECT to_regclass(%s)", quoted(table.name)) == (None,):
            return 0
        (count,) = self._one(self.side, f"SELECT count(*) FROM {quoted(table.name)} t WHERE NOT {_added(table)}")
        return int(count)

    def details(self, table: str) -> tuple[dict[str, Ranges], dict[str, dict[Storage, Ranges]]]:
        """Column -> rowids that we filled; column -> class -> rowids whose class the value does not tell."""
        derived = {column: self._ranges("derivations", table, column) for (column,) in self._columns(table)}
        found: dict[str, dict[Storage, Ranges]] = {}
        for column, label in self.side.execute(
            "SELECT DISTINCT column_name, storage FROM cowrie_migration.storage_classes WHERE table_name = %s", (table,)
        ).fetchall():
            ranges = self._ranges("storage_classes", table, column, label)
            found.setdefault(column, {})[Storage[label.upper()]] = ranges
        return derived, found

    def _columns(self, table: str) -> list[tuple[Any, ...]]:
        return self.side.execute(
            "SELECT DISTINCT column_name FROM cowrie_migration.derivations WHERE table_name = %s", (table,)
        ).fetchall()

    def _ranges(self, name: str, table: str, column: str, storage: str | None = None) -> Ranges:
        of_class = " AND storage = %s" if storage else ""
        with self.side.cursor(name="ranges") as cursor:
            cursor.itersize = 10_000
            cursor.execute(
                f"SELECT lower(r), {last_of('r')} FROM cowrie_migration.{name}, unnest(source_rowids) r"
                f" WHERE table_name = %s AND column_name = %s{of_class}".encode(),
                (table, column, storage) if storage else (table, column),
            )
            return Ranges((low, high) for low, high in cursor)

    def told_rowids(self, table: str) -> Rowids:
        """The rowids, ascending, that the ledger knows of a table whose key is another: set aside, or detailed."""
        with self.side.cursor(name="told") as cursor:
            cursor.itersize = 10_000
            cursor.execute(
                "SELECT source_rowid FROM cowrie_migration.quarantine"
                " WHERE table_name = %s AND source_rowid IS NOT NULL"
                " UNION SELECT source_rowid FROM cowrie_migration.row_digests WHERE table_name = %s ORDER BY 1",
                (table, table),
            )
            return np.fromiter((rowid for (rowid,) in cursor), np.int64)

    def stream(self, planned: TablePlan, *, everything: bool) -> Iterator[tuple[Any, ...]]:
        """A table's rows: source rowid or None, whether we loaded it, then the target's values of the source's columns.

        Args:
            planned: the table.
            everything: also the rows that others wrote.

        Raises:
            ExportError: where ours cannot be told apart from those of others.
        """
        table = planned.target
        mine = self._mine(table, everything)
        ours = mine if everything else "true"
        rowid, source = "NULL::bigint", f"{quoted(table.name)} t"
        order = ""
        if planned.rowid_is_key:
            rowid = f"t.{quoted(table.key[0])}"
            order = f" ORDER BY {rowid}"
        elif self._one(
            self.side, "SELECT count(*) FROM cowrie_migration.row_digests WHERE table_name = %s", table.name
        )[0]:
            rowid = "told.source_rowid"
            source += f" LEFT JOIN {_told(table)} told ON told.place = t.ctid"
        columns = [table.column(n) for n in planned.source.stored]
        chosen = ", ".join([rowid, ours, *(_expression(c.name, c.type) for c in columns)])
        condition = f"NOT {_added(table)}" + ("" if everything else f" AND {mine}")
        types = ["int8", "bool", *(_WIRE.get(c.type, "text") for c in columns)]
        return self._copy(f"SELECT {chosen} FROM {source} WHERE {condition}{order}", types)

    def _mine(self, table: Table, everything: bool) -> str:
        """SQL: whether a row is one that this migration loaded."""

        def recorded(column: str) -> str:
            name = literal(table.name)
            return f"FROM cowrie_migration.partitions p, unnest(p.{column}) k WHERE p.table_name = {name}"

        if table.serial:
            return f"coalesce(t.{quoted(table.serial)} <@ (SELECT range_agg(k) {recorded('key_ids')}), false)"
        if can_tell_rows(table):
            return f"({key_sql(table)} IN (SELECT k {recorded('keys')}))"
        others = self.count(table) - self.expected(table.name).loaded
        if others > 0 and not everything:
            raise ExportError(
                f"Table {table.name} has no key to tell rows by, and holds {others:,} rows more than were loaded.",
                hint="Export with --all to include them.",
            )
        return "true"

    def fixes(self, planned: TablePlan, rowids: Sequence[int]) -> dict[int, list[Fix]]:
        """The repairs of these rows, by rowid."""
        place = "r.source_rowid = ANY (%s)"
        parameters: tuple[object, ...] = (planned.source.name, list(rowids))
        join, rowid = "", "r.source_rowid"
        if planned.rowid_is_key:
            place, parameters = "r.source_rowid BETWEEN %s AND %s", (planned.source.name, rowids[0], rowids[-1])
        elif planned.source.rowid is None and planned.target.key:
            # A WITHOUT ROWID table: its repairs know the key alone.
            join, rowid = " JOIN cowrie_migration.row_digests d USING (table_name, target_key)", "d.source_rowid"
            place = "d.source_rowid = ANY (%s)"
        rows = self.side.execute(
            f"SELECT {rowid}, r.column_name, r.original_type, r.ctid::text, octet_length(r.original) > {LARGE},"
            f" CASE WHEN octet_length(r.original) <= {LARGE} THEN r.original END"
            f" FROM cowrie_migration.repairs r{join} WHERE table_name = %s AND {place}".encode(),
            parameters,
        ).fetchall()
        found: dict[int, list[Fix]] = {}
        for rowid_value, column, label, at, large, original in rows:
            storage = Storage[label.upper()]
            fix = Fix(column, storage, Large(at, storage) if large else original)
            found.setdefault(rowid_value, []).append(fix)
        return found

    def fetch(self, large: Large) -> bytes:
        """A large original."""
        (original,) = self._one(
            self.side, "SELECT original FROM cowrie_migration.repairs WHERE ctid = %s::tid", large.place
        )
        return bytes(original)

    def set_aside(self, table: str) -> Iterator[tuple[int | None, str]]:
        """The quarantine's rows: rowid (None without one) and the cells as JSON."""
        query = (
            "SELECT source_rowid, original::text FROM cowrie_migration.quarantine"
            f" WHERE table_name = {literal(table)} ORDER BY source_rowid"
        )
        return ((rowid, original) for rowid, original in self._copy(query, ["int8", "text"]))

    def large_cell(self, table: str, rowid: int | None, column: str) -> bytes:
        """A set-aside cell that lies in parts; ExportError where two rows without a rowid have one."""
        parts: list[bytes] = []
        with self.side.cursor(name="parts") as cursor:
            cursor.itersize = 1
            cursor.execute(
                "SELECT part, bytes FROM cowrie_migration.large_cells"
                " WHERE table_name = %s AND source_rowid IS NOT DISTINCT FROM %s AND column_name = %s ORDER BY part",
                (table, rowid, column),
            )
            for number, content in cursor:
                if number != len(parts):
                    raise ExportError(f"Table {table}: the parts of a large cell of {column} are not one cell's.")
                parts.append(bytes(content))
        return b"".join(parts)


def can_tell_rows(table: Table) -> bool:
    """Whether the ledger's keys find the rows again: PostgreSQL spells JSON its own way."""
    return bool(table.key) and all(table.column(c).type not in (Type.JSONB, Type.JSON) for c in table.key)


def _added(table: Table) -> str:
    """SQL: whether it is the row that `finish` adds to a source without one; it counts as nobody's."""
    if not (table.known and table.name == "schema_state"):
        return "false"
    keys = "SELECT k FROM cowrie_migration.partitions p, unnest(p.keys) k WHERE p.table_name = 'schema_state'"
    return f"({_VERSION_ROW} AND t.key NOT IN ({keys}))"


def _expression(name: str, kind: Type) -> str:
    column = f"t.{quoted(name)}"
    if kind is Type.BOOLEAN:
        return f"{column}::int"
    if kind is Type.TIMESTAMPTZ:
        # As the processor writes them: UTC, six digits.
        spelled = f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        return f"CASE WHEN isfinite({column}) THEN {spelled} ELSE {column}::text END"
    return column if kind in (Type.TEXT, *_WIRE) else f"{column}::text"


def _told(table: Table) -> str:
    """SQL: (place, source_rowid) of the rows that have a digest; of equal rows the first takes the first rowid."""
    digest = digest_sql(f"t.{quoted(c)}" for c in identity(table))
    rows = (
        f"SELECT ctid AS place, digest, row_number() OVER (PARTITION BY digest ORDER BY ctid) AS n"
        f" FROM (SELECT t.ctid, {digest} AS digest FROM {quoted(table.name)} t) d"
    )
    known = (
        "SELECT source_rowid, digest, row_number() OVER (PARTITION BY digest ORDER BY source_rowid) AS n"
        f" FROM cowrie_migration.row_digests WHERE table_name = {literal(table.name)}"
    )
    return f"(SELECT r.place, k.source_rowid FROM ({rows}) r JOIN ({known}) k USING (digest, n))"
