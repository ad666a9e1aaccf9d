"""The row equation of every partition, and the cells of a sample of rows.

Belongs here: which rows a sample holds. Not here: comparing them (`prove.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..planning.plan import Plan
from ..planning.scan import Progress
from ..source.reader import Range
from ..source.schema import quoted
from ..source.sqlite import read_only, source_state
from .counts import prove_counts
from .prove import TableProof, prove_cells
from .verdicts import PartitionProof, Proof, Verdict

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

BLOCK = 1_000
"""Rowids of a block: a sample takes whole blocks, since a page of the source and of the target holds many rows."""


def blocks(ranges: Iterable[Range], fraction: float, next_rowid: Callable[[int, int], int | None]) -> Iterator[Range]:
    """The blocks of a sample within ranges: the first of all, and each other where its number's hash says so.

    Args:
        ranges: of rowids, inclusive.
        fraction: the share of the blocks that are chosen.
        next_rowid: gives the lowest rowid there is in a range, so that blocks without a row cost nothing.
    """
    limit, first = int(fraction * 2**32), True
    for low, high in ranges:
        while low <= high and (rowid := next_rowid(low, high)) is not None:
            number = rowid // BLOCK
            end = number * BLOCK + BLOCK - 1
            chance = int.from_bytes(hashlib.blake2b(str(number).encode(), digest_size=4).digest())
            if first or chance < limit:
                first = False
                yield max(low, number * BLOCK), min(high, end)
            low = end + 1


def prove_sample(
    connection: Connection,
    plan: Plan,
    source: Path,
    table: str,
    keys: Sequence[str],
    fraction: float,
    progress: Progress | None = None,
) -> list[PartitionProof]:
    """Count every row, and compare a sample's cells; a table without rowids or key, or damaged, is compared whole."""
    planned = plan.tables[table]
    if planned.source.rowid is None or not planned.target.key or planned.damaged:
        return prove_cells(connection, plan, source, table, keys, progress)
    counted = {r.partition: r for r in prove_counts(connection, plan, source, table, keys, progress)}
    proof = TableProof(connection, plan, table, keys)
    with read_only(source) as sqlite:
        changed = source_state(source).as_dict() != plan.source_state
        rowid = f"t.{planned.source.rowid}"
        seek = f"SELECT min({rowid}) FROM {quoted(table)} AS t NOT INDEXED WHERE {rowid} BETWEEN ? AND ?"

        def next_rowid(low: int, high: int) -> int | None:
            found: int | None = sqlite.execute(seek, (low, high)).fetchone()[0]
            return found

        proof.run(sqlite, blocks(proof.ranges(changed), fraction, next_rowid))
    results = []
    for key, result in counted.items():
        compared = proof.results[key]
        verdict = Verdict.FAIL if compared.different else result.verdict
        results.append(
            replace(
                result,
                verdict=verdict,
                proof=Proof.SAMPLE,
                cells=compared.cells,
                different=compared.different,
                differences=compared.differences,
            )
        )
    return results
