"""The digest of a partition's content: the same for the same rows, however they were cut into chunks.

Belongs here: hashing staged cells. Not here: comparing with the target (`validation/`).
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..source.cells import Storage
from ..source.reader import Batch


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


def _hash() -> _Hash:
    return hashlib.blake2b(digest_size=32)


class PartitionDigest:
    """A running digest of rows in rowid order.

    A column is three streams (classes, numbers, bytes), so that where a chunk ends leaves no trace.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._streams: dict[tuple[str, str], _Hash] = {}

    def _feed(self, column: str, stream: str, data: bytes | memoryview) -> None:
        if not len(data):
            return  # a stream that only exists because a neighbour in the chunk has such cells must leave no trace
        if (column, stream) not in self._streams:
            self._streams[column, stream] = _hash()
        self._streams[column, stream].update(data)

    def add(self, batch: Batch) -> None:
        """Add rows."""
        self._feed("", "rowids", _buffer(batch.rowids))
        for name, cells in batch.columns.items():
            self._feed(name, "classes", _buffer(cells.classes()))
            for storage in (Storage.INTEGER, Storage.REAL):
                if cells.storage in (storage, None):
                    self._feed(name, storage.label, _buffer(cells.of(storage).drop_null()))
            if cells.storage in (Storage.TEXT, Storage.BLOB, None):
                data = cells.data.field("bytes") if cells.storage is None else cells.data
                data = data.drop_null()
                self._feed(name, "lengths", _buffer(pc.binary_length(data)))
                self._feed(name, "bytes", _content(data))

    def hex(self) -> str:
        """256 bits in hex."""
        total = _hash()
        for (column, stream), state in sorted(self._streams.items()):
            total.update(f"{len(column)}:{column}:{stream}:".encode() + state.digest())
        return total.digest().hex()


def _buffer(array: pa.Array) -> memoryview:
    values = np.ascontiguousarray(array.to_numpy(zero_copy_only=False))
    return values.data.cast("B") if len(values) else memoryview(b"")


def _content(array: pa.BinaryArray) -> memoryview:
    if not len(array):
        return memoryview(b"")
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    data = array.buffers()[2]
    return memoryview(b"") if data is None else memoryview(data)[int(offsets[0]) : int(offsets[-1])]
