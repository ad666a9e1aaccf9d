"""Which storage class a target's value goes back to, and where that must be recorded.

Belongs here: SQLite's affinity rules as far as the way back needs them. Not here: reading or writing cells.

A cell that was inserted into its column once comes out the same when it is inserted again: affinity is idempotent. So
the way back needs only the cell's class; the target's type tells it, but for these (N: numeric affinity):

| target type      | comes back as                  | recorded                                            |
|------------------|--------------------------------|-----------------------------------------------------|
| text             | text; N: number where it reads | N: inf; else integer, real: '5' may have been text 5 |
| bigint, boolean  | integer                        | nothing (other classes are repairs)                 |
| double precision | real; N: whole ones integer    | integer where not N                                 |
| timestamptz      | text                           | nothing (numbers are repairs)                       |
| jsonb, json      | text; N: number where it reads | integer where not N (reals are repairs)             |
| bytea            | blob                           | nothing                                             |

Under N no text reads as a number: affinity made numbers of all that do.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Type
from .cells import Cells, Storage

_HOME = {
    Type.TEXT: Storage.TEXT,
    Type.BIGINT: Storage.INTEGER,
    Type.BOOLEAN: Storage.INTEGER,
    Type.DOUBLE: Storage.REAL,
    Type.BYTEA: Storage.BLOB,
}
_NUMBERS = (Storage.INTEGER, Storage.REAL)


def is_numeric(declared: str) -> bool:
    """Whether a column of that declared type turns text that reads as a number into one.

    Source: sqlite.org/datatype3.html, 3.1. ANY counts as no affinity, as it is in STRICT tables (stricttables.html, 2):
    elsewhere a class is then recorded that affinity would have given anyway.
    """
    name = declared.upper()
    if "INT" in name:
        return True
    return bool(name) and name != "ANY" and not any(word in name for word in ("CHAR", "CLOB", "TEXT", "BLOB"))


def unexpected(cells: Cells, kind: Type, declared: str) -> dict[Storage, pa.BooleanArray]:
    """The cells whose class the target's value does not tell: class -> mask; empty for nearly every column."""
    home = _HOME.get(kind, Storage.TEXT)
    if cells.storage in (home, Storage.NULL):
        return {}
    numeric, classes = is_numeric(declared), cells.classes()
    found: dict[Storage, pa.BooleanArray] = {}
    for storage in (Storage.INTEGER, Storage.REAL, Storage.TEXT, Storage.BLOB):
        if storage is home or cells.storage not in (None, storage):
            continue
        mask = pc.equal(classes, int(storage))
        if numeric and storage in _NUMBERS:
            # 'inf' is the one text of a number that does not read as one.
            mask = pc.and_(mask, pc.fill_null(pc.is_inf(cells.of(Storage.REAL)), False))
        if pc.any(mask).as_py():
            found[storage] = mask
    return found
