"""JSON columns as SQLite stores them: text, blobs, and the numbers that affinity made of some documents.

Belongs here: storage classes of JSON cells. Not here: the documents themselves (`json_column.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ..source.cells import Cells, Storage
from .json_column import clean_json, number_as_json
from .outcome import Outcome, Refusal, Repair

BLOB_RULE = "json.blob"


def clean_json_cells(cells: Cells, fields: Sequence[str] = ()) -> tuple[Outcome, dict[str, pa.StringArray]]:
    """Clean a JSON column (JSON text out) and read members of it.

    Returns:
        The outcome, and for each name in `fields` what `jsonb ->> name` gives for the cleaned document.
    """
    if cells.storage is Storage.NULL:
        empty = pa.nulls(len(cells), pa.string())
        return Outcome(empty), dict.fromkeys(fields, empty)
    documents = cells.of(Storage.TEXT)
    if cells.storage in (None, Storage.BLOB):
        documents = pc.coalesce(documents, cells.of(Storage.BLOB))
    column = clean_json(documents, fields)
    repairs = {r.row: r for r in column.repairs}
    refusals = list(column.rejects)
    values = column.values
    if cells.storage is not Storage.TEXT:
        listed = values.to_pylist()
        for row, kind in enumerate(cells.classes().to_pylist()):
            if kind in (Storage.INTEGER, Storage.REAL):
                listed[row], rules = number_as_json(cells.value(row)[1])  # type: ignore[arg-type]
                if rules:
                    repairs[row] = Repair(row, rules, listed[row])
            elif kind == Storage.BLOB and listed[row] is not None:
                known = repairs[row].rules if row in repairs else ()
                repairs[row] = Repair(row, (BLOB_RULE, *known), listed[row])
        values = pa.array(listed, pa.string())
    return Outcome(values, [repairs[r] for r in sorted(repairs)], refusals), column.fields


__all__ = ["BLOB_RULE", "Refusal", "clean_json_cells"]
