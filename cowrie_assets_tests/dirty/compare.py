"""Compares a target and its ledger with the truth: what is missing, what is there besides, what arrived otherwise.

Belongs here: reading both. Not here: deciding what is right (`outcomes.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import psycopg

from .pieces import loaded
from .truth import Row, Table, Truth

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass
class Comparison:
    """What was expected and found, by class, and each disagreement in a line.

    Attributes:
        expected: cells and rows that the ledger must name, by the defect's class or the rule.
        missing: those of them that it does not name so.
        besides: what it names without a cause, by rule.
        problems: a line each, also for cells of the target that are not as they must be.
    """

    expected: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    besides: Counter[str] = field(default_factory=Counter)
    cells: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Comparison) -> None:
        """Sum up."""
        self.expected += other.expected
        self.missing += other.missing
        self.besides += other.besides
        self.cells += other.cells
        self.problems += other.problems

    def note(self, what: str, expected: Iterable[tuple[str, Hashable]], found: Iterable[tuple[str, Hashable]]) -> None:
        """Compare two lists of (class, entry)."""
        wanted, got = list(expected), Counter(entry for _, entry in found)
        names = {entry: name for name, entry in found}
        self.expected.update(part for name, _ in wanted for part in name.split(","))
        for name, entry in wanted:
            if got[entry]:
                got[entry] -= 1
            else:
                self.missing.update(name.split(","))
                self.problems.append(f"{what}: missing {name} {entry!r}"[:1200])
        for entry, count in got.items():
            if count:
                self.besides[names[entry]] += count
                self.problems.append(f"{what}: besides {entry!r}"[:1200])

    def lines(self) -> Iterator[str]:
        """Recall by class, and what was found besides."""
        for name, count in sorted(self.expected.items()):
            yield f"{name:28} {count - self.missing[name]:7,} of {count:7,}"
        yield f"{'besides':28} {sum(self.besides.values()):7,} {dict(self.besides) or ''}"
        yield f"{'cells equal':28} {self.cells:7,}"


def compare(truth: Truth, connection: Connection) -> Comparison:
    """Compare everything; the connection is at UTC."""
    result = Comparison()
    result.note("repairs", list(_expected_repairs(truth)), list(_repairs(connection)))
    result.note("quarantine", list(_expected_aside(truth)), list(_aside(truth, connection)))
    result.note("derivations", list(_expected_derivations(truth)), list(_derivations(connection)))
    for table in truth.tables.values():
        _compare_rows(table, connection, result)
    return result


def _rowid(table: Table, row: Row) -> int | None:
    return row.rowid if table.rowids else None


def _all_rows(truth: Truth) -> Iterator[tuple[Table, Row]]:
    for table in truth.tables.values():
        for row in table.rows:
            yield table, row


def _expected_repairs(truth: Truth) -> Iterator[tuple[str, Hashable]]:
    for table, row in _all_rows(truth):
        for column, cell in row.repairs:
            entry = (cell.rule, cell.original, cell.label, cell.value, row.target_key)
            yield cell.defect or cell.rule or "", (table.name, _rowid(table, row), column, *entry)


def _repairs(connection: Connection) -> Iterator[tuple[str, Hashable]]:
    for row in connection.execute(
        "SELECT table_name, source_rowid, column_name, rule, original, original_type, replacement, target_key"
        " FROM cowrie_migration.repairs"
    ):
        yield row[3], row


def _expected_aside(truth: Truth) -> Iterator[tuple[str, Hashable]]:
    for table, row in _all_rows(truth):
        if row.aside:
            original = json.dumps({name: cell.aside for name, cell in row.cells.items()}, sort_keys=True)
            rules = "|".join(sorted(row.aside))
            yield rules, (table.name, _rowid(table, row), rules, original, row.target_key)


def _aside(truth: Truth, connection: Connection) -> Iterator[tuple[str, Hashable]]:
    """The quarantine; a row that may be set aside by several rules is written with all of them."""
    rules = {(table.name, _rowid(table, row)): row.aside for table, row in _all_rows(truth) if table.rowids}
    for name, rowid, rule, original, key in connection.execute(
        "SELECT table_name, source_rowid, rule, original, target_key FROM cowrie_migration.quarantine"
    ):
        may = rules.get((name, rowid), set())
        shown = "|".join(sorted(may)) if rule in may else rule
        yield rule, (name, rowid, shown, json.dumps(original, sort_keys=True), key)


def _expected_derivations(truth: Truth) -> Iterator[tuple[str, Hashable]]:
    for table, row in _all_rows(truth):
        for column in row.derived:
            yield "derived", (table.name, column, row.rowid)


def _derivations(connection: Connection) -> Iterator[tuple[str, Hashable]]:
    for row in connection.execute(
        "SELECT table_name, column_name, generate_series(lower(r), upper(r) - 1)"
        " FROM cowrie_migration.derivations, unnest(source_rowids) r"
    ):
        yield "derived", row


def _compare_rows(table: Table, connection: Connection, result: Comparison) -> None:
    names = list(table.kinds)
    kinds = list(table.kinds.values())
    listed = ", ".join('"' + name.replace('"', '""') + '"::text' for name in names)
    quoted = '"' + table.name.replace('"', '""') + '"'
    found = [
        tuple(map(_canonical, kinds, row)) for row in connection.execute(f"SELECT {listed} FROM {quoted}".encode())
    ]
    wanted = [row.values for row in table.rows if not row.aside] + table.added
    expected = [tuple(map(_canonical, kinds, (values[name] for name in names))) for values in wanted]
    result.cells += len(expected) * len(names)
    missing, besides = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    for row in missing.elements():
        other = max(besides, key=lambda b: sum(x == y for x, y in zip(row, b, strict=True)), default=None)
        differing = [n for n, x, y in zip(names, row, other or (), strict=False) if x != y]
        shown = {n: (row[names.index(n)], other[names.index(n)]) for n in differing} if other else row
        result.problems.append(f"{table.name}: must be, is {shown!r}"[:1200])
    if sum(besides.values()) > sum(missing.values()):
        result.problems.append(f"{table.name}: rows that must not be there {list(besides)[:3]!r}"[:1200])


def _canonical(kind: str, text: str | None) -> str | None:
    """One text for equal values."""
    if text is None:
        return None
    if kind == "double precision":
        return repr(float(text))
    return _canonical_json(text) if kind == "jsonb" else text


@lru_cache(maxsize=4_000)
def _canonical_json(text: str) -> str:
    return json.dumps(loaded(text), sort_keys=True, default=_plain)


def _plain(number: Decimal) -> str:
    digits = format(number, "f")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "number 0" if digits.strip("-0") == "" else f"number {digits}"


def findings_of(truth: Truth) -> tuple[Counter[tuple[str, str, str]], Counter[tuple[str, str]]]:
    """What the quality stage must count: (table, column, rule) of cells, and (table, rules) of rows set aside."""
    cells: Counter[tuple[str, str, str]] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    for table, row in _all_rows(truth):
        cells.update((table.name, column, cell.rule or "") for column, cell in row.repairs)
        cells.update((table.name, column, "derived.differs") for column in row.differs)
        if row.aside:
            rows[table.name, "|".join(sorted(row.aside))] += 1
    return cells, rows
