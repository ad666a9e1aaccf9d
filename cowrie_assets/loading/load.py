"""Loads one cleaned partition, rows and ledger in one transaction; loading it again replaces exactly its rows.

Belongs here: that transaction. Not here: COPY itself (`copy.py`) or the ledger's SQL (`ledger.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Index, Table, Type
from ..cleaning.partition import CleanedManifest, read_cleaned, read_rows
from ..cleaning.scalars import key_part
from ..cleaning.table import set_aside
from ..db.names import bound
from ..errors import LoadError, RuleError, StagingError
from ..planning.plan import Plan, TablePlan
from ..rules import Policy
from ..source.ranges import Ranges, last_of, multirange
from ..source.reader import Range, extend_ranges, joined
from ..staging.files import ROWID, read_partition, require_manifest
from ..staging.store import Store
from . import ledger
from .connection import driver
from .copy import Refused, copy_rows
from .ddl import BTREE_BYTES, create_holding_index, digest_sql, identity, key_name, key_sql, quoted, short
from .failures import retried
from .foreign import drop_foreign_keys, hindered, refuse_acting_keys
from .moved import release_keys

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


UNIQUE_VIOLATION = "23505"


@dataclass(frozen=True)
class Loaded:
    """What a partition's load did; `made` is False where it was already in place."""

    table: str
    partition: str
    source_rows: int
    loaded: int
    quarantined: int
    repaired: int
    made: bool


def load_partition(
    connect: Callable[[], Connection],
    plan: Plan,
    store: Store,
    table: str,
    key: str,
    *,
    run_id: str,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Loaded:
    """See that a cleaned partition is in the target.

    Args:
        connect: gives an open connection outside any transaction; called again after a transient failure.
        plan: the plan the target is pinned to.
        store: where the cleaned files lie.
        table: table name.
        key: partition key.
        run_id: for the ledger.
        force: load it again though nothing changed.
        progress: called with rows as they go in.

    Raises:
        StagingError: where it is not cleaned.
        LoadError: where it could not be loaded; the target's rows are as they were before.
        RuleError: where PostgreSQL refuses a row and the policy of that is `fail`.
    """
    cleaned = read_cleaned(store, table, key)
    if cleaned is None:
        raise StagingError(
            f"Partition {key} of {table} is not cleaned.", hint=f"Materialise cleaned/{table} for it first."
        )

    doing = f"Loading partition {key} of {table} failed"

    def once() -> Loaded:
        connection = connect()
        load = _Load(connection, plan.tables[table], store, cleaned, run_id)
        if force or not load.in_place():
            drop_foreign_keys(connection, plan, {table})
        try:
            with connection.transaction():
                return load.run(force, progress)
        except driver().errors.ForeignKeyViolation as error:
            raise hindered(connection, error, doing) from error

    return retried(once, doing)


class _Load:
    def __init__(
        self, connection: Connection, plan: TablePlan, store: Store, cleaned: CleanedManifest, run_id: str
    ) -> None:
        self.connection, self.plan, self.store, self.cleaned, self.run_id = connection, plan, store, cleaned, run_id
        self.table: Table = plan.target
        self.ids: list[Range] = []
        self.keys: list[str] = []
        self.roomy: set[str] = set()
        self.told = Ranges()

    def in_place(self) -> bool:
        """Whether these very inputs are loaded already."""
        return bool(
            self.connection.execute(
                "SELECT FROM cowrie_migration.partitions WHERE table_name = %s AND partition_key = %s AND inputs = %s",
                (self.cleaned.table, self.cleaned.partition, self.cleaned.inputs),
            ).rowcount
        )

    def run(self, force: bool, progress: Callable[[int], None] | None) -> Loaded:
        row = self.connection.execute(
            "SELECT inputs, source_rows, loaded_rows, quarantined_rows, repaired_cells, key_ids::text, keys"
            " FROM cowrie_migration.partitions WHERE table_name = %s AND partition_key = %s FOR UPDATE",
            (self.cleaned.table, self.cleaned.partition),
        ).fetchone()
        if row is None:
            raise LoadError(
                f"The target's ledger knows no partition {self.cleaned.partition} of {self.cleaned.table}.",
                hint="Materialise target/schema first.",
            )
        if row[0] == self.cleaned.inputs and not force:
            return Loaded(self.cleaned.table, self.cleaned.partition, row[1], row[2], row[3], row[4], made=False)
        if row[2] is not None:
            remove_rows(self.connection, self.table, row[2], row[5], row[6])
        ledger.forget(self.connection, self.cleaned.table, self.cleaned.partition)
        refused = self._copy(progress)
        self._see_policy(refused)
        if progress:
            progress(self.cleaned.quarantined)
        return self._record(refused)

    def _copy(self, progress: Callable[[int], None] | None) -> list[Refused]:
        refused: list[Refused] = []
        self.told = Ranges() if self.plan.rowid_is_key else self._ranges_with_details()
        for rows in read_rows(self.store, self.cleaned, "data"):
            now = self._copy_batch(rows)
            refused += now
            if now:
                bad = pa.array([r.rowid for r in now], pa.int64())
                rows = rows.filter(pc.invert(pc.is_in(rows.column(ROWID), value_set=bad)))
            self._note_keys(rows)
            self._note_digests(rows)
            if progress:
                progress(rows.num_rows + len(now))
        return refused

    def _see_policy(self, refused: list[Refused]) -> None:
        for row in refused:
            rule = f"postgres.{row.sqlstate}"
            if self.plan.treatment.policies.of(rule, self.table.name) is Policy.FAIL:
                raise RuleError(
                    f"Partition {self.cleaned.partition} of {self.cleaned.table}, rowid {row.rowid}: {rule}, whose"
                    f" policy is fail: {row.message}.",
                    hint=f'Mend the source or the target, or set "postgres.*@{self.table.name}" to quarantine in'
                    " COWRIE_RULES or sensors.toml, then run `cowrie-assets plan --replace`.",
                )

    def _copy_batch(self, rows: pa.Table) -> list[Refused]:
        refused = copy_rows(self.connection, self.table, rows, self._make_room)
        taken = [r.rowid for r in refused if r.sqlstate == UNIQUE_VIOLATION]
        if not taken:
            return refused
        again = rows.filter(pc.is_in(rows.column(ROWID), value_set=pa.array(taken, pa.int64())))
        keys = [key_text(parts) for parts in zip(*(again.column(c).to_pylist() for c in self.table.key), strict=True)]
        if not release_keys(self.connection, self.table, self.cleaned.partition, keys):
            return refused
        others = [r for r in refused if r.sqlstate != UNIQUE_VIOLATION]
        return others + copy_rows(self.connection, self.table, again, self._make_room)

    def _note_keys(self, rows: pa.Table) -> None:
        if self.table.serial:
            ids = np.sort(rows.column(self.table.serial).to_numpy())
            extend_ranges(self.ids, pa.array(ids))
        elif self.table.key:
            columns = [rows.column(c).to_pylist() for c in self.table.key]
            self.keys += [key_text(parts) for parts in zip(*columns, strict=True)]

    def _ranges_with_details(self) -> Ranges:
        """The rowids of which the ledger says more than their key; two ranges may say the same row."""
        found = [r for ranges in self.cleaned.derived.values() for r in ranges]
        found += [r for classes in self.cleaned.storage.values() for ranges in classes.values() for r in ranges]
        for rows in read_rows(self.store, self.cleaned, "repairs"):
            found += [(rowid, rowid) for rowid in rows.column("rowid").to_pylist()]
        return Ranges(joined(found))

    def _note_digests(self, rows: pa.Table) -> None:
        """Write down what these rows look like in the target, where their key does not tell which rows they were."""
        rowids = rows.column(ROWID).to_numpy()
        rows = rows.filter(pa.array(self.told.holds(rowids)))
        if not rows.num_rows:
            return
        names, rowids = identity(self.table), rows.column(ROWID).to_pylist()
        values = list(zip(*(rows.column(n).to_pylist() for n in names), strict=True))
        texts = [[key_part(v) for v in row] for row in values] if self.table.key else [None] * len(rowids)
        keys = [t and (t[0] if len(t) == 1 else json.dumps(t, ensure_ascii=False)) for t in texts]
        sql = digest_sql(f"%s::{self.table.column(n).type.value}" for n in names)
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO cowrie_migration.row_digests VALUES (%s, %s, %s, {sql}, %s, %s)".encode(),
                [
                    (self.table.name, rowid, key, *row, self.cleaned.partition, self.run_id)
                    for rowid, key, row in zip(rowids, keys, values, strict=True)
                ],
            )

    def _make_room(self, message: str, rows: pa.Table) -> bool:
        """An index cannot hold a value: give it a form that can, within this transaction; False where none is left.

        PostgreSQL names the index for entries over a third of a page ("… for index …"); for those over a whole page it
        names none, and the indexes over a text column that holds such a value are changed.
        """
        indexes = [index for index in _all_indexes(self.table) if index.name not in self.roomy]
        named = [index for index in indexes if f'index "{short(index.name)}"' in message]
        suspects = named or [index for index in indexes if self._is_over_long_text(index, rows)]
        changed = [index for index in suspects if self._has_index(index)]
        name = quoted(self.table.name)
        for index in changed:
            self.roomy.add(index.name)
            label = quoted(short(index.name))
            if index.constraint:
                self.connection.execute(f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {label}".encode())
            self.connection.execute(f"DROP INDEX IF EXISTS {label}".encode())
            self.connection.execute(create_holding_index(self.table, index).encode())
        return bool(changed)

    def _is_over_long_text(self, index: Index, rows: pa.Table) -> bool:
        texts = [c for c in index.columns if self.table.column(c).type is Type.TEXT and c in rows.column_names]
        return any((pc.max(pc.binary_length(rows.column(c))).as_py() or 0) > BTREE_BYTES for c in texts)

    def _has_index(self, index: Index) -> bool:
        row = self.connection.execute("SELECT to_regclass(%s) IS NOT NULL", (quoted(short(index.name)),)).fetchone()
        return bool(row and row[0])

    def _record(self, refused: list[Refused]) -> Loaded:
        cleaned = self.cleaned
        skip = {r.rowid for r in refused}
        # Without a rowid a row is named by its key, and without both by its position.
        rowids = self.plan.source.rowid is not None or not self.table.key
        ledger.write_details(self.connection, self.store, cleaned, self.run_id, rowids=rowids, skip=skip)
        if refused:
            self._set_aside(refused, rowids)
        repaired = self.connection.execute(
            "SELECT count(*) FROM cowrie_migration.repairs WHERE table_name = %s AND partition_key = %s",
            (cleaned.table, cleaned.partition),
        ).fetchone()
        assert repaired is not None  # noqa: S101 - an aggregate gives one row
        result = Loaded(
            cleaned.table,
            cleaned.partition,
            cleaned.source_rows,
            cleaned.rows - len(refused),
            cleaned.quarantined + len(refused),
            repaired[0],
            made=True,
        )
        self.connection.execute(
            "UPDATE cowrie_migration.partitions SET source_rows = %s, loaded_rows = %s, quarantined_rows = %s,"
            " repaired_cells = %s, digest = %s, run_id = %s, loaded_at = now(), verified_at = NULL,"
            " verdict = 'NOT CHECKED', proof = NULL, detail = NULL, inputs = %s, key_ids = %s, keys = %s"
            " WHERE table_name = %s AND partition_key = %s",
            (
                *(result.source_rows, result.loaded, result.quarantined, result.repaired),
                *(cleaned.digest, self.run_id, cleaned.inputs),
                *(multirange(self.ids), self.keys, cleaned.table, cleaned.partition),
            ),
        )
        ledger.seal(self.connection, cleaned.table, cleaned.partition)
        return result

    def _set_aside(self, refused: list[Refused], rowids: bool) -> None:
        reasons = {r.rowid: r for r in refused}
        staged = require_manifest(self.store, self.cleaned.table, self.cleaned.partition)
        for batch in read_partition(self.store, staged):
            rows = [
                set_aside(batch, row, rowid, f"postgres.{reasons[rowid].sqlstate}", reasons[rowid].message, None)
                for row, rowid in enumerate(batch.rowids.to_pylist())
                if rowid in reasons
            ]
            ledger.set_aside(
                self.connection, self.cleaned.table, self.cleaned.partition, self.run_id, rows, rowids=rowids
            )


def remove_rows(
    connection: Connection, table: Table, loaded: int, key_ids: str | None, keys: Sequence[str] | None
) -> None:
    """Delete the rows that a partition's last load put in, and no others; LoadError where they cannot be told apart."""
    refuse_acting_keys(connection, table)
    name = bound(table.name)
    if table.serial:
        column = bound(table.serial)
        sql = (
            f"DELETE FROM {name} t USING unnest(%s::int8multirange) AS span(ids)"
            f" WHERE t.{column} >= lower(span.ids) AND t.{column} <= {last_of('span.ids')}"
        )
        connection.execute(sql.encode(), (key_ids or "{}",))
    elif table.key:
        key = key_sql(table).replace("%", "%%")  # in a statement with parameters
        sql = f"DELETE FROM {name} t USING unnest(%s::text[]) AS ours(key) WHERE {key} = ours.key"
        connection.execute(sql.encode(), (list(keys or ()),))
    else:
        count = connection.execute(f"SELECT count(*) FROM {quoted(table.name)}".encode()).fetchone()
        if count and count[0] != loaded:
            raise LoadError(
                f"Table {table.name} has no key and holds {count[0]:,} rows, {loaded:,} of them ours: they cannot be"
                " told apart.",
                hint="Move the others away, then start it again.",
            )
        connection.execute(f"DELETE FROM {quoted(table.name)}".encode())


def _all_indexes(table: Table) -> list[Index]:
    key = [Index(key_name(table), table.key, unique=True, constraint=True)] if table.key else []
    return key + list(table.indexes)


def key_text(parts: Sequence[object]) -> str:
    """A key that is no single integer, as the ledger keeps it for a later replacement: text, or a digest of several."""
    texts = [key_part(p) or "" for p in parts]
    if len(texts) == 1:
        return texts[0]
    joined = "\x1f".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.md5(joined.encode(), usedforsecurity=False).hexdigest()
