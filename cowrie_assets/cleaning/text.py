"""Text columns: NUL and bytes that are no UTF-8 become visible, everything else stays.

Belongs here: the text kernel. Not here: JSON text (`json_column.py`).
"""

from __future__ import annotations

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


def clean_text(cells: Cells, *, numbers_fit: bool = False) -> Outcome:
    """Clean a text column (string array out).

    Args:
        cells: the stored cells.
        numbers_fit: the column was widened to text because its cells are of several classes (a finding of the plan):
            a number's digits are then its value and no repair.
    """
    if cells.storage is Storage.NULL:
        return Outcome(pa.nulls(len(cells), pa.string()))
    texts = cells.of(Storage.TEXT)
    if cells.storage is Storage.TEXT:
        try:
            strings = texts.cast(pa.string())
        except pa.ArrowInvalid:
            strings = None
        if strings is not None and not pc.any(pc.match_substring(strings, "\x00")).as_py():
            return Outcome(strings)
    values: list[str | None] = []
    repairs: list[Repair] = []
    for row in range(len(cells)):
        storage, value = cells.value(row)
        if value is None:
            values.append(None)
            continue
        text, rules = text_of(storage, value)
        values.append(text)
        if rules and not (numbers_fit and rules == (NUMBER_RULE,)):
            repairs.append(Repair(row, rules, text))
    return Outcome(pa.array(values, pa.string()), repairs)
