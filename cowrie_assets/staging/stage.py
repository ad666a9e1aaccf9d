"""Stages partitions of a table: ONE pass over SQLite in rowid order, whatever the number of partitions.

Belongs here: the pass, its chunks and how it resumes. Not here: Parquet's details (`files.py`).

The pass writes chunk files bounded by bytes. In a chunk the rows are sorted by partition, one row group each; the file
appears by a rename and its footer says which rowids it covers, so a killed pass goes on behind its last chunk. The
manifests of a pass are first written as one file: killed among them, the next run writes the others from it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..catalog import ALL, UNDATED
from ..errors import PlanError
from ..planning.plan import Plan, TablePlan
from ..planning.scan import Progress
from ..planning.windows import Windows
from ..source.damage import damaged
from ..source.dating import date_rows
from ..source.reader import Batch, Range, join, joined, read_table
from ..source.sqlite import SourceState, read_only, source_state
from .digest import PartitionDigest
from .files import COMPRESSION, Manifest, Piece, manifest_path, read_manifest, read_partition, to_table
from .store import Store, part

VERSION = 3
"""Raised when staged files change their form: everything is staged again then."""
CHUNK_BYTES = 32 << 20
"""Cells held before a chunk is written; a pass holds about three times this (batch, sorted copy, Parquet's pages)."""
ENDED = ".ended.json"
"""Ending of the file that holds all manifests of a pass, until each has its own."""

Places = npt.NDArray[np.int32]
Chunk = tuple[Batch, Places]


def inputs_of(plan: Plan, state: SourceState, table: str, key: str) -> str:
    """Identity of what a staged partition is made from: plan, source state, table, partition, form."""
    parts = [VERSION, plan.id, state.as_dict(), table, key]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def stage(
    plan: Plan,
    source: Path,
    store: Store,
    table: str,
    keys: Sequence[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, tuple[Manifest, bool]]:
    """See that these partitions of a table are staged.

    Returns:
        For each key its manifest, and whether it was made now (False: it was complete, with its files, and is
        unchanged).
    """
    state = source_state(source)
    done: dict[str, tuple[Manifest, bool]] = {}
    inputs = {key: inputs_of(plan, state, table, key) for key in keys}
    folder = chunk_folder(table)
    files = {f"{folder}/{name}" for name in store.list(folder)}
    for ended in sorted(name for name in files if name.endswith(ENDED)):
        _publish(store, ended)
    replaced: set[str] = set()
    for key in keys:
        manifest = read_manifest(store, table, key)
        named = {piece.file for piece in manifest.pieces} if manifest else set()
        if manifest and not force and manifest.inputs == inputs[key] and named <= files:
            done[key] = (manifest, False)
        else:
            replaced |= named
    missing = [key for key in keys if key not in done]
    if missing:
        run = _Pass(plan, store, table, {key: inputs[key] for key in missing}, force)
        made = run.run(source, progress)
        ended = f"{folder}/{run.id}{ENDED}"
        store.write_json(ended, {"manifests": [manifest.to_json() for manifest in made.values()]})
        _publish(store, ended)
        done |= {key: (manifest, True) for key, manifest in made.items()}
    if replaced:
        _drop(store, table, replaced)
    return {key: done[key] for key in keys}


def _publish(store: Store, ended: str) -> None:
    """Write each manifest of a pass that ended; a run that is killed here does it again."""
    for content in (store.read_json(ended) or {}).get("manifests", ()):
        with contextlib.suppress(KeyError, TypeError):  # another version's form: it is staged again
            manifest = Manifest.from_json(content)
            if read_manifest(store, manifest.table, manifest.partition) != manifest:
                store.write_json(manifest_path(manifest.table, manifest.partition), content)
    store.delete(ended)


def _drop(store: Store, table: str, files: set[str]) -> None:
    """Delete those files of replaced partitions that no manifest of the table names any more."""
    for name in store.list(f"staging/{part(table)}"):
        if name.endswith(".json"):
            content = store.read_json(f"staging/{part(table)}/{name}") or {}
            files = files - {piece["file"] for piece in content.get("pieces", ())}
    for file in files:
        store.delete(file)


def ranges_of(table: TablePlan, keys: Sequence[str], unchanged: bool) -> list[Range]:
    """The rowid ranges to read: the plan's for these partitions; all up to the mark where the source changed since."""
    if table.source.rowid is not None and table.high_water is None:
        return []
    mark = table.high_water if table.high_water is not None else 2**63 - 1
    if not unchanged or ALL in keys:
        return [(-(2**63), mark)]
    return joined(r for key in keys for r in table.slice(key).ranges)


def chunk_folder(table: str) -> str:
    """Where the chunk files of a table lie."""
    return f"staging/{part(table)}/chunks"


def place_rows(batch: Batch, table: TablePlan, windows: Windows) -> Places:
    """For each row the index of its window, -1 for undated; all 0 for tables that are not dated."""
    if not table.dated:
        return np.zeros(len(batch), dtype=np.int32)
    return windows.place(date_rows(batch, table.dated_by))


def key_names(table: TablePlan, windows: Windows) -> dict[int, str]:
    """The partition key of each index that `place_rows` gives."""
    return {-1: UNDATED, **dict(enumerate(windows.keys))} if table.dated else {0: ALL}


@dataclass
class _Pass:
    plan: Plan
    store: Store
    table: str
    inputs: dict[str, str]
    force: bool
    pieces: dict[str, list[Piece]] = field(init=False)
    digests: dict[str, PartitionDigest] = field(init=False)

    def __post_init__(self) -> None:
        self.pieces = {key: [] for key in self.inputs}
        self.digests = {key: PartitionDigest() for key in self.inputs}
        self.planned = self.plan.tables[self.table]
        # A forced pass has files of its own: those that complete manifests name are not written over.
        asked = repr(sorted(self.inputs.items())) + (uuid.uuid4().hex if self.force else "")
        self.id = hashlib.sha256(asked.encode()).hexdigest()[:12]
        names = key_names(self.planned, self.plan.windows)
        self.names = {index: key for index, key in names.items() if key in self.inputs}
        unknown = set(self.inputs) - set(names.values())
        if unknown:
            raise PlanError(
                f"The plan has no partition {', '.join(sorted(unknown))} of {self.table}.",
                hint="Run `cowrie-assets plan` to see the windows.",
            )

    def run(self, source: Path, progress: Progress | None) -> dict[str, Manifest]:
        after, number = self._resume()
        expected = sum(self.planned.slice(key).rows for key in self.inputs)
        with read_only(source) as connection:
            # Asked in the snapshot: the plan's ranges hold only while nothing was committed since.
            unchanged = source_state(source).as_dict() == self.plan.source_state
            ranges = [
                (low if after is None else max(low, after + 1), high)
                for low, high in ranges_of(self.planned, list(self.inputs), unchanged)
                if after is None or high > after
            ]
            for chunk in _chunks(
                read_table(connection, self.planned.source, ranges, damage=self.planned.damage),
                self._keep,
                progress,
                self.table,
                expected,
            ):
                number += 1
                after = self._write(chunk, number, after)
        if unchanged:
            self._check_rows()
        return {
            key: Manifest(
                self.table, key, self.inputs[key], sum(p.rows for p in pieces), self.digests[key].hex(), tuple(pieces)
            )
            for key, pieces in self.pieces.items()
        }

    def _check_rows(self) -> None:
        """Raise DamagedSourceError where a range of an unchanged source did not give the rows the plan counted."""
        for key, pieces in self.pieces.items():
            rows, planned = sum(p.rows for p in pieces), self.planned.slice(key).rows
            if rows != planned:
                raise damaged(self.table, f"partition {key} has {rows:,} rows where the plan counted {planned:,}")

    def _keep(self, batch: Batch) -> Chunk:
        places = place_rows(batch, self.planned, self.plan.windows)
        if len(self.names) == len(self.plan.windows.keys) + 1 or not self.planned.dated:
            return batch, places
        wanted = np.isin(places, list(self.names))
        if wanted.all():
            return batch, places
        return batch.take(pa.array(np.flatnonzero(wanted))), places[wanted]

    def _path(self, number: int) -> str:
        return f"{chunk_folder(self.table)}/{self.id}-{number:06d}.parquet"

    def _resume(self) -> tuple[int | None, int]:
        """Take over the chunks that a killed pass of the same partitions left: (last rowid, chunks)."""
        after, number = None, 0
        while not self.force and self.store.exists(self._path(number + 1)):
            with self.store.open(self._path(number + 1)) as file:
                try:
                    content = json.loads(pq.ParquetFile(file).schema_arrow.metadata[b"chunk"])
                except (pa.ArrowException, OSError):
                    break  # damaged: it is written again
            if content["after_rowid"] != after:
                break  # not the continuation of the chunk before it: two passes left files here
            number += 1
            after = content["last_rowid"]
            for key, (group, rows) in content["partitions"].items():
                self._add(Piece(self._path(number), group, rows), key)
        return after, number

    def _add(self, piece: Piece, key: str, batch: Batch | None = None) -> None:
        self.pieces[key].append(piece)
        if batch is None:
            resumed = Manifest(self.table, key, "", piece.rows, "", (piece,))
            for batch in read_partition(self.store, resumed):
                self.digests[key].add(batch)
        else:
            self.digests[key].add(batch)

    def _write(self, chunk: Chunk, number: int, after: int | None) -> int:
        batch, places = chunk
        last = int(batch.rowids[len(batch) - 1].as_py())
        ordered = batch
        if (np.diff(places) < 0).any():
            order = np.argsort(places, kind="stable")
            ordered, places = batch.take(pa.array(order)), places[order]
        values, starts, counts = np.unique(places, return_index=True, return_counts=True)
        groups = {self.names[int(v)]: (i, int(c)) for i, (v, c) in enumerate(zip(values, counts, strict=True))}
        table = to_table(ordered)
        footer = {b"chunk": json.dumps({"after_rowid": after, "last_rowid": last, "partitions": groups}).encode()}
        path = self._path(number)
        with (
            self.store.writing(path) as stream,
            pq.ParquetWriter(
                stream, table.schema.with_metadata(footer), compression=COMPRESSION, use_dictionary=False
            ) as writer,
        ):
            for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
                writer.write_table(table.slice(start, count), row_group_size=count)
        for (key, (group, rows)), start in zip(groups.items(), starts.tolist(), strict=True):
            self._add(Piece(path, group, rows), key, ordered.slice(start, rows))
        return last


def _chunks(
    batches: Iterator[Batch], keep: Callable[[Batch], Chunk], progress: Progress | None, table: str, expected: int
) -> Iterator[Chunk]:
    held: list[Chunk] = []
    size = 0
    for batch in batches:
        kept, places = keep(batch)
        if progress:
            progress(table, len(kept), expected)
        if not len(kept):
            continue
        held.append((kept, places))
        size += kept.nbytes
        if size >= CHUNK_BYTES:
            yield _join(held)
            held, size = [], 0
    if held:
        yield _join(held)


def _join(held: Sequence[Chunk]) -> Chunk:
    return join([batch for batch, _ in held]), np.concatenate([places for _, places in held])
