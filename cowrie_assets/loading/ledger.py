"""The ledger: schema `cowrie_migration`, written in the transaction that moves the rows.

Belongs here: its tables and rows. Not here: the target's own tables (`ddl.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..cleaning.partition import CleanedManifest, read_rows
from ..cleaning.table import QuarantineRow
from ..db.seal import LINES, PLAN_SEAL, SEAL
from ..errors import PlanError
from ..planning.plan import Plan
from ..source.ranges import multirange
from ..staging.store import Store
from .outdated import OUTDATED, PLANNED

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA = "cowrie_migration"
FORMAT = 3
"""Version of the ledger's tables."""
LARGE_PART = 64 << 20
"""Bytes of one part of a large cell: a bytea literal may take at most 1 GiB on its way in."""

DDL = """
CREATE SCHEMA IF NOT EXISTS cowrie_migration;
CREATE TABLE IF NOT EXISTS cowrie_migration.plan (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    format integer NOT NULL,
    plan_id text NOT NULL,
    plan jsonb NOT NULL,
    sealed text,
    total_faults jsonb,
    created text[] NOT NULL DEFAULT '{}',
    pinned_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE TABLE IF NOT EXISTS cowrie_migration.partitions (
    table_name text NOT NULL,
    partition_key text NOT NULL,
    source_rows bigint,
    loaded_rows bigint,
    quarantined_rows bigint,
    repaired_cells bigint,
    digest text,
    run_id text,
    loaded_at timestamptz,
    verified_at timestamptz,
    verdict text NOT NULL DEFAULT 'NOT CHECKED' CHECK (verdict IN ('PASS', 'FAIL', 'NOT CHECKED')),
    proof text CHECK (proof IN ('counts', 'sample', 'full')),
    detail text,
    inputs text,
    key_ids int8multirange,
    keys text[],
    verified text,
    sealed text,
    PRIMARY KEY (table_name, partition_key)
);
CREATE TABLE IF NOT EXISTS cowrie_migration.repairs (
    table_name text NOT NULL,
    source_rowid bigint,
    column_name text NOT NULL,
    rule text NOT NULL,
    original bytea,
    original_type text NOT NULL,
    replacement text,
    target_key text,
    partition_key text NOT NULL,
    run_id text
);
CREATE INDEX IF NOT EXISTS ix_repairs_partition ON cowrie_migration.repairs (table_name, partition_key);
CREATE INDEX IF NOT EXISTS ix_repairs_row ON cowrie_migration.repairs (table_name, source_rowid);
CREATE TABLE IF NOT EXISTS cowrie_migration.quarantine (
    table_name text NOT NULL,
    source_rowid bigint,
    rule text NOT NULL,
    detail text NOT NULL,
    original jsonb NOT NULL,
    target_key text,
    partition_key text NOT NULL,
    run_id text
);
CREATE INDEX IF NOT EXISTS ix_quarantine_partition ON cowrie_migration.quarantine (table_name, partition_key);
CREATE INDEX IF NOT EXISTS ix_quarantine_row ON cowrie_migration.quarantine (table_name, source_rowid);
CREATE TABLE IF NOT EXISTS cowrie_migration.large_cells (
    table_name text NOT NULL,
    source_rowid bigint,
    column_name text NOT NULL,
    part integer NOT NULL,
    bytes bytea NOT NULL,
    partition_key text NOT NULL
);
CREATE TABLE IF NOT EXISTS cowrie_migration.derivations (
    table_name text NOT NULL,
    column_name text NOT NULL,
    rule text NOT NULL,
    source_rowids int8multirange NOT NULL,
    partition_key text NOT NULL,
    run_id text,
    PRIMARY KEY (table_name, column_name, partition_key)
);
CREATE TABLE IF NOT EXISTS cowrie_migration.storage_classes (
    table_name text NOT NULL,
    column_name text NOT NULL,
    storage text NOT NULL,
    source_rowids int8multirange NOT NULL,
    partition_key text NOT NULL,
    run_id text,
    PRIMARY KEY (table_name, column_name, storage, partition_key)
);
CREATE TABLE IF NOT EXISTS cowrie_migration.row_digests (
    table_name text NOT NULL,
    source_rowid bigint NOT NULL,
    target_key text,
    digest text NOT NULL,
    partition_key text NOT NULL,
    run_id text
);
CREATE INDEX IF NOT EXISTS ix_row_digests_rowid ON cowrie_migration.row_digests (table_name, source_rowid);
"""


def exists(connection: Connection) -> bool:
    """Whether the target has a ledger."""
    row = connection.execute("SELECT to_regclass('cowrie_migration.plan') IS NOT NULL").fetchone()
    return bool(row and row[0])


def pinned(connection: Connection) -> Plan | None:
    """The plan that the target was loaded with, or None. PlanError for another ledger format."""
    if not exists(connection):
        return None
    row = connection.execute("SELECT format, plan FROM cowrie_migration.plan").fetchone()
    if row is None:
        return None
    if row[0] != FORMAT:
        raise PlanError(
            f"The target's ledger has format {row[0]}, this version writes {FORMAT}.", hint="Run `cowrie-assets reset`."
        )
    return Plan.from_json(row[1])


def is_finished(connection: Connection) -> bool:
    """Whether indexes and constraints are built."""
    row = connection.execute("SELECT finished_at IS NOT NULL FROM cowrie_migration.plan").fetchone()
    return bool(row and row[0])


def created_tables(connection: Connection) -> list[str]:
    """The tables that this migration created in the target."""
    row = connection.execute("SELECT created FROM cowrie_migration.plan").fetchone()
    return list(row[0]) if row else []


def pin(connection: Connection, plan: Plan) -> None:
    """Write the plan, and a row for every unit of it that has none; nothing that is loaded is touched."""
    connection.execute(
        "INSERT INTO cowrie_migration.plan (format, plan_id, plan) VALUES (%s, %s, %s) ON CONFLICT (one) DO UPDATE SET"
        " format = excluded.format, plan_id = excluded.plan_id, plan = excluded.plan, pinned_at = now()"
        " WHERE plan.plan_id <> excluded.plan_id",
        (FORMAT, plan.id, json.dumps(plan.to_json())),
    )
    connection.execute(f"UPDATE cowrie_migration.plan SET sealed = ({PLAN_SEAL})")
    tables, keys = zip(*plan.units(), strict=True)
    connection.execute(
        "INSERT INTO cowrie_migration.partitions (table_name, partition_key)"
        " SELECT * FROM unnest(%s::text[], %s::text[]) ON CONFLICT DO NOTHING",
        (list(tables), list(keys)),
    )


def seal(connection: Connection, table: str, key: str) -> None:
    """Seal a partition's lines, once all of them are written."""
    connection.execute(
        f"UPDATE cowrie_migration.partitions SET sealed = ({SEAL}) WHERE table_name = %(table)s"
        " AND partition_key = %(key)s".encode(),
        {"table": table, "key": key},
    )


def forget(connection: Connection, table: str, key: str) -> None:
    """Delete a partition's ledger rows before it is loaded again."""
    for name in LINES:
        connection.execute(
            f"DELETE FROM cowrie_migration.{name} WHERE table_name = %s AND partition_key = %s".encode(),
            (table, key),
        )


def write_details(
    connection: Connection, store: Store, manifest: CleanedManifest, run_id: str, *, rowids: bool, skip: set[int]
) -> None:
    """COPY a partition's repairs, quarantine, derivations and storage classes.

    Args:
        connection: in the partition's transaction.
        store: where the cleaned files lie.
        manifest: of the cleaned partition.
        run_id: Dagster's run, or "cli".
        rowids: False for tables without rowids whose rows a key names: source_rowid is NULL there.
        skip: rowids that PostgreSQL refused: their repairs are no repairs.
    """
    table, key = manifest.table, manifest.partition
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY cowrie_migration.repairs (table_name, source_rowid, column_name, rule, original, original_type,"
            " replacement, target_key, partition_key, run_id) FROM STDIN"
        ) as copy,
    ):
        for rows in read_rows(store, manifest, "repairs"):
            for r in rows.to_pylist():
                if r["rowid"] not in skip:
                    rowid = r["rowid"] if rowids else None
                    cells = (r["column"], r["rule"], r["original"], r["original_type"], r["replacement"])
                    copy.write_row((table, rowid, *cells, r["target_key"], key, run_id))
    for rows in read_rows(store, manifest, "quarantine"):
        listed = [
            QuarantineRow(**{**r, "large": tuple((c["column"], c["bytes"]) for c in r["large"])})
            for r in rows.to_pylist()
        ]
        set_aside(connection, table, key, run_id, listed, rowids=rowids)
    skipped = multirange((r, r) for r in sorted(skip))
    for column, classes in manifest.storage.items():
        for storage, ranges in classes.items():
            connection.execute(
                "INSERT INTO cowrie_migration.storage_classes VALUES"
                " (%s, %s, %s, %s::int8multirange - %s::int8multirange, %s, %s)",
                (table, column, storage, multirange(ranges), skipped, key, run_id),
            )
    for column, ranges in manifest.derived.items():
        connection.execute(
            "INSERT INTO cowrie_migration.derivations"
            " (table_name, column_name, rule, source_rowids, partition_key, run_id)"
            " VALUES (%s, %s, 'payload.member', %s::int8multirange - %s::int8multirange, %s, %s)",
            (table, column, multirange(ranges), skipped, key, run_id),
        )


def set_aside(
    connection: Connection, table: str, key: str, run_id: str, rows: Sequence[QuarantineRow], *, rowids: bool
) -> None:
    """COPY rows into the quarantine, and their large cells in parts; without `rowids` source_rowid is NULL."""
    with connection.cursor() as cursor:
        with cursor.copy(
            "COPY cowrie_migration.quarantine (table_name, source_rowid, rule, detail, original, target_key,"
            " partition_key, run_id) FROM STDIN"
        ) as copy:
            for row in rows:
                rowid = row.rowid if rowids else None
                copy.write_row((table, rowid, row.rule, row.detail, row.original, row.target_key, key, run_id))
        for row in rows:
            for column, content in row.large:
                for number, start in enumerate(range(0, len(content), LARGE_PART)):
                    part = content[start : start + LARGE_PART]
                    cursor.execute(
                        "INSERT INTO cowrie_migration.large_cells VALUES (%s, %s, %s, %s, %b, %s)",
                        (table, row.rowid if rowids else None, column, number, part, key),
                    )


def summary(connection: Connection) -> list[dict[str, Any]]:
    """For each table its sums over partitions, in the ledger's own words."""
    cursor = connection.execute(
        f"{PLANNED} SELECT table_name, count(*), count(loaded_at), coalesce(sum(source_rows), 0)::bigint,"
        " coalesce(sum(loaded_rows), 0)::bigint, coalesce(sum(quarantined_rows), 0)::bigint,"
        " coalesce(sum(repaired_cells), 0)::bigint,"
        " count(*) FILTER (WHERE verdict = 'PASS'), count(*) FILTER (WHERE verdict = 'FAIL'),"
        " CASE WHEN bool_or(proof = 'counts') THEN 'counts' WHEN bool_or(proof = 'sample') THEN 'sample'"
        f" ELSE min(proof) END, count(*) FILTER (WHERE {OUTDATED}),"
        " (SELECT total_faults ->> table_name FROM cowrie_migration.plan)"
        " FROM cowrie_migration.partitions GROUP BY table_name".encode()
    )
    names = (
        "table",
        "partitions",
        "loaded_partitions",
        "source",
        "loaded",
        "set_aside",
        "repaired",
        "passed",
        "failed",
        "proof",
        "outdated",
        "total_fault",
    )
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
