"""Columns and tables that no code knows, as production has them, and the types that their cells allow.

Not here: the processor's own tables (`rows.py`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .broken import dirty_json
from .dates import clean_date, dirty_date
from .documents import clean_json
from .scalars import clean_boolean, clean_integer, clean_text, dirty_boolean, dirty_integer, dirty_text, text, token
from .truth import NULL, Cell, Row

NAMES = ("dead_letter_events_test_backup", 'we"ird; DROP TABLE x; --', "Sensors", "größe", "select")
_COLUMN_NAMES = ("later", "Notes", 'a"b', "select", "ключ", "n n")
_DECLARED = ("TEXT", "VARCHAR(10)", "INTEGER", "REAL", "BLOB", "BOOLEAN", "DATETIME", "JSON", "NUMERIC", "")
_TYPES = {
    "INTEGER": "bigint", "REAL": "double precision", "BLOB": "bytea", "BOOLEAN": "boolean", "DATETIME": "timestamptz",
    "JSON": "jsonb",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column: `mixed` where some of its cells do not fit what it declares."""

    name: str
    declared: str
    mixed: bool


def columns(rng: random.Random, count: int, dirt: float) -> list[Column]:
    """So many columns of random types."""
    names = rng.sample(_COLUMN_NAMES, k=count)
    return [Column(name, rng.choice(_DECLARED), rng.random() < dirt) for name in names]


def _blob(rng: random.Random) -> Cell:
    raw = rng.choice([rng.randbytes(6), b"", b"text", b"a\x00b", b"\xff"])
    return Cell(raw, f"\\x{raw.hex()}")


def _real(rng: random.Random) -> Cell:
    number = rng.choice([rng.random(), 1e300, -0.1, 5.0, 2.0**60, 1e-300])
    return Cell(number, repr(number), bound=rng.choice([None, repr(number)]))


def cell(rng: random.Random, column: Column) -> Cell:
    """A cell for the column, for now as if it fitted the declared type."""
    declared, odd = column.declared, column.mixed and rng.random() < 0.2
    if rng.random() < 0.15:
        return NULL
    if declared in ("TEXT", "VARCHAR(10)"):
        return dirty_text(rng, numbers=False) if odd else clean_text(rng)
    if declared == "INTEGER":
        return dirty_integer(rng) if odd else clean_integer(rng)
    if declared == "REAL":
        return rng.choice([text("n/a"), text(""), Cell(b"12", None)]) if odd else _real(rng)
    if declared == "BLOB":
        return rng.choice([text("n/a"), Cell(7, "7"), Cell(1.5, "1.5")]) if odd else _blob(rng)
    if declared == "BOOLEAN":
        return dirty_boolean(rng) if odd else clean_boolean(rng)
    if declared == "DATETIME":
        return dirty_date(rng) if odd else clean_date(rng)
    if declared == "JSON":
        found = dirty_json(rng) if odd else clean_json(rng)
        # A number is no text: it alone would make text of the column.
        return found if column.mixed or isinstance(found.stored, bytearray) else NULL
    if odd:
        return rng.choice([text("n/a"), Cell(b"\x01", None), Cell(1.5, "1.5")])
    return Cell(number := rng.randint(-999, 999), str(number))


def settle(rows: Sequence[Row], column: Column) -> tuple[str, bool]:
    """Decide the target type by the cells that are there, and give them their values in it.

    Returns:
        The type, and whether the column became text against its declaration.
    """
    cells = [row.cells[column.name] for row in rows]
    kind = _kind(column.declared, cells)
    widened = kind == "text" and column.declared not in ("TEXT", "VARCHAR(10)", "")
    for row, found in zip(rows, cells, strict=True):
        row.cells[column.name] = _as_text(found) if kind == "text" else _in_type(found, kind)
    return kind, widened


def _kind(declared: str, cells: Sequence[Cell]) -> str:
    labels = {found.label for found in cells} - {"null"}
    if declared in ("TEXT", "VARCHAR(10)"):
        return "text"
    if declared in ("NUMERIC", ""):
        if not labels:
            return "bigint" if declared else "text"
        if labels == {"integer"}:
            return "bigint"
        if labels <= {"integer", "real"}:
            return "double precision"
        return "bytea" if labels == {"blob"} and not declared else "text"
    fits = {"REAL": {"real"}, "BLOB": {"blob"}, "JSON": {"text"}}.get(declared, labels)
    if not labels <= fits or (
        declared in ("INTEGER", "BOOLEAN", "DATETIME", "JSON") and any(c.rule or c.refused for c in cells)
    ):
        return "text"
    return _TYPES[declared]


def _in_type(found: Cell, kind: str) -> Cell:
    if kind == "double precision" and isinstance(found.stored, (int, float)):
        return replace(found, value=repr(float(found.stored)))
    if kind == "bytea" and isinstance(found.stored, bytes):
        return replace(found, value=f"\\x{found.stored.hex()}")
    return found


def _as_text(found: Cell) -> Cell:
    """A cell in a column of text: numbers by their digits, bytes made visible where they are no text."""
    if found.stored is None or isinstance(found.stored, (int, float)):
        value = None if found.stored is None else repr(found.stored)
        return Cell(found.stored, value, found.defect, bound=found.bound)
    shown, rules = "", {"text.blob"} if isinstance(found.stored, bytes) else set()
    for character in found.stored.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if code == 0:
            rules.add("text.nul")
        elif 0xDC80 <= code <= 0xDCFF:
            rules.add("text.utf8")
        shown += f"\\x{code & 0xFF:02x}" if code == 0 or 0xDC80 <= code <= 0xDCFF else character
    rule = "+".join(r for r in ("text.blob", "text.utf8", "text.nul") if r in rules) or None
    return Cell(found.stored, shown, found.defect or rule, rule, bound=found.bound)


def key_cell(rng: random.Random, number: int, *, dirty: bool) -> Cell:
    """A cell of a text key: words that repeat in another spelling where `dirty`."""
    if not dirty:
        return text(f"{token(rng, 8)}-{number}")
    word = f"k{rng.randint(0, 3)}"
    return rng.choice(
        [text(f"{word}\\x00"), Cell(bytearray(f"{word}\0".encode()), None), Cell(f"{word}\\x00".encode(), None)]
    )
