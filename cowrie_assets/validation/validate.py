"""Runs a proof of partitions and writes its verdicts to the ledger.

Belongs here: how much is proven, the snapshot, the verdict's place. Not here: proving (`prove.py`, `counts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..planning.plan import Plan
from ..planning.scan import Progress
from .counts import prove_counts
from .prove import prove_cells
from .sample import prove_sample
from .verdicts import PartitionProof, Proof

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


def validate(
    connection: Connection,
    plan: Plan,
    source: Path,
    table: str,
    keys: Sequence[str],
    *,
    proof: Proof = Proof.FULL,
    fraction: float = 0.01,
    progress: Progress | None = None,
) -> list[PartitionProof]:
    """Prove partitions of a table and write the verdicts to the ledger.

    Args:
        connection: to the target, outside any transaction.
        plan: the plan the target is pinned to.
        source: the SQLite file.
        table: table name.
        keys: partition keys.
        proof: how much is compared.
        fraction: share of the rows whose cells a sample compares.
        progress: called with rows as they are compared.
    """
    with connection.transaction():
        # One state of the target, also while the application or another partition's load is writing.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        seen: dict[str, Any] = dict(
            connection.execute(
                "SELECT partition_key, loaded_at FROM cowrie_migration.partitions WHERE table_name = %s", (table,)
            ).fetchall()
        )
        if proof is Proof.FULL:
            results = prove_cells(connection, plan, source, table, keys, progress)
        elif proof is Proof.SAMPLE:
            results = prove_sample(connection, plan, source, table, keys, fraction, progress)
        else:
            results = prove_counts(connection, plan, source, table, keys, progress)
    with connection.transaction():
        for result in results:
            # What was loaded again meanwhile is another partition than the one that was proven.
            connection.execute(
                "UPDATE cowrie_migration.partitions SET verified_at = now(), verdict = %s, proof = %s, detail = %s"
                " WHERE table_name = %s AND partition_key = %s AND loaded_at IS NOT DISTINCT FROM %s",
                (
                    *(result.verdict, result.proof, result.detail or None),
                    *(table, result.partition, seen.get(result.partition)),
                ),
            )
    return results
