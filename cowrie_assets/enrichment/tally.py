"""What a refresh did: counts by service, and why a service stopped.

Belongs here: counting. Not here: showing it (`cli/enrichment.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .answers import Answer, LookupFailed, Reason

UNREACHABLE_IN_A_ROW = 3
"""Values in a row that a service may leave unanswered before it is left for a later run; each took four tries."""


@dataclass
class Tally:
    """Counts of one service over one table.

    Attributes:
        rows: rows looked at; `fresh` of them needed nothing.
        tried: values that were looked up, answered or not.
        asked: requests that were sent, retries and unanswered ones included; in a dry run, values that would be asked
            about.
        cached: answers from the cache; in a dry run, what they would be.
        written: rows that were changed.
        no_address: sessions none of whose events names a source address.
        failed: lookups without an answer, by reason; values that may not be sent are apart.
        stopped: why the service was left before the end, or None.
    """

    service: str
    table: str
    rows: int = 0
    fresh: int = 0
    tried: int = 0
    asked: int = 0
    cached: int = 0
    found: int = 0
    not_found: int = 0
    flagged: int = 0
    written: int = 0
    no_address: int = 0
    not_sent: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    stopped: LookupFailed | None = None
    _unreachable: int = 0

    @property
    def answers(self) -> int:
        """Answers, from wherever."""
        return self.found + self.not_found

    def count(self, answer: Answer) -> None:
        """An answer came."""
        self._unreachable = 0
        self.tried += 1
        self.cached += answer.cached
        self.found += answer.found
        self.not_found += not answer.found
        self.flagged += answer.flagged

    def fail(self, error: LookupFailed) -> None:
        """A lookup failed; sets `stopped` where the service is to be left."""
        if error.reason is Reason.NOT_SENT:
            self.not_sent += 1
            return
        self.failed[error.reason.value] += 1
        self.tried += 1
        self._unreachable = self._unreachable + 1 if error.reason is Reason.UNREACHABLE else 0
        if error.final or self._unreachable >= UNREACHABLE_IN_A_ROW:
            self.stopped = error

    def as_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        names = ("service", "table", "rows", "fresh", "asked", "cached", "found", "not_found", "flagged", "written")
        content: dict[str, Any] = {name: getattr(self, name) for name in (*names, "no_address", "not_sent")}
        stopped = self.stopped and {
            "reason": self.stopped.reason.value,
            "detail": str(self.stopped),
            "resume_at": self.stopped.resume_at and self.stopped.resume_at.isoformat(),
        }
        return content | {"failed": dict(self.failed), "stopped": stopped}


Progress: TypeAlias = Callable[[Tally, int], None]
"""Told the counts so far and how many rows the table has."""
