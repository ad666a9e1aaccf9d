"""JSON columns as SQLite stores them: text, blobs, and the numbers that affinity made of some documents.

Belongs here: storage classes of JSON cells. Not here: the documents themselves (`json_column.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..source.cells import Cells, Storage
from .json_column import clean_json, number_as_json
from .outcome import Outcome, Refusal, Repair

BLOB_RULE = "json.blob"


def clean_json_cells(
    cells: Cells, fields: Sequence[str] = (), *, jsonb: bool = True, unwrap: bool = False
) -> tuple[Outcome, dict[str, pa.StringArray]]:
    """Clean a JSON column (JSON text out) and read members of it.

    Args:
        cells: the stored cells.
        fields: names of members to return as text.
        jsonb: the target's column is jsonb; False where it is json.
        unwrap: `{"malformed": "…"}` gives way to the object in it.

    Returns:
        The outcome, and for each name in `fields` what `->> name` gives for the cleaned document.
    """
    if cells.storage is Storage.NULL:
        empty = pa.nulls(len(cells), pa.string())
        return Outcome(empty), dict.fromkeys(fields, empty)
    documents = cells.of(Storage.TEXT)
    if cells.storage in (None, Storage.BLOB):
        documents = pc.coalesce(documents, cells.of(Storage.BLOB))
    column = clean_json(documents, fields, jsonb=jsonb, unwrap=unwrap)
    values = column.values
    repairs = {r.row: Repair(r.row, r.rules, r.text) for r in column.repairs}
    refusals = [Refusal(r.row, r.rule, r.detail) for r in column.rejects]
    others = [] if cells.storage is Storage.TEXT else pc.indices_nonzero(_no_text(cells)).to_pylist()
    replaced: list[str | None] = []
    for row in others:
        _, value = cells.value(row)
        if isinstance(value, (int, float)):
            text, rules = number_as_json(value, jsonb=jsonb)
        else:
            text, rules = values[row].as_py(), (BLOB_RULE, *(repairs[row].rules if row in repairs else ()))
        replaced.append(text)
        if rules and text is not None:
            repairs[row] = Repair(row, rules, text)
    if others:
        mask = np.zeros(len(cells), np.bool_)
        mask[others] = True
        values = pc.replace_with_mask(values, pa.array(mask), pa.array(replaced, pa.string()))
    return Outcome(values, [repairs[r] for r in sorted(repairs)], refusals), column.fields


def _no_text(cells: Cells) -> pa.BooleanArray:
    return pc.is_in(cells.classes(), value_set=pa.array([Storage.INTEGER, Storage.REAL, Storage.BLOB], pa.int8()))
