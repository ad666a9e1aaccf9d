"""Judges rows that were set aside: each is kept as the source has it, and for a reason that is there.

Belongs here: one row and its line of the quarantine. Not here: reading the ledger (`ledger_rows.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc

from ..catalog import Table, Type
from ..source.cells import Value
from ..source.reader import Batch
from .canonical import stored_form
from .json_values import exact
from .ledger_rows import QuarantineLine

LargeCell = Callable[[str], bytes]
"""Gives a cell that lies in `large_cells`."""


def differences(batch: Batch, row: int, line: QuarantineLine, large: LargeCell) -> list[tuple[str, str]]:
    """(column, what) for every cell that the quarantine does not keep as the source has it."""
    extra = line.original.keys() - batch.columns
    found = [(name, "the quarantine has a cell that the source has not") for name in sorted(extra)]
    for name, cells in batch.columns.items():
        kept = line.original.get(name)
        if kept is None:
            found.append((name, "the quarantine lacks the cell"))
            continue
        storage, value = cells.value(row)
        if kept.get("type") != storage.label or _kept(kept, name, large) != _text(value):
            found.append((name, "the quarantine's cell is not the source's"))
    return found


def _kept(cell: dict[str, Any], name: str, large: LargeCell) -> object:
    return large(name) if cell.get("large") else _decoded(cell)


def _decoded(cell: dict[str, Any]) -> object:
    value = cell.get("value")
    if cell.get("type") in ("text", "blob") and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            return value
    return value


def _text(value: Value) -> object:
    return repr(value) if isinstance(value, (int, float)) else value


def has_cause(table: Table, batch: Batch, row: int, widened: set[str]) -> bool:
    """Whether some cell of the row has no value in the target's type, loses something there, or is NULL and may not be.

    Reasons that lie outside the row (a duplicate's other row, what PostgreSQL refused) are not asked here.
    """
    for column in table.columns:
        if column.name not in batch.columns:
            continue
        cells = batch.columns[column.name].slice(row, 1)
        form = stored_form(column.type, cells, widened=column.name in widened)
        if form.none[0].as_py():
            return True
        required = not column.nullable or column.name in table.key
        if required and pc.is_null(form.values)[0].as_py():
            return True
        if column.type in (Type.JSONB, Type.JSON) and form.values[0].as_py() is not None:
            document = exact(form.values[0].as_py())
            if document is None or (document.loses and column.type is Type.JSONB):
                return True
    return False
