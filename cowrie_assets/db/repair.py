"""The catalogue's rules applied in place: changed cells with their originals in a ledger, empty columns filled.

A row that a migration would set aside stays where it is and is counted as left: a repair deletes nothing.

Belongs here: which cells change, and changing them. Not here: the rules (`cleaning/`), the ledger's tables
(`repair_ledger.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..catalog import Type
from ..cleaning.table import Cleaned, RepairRow, TableCleaner
from ..policies import Treatment
from ..source.schema import quoted
from .data_quality import ELSEWHERE, Finding, Findings, Progress
from .engine import use_wal
from .pages import Page, Pages, pages_of
from .repair_ledger import RepairLedger

Change = tuple[int, str, Any]
"""A cell that gets another value: the row's number in its batch, the column, the value as the driver takes it."""


@dataclass(frozen=True)
class Repaired:
    """What was changed, or would be.

    Attributes:
        changed: by table, column and rule.
        left: rows that no rule can mend in place, by table and rule; those that need people.
        not_checked: tables, and columns of others (`table.column`), that the rules know nothing of.
    """

    run_id: str
    applied: bool
    rows: dict[str, int]
    changed: list[Finding]
    left: list[Finding]
    not_checked: list[str]


def repair(
    engine: sa.Engine, treatment: Treatment, *, apply: bool = False, progress: Progress | None = None
) -> Repaired:
    """Apply the rules to every row of the processor's tables, each page with its ledger in one transaction.

    Interrupted, it is started again: pages that were committed are clean. Policies `quarantine` and `fail` leave the
    row as it is.

    Args:
        engine: the database; open for writing where `apply` is set.
        treatment: the rules' policies, unwrapping.
        apply: change the cells; otherwise only count (a key that would meet another is found when it is changed).
        progress: told of rows as they are read.
    """
    run = _Run(engine, treatment, apply, f"repair-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}")
    with engine.connect() as connection:
        tables, others = pages_of(connection, treatment)
    if apply:
        use_wal(engine)
        with engine.begin() as connection:
            run.ledger.create(connection)
    rows = {}
    for name, pages in tables.items():
        rows[name] = run.table(name, pages, progress)
    return Repaired(run.ledger.run_id, apply, rows, run.changed.listed(), run.left.listed(), others)


class _Run:
    def __init__(self, engine: sa.Engine, treatment: Treatment, apply: bool, run_id: str) -> None:
        self.engine, self.apply = engine, apply
        self.postgres = engine.dialect.name == "postgresql"
        self.ledger = RepairLedger(self.postgres, run_id)
        self.changed, self.left = Findings(), Findings()

    def table(self, name: str, pages: Pages, progress: Progress | None) -> int:
        cleaner, after, rows = TableCleaner(pages.plan), None, 0
        # Read and written in one transaction, so that nobody changes a row between the two.
        options = {"cowrie_begin": "BEGIN IMMEDIATE"} if self.apply else {}
        while True:
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                page = pages.read(connection, after, lock=self.apply, suspicious=True)
                if page is None:
                    return rows
                self._page(connection, name, pages, page, cleaner.clean(page.batch))
            after = page.keys[-1]
            rows += len(page.keys)
            if progress:
                progress(name, len(page.keys))

    def _page(self, connection: sa.Connection, name: str, pages: Pages, page: Page, cleaned: Cleaned) -> None:
        for row in cleaned.quarantine:
            self.left.add(name, "", row.rule, page.key_of(row.rowid))
        stored = pages.plan.source.stored
        repairs = [r for r in cleaned.repairs if r.rule not in ELSEWHERE and not self._stays(pages, r)]
        derived = {c: ids.to_pylist() for c, ids in cleaned.derived.items() if c in stored and len(ids)}
        wanted = {r.rowid: {} for r in repairs} | {i: {} for ids in derived.values() for i in ids}
        if not wanted:
            return
        place = {rowid: n for n, rowid in enumerate(cleaned.rowids.to_pylist()) if rowid in wanted}
        changes: dict[int, dict[str, Any]] = wanted
        values: dict[str, list[Any]] = {}
        for rowid, column in [(r.rowid, r.column) for r in repairs] + [
            (i, c) for c, ids in derived.items() for i in ids
        ]:
            if column not in values:
                values[column] = cleaned.columns[column].to_pylist()
            changes[rowid][column] = self._stored(pages, column, values[column][place[rowid]])
        refused: set[int] = set()
        if self.apply:
            refused = self._update(connection, name, pages, page, changes)
        for rowid in refused:
            self.left.add(name, "", "key.duplicate", page.key_of(rowid))
        repairs = [r for r in repairs if r.rowid not in refused]
        derived = {c: [i for i in ids if i not in refused] for c, ids in derived.items()}
        if self.apply:
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}+00"
            rowids = not self.postgres or pages.table.serial is not None
            self.ledger.write(connection, name, repairs, derived, now, rowids=rowids)
        for r in repairs:
            self.changed.add(name, r.column, r.rule, page.key_of(r.rowid))
        for column, ids in derived.items():
            for rowid in ids:
                self.changed.add(name, column, "payload.member", page.key_of(rowid))

    def _stays(self, pages: Pages, repair: RepairRow) -> bool:
        """A document that is a mere number: SQLite's affinity would make one of its text again, with other digits."""
        if self.postgres or repair.replacement is None or pages.table.column(repair.column).type is not Type.JSONB:
            return False
        try:
            float(repair.replacement)
        except ValueError:
            return False
        return True

    def _stored(self, pages: Pages, column: str, value: Any) -> Any:
        """The cleaned value as this backend holds it; documents are text already."""
        if isinstance(value, datetime) and not self.postgres:
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")  # as the processor writes it
        return int(value) if isinstance(value, bool) and not self.postgres else value

    def _update(
        self, connection: sa.Connection, name: str, pages: Pages, page: Page, changes: dict[int, dict[str, Any]]
    ) -> set[int]:
        """Write the changes; the rows whose mended key another row has are left as they are."""
        try:
            with connection.begin_nested():
                self._execute(connection, name, pages, page, changes.items())
            return set()
        except IntegrityError:
            refused: set[int] = set()
        for rowid, cells in changes.items():
            try:
                with connection.begin_nested():
                    self._execute(connection, name, pages, page, [(rowid, cells)])
            except IntegrityError:
                refused.add(rowid)
        return refused

    def _execute(
        self,
        connection: sa.Connection,
        name: str,
        pages: Pages,
        page: Page,
        changes: Iterable[tuple[int, dict[str, Any]]],
    ) -> None:
        by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for rowid, cells in changes:
            by_columns[tuple(sorted(cells))].append({"row_key": page.key_of(rowid), **cells})
        for columns, rows in by_columns.items():
            chosen = ", ".join(f"{quoted(c)} = {self._placeholder(pages, c)}" for c in columns)
            key = quoted(pages.key) if self.postgres else pages.key
            connection.execute(sa.text(f"UPDATE {quoted(name)} SET {chosen} WHERE {key} = :row_key"), rows)

    def _placeholder(self, pages: Pages, column: str) -> str:
        if self.postgres and pages.table.column(column).type is Type.JSONB:
            return f"CAST(:{column} AS {pages.plan.treatment.json_type.value})"
        return f":{column}"
