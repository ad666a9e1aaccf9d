"""SQL that finds the partitions of which the pinned plan counts other rows than their load had.

Belongs here: that SQL, for all that read the ledger; it imports nothing, as `health` must start fast. Not here: the
ledger's tables (`ledger.py`).
"""

OUTDATED = (
    "(loaded_at IS NOT NULL AND greatest(loaded_at, verified_at) < (SELECT pinned_at FROM cowrie_migration.plan)"
    " AND source_rows <> coalesce((SELECT (t.slices -> partition_key ->> 'rows')::bigint FROM planned t"
    " WHERE t.name = table_name), 0))"
)
"""A partition neither loaded nor verified since the plan was pinned, which counts other rows than its load had."""
PLANNED = (
    "WITH planned AS MATERIALIZED (SELECT key AS name, value -> 'slices' AS slices"
    " FROM cowrie_migration.plan, jsonb_each(plan -> 'tables'))"
)
"""What `OUTDATED` reads: by table the pinned plan's partitions."""
