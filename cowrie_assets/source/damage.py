"""What is known of a damaged table, and which of SQLite's errors tell of damage.

Belongs here: the plan's knowledge that later passes check. Not here: reading (`salvage.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import DamagedSourceError

LOW, HIGH = -(2**63), 2**63 - 1
CELL_BYTES = 6
"""Least bytes of a row in a page (fileformat2, 1.6): a scan of more rows than fit in the file goes round in circles."""
STRAY = 1_000
"""Rows out of order that a scan passes in search of one rowid."""
_CORRUPT, _IO, _TOO_BIG = 11, 10, 18
"""SQLite's primary result codes of damage; too big is what a broken length claims to be."""

Gap = tuple[int, int]


@dataclass
class Damage:
    """What is known of a damaged table.

    Attributes:
        known: the plan's unreadable rowid ranges; None while the plan is made.
        unreadable: the ranges found now, ascending (of a WITHOUT ROWID table the position between its two ends).
        doubled: rowids that more than one row claims; the row that a seek finds is read.
        disorder: whether a scan contradicts seeks or indexes; False as long as only an index is known to be damaged.
    """

    known: tuple[Gap, ...] | None = None
    unreadable: list[Gap] = field(default_factory=list)
    doubled: set[int] = field(default_factory=set)
    disorder: bool = True

    @property
    def of_rows(self) -> bool:
        """Whether rows are concerned, and not an index alone."""
        return bool(self.unreadable or self.doubled or self.disorder)

    def check(self, table: str) -> None:
        """Raise DamagedSourceError where more is unreadable now than the plan knows."""
        for low, high in self.unreadable if self.known is not None else ():
            if not _within(low, high, self.known or ()):
                raise damaged(table, f"rowid {low} cannot be read now, and could be when the plan was made")


def damaged(table: str, what: str) -> DamagedSourceError:
    """The error of damage that the plan does not know."""
    return DamagedSourceError(
        f"Table {table} of the source is damaged: {what}.",
        hint="Run `cowrie-assets plan --replace`: a new plan lists what cannot be read and takes the rest.",
    )


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite stumbled over the file's content."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (_CORRUPT, _IO, _TOO_BIG)


def _within(low: int, high: int, ranges: Sequence[Gap]) -> bool:
    return any(first <= low and high <= last for first, last in ranges)


def most_rows(connection: sqlite3.Connection) -> int:
    """More rows than any table of this file can have."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size // CELL_BYTES + STRAY)
