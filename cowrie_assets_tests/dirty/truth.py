"""The truth about a generated database: what each cell holds, and what must become of it by the contract.

Not here: making cells (`scalars.py`, `documents.py`) or tables (`rows.py`).
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Stored = int | float | bytearray | bytes | None
"""A cell as it lies in SQLite: text is a bytearray (its exact bytes), a blob is bytes."""

_LABELS = {type(None): "null", int: "integer", float: "real", bytearray: "text", bytes: "blob"}


@dataclass(frozen=True)
class Cell:
    r"""One cell.

    Attributes:
        stored: what lies in the file, after SQLite's affinity.
        value: the text form of what the target must hold, as PostgreSQL prints it in UTC; for JSON a text of equal
            value. None for NULL, and where the cell has no value in its type.
        defect: the defect's class; `decoy.…` for what only looks like one; None for plain cells.
        rule: the rule of its repair, or None where the value is the cell's own.
        refused: the rule that refuses it, where it has no value in the target's type.
        bound: what must be inserted for `stored` to come about, where affinity changes it.
    """

    stored: Stored
    value: str | None
    defect: str | None = None
    rule: str | None = None
    refused: str | None = None
    bound: str | None = None

    @property
    def label(self) -> str:
        """The storage class as `typeof()` spells it."""
        return _LABELS[type(self.stored)]

    @property
    def original(self) -> bytes | None:
        """The ledger's form: exact bytes, integers in decimal, reals as the shortest repr, None for NULL."""
        if self.stored is None:
            return None
        return bytes(self.stored) if isinstance(self.stored, (bytes, bytearray)) else repr(self.stored).encode()

    @property
    def aside(self) -> dict[str, str | None]:
        """The form in which the quarantine keeps it."""
        if isinstance(self.stored, (bytes, bytearray)):
            return {"type": self.label, "value": base64.b64encode(self.stored).decode()}
        return {"type": self.label, "value": None if self.stored is None else repr(self.stored)}


NULL = Cell(None, None)


@dataclass
class Row:
    """One row.

    Attributes:
        rowid: SQLite's rowid; for WITHOUT ROWID tables the place in the order of the key, from 1.
        cells: the stored cells by column; a repair of the row is a cell with a `rule`.
        aside: the rules by any of which the row may be set aside; empty where it goes to the target.
        values: what the target must hold, by column, also for columns that the source does not store.
        derived: columns that the migration fills from the payload.
        differs: columns that are kept though the payload says otherwise.
        target_key: the key's text form after repair, or None where it has none.
    """

    rowid: int
    cells: dict[str, Cell]
    aside: set[str] = field(default_factory=set)
    values: dict[str, str | None] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    differs: set[str] = field(default_factory=set)
    target_key: str | None = None

    @property
    def repairs(self) -> list[tuple[str, Cell]]:
        """The cells that must be in the ledger; none where the row is set aside."""
        return [] if self.aside else [(name, cell) for name, cell in self.cells.items() if cell.rule]


@dataclass
class Table:
    """One table.

    Attributes:
        kinds: the target type of each column of the target, by its PostgreSQL name.
        widened: columns that must become text because some cell does not fit their declaration, a finding each.
        rowids: False for WITHOUT ROWID tables: the ledger names no rowid then.
        added: rows that the migration adds, outside the row equation.
    """

    name: str
    kinds: dict[str, str]
    rows: list[Row]
    widened: set[str] = field(default_factory=set)
    rowids: bool = True
    added: list[dict[str, str | None]] = field(default_factory=list)


@dataclass
class Truth:
    """The whole database; `tables` are those of the file, in the order in which they were made."""

    seed: int
    version: int
    dirt: float
    tables: dict[str, Table]

    def defects(self) -> Counter[str]:
        """How many cells of each class were made, decoys too."""
        rows = (row for table in self.tables.values() for row in table.rows)
        return Counter(cell.defect for row in rows for cell in row.cells.values() if cell.defect)

    def to_json(self) -> dict[str, Any]:
        """All that is not plain, for people and other programs."""
        return {
            "seed": self.seed,
            "version": self.version,
            "dirt": self.dirt,
            "tables": {
                name: {
                    "rows": len(table.rows),
                    "kinds": table.kinds,
                    "widened": sorted(table.widened),
                    "added": table.added,
                    "dirty": [_row_json(row) for row in table.rows if _is_odd(row)],
                }
                for name, table in self.tables.items()
            },
        }


def _is_odd(row: Row) -> bool:
    return bool(row.aside or row.derived or row.differs or any(cell.defect for cell in row.cells.values()))


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "rowid": row.rowid,
        "outcome": "quarantine" if row.aside else "loaded",
        "rules": sorted(row.aside),
        "target_key": row.target_key,
        "derived": sorted(row.derived),
        "differs": sorted(row.differs),
        "cells": [
            {
                "column": name,
                "defect": cell.defect,
                "rule": cell.refused if row.aside else cell.rule,
                "type": cell.label,
                "original": base64.b64encode(cell.original).decode() if cell.original is not None else None,
                "replacement": cell.value,
            }
            for name, cell in row.cells.items()
            if cell.defect
        ],
    }
