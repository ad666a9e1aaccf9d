"""What a proof says: verdicts, how much was proven, and the differences it found.

Belongs here: the words of the proof. Not here: finding anything out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from ..errors import SettingsError


class Verdict(StrEnum):
    """What a proof says; what did not run is NOT CHECKED."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    NOT_CHECKED = "NOT CHECKED"


class Proof(StrEnum):
    """How much was compared: row counts, those and the cells of a sample, or every cell; the weakest first."""

    COUNTS = "counts"
    SAMPLE = "sample"
    FULL = "full"


@dataclass(frozen=True)
class Extent:
    """How much a proof is asked to compare; `fraction` is the share of rows whose cells a sample compares."""

    proof: Proof = Proof.FULL
    fraction: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Extent:
        """`full`, `counts`, or a share such as `1%`; SettingsError for anything else."""
        if text in (Proof.FULL, Proof.COUNTS):
            return cls(Proof(text))
        if re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?%", text) and 0 < float(text[:-1]) <= 100:
            return cls(Proof.SAMPLE, float(text[:-1]) / 100)
        raise SettingsError(f"{text!r} is no proof.", hint="Write full, counts, or a share of the rows such as 1%.")

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.fraction * 100:g}%" if self.proof is Proof.SAMPLE else self.proof.value


WORDS = {
    Proof.COUNTS: "row counts; cells: NOT CHECKED",
    Proof.SAMPLE: "row counts and the cells of a sample; the other cells: NOT CHECKED",
    Proof.FULL: "row counts, keys and every cell",
}
"""What a proof has proven, in words."""

SHOWN = 5
"""Differences that a partition's detail names; all are counted."""


@dataclass(frozen=True)
class Difference:
    """One difference; `rowid` is None where only the target or a table without rowids has the row."""

    table: str
    partition: str
    rowid: int | None
    key: str | None
    column: str
    what: str

    def __str__(self) -> str:
        """Where it is, and what."""
        row = f"row {self.rowid}" if self.rowid is not None else f"key {self.key}"
        return f"{row}{f', {self.column}' if self.column else ''}: {self.what}"


@dataclass
class PartitionProof:
    """One partition's proof.

    Attributes:
        source: rows in the source now, up to the plan's mark, dated by the shared kernel.
        target: rows in the target now whose key this partition's load recorded; None where it is not loaded.
        quarantined: rows in the ledger's quarantine now.
        cells: cells compared.
        differences: the first ones, `different` counts all.
        faults: what differs in the counts.
        made: False where the ledger has this proof of the same source, rows and rules already.
    """

    table: str
    partition: str
    source: int
    target: int | None
    quarantined: int
    verdict: Verdict = Verdict.NOT_CHECKED
    proof: Proof = Proof.COUNTS
    cells: int = 0
    different: int = 0
    differences: list[Difference] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    made: bool = True

    @property
    def detail(self) -> str:
        """What differs; empty where nothing does."""
        shown = [str(d) for d in self.differences[:SHOWN]]
        if self.different > len(shown):
            shown.append(f"and {self.different - len(shown):,} more")
        return "; ".join(self.faults + shown)


@dataclass(frozen=True)
class TableTotal:
    """Whether a table's partitions sum to the table, none missing, none doubled.

    Attributes:
        after_plan: newer rows in the source, which are not migrated.
        others: rows in the target that this migration did not load.
    """

    table: str
    rows: int
    summed: int
    after_plan: int
    verdict: Verdict
    detail: str
    others: int = 0
