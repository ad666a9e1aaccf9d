"""Text columns: NUL and bytes that are no UTF-8 become visible, everything else stays.

Belongs here: the text kernel. Not here: JSON text (`json_column.py`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..source.cells import Cells, Storage, Value
from .outcome import Outcome, Repair

NUL_RULE, UTF8_RULE, BLOB_RULE, NUMBER_RULE = "text.nul", "text.utf8", "text.blob", "text.number"


def visible(raw: bytes) -> tuple[str, tuple[str, ...]]:
    r"""Text that PostgreSQL holds, and the rules it took: `\x00` for a NUL, `\xff` for a byte that is no UTF-8."""
    text = raw.decode("utf-8", "backslashreplace")
    rules: tuple[str, ...] = () if text.encode() == raw else (UTF8_RULE,)
    if "\x00" in text:
        return text.replace("\x00", "\\x00"), (*rules, NUL_RULE)
    return text, rules


def text_of(storage: Storage, value: Value) -> tuple[str, tuple[str, ...]]:
    """The text of a cell of any class but NULL, and the rules it took."""
    if isinstance(value, bytes):
        text, rules = visible(value)
        return text, (BLOB_RULE, *rules) if storage is Storage.BLOB else rules
    return repr(value), (NUMBER_RULE,)


def odd_rows(cells: Cells) -> list[int]:
    """The rows that are not plainly text as it stands: other classes, NULs, and what may be no UTF-8."""
    texts = cells.of(Storage.TEXT)
    odd = pc.match_substring(texts, "\x00")
    try:
        texts.cast(pa.string())
    except pa.ArrowInvalid:
        odd = pc.or_(odd, pc.match_substring_regex(texts, r"[\x80-\xff]"))
    other = pc.invert(pc.is_in(cells.classes(), value_set=pa.array([Storage.NULL, Storage.TEXT], pa.int8())))
    found: list[int] = pc.indices_nonzero(pc.or_(pc.fill_null(odd, False), other)).to_pylist()
    return found


def clean_text(cells: Cells, *, numbers_fit: bool = False) -> Outcome:
    """Clean a text column (string array out).

    Args:
        cells: the stored cells.
        numbers_fit: the column was widened to text because its cells are of several classes (a finding of the plan):
            a number's digits are then its value and no repair.
    """
    texts = cells.of(Storage.TEXT)
    rows = odd_rows(cells)
    if not rows:
        return Outcome(texts.cast(pa.string()))
    values: list[str] = []
    repairs: list[Repair] = []
    for row in rows:
        text, rules = text_of(*cells.value(row))
        values.append(text)
        if rules and not (numbers_fit and rules == (NUMBER_RULE,)):
            repairs.append(Repair(row, rules, text))
    mask = np.zeros(len(cells), np.bool_)
    mask[rows] = True
    plain = pc.if_else(pa.array(mask), pa.scalar(None, pa.binary()), texts).cast(pa.string())
    return Outcome(pc.replace_with_mask(plain, pa.array(mask), pa.array(values, pa.string())), repairs)
