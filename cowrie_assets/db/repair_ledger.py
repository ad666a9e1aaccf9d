"""The ledger of repairs in place: the originals of changed cells, and which cells were filled from the payload.

It has the columns of the migration's ledger, in tables of its own: `cowrie_migration.inplace_repairs` and
`inplace_derivations` on PostgreSQL, where `verify` goes on counting the migration's alone, and
`cowrie_migration_repairs` and `cowrie_migration_derivations` on SQLite.

Belongs here: these tables and their rows. Not here: the migration's ledger (`loading/ledger.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from ..cleaning.table import RepairRow
from ..loading.ledger import SCHEMA
from ..source.reader import Range, extend_ranges
from .relations import is_postgres

PARTITION = "repair"
"""The partition key of everything that was not repaired on its way in."""


class RepairLedger:
    """The ledger in one database, for one run."""

    def __init__(self, postgres: bool, run_id: str) -> None:
        """Describe the tables; nothing is created yet."""
        self.run_id = run_id
        schema, prefix = (SCHEMA, "inplace_") if postgres else (None, f"{SCHEMA}_")
        text, number = sa.Text, sa.BigInteger
        self._metadata = sa.MetaData()

        def table(name: str, *columns: sa.Column[Any]) -> sa.Table:
            common = (
                sa.Column("table_name", text, nullable=False),
                sa.Column("column_name", text, nullable=False),
                sa.Column("rule", text, nullable=False),
                sa.Column("partition_key", text, nullable=False),
                sa.Column("run_id", text, nullable=False),
                sa.Column("done_at", text, nullable=False),
            )
            return sa.Table(prefix + name, self._metadata, *common, *columns, schema=schema)

        self.repairs = table(
            "repairs",
            sa.Column("source_rowid", number),
            sa.Column("original", sa.LargeBinary),
            sa.Column("original_type", text, nullable=False),
            sa.Column("replacement", text),
            sa.Column("target_key", text),
        )
        self.derivations = table("derivations", sa.Column("source_rowids", text, nullable=False))

    def create(self, connection: sa.Connection) -> None:
        """Create what is missing."""
        if is_postgres(connection):
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        self._metadata.create_all(connection)

    def write(
        self,
        connection: sa.Connection,
        table: str,
        repairs: Sequence[RepairRow],
        derived: Mapping[str, Sequence[Any]],
        now: str,
        *,
        rowids: bool = True,
    ) -> None:
        """Note a page's changes in the transaction that makes them.

        Args:
            connection: in that transaction.
            table: the table.
            repairs: changed cells.
            derived: column -> the keys, ascending, of the rows whose cell was filled.
            now: the time, as the ledger shows it.
            rowids: False where rows are known by their keys alone.
        """
        common = {"table_name": table, "partition_key": PARTITION, "run_id": self.run_id, "done_at": now}
        rows = [
            {
                **common,
                "column_name": r.column,
                "rule": r.rule,
                "source_rowid": r.rowid if rowids else None,
                "original": r.original,
                "original_type": r.original_type,
                "replacement": r.replacement,
                "target_key": r.target_key,
            }
            for r in repairs
        ]
        if rows:
            connection.execute(sa.insert(self.repairs), rows)
        filled = [
            {**common, "column_name": column, "rule": "payload.member", "source_rowids": _ranges(keys)}
            for column, keys in derived.items()
            if keys
        ]
        if filled:
            connection.execute(sa.insert(self.derivations), filled)


def _ranges(keys: Sequence[int]) -> str:
    """Closed ranges of ascending rowids, as PostgreSQL writes an int8multirange."""
    found: list[Range] = []
    extend_ranges(found, pa.array(keys, pa.int64()))
    return "{" + ",".join(f"[{low},{high}]" for low, high in found) + "}"
