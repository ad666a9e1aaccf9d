"""A whole column of JSON cells made fit for PostgreSQL's `jsonb`, most of them without looking at each closely.

Belongs here: the fast path, and the results as Arrow arrays. Not here: what becomes of a suspicious cell
(`json_document`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from .json_document import Unusable, clean_document
from .json_exact import PLAIN_LENGTH
from .json_text import field_texts
from .outcome import Refusal, Repair

if TYPE_CHECKING:
    from collections.abc import Sequence

JsonRepair = Repair
"""One changed cell, with its new JSON text."""

JsonReject = Refusal
"""One cell in which nothing was found (`json.unreadable`), or too deep or too large (`json.depth`, `json.size`)."""

# What orjson accepts although `jsonb` refuses or alters it: NUL escapes, -0, exponents of four digits. A number only
# follows a bracket, a colon, a comma, a blank or nothing, which keeps hashes and ids such as "9e1234" out. The last
# two hide a key from `_key_marks`: a blank before its colon, a backslash as its last character.
_GUARDS: Final = r"\\u0000|(?:^|[\[:,\s])(?:-0|-?[0-9.]+[eE][+-]?[0-9]{4})|\"\s+:|\\\\\":"
_WRAPPED: Final = rf"{_GUARDS}|\"malformed\""
_SUSPICIOUS: Final = -1

# Rows taken at a time. Measured per million flat payloads of 490 bytes and three fields: 1.8 CPU s, of which orjson
# 0.6 and the guards 0.6; 2.05 where 200,000 rows are taken at once, since their strings leave the processor's cache.
_PART: Final = 4096
_nothing: Final = dict[str, None]().get


@dataclass(frozen=True)
class JsonColumn:
    """A cleaned column.

    Attributes:
        values: JSON text that `jsonb` accepts; NULL where the cell is NULL or rejected.
        repairs: the changed cells, by row.
        rejects: the rejected cells, by row.
        fields: for each name asked for, what `jsonb ->> name` gives for the value; NULL where it is absent.
    """

    values: pa.StringArray
    repairs: list[JsonRepair]
    rejects: list[JsonReject]
    fields: dict[str, pa.StringArray]


class _Mode(NamedTuple):
    jsonb: bool
    unwrap: bool


def clean_json(
    cells: pa.BinaryArray, fields: Sequence[str] = (), *, jsonb: bool = True, unwrap: bool = False
) -> JsonColumn:
    """Clean a column of JSON cells, given as the bytes that SQLite holds.

    A cell passes fast where orjson parses it, no guard matches, and it has no more marks of a key than keys: then
    there is no duplicate at any depth. All else is decided by `clean_document`.

    Args:
        cells: the cells; at most 2 GiB in all, as in any `BinaryArray`.
        fields: names of members to return as text.
        jsonb: the target's column is jsonb; False where it is json: what is suspicious is the same.
        unwrap: `{"malformed": "…"}` gives way to the object in it.
    """
    mode = _Mode(jsonb, unwrap)
    repairs: list[JsonRepair] = []
    rejects: list[JsonReject] = []
    starts = range(0, max(len(cells), 1), _PART)
    parts = [_clean_part(cells.slice(start, _PART), start, fields, mode, repairs, rejects) for start in starts]
    members = [pa.concat_arrays(arrays) for arrays in zip(*parts, strict=True)]
    return JsonColumn(_replaced(cells, repairs, rejects), repairs, rejects, dict(zip(fields, members, strict=True)))


def _clean_part(
    cells: pa.BinaryArray,
    start: int,
    fields: Sequence[str],
    mode: _Mode,
    repairs: list[JsonRepair],
    rejects: list[JsonReject],
) -> list[pa.StringArray]:
    """Clean the cells from row `start` on, note what changed, and return the fields asked for, in their order."""
    picked: list[Any] = []  # row after row
    loads, pick = orjson.loads, picked.extend
    for row, (cell, marks) in enumerate(zip(cells.to_pylist(), _key_marks(cells, mode.unwrap), strict=True), start):
        try:
            value = loads(cell) if marks >= 0 else None
        except orjson.JSONDecodeError:
            value, marks = None, _SUSPICIOUS
        if type(value) is dict and len(value) == marks:
            pick(map(value.get, fields))
        elif cell is None or (marks >= 0 and _key_count(value) == marks):
            pick(map(value.get if type(value) is dict else _nothing, fields))
        else:
            pick(map(_clean_cell(row, cell, fields, mode, repairs, rejects).get, fields))
    return [_field_array(cells, name, picked[at :: len(fields)], mode.jsonb) for at, name in enumerate(fields)]


def number_as_json(value: float, *, jsonb: bool = True) -> tuple[str, tuple[str, ...]]:
    """Write a number, into which SQLite's NUMERIC affinity turned a JSON cell, as JSON text.

    Returns:
        The text, and the rules applied: an integer is as it was typed, a real may have been typed otherwise.
    """
    if isinstance(value, int):
        return f"{value:d}", ()
    if not math.isfinite(value):
        return f'"{value}"', ("json.real",)
    # + 0.0 makes -0.0 positive, as `jsonb` would.
    return repr(value + 0.0 if jsonb else value), ("json.real",)


def _key_marks(cells: pa.BinaryArray, unwrap: bool = False) -> list[int]:
    r"""Count in each cell every `":` that no backslash precedes: the end of every key, and what looks like one.

    `_SUSPICIOUS` instead where a guard matches, or where a cell is long enough for a number that `jsonb` refuses.
    """
    _, offsets, data = cells.buffers()
    if not len(cells) or data is None:
        return [0] * len(cells)
    bounds = np.frombuffer(offsets, np.int32)[cells.offset : cells.offset + len(cells) + 1]
    content = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    marks = np.flatnonzero(content == ord(":"))
    marks = marks[content[marks - 1] == ord('"')]
    marks = marks[content[marks - 2] != ord("\\")]
    counts = np.diff(np.searchsorted(marks, bounds - bounds[0]))
    guarded = (
        pc.match_substring_regex(cells, _WRAPPED if unwrap else _GUARDS).fill_null(False).to_numpy(zero_copy_only=False)
    )
    counts[guarded | (np.diff(bounds) > PLAIN_LENGTH)] = _SUSPICIOUS
    listed: list[int] = counts.tolist()
    return listed


def _key_count(value: object) -> int:
    """Count the keys of a parsed value at all depths."""
    count = 0
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            count += len(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def _clean_cell(
    row: int, cell: bytes, fields: Sequence[str], mode: _Mode, repairs: list[JsonRepair], rejects: list[JsonReject]
) -> dict[str, str | None]:
    """Decide about one suspicious cell, note the outcome and return the fields asked for."""
    found = clean_document(cell, jsonb=mode.jsonb, unwrap=mode.unwrap)
    if isinstance(found, Unusable):
        rejects.append(JsonReject(row, found.rule, found.detail))
        return {}
    if found.rules:
        repairs.append(JsonRepair(row, found.rules, found.text))
    return field_texts(found.text, fields, jsonb=mode.jsonb) if fields else {}


def _replaced(cells: pa.BinaryArray, repairs: list[JsonRepair], rejects: list[JsonReject]) -> pa.StringArray:
    """Put the new texts in the place of the old; the others stay where they lie, uncopied where none changed."""
    texts = cells.view(pa.string())
    changed: dict[int, str | None] = {repair.row: repair.text for repair in repairs}
    changed |= {reject.row: None for reject in rejects}
    if not changed:
        return texts
    mask = np.zeros(len(cells), np.bool_)
    mask[list(changed)] = True
    replacements = pa.array([changed[row] for row in sorted(changed)], pa.string())
    return pc.replace_with_mask(texts, pa.array(mask), replacements)


def _field_array(cells: pa.BinaryArray, name: str, column: list[Any], jsonb: bool) -> pa.StringArray:
    """Turn a member's parsed values into what `->>` prints; mostly all of them are strings."""
    try:
        return pa.array(column, pa.string())
    except pa.ArrowTypeError:
        printed = [
            value
            if isinstance(value, str | None)
            else field_texts(cells[row].as_py().decode(), (name,), jsonb=jsonb)[name]
            for row, value in enumerate(column)
        ]
        return pa.array(printed, pa.string())
