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

Under N no text reads as a number: affinity made numbers of all that do. Where a declaration was changed after the rows
(PRAGMA writable_schema), a class that it would not have let in is recorded too.
"""

from __future__ import annotations

import re

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
_READS_AS_NUMBER = r"[ \t-\r]*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?[ \t-\r]*"


def is_numeric(declared: str) -> bool:
    """Whether a column of that declared type turns text that reads as a number into one.

    Source: sqlite.org/datatype3.html, 3.1. ANY counts as no affinity, as it is in STRICT tables (stricttables.html, 2):
    elsewhere a class is then recorded that affinity would have given anyway.
    """
    name = declared.upper()
    if "INT" in name:
        return True
    return bool(name) and name != "ANY" and not any(word in name for word in ("CHAR", "CLOB", "TEXT", "BLOB"))


def is_real(declared: str) -> bool:
    """Whether a column of that declared type makes reals of integers."""
    name = declared.upper()
    return is_numeric(declared) and "INT" not in name and any(word in name for word in ("REAL", "FLOA", "DOUB"))


def alters(declared: str, cell: object) -> bool:
    """Whether a column of that declared type would store such a cell (str for text) in another class.

    No cell of it is one, but where the declaration was written after the cells (PRAGMA writable_schema).
    """
    if not is_numeric(declared):
        is_text = any(word in declared.upper() for word in ("CHAR", "CLOB", "TEXT"))
        return is_text and isinstance(cell, int | float)
    if isinstance(cell, str):
        return re.fullmatch(_READS_AS_NUMBER, cell) is not None
    if isinstance(cell, int):
        return is_real(declared)
    return not is_real(declared) and isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**63


def unexpected(cells: Cells, kind: Type, declared: str) -> dict[Storage, pa.BooleanArray]:
    """The cells whose class the target's value does not tell: class -> mask; empty for nearly every column."""
    home, numeric = _HOME.get(kind, Storage.TEXT), is_numeric(declared)
    if cells.storage is Storage.NULL or (cells.storage is home and not numeric):
        return {}
    found: dict[Storage, pa.BooleanArray] = {}
    for storage in (Storage.INTEGER, Storage.REAL, Storage.TEXT, Storage.BLOB):
        if cells.storage not in (None, storage) or (storage is home and not numeric):
            continue
        mask = _mask_numeric(cells, storage, home, declared) if numeric else pc.equal(cells.classes(), int(storage))
        if mask is not None and pc.any(mask).as_py():
            found[storage] = mask
    return found


def _mask_numeric(cells: Cells, storage: Storage, home: Storage, declared: str) -> pa.BooleanArray | None:
    """Under numeric affinity: what affinity would have altered, the text 'inf' of a real, and blobs."""
    if storage is Storage.TEXT:
        if home is not storage:
            return None
        return pc.fill_null(pc.match_substring_regex(cells.of(storage), f"^(?:{_READS_AS_NUMBER})$"), False)
    if storage is Storage.REAL:
        reals = cells.of(storage)
        mask = pc.is_inf(reals) if home is not storage else pc.equal(reals, None)
        if not is_real(declared):
            whole = pc.and_(pc.equal(pc.floor(reals), reals), pc.less(pc.abs(reals), 2.0**63))
            mask = pc.or_kleene(mask, whole)
        return pc.fill_null(mask, False)
    if storage is Storage.INTEGER and not is_real(declared):
        return None
    return None if storage is home else pc.equal(cells.classes(), int(storage))
