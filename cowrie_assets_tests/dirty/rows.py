"""Rows of the processor's tables: clean ones, then dirt in some of their cells.

Not here: what becomes of a row (`outcomes.py`), SQL (`schema.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from .broken import dirty_json
from .dates import clean_date, dirty_date
from .documents import clean_json
from .pieces import arrow
from .scalars import (
    clean_boolean,
    clean_integer,
    clean_text,
    dirty_boolean,
    dirty_integer,
    dirty_text,
    integer,
    number_as_text,
    text,
    token,
)
from .schema import GENERATED, Mode, Spec, key_of, stored_columns, unique_of
from .truth import NULL, Cell, Row

_CLEAN: dict[str, Callable[[random.Random], Cell]] = {
    "text": clean_text,
    "bigint": clean_integer,
    "boolean": clean_boolean,
    "timestamptz": clean_date,
}
_DIRTY: dict[str, Callable[[random.Random], Cell]] = {
    "bigint": dirty_integer,
    "boolean": dirty_boolean,
    "timestamptz": dirty_date,
}
_SESSIONS = [f"s{number:011x}" for number in range(40)]
_SOURCES = ["/var/log/cowrie/cowrie.json", "cowrie.json.2025-09-22", "a.json.bz2"]


class Maker:
    """Makes the rows of one table."""

    def __init__(
        self, rng: random.Random, table: str, version: int, mode: Mode, dirt: float, *, generated: bool
    ) -> None:
        """Take the table's declaration and the share of rows that get dirt."""
        self.rng, self.table, self.version, self.mode, self.dirt = rng, table, version, mode, dirt
        self.specs = stored_columns(table, version, generated=generated)
        self.key = key_of(table)
        self.free = mode in (Mode.LOOSE, Mode.LYING)
        self.serial = self.key == "id" and not self.free

    def rows(self, count: int) -> list[Row]:
        """So many rows, with ascending rowids; some of them will be refused by the table's own constraints."""
        rowids = self._rowids(count)
        made = [Row(rowid, self._clean(number, rowid)) for number, rowid in enumerate(rowids)]
        for row in made:
            if self.rng.random() < self.dirt:
                # JSON has the most ways to break: its columns are taken more often.
                weights = [6 if spec.kind == "jsonb" else 1 for spec in self.specs]
                for spec in self.rng.choices(self.specs, weights, k=self.rng.choice([1, 1, 1, 1, 2, 3, 5])):
                    self._spoil(row, spec)
        for _ in range(int(count * self.dirt / 5)):
            self._collide(made)
        return made

    def _rowids(self, count: int) -> list[int]:
        rowids, last = [], self.rng.choice([0, 0, 0, 7, -3, 2**40])
        for _ in range(count):
            last += self.rng.choice([1, 1, 1, 1, 2, 30])
            rowids.append(last)
        if rowids and self.rng.random() < 0.02:
            rowids[-1] = 2**63 - 2
        return rowids

    def _clean(self, number: int, rowid: int) -> dict[str, Cell]:
        cells = {spec.name: self._clean_cell(spec, number, rowid) for spec in self.specs}
        if self.table == "raw_events":
            for name, member in GENERATED.items():
                if name in cells:
                    said, kind = arrow(cells["payload"].value, member), self.rng.random()
                    cells[name] = (
                        NULL if said is None or kind < 0.4 else text(said) if kind < 0.9 else clean_text(self.rng)
                    )
        return cells

    def _clean_cell(self, spec: Spec, number: int, rowid: int) -> Cell:
        rng, name = self.rng, spec.name
        if name == "id":
            return integer(rowid if self.serial else number + 1)
        if name == "source_offset" and self.table == "raw_events":
            return integer(number * 311)
        if name == "source_inode":
            return rng.choice([text("1234"), text("1235"), NULL])
        if name == "source_generation":
            return integer(rng.choice([0, 0, 1]))
        if name == "source" and self.table != "ingest_cursors":
            return text(rng.choice(_SOURCES))
        if name == "session_id" and self.table != "session_summaries":
            return text(rng.choice(_SESSIONS))
        if name == self.key or name in ("shasum", "command_normalized"):
            length = rng.choices([12, 64, 300, 2_900, 20_005], [60, 20, 15, 1, 1])[0]
            return text(token(rng, length), "decoy.long_key" if length > 64 else None)
        if not spec.required and rng.random() < 0.25:
            return NULL
        return clean_json(rng, numeric=not self.free) if spec.kind == "jsonb" else _CLEAN[spec.kind](rng)

    def _spoil(self, row: Row, spec: Spec) -> None:
        rng = self.rng
        if spec.name == "id" and self.serial:
            return
        if spec.required and self.mode is not Mode.STRICT and rng.random() < 0.2:
            row.cells[spec.name] = Cell(None, None, "null.key" if spec.name == self.key else "null.required")
        elif spec.kind == "text":
            row.cells[spec.name] = dirty_text(rng, numbers=self.free)
        elif spec.kind == "jsonb":
            row.cells[spec.name] = dirty_json(rng, numeric=not self.free)
        else:
            row.cells[spec.name] = _DIRTY[spec.kind](rng)

    def _collide(self, rows: list[Row]) -> None:
        """Give some rows one key: in several spellings, and equally spelled where the table allows it."""
        rng = self.rng
        stored = {spec.name: spec for spec in self.specs}
        sets = [[c for c in columns if c in stored] for columns in unique_of(self.table, self.version)]
        columns = rng.choice(sets)
        chosen = rng.sample(rows, k=min(len(rows), rng.choice([2, 2, 3, 4])))
        if columns == ["id"]:
            if self.free:
                for row in chosen[1:]:
                    row.cells["id"] = replace(chosen[0].cells["id"], defect="duplicate.key")
            return
        varied = rng.choice([c for c in columns if stored[c].kind == "text"])
        word = token(rng, 6)
        spellings: list[Cell] = [
            text(f"{word}\\x00g", "duplicate.spelled"),
            Cell(bytearray(f"{word}\0g".encode()), f"{word}\\x00g", "duplicate.nul", "text.nul"),
            Cell(f"{word}\\x00g".encode(), f"{word}\\x00g", "duplicate.blob", "text.blob"),
            Cell(f"{word}\0g".encode(), f"{word}\\x00g", "duplicate.nul_blob", "text.blob+text.nul"),
        ]
        if self.free and rng.random() < 0.4:
            number = rng.randint(-99, 99)
            digits = text(str(number), "duplicate.spelled")
            numbers = [replace(number_as_text(n), defect="duplicate.number") for n in (number, float(number))]
            spellings = [*numbers, digits, Cell(str(number).encode(), str(number), "duplicate.blob", "text.blob")]
        picked = rng.choices(spellings, k=len(chosen)) if self.free else rng.sample(spellings, k=len(chosen))
        for row, cell in zip(chosen, picked, strict=False):
            for column in columns:
                row.cells[column] = cell if column == varied else chosen[0].cells[column]
