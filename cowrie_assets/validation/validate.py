"""Runs a proof of partitions and writes its verdicts to the ledger.

Belongs here: how much is proven, the snapshot, the verdict's place. Not here: proving (`prove.py`, `counts.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..planning.plan import Plan
from ..planning.scan import Progress
from ..source.sqlite import source_state
from .counts import prove_counts
from .prove import prove_cells
from .sample import prove_sample
from .verdicts import Extent, PartitionProof, Proof, Verdict

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

VERSION = 2
"""Raised when a proof sees more than before: what was proven by an older one is proven again."""
FULL = Extent()
_KNOWN = (
    "SELECT partition_key, loaded_at, inputs, verified, source_rows, loaded_rows, quarantined_rows"
    " FROM cowrie_migration.partitions WHERE table_name = %s"
)


def validate(
    connection: Connection,
    plan: Plan,
    source: Path,
    table: str,
    keys: Sequence[str],
    *,
    extent: Extent = FULL,
    force: bool = True,
    progress: Progress | None = None,
) -> list[PartitionProof]:
    """Prove partitions of a table and write the verdicts to the ledger.

    A full proof of the same source and load stays there when a count or a sample finds nothing against it.

    Args:
        connection: to the target, outside any transaction.
        plan: the plan the target is pinned to.
        source: the SQLite file.
        table: table name.
        keys: partition keys.
        extent: how much is compared.
        force: False skips what the ledger says was proven in full of this source and this load.
        progress: called with rows as they are compared.
    """
    with connection.transaction():
        # One state of the target, also while the application or another partition's load is writing.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        known = {r[0]: r[1:] for r in connection.execute(_KNOWN, (table,)).fetchall()}
        state = source_state(source).as_dict()
        identities = {k: _identity(state, row) for k, row in known.items()}
        done = [] if force else [k for k in keys if k in known and known[k][2] == identities[k]]
        left = [k for k in keys if k not in done]
        results = []
        if left and extent.proof is Proof.FULL:
            results = prove_cells(connection, plan, source, table, left, progress)
        elif left and extent.proof is Proof.SAMPLE:
            results = prove_sample(connection, plan, source, table, left, extent.fraction, progress)
        elif left:
            results = prove_counts(connection, plan, source, table, left, progress)
    with connection.transaction():
        for result in results:
            weaker = result.verdict is Verdict.PASS and result.proof is not Proof.FULL
            if weaker and result.partition in known and known[result.partition][2] == identities[result.partition]:
                continue  # the ledger holds a full proof of the same source and load, and nothing was found against it
            # What was loaded again meanwhile is another partition than the one that was proven.
            connection.execute(
                "UPDATE cowrie_migration.partitions SET verified_at = now(), verdict = %s, proof = %s, detail = %s,"
                " verified = %s WHERE table_name = %s AND partition_key = %s AND loaded_at IS NOT DISTINCT FROM %s",
                (
                    *(result.verdict, result.proof, result.detail or None),
                    *(identities.get(result.partition) if _whole(result) else None, table, result.partition),
                    known[result.partition][0] if result.partition in known else None,
                ),
            )
    if done and progress:
        progress(table, sum(known[k][3] for k in done), None)
    return results + [_known(table, key, known[key][3:]) for key in done]


def proven_inputs(connection: Connection, source: Path, table: str) -> dict[str, str]:
    """What each partition was loaded from, of those that the ledger says are proven in full from the present source."""
    state = source_state(source).as_dict()
    rows = connection.execute(_KNOWN, (table,)).fetchall()
    return {r[0]: r[2] for r in rows if r[3] is not None and r[3] == _identity(state, r[1:])}


def _known(table: str, key: str, counts: Sequence[int]) -> PartitionProof:
    source, target, quarantined = counts
    return PartitionProof(table, key, source, target, quarantined, Verdict.PASS, Proof.FULL, made=False)


def _whole(result: PartitionProof) -> bool:
    return result.proof is Proof.FULL and result.verdict is Verdict.PASS


def _identity(state: dict[str, Any], row: Sequence[Any]) -> str:
    """What a full proof was made of: the source's state, the load, and the proof's own version."""
    return hashlib.sha256(repr((VERSION, sorted(state.items()), row[0], row[1])).encode()).hexdigest()[:32]
