"""Staged partitions: the manifest that makes one complete, and the reading of its rows.

Belongs here: paths, manifests, Batch to Parquet and back. Not here: reading SQLite (`stage.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import StagingError
from ..source.cells import Cells
from ..source.reader import Batch
from .store import Store, part

ROWID = "\0rowid"
"""The rowids' column: SQL text ends at a NUL, so that no column of a source can have this name."""
COMPRESSION = "zstd"


@dataclass(frozen=True)
class Piece:
    """Rows of a partition: one row group of one chunk file."""

    file: str
    row_group: int
    rows: int


@dataclass(frozen=True)
class Manifest:
    """A complete staged partition.

    Attributes:
        inputs: identity of what it was made from; another identity means it must be made again.
        digest: content digest of all rows (`digest.PartitionDigest`).
    """

    table: str
    partition: str
    inputs: str
    rows: int
    digest: str
    pieces: tuple[Piece, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Manifest:
        """Read it back."""
        return cls(**{**content, "pieces": tuple(Piece(**p) for p in content["pieces"])})


def manifest_path(table: str, key: str) -> str:
    """Where a staged partition's manifest lies."""
    return f"staging/{part(table)}/{part(key)}.json"


def read_manifest(store: Store, table: str, key: str) -> Manifest | None:
    """The manifest, or None where the partition is not staged."""
    content = store.read_json(manifest_path(table, key))
    try:
        return None if content is None else Manifest.from_json(content)
    except (KeyError, TypeError):
        return None  # another version's form: it is staged again


def require_manifest(store: Store, table: str, key: str) -> Manifest:
    """The manifest; StagingError where the partition is not staged."""
    manifest = read_manifest(store, table, key)
    if manifest is None:
        raise StagingError(
            f"Partition {key} of {table} is not staged.", hint=f"Materialise staging/{table} for it first."
        )
    return manifest


def to_table(batch: Batch) -> pa.Table:
    """A batch as an Arrow table; the fields' metadata keep the storage classes."""
    fields = [pa.field(ROWID, pa.int64())] + [c.field(n) for n, c in batch.columns.items()]
    return pa.Table.from_arrays([batch.rowids, *(c.data for c in batch.columns.values())], schema=pa.schema(fields))


def to_batch(table: pa.Table) -> Batch:
    """The inverse of `to_table`."""
    columns = {f.name: Cells.from_column(f, table.column(f.name)) for f in table.schema if f.name != ROWID}
    return Batch(table.column(ROWID).combine_chunks(), columns)


def read_partition(store: Store, manifest: Manifest) -> Iterator[Batch]:
    """The rows of a staged partition in rowid order, one row group at a time.

    Raises:
        StagingError: where a file is missing, damaged, or does not hold the rows that the manifest counts.
    """
    for piece in manifest.pieces:
        with store.open(piece.file) as file:
            try:
                rows = pq.ParquetFile(file).read_row_group(piece.row_group)
            except (pa.ArrowException, OSError, IndexError) as error:
                raise _damaged(piece, str(error).partition("\n")[0]) from error
        if rows.num_rows != piece.rows:
            raise _damaged(piece, f"{rows.num_rows:,} rows where the manifest counts {piece.rows:,}")
        yield to_batch(rows)


def _damaged(piece: Piece, what: str) -> StagingError:
    return StagingError(
        f"The staged file {piece.file} is damaged: {what}.", hint="Materialise staging for it again with force."
    )
