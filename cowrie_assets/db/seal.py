"""The seal of the ledger: a checksum of a partition's lines, and of the plan, as they were written.

Belongs here: its SQL, which the load writes and the proof computes afresh. Not here: lines (`loading/ledger.py`).

It shows a line that was lost, added or altered since, in whatever column: also what no source row can prove, such as a
rule's name, and what only `export` needs (`storage_classes`, `row_digests`).
"""

from __future__ import annotations

LINES = {
    "repairs": "source_rowid, column_name, rule, md5(original), original_type, replacement, target_key",
    "quarantine": "source_rowid, rule, detail, md5(original::text), target_key",
    "large_cells": "source_rowid, column_name, part, md5(bytes)",
    "derivations": "column_name, rule, source_rowids",
    "storage_classes": "column_name, storage, source_rowids",
    "row_digests": "source_rowid, target_key, digest",
}
"""Table of the ledger -> what of a line is sealed: all but the run, as texts that depend on no session's setting."""

_SUM = """(SELECT count(*) || ':' || coalesce(sum(('x' || left(md5(row({columns})::text), 16))::bit(64)::bigint), 0)
    FROM cowrie_migration.{name} WHERE table_name = %(table)s AND partition_key = %(key)s)"""
# A sum needs no order and no memory: one partition may have 29 million lines.
_LINES = ",\n".join(_SUM.format(name=name, columns=columns) for name, columns in LINES.items())

SEAL = f"""
SELECT md5(concat_ws('|', {_LINES},
    row(source_rows, loaded_rows, quarantined_rows, repaired_cells, digest)::text))
FROM cowrie_migration.partitions WHERE table_name = %(table)s AND partition_key = %(key)s
"""
"""The seal of the partition `key` of `table`."""
PLAN_SEAL = "SELECT md5(concat_ws('|', format, plan_id, (plan - 'created')::text)) FROM cowrie_migration.plan"
"""The seal of the plan, without the time it was made: the same source and settings give the same ledger."""
STRAY = " UNION ".join(
    f"SELECT table_name, partition_key, '{name}' FROM cowrie_migration.{name} l WHERE NOT EXISTS (SELECT 1 FROM"
    " cowrie_migration.partitions p WHERE (p.table_name, p.partition_key) = (l.table_name, l.partition_key))"
    for name in LINES
)
"""Lines of partitions that the ledger does not know: table, partition, table of the ledger."""
