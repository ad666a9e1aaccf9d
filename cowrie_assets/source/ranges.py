"""Many rowid ranges: as arrays, to look up rowids in, and as PostgreSQL's multiranges.

Belongs here: these two forms. Not here: where the ranges come from.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Rowids = npt.NDArray[np.int64]


class Ranges:
    """Closed, disjoint ranges; 16 bytes each."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Take them in any order."""
        flat = array("q")
        for low, high in ranges:
            flat.append(low)
            flat.append(high)
        pairs = np.frombuffer(flat, np.int64).reshape(-1, 2) if flat else np.zeros((0, 2), np.int64)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        self.lows, self.highs = pairs[:, 0], pairs[:, 1]

    def holds(self, rowids: Rowids) -> Mask:
        """For each rowid whether it lies in a range."""
        if not len(self.lows):
            return np.zeros(len(rowids), np.bool_)
        at = np.searchsorted(self.lows, rowids, "right") - 1
        found: Mask = (at >= 0) & (rowids <= self.highs[at])
        return found


LAST = 2**63 - 1
"""The highest rowid. A multirange that holds it has no upper bound, since PostgreSQL's ranges end before theirs."""


def multirange(ranges: Iterable[tuple[int, int]]) -> str:
    """Closed ranges as an int8multirange literal."""
    return "{" + ",".join(f"[{low},{high}]" if high < LAST else f"[{low},)" for low, high in ranges) + "}"


def last_of(span: str) -> str:
    """SQL: the last number of a range."""
    return f"coalesce(upper({span}) - 1, {LAST})"
