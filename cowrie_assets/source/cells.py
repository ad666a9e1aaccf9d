"""Cells as SQLite stores them, in Arrow: storage class and exact bytes survive.

Belongs here: the encoding of a column of cells and its reading. Not here: what a cell means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import pyarrow as pa
import pyarrow.compute as pc

Value = int | float | bytes | None


class Storage(IntEnum):
    """SQLite's storage classes. Source: sqlite.org/datatype3.html, section 2."""

    NULL = 0
    INTEGER = 1
    REAL = 2
    TEXT = 3
    BLOB = 4

    @property
    def label(self) -> str:
        """The class as `typeof()` spells it."""
        return self.name.lower()


# A cell as Python's sqlite3 returns it under `text_factory=bytearray`: that is how text and blob are told apart
# without a second expression a column (typeof() a cell costs more than reading it).
_CLASS = {
    type(None): Storage.NULL,
    int: Storage.INTEGER,
    float: Storage.REAL,
    bytearray: Storage.TEXT,
    bytes: Storage.BLOB,
}
_TYPE: dict[Storage, pa.DataType] = {
    Storage.NULL: pa.null(),
    Storage.INTEGER: pa.int64(),
    Storage.REAL: pa.float64(),
    Storage.TEXT: pa.binary(),
    Storage.BLOB: pa.binary(),
}
MIXED = pa.struct([("storage", pa.int8()), ("integer", pa.int64()), ("real", pa.float64()), ("bytes", pa.binary())])
"""The type of a column in which more than one storage class occurs beside NULL."""


@dataclass(frozen=True)
class Cells:
    """A column of stored cells.

    Attributes:
        storage: the one class of every cell that is not NULL (NULL: all are), or None where classes are mixed.
        data: an Arrow array of that class's type, NULL for NULL; of type `MIXED` where classes are mixed.
    """

    storage: Storage | None
    data: pa.Array

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.data)

    @classmethod
    def encode(cls, values: Sequence[object]) -> Cells:
        """Encode cells as sqlite3 returned them (None, int, float, bytearray for text, bytes for blob)."""
        kinds = {_CLASS[kind] for kind in set(map(type, values))} - {Storage.NULL}
        if len(kinds) <= 1:
            storage = kinds.pop() if kinds else Storage.NULL
            return cls(storage, pa.array(values, _TYPE[storage]))
        kind = [_CLASS[type(v)] for v in values]
        return cls(
            None,
            pa.StructArray.from_arrays(
                [
                    pa.array(kind, pa.int8()),
                    pa.array(
                        [v if k is Storage.INTEGER else None for v, k in zip(values, kind, strict=True)], pa.int64()
                    ),
                    pa.array(
                        [v if k is Storage.REAL else None for v, k in zip(values, kind, strict=True)], pa.float64()
                    ),
                    pa.array(
                        [v if k >= Storage.TEXT else None for v, k in zip(values, kind, strict=True)], pa.binary()
                    ),
                ],
                fields=list(MIXED),
            ),
        )

    @classmethod
    def nulls(cls, length: int) -> Cells:
        """A column of that many NULLs."""
        return cls(Storage.NULL, pa.nulls(length))

    @classmethod
    def from_column(cls, field: pa.Field, data: pa.Array | pa.ChunkedArray) -> Cells:
        """Read a column back from a table that `field` describes."""
        if isinstance(data, pa.ChunkedArray):
            data = data.combine_chunks() if data.num_chunks != 1 else data.chunk(0)
        label = (field.metadata or {}).get(b"storage", b"mixed").decode()
        return cls(None if label == "mixed" else Storage[label.upper()], data)

    def field(self, name: str) -> pa.Field:
        """The Arrow field that describes this column; its metadata names the storage class."""
        label = "mixed" if self.storage is None else self.storage.label
        return pa.field(name, self.data.type, metadata={b"storage": label.encode()})

    def slice(self, start: int, length: int) -> Cells:
        """So many cells from `start` on, without a copy."""
        return Cells(self.storage, self.data.slice(start, length))

    def take(self, indices: pa.Array) -> Cells:
        """The cells at these positions."""
        return Cells(self.storage, self.data.take(indices))

    def classes(self) -> pa.Array:
        """int8 array: the `Storage` of each cell, never NULL."""
        if self.storage is None:
            return self.data.field("storage")
        filled = pa.scalar(int(self.storage), pa.int8())
        if self.storage is Storage.NULL:
            return pa.array([0] * len(self), pa.int8())
        return pc.if_else(pc.is_valid(self.data), filled, pa.scalar(0, pa.int8()))

    def of(self, storage: Storage) -> pa.Array:
        """The cells of one class in that class's type; NULL where a cell is of another class."""
        if self.storage is storage:
            return self.data
        if self.storage is not None:
            return pa.nulls(len(self), _TYPE[storage])
        if storage in (Storage.INTEGER, Storage.REAL):
            return self.data.field(storage.label)
        here = pc.equal(self.data.field("storage"), int(storage))
        return pc.if_else(here, self.data.field("bytes"), pa.scalar(None, pa.binary()))

    def value(self, row: int) -> tuple[Storage, Value]:
        """One cell: its class, and its value as None, int, float or exact bytes."""
        if self.storage is None:
            cell = self.data[row].as_py()
            storage = Storage(cell["storage"])
            name = "bytes" if storage >= Storage.TEXT else storage.label
            return storage, None if storage is Storage.NULL else cell[name]
        value = self.data[row].as_py()
        return (Storage.NULL if value is None else self.storage), value

    def values(self) -> list[object]:
        """All cells as sqlite3 returns them: the inverse of `encode`."""
        if self.storage is Storage.TEXT:
            return [None if v is None else bytearray(v) for v in self.data.to_pylist()]
        if self.storage is not None:
            return self.data.to_pylist()  # type: ignore[no-any-return]
        pairs = map(self.value, range(len(self)))
        return [bytearray(v) if s is Storage.TEXT else v for s, v in pairs]  # type: ignore[arg-type]


def concat(columns: Sequence[Cells]) -> Cells:
    """The columns one after another; they may differ in storage class."""
    kinds = {c.storage for c in columns} - {Storage.NULL}
    if not kinds:
        return Cells.nulls(sum(map(len, columns)))
    if len(kinds) == 1 and None not in kinds:
        storage = kinds.pop()
        arrays = [c.of(storage) for c in columns]  # type: ignore[arg-type]
        return Cells(storage, pa.concat_arrays(arrays))
    return Cells(None, pa.concat_arrays([_mixed(c) for c in columns]))


def _mixed(cells: Cells) -> pa.StructArray:
    if cells.storage is None:
        return cells.data
    body = cells.storage if cells.storage in (Storage.TEXT, Storage.BLOB) else None
    return pa.StructArray.from_arrays(
        [
            cells.classes(),
            cells.of(Storage.INTEGER),
            cells.of(Storage.REAL),
            cells.data if body else pa.nulls(len(cells), pa.binary()),
        ],
        fields=list(MIXED),
    )


def original_bytes(storage: Storage, value: Value) -> bytes | None:
    """A cell in the ledger's form: text and blob as stored, integers decimal, reals as shortest repr, NULL as None."""
    if value is None or isinstance(value, bytes):
        return value
    return repr(value).encode()
