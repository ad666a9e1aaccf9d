"""What a look at the database's health says.

Belongs here: its words and numbers. Not here: looking (`database.py` and its neighbours), showing (`cli/health.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

NOT_CHECKED = "NOT CHECKED"


class Status(IntEnum):
    """How a check ended; the number is the command's exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """In lower case, as text and JSON say it."""
        return self.name.lower()


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: database, schema, migration, events, status_files or disk.
        text: one line for people.
        checked: False where it was not looked at; the text says NOT CHECKED.
        details: what JSON adds.
    """

    name: str
    status: Status
    text: str
    checked: bool = True
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def skipped(cls, name: str, why: str) -> Check:
        """A check that did not run; by itself no complaint."""
        return cls(name, Status.OK, f"{NOT_CHECKED}: {why}", checked=False)


@dataclass(frozen=True)
class Report:
    """All checks of one look, begun at `at`, which took `seconds`."""

    at: datetime
    seconds: float
    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst of the checks."""
        return max((check.status for check in self.checks), default=Status.CRITICAL)

    def only(self, *names: str) -> Report:
        """The same look, restricted to some checks."""
        return Report(self.at, self.seconds, tuple(check for check in self.checks if check.name in names))

    def as_json(self) -> dict[str, Any]:
        """As `--json` and the endpoint give it."""
        return {
            "status": self.status.word,
            "at": self.at.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "checks": {
                check.name: {
                    "status": check.status.word,
                    "checked": check.checked,
                    "text": check.text,
                    **check.details,
                }
                for check in self.checks
            },
        }


def duration(seconds: float) -> str:
    """A length of time for people, in its largest unit."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def size(number: float) -> str:
    """Bytes for people."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
