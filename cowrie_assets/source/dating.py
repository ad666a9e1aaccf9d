"""Which date a row belongs to, from its stored bytes: shared by planning, staging and validation.

Belongs here: the order in which a table's columns are asked. Not here: windows (`planning/windows.py`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from .cells import Cells, Storage
from .instants import INSTANT, read_instants
from .reader import Batch

_MEMBER = rb'"%s"\s*:\s*(?:"([^"\\]*)"|(-?[0-9]{1,19}(?:\.[0-9]{1,19})?)\s*[,}])'


def date_rows(batch: Batch, dated_by: Sequence[str]) -> pa.TimestampArray:
    """The instant (timestamp[us, UTC]) that dates each row; NULL where none of the columns can be read.

    Args:
        batch: rows as stored.
        dated_by: columns in order; `payload.timestamp` is that member of the JSON column.
    """
    dates = pa.nulls(len(batch), INSTANT)
    for name in dated_by:
        open_rows = pc.indices_nonzero(pc.is_null(dates))
        if not len(open_rows):
            break
        column, _, member = name.partition(".")
        cells = batch.cells(column)
        if cells.storage is Storage.NULL:
            continue
        everything = len(open_rows) == len(batch)
        chosen = cells if everything else cells.take(open_rows)
        read = read_instants(json_member(chosen, member) if member else chosen).values
        dates = read if everything else pc.replace_with_mask(dates, pc.is_null(dates), read)
    return dates


def needed_columns(dated_by: Sequence[str]) -> tuple[str, ...]:
    """The stored columns that `date_rows` reads."""
    return tuple(name.partition(".")[0] for name in dated_by)


def json_member(cells: Cells, member: str) -> Cells:
    """A member of a JSON column as cells: text, integer or real; NULL where it is absent or of another kind.

    The last of duplicate members counts, as in jsonb. A document that strict JSON refuses (NaN, a lone surrogate, cut
    off) is searched for the last plain `"member": "…"` instead, so that one broken value does not undate its row.
    """
    loads = orjson.loads
    pattern = re.compile(_MEMBER % re.escape(member.encode()))
    found: list[object] = []
    add = found.append
    documents = cells.of(Storage.TEXT)
    if cells.storage in (None, Storage.BLOB):
        # JSON stored as a blob is JSON to the cleaning too.
        documents = pc.coalesce(documents, cells.of(Storage.BLOB))
    for document in documents.to_pylist():
        if document is None:
            add(None)
            continue
        try:
            value = loads(document)
            value = value.get(member) if isinstance(value, dict) else None
        except orjson.JSONDecodeError:
            value = _search(pattern, document)
        add(value)
    if set(map(type, found)) <= {str, type(None)}:
        return Cells(Storage.TEXT, pa.array(found, pa.string()).cast(pa.binary()))
    return Cells.encode([_as_cell(v) for v in found])


def _search(pattern: re.Pattern[bytes], document: bytes) -> object:
    found = deque(pattern.finditer(document), maxlen=1)
    last = found[0] if found else None
    if last is None:
        return None
    if last.group(1) is not None:
        return last.group(1).decode("utf-8", "replace")
    digits = last.group(2)
    return float(digits) if b"." in digits else int(digits)


def _as_cell(value: object) -> object:
    if isinstance(value, str):
        return bytearray(value.encode())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if not isinstance(value, int) or -(2**63) <= value < 2**63 else None
