"""What the catalogue's rules find in a database as it stands.

Belongs here: asking and counting. Not here: the rules (`cleaning/`), changing anything (`repair.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ..cleaning.table import Cleaned, TableCleaner
from ..policies import Treatment
from .pages import Page, pages_of

EXAMPLES = 5
ELSEWHERE = frozenset({"schema.version"})
"""Rules of a migration that mean nothing in place: `db migrate` raises the version, with what belongs to it."""
Progress = Callable[[str, int], None]


@dataclass
class Finding:
    """A rule's finding in a column ("" for a whole row): how often, and the keys of the first few rows."""

    table: str
    column: str
    rule: str
    count: int = 0
    examples: list[Any] = field(default_factory=list)

    def add(self, key: Any) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(key)


class Findings(dict[tuple[str, str, str], Finding]):
    """Findings by table, column and rule."""

    def add(self, table: str, column: str, rule: str, key: Any) -> None:
        """One more."""
        place = (table, column, rule)
        if place not in self:
            self[place] = Finding(*place)
        self[place].add(key)

    def listed(self) -> list[Finding]:
        """Sorted."""
        return [self[place] for place in sorted(self)]


@dataclass(frozen=True)
class Analysis:
    """What was found.

    Attributes:
        rows: rows by table.
        not_checked: tables, and columns of others (`table.column`), that the rules know nothing of.
    """

    rows: dict[str, int]
    findings: list[Finding]
    not_checked: list[str]


def analyse(engine: sa.Engine, treatment: Treatment, progress: Progress | None = None) -> Analysis:
    """Ask every rule about every row of the processor's tables; nothing is changed."""
    findings, rows = Findings(), {}
    with engine.connect() as connection:
        tables, others = pages_of(connection, treatment)
    for name, pages in tables.items():
        cleaner, after, rows[name] = TableCleaner(pages.plan), None, 0
        while True:
            # A transaction a page: a writer's WAL is not held up by our reading.
            with engine.connect() as connection, connection.begin():
                page = pages.read(connection, after)
            if page is None:
                break
            collect(findings, name, page, cleaner.clean(page.batch), pages.plan.source.stored)
            after = page.keys[-1]
            rows[name] += len(page.keys)
            if progress:
                progress(name, len(page.keys))
    return Analysis(rows, findings.listed(), others)


def collect(findings: Findings, table: str, page: Page, cleaned: Cleaned, stored: tuple[str, ...]) -> None:
    """Count a page's findings: repairs, rows that would be set aside, members not in their columns, differences."""
    for repair in cleaned.repairs:
        if repair.rule not in ELSEWHERE:
            findings.add(table, repair.column, repair.rule, page.key_of(repair.rowid))
    for row in cleaned.quarantine:
        findings.add(table, "", row.rule, page.key_of(row.rowid))
    for rule, columns in (("payload.member", cleaned.derived), ("derived.differs", cleaned.differing)):
        for column, rowids in columns.items():
            if column in stored:  # what the database itself computes lacks nothing
                for rowid in rowids.to_pylist():
                    findings.add(table, column, rule, page.key_of(rowid))
