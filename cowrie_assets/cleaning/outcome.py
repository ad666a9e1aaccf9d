"""What a column kernel returns: values, what it changed, and what it could not place.

Belongs here: the types every kernel shares. Not here: a rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Repair:
    """One changed cell: its row in the batch, the rules in the order they applied, the new value's text form."""

    row: int
    rules: tuple[str, ...]
    text: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cell without a value in the target's type: the table's policy decides between NULL, fallback, quarantine."""

    row: int
    rule: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """A cleaned column: `values` in the target's Arrow type, NULL where the cell is NULL or refused."""

    values: pa.Array
    repairs: list[Repair] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
