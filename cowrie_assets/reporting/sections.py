"""What the report of a migration says, and in which order.

Belongs here: the document's sections. Not here: gathering and writing (`migration.py`), queries (`ledger.py`), escaping
and rendering (`text.py`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..catalog import TABLES
from ..planning.plan import Plan
from ..planning.shape import is_known
from ..validation.verdicts import TableTotal, Verdict
from . import ledger
from .ledger import EXAMPLES, Derivation, Misbuilt, OpenPartition, Overall, Quality, RuleCount, TableSum, TargetState
from .text import Badge, Block, Bullets, Cell, Code, Heading, Inline, Paragraph, Table, inert

TITLE = "Migration report"
SHOWN = 200
"""Rows of one table of the report; what is more is counted."""
COLUMNS = 12
"""Columns of an unknown table that are named."""
EXAMPLE_ROWS = "Source rowids, the first"
QUARANTINE = "cowrie-assets quarantine"
BADGES: dict[Verdict, Badge] = {
    Verdict.PASS: Badge(Verdict.PASS.value, "good"),
    Verdict.FAIL: Badge(Verdict.FAIL.value, "bad"),
    Verdict.NOT_CHECKED: Badge(Verdict.NOT_CHECKED.value, "open"),
}
PROOFS = {
    "counts": "The proof is of row counts: source = loaded + set aside, each counted afresh. No cell was compared.",
    "sample": "The proof is of row counts, and of the cells of a sample of the rows.",
    "full": "The proof is of row counts, and of every cell.",
}


@dataclass(frozen=True)
class Facts:
    """All that the report is made from."""

    target_label: str
    state: TargetState
    sums: list[TableSum]
    open: list[OpenPartition]
    repairs: list[RuleCount]
    set_aside: list[RuleCount]
    derivations: list[Derivation]
    misbuilt: list[Misbuilt]
    totals: list[TableTotal]
    quality: Quality

    @property
    def plan(self) -> Plan:
        """The plan that the target is pinned to."""
        return self.state.plan

    @property
    def tables(self) -> tuple[str, ...]:
        """The plan's tables in the source's order."""
        # The pinned plan comes from jsonb, which sorts its members: `plan.tables` has lost the source's order.
        return (*self.plan.dated, *self.plan.others)

    @property
    def overall(self) -> Overall:
        """The whole migration's verdict."""
        return ledger.overall(self.sums, self.totals, self.plan.damage)


def document(facts: Facts) -> Iterator[Block]:
    """The report, section by section."""
    yield Heading(TITLE, 1)
    yield Paragraph.of(BADGES[facts.overall.verdict], f" {facts.overall.reason}.")
    yield Paragraph.of(_proof(facts))
    yield from _source_and_target(facts)
    yield from _tables(facts)
    yield from _totals(facts)
    yield from _rules(facts)
    yield from _findings(facts)
    yield from _columns(facts.quality)
    yield from _unknown(facts)
    yield from _not_migrated(facts)
    yield from _misbuilt(facts)
    yield Heading("What to run next")
    yield Bullets(tuple(_next(facts)))


def _proof(facts: Facts) -> str:
    proofs = {s.proof for s in facts.sums if s.proof}
    weakest = next((kind for kind in PROOFS if kind in proofs), None)
    return PROOFS[weakest] if weakest else "Nothing was verified yet."


def _source_and_target(facts: Facts) -> Iterator[Block]:
    plan, state = facts.plan, facts.state
    keys = plan.windows.keys
    size, wal = plan.source_state["size"], plan.source_state["wal_size"]
    yield Heading("Source")
    yield Bullets(
        (
            ("Path: ", Code(plan.source_path)),
            (f"Size at the plan: {size:,} bytes" + (f", and {wal:,} in its WAL" if wal else ""),),
            (f"Plan: made {plan.created}, id ", Code(plan.id)),
            (f"Windows: {len(keys):,} by {plan.windows.grain.value}, ", Code(keys[0]), " to ", Code(keys[-1])),
            *((f"Not the default: {name} ", Code(said)) for name, said in plan.treatment.asked().items() if said),
        )
    )
    yield Heading("Target")
    finished = f"{state.finished:%Y-%m-%d %H:%M:%S} UTC" if state.finished else "not yet"
    yield Bullets(
        (
            ("Database: ", Code(facts.target_label)),
            (f"Server: PostgreSQL {state.server}",),
            (f"Finished (indexes, constraints, sequences): {finished}",),
        )
    )


def _tables(facts: Facts) -> Iterator[Block]:
    in_source = {t.table: t.rows for t in facts.totals}
    rows: list[tuple[Cell, ...]] = []
    summed = [0] * 7
    for s in facts.sums:
        moved = (in_source.get(s.table, 0), s.loaded, s.set_aside, s.repaired)
        counts = (*moved, s.partitions, s.loaded_partitions, s.verified)
        rows.append((Code(s.table), BADGES[s.verdict], *counts))
        summed = [total + count for total, count in zip(summed, counts, strict=True)]
    header = ("Table", "Verdict", "Rows in the source", "Loaded", "Set aside", "Cells repaired")
    yield from _section(
        "Tables",
        (*header, "Partitions", "of them loaded", "verified"),
        rows,
        total=("all", BADGES[facts.overall.verdict], *summed),
    )
    absent = [name for name in TABLES if name not in facts.plan.tables] if facts.plan.is_cowrie else []
    if absent:
        yield Paragraph.of("Not in the source, so empty in the target: ", *_names(absent, len(absent)), ".")
    failed = [p for p in facts.open if p.verdict is Verdict.FAIL]
    if failed:
        rows = [(Code(p.table), Code(p.partition), Code(p.detail)) for p in failed]
        yield from _section("Partitions that differ", ("Table", "Partition", "What differs"), rows)
    waiting: dict[tuple[str, str], list[str]] = {}
    for p in facts.open:
        if p.verdict is not Verdict.FAIL:
            waiting.setdefault((p.table, "not verified" if p.loaded else "not loaded"), []).append(p.partition)
    if waiting:
        rows = [(Code(table), state, len(keys), _names(keys)) for (table, state), keys in waiting.items()]
        yield from _section("Partitions not proven", ("Table", "State", "Partitions", "Which"), rows)


def _totals(facts: Facts) -> Iterator[Block]:
    yield from _section(
        "Totals",
        ("Table", "Verdict", "Rows up to the mark", "Sum of partitions", "Rows after the plan", "What differs"),
        [(Code(t.table), BADGES[t.verdict], t.rows, t.summed, t.after_plan, Code(t.detail)) for t in facts.totals],
        "The partitions of a table are the plan's, each once, and sum to the table's rows up to the plan's mark (its"
        " highest rowid then). Newer rows are counted apart: they are not migrated.",
    )


def _rules(facts: Facts) -> Iterator[Block]:
    yield from _section(
        "Repaired cells",
        ("Table", "Column", "Rule", "Cells", EXAMPLE_ROWS),
        [(Code(r.table), Code(r.column), Code(r.rule), r.count, _names(r.examples)) for r in facts.repairs],
    )
    if facts.repairs:
        yield Paragraph.of("Each with its original bytes: ", Code("SELECT * FROM cowrie_migration.repairs"), ".")
    yield from _section(
        "Rows set aside",
        ("Table", "Rule", "Rows", EXAMPLE_ROWS, "Why the first of them was"),
        [(Code(r.table), Code(r.rule), r.count, _names(r.examples), Code(r.detail)) for r in facts.set_aside],
    )
    if facts.set_aside:
        one = f"{QUARANTINE} --rule {shlex.quote(facts.set_aside[0].rule)}"
        yield Paragraph.of("To see them: ", Code(QUARANTINE), ", or those of one rule: ", Code(one), ".")
    yield from _section(
        "Derived cells",
        ("Table", "Column", "Rule", "Cells"),
        [(Code(d.table), Code(d.column), Code(d.rule), d.cells) for d in facts.derivations],
        "Filled by us: NULL in the source, or a generated column there. They are no repairs.",
    )


def _findings(facts: Facts) -> Iterator[Block]:
    """What plan and analysis found, but for what the ledger already lists as repaired or set aside."""
    done = {(r.table, r.column, r.rule) for r in (*facts.repairs, *facts.set_aside)}
    found = [
        RuleCount(f.table, f.column, f.code, f.count, tuple(map(str, f.examples)), f.detail)
        for f in facts.plan.findings
    ]
    found += [f for f in facts.quality.findings if (f.table, f.column, f.rule) not in done]
    yield from _section(
        "Findings",
        ("Table", "Column", "Finding", "Count", EXAMPLE_ROWS, "What"),
        [(Code(f.table), Code(f.column), Code(f.rule), f.count, _names(f.examples), Code(f.detail)) for f in found],
        "Of the plan and the analysis; what is listed above as repaired or set aside is not listed again.",
        empty="None besides what is listed above.",
    )


def _columns(quality: Quality) -> Iterator[Block]:
    rows: list[tuple[Cell, ...]] = []
    for (table, name), column in quality.columns.items():
        if set(column.classes) == {"null"}:
            continue
        kept, changed = (column.json["valid"], column.json["invalid"]) if column.json else (None, None)
        classes = _names([f"{kind} {n:,}" for kind, n in column.classes.most_common()], len(column.classes))
        formats = _names([f"{form or 'empty'} ({n:,})" for form, n in column.formats.most_common()])
        rows.append((Code(table), Code(name), classes, column.longest, formats, kept, changed))
    empty = len(quality.columns) - len(rows)
    yield from _section(
        "Columns",
        (
            *("Table", "Column", "Storage classes", "Longest text, bytes", "Date formats (9: any digit)"),
            *("JSON taken as it is", "JSON changed or refused"),
        ),
        rows,
        f"{quality.analysed:,} of the {quality.partitions:,} partitions with rows are analysed. Not listed:"
        f" {empty:,} columns that hold only NULL.",
        empty="No partition is analysed.",
        fold=f"{len(rows):,} columns: storage classes, longest text, date formats, JSON",
    )


def _unknown(facts: Facts) -> Iterator[Block]:
    rows: list[tuple[Cell, ...]] = []
    for name in facts.tables:
        planned = facts.plan.tables[name]
        what = "columns" if is_known(planned.source) else "table"
        if planned.types or what == "table":
            types = [f"{c.name} {c.type.value}" for c in planned.target.columns if c.name in planned.types]
            rows.append((Code(name), what, planned.rows, _names(types, COLUMNS)))
    yield from _section(
        "Not known to the catalog",
        ("Table", "Unknown", "Rows", "Columns and their types"),
        rows,
        "Migrated with the types they declare, or text where a cell does not fit.",
    )


def _not_migrated(facts: Facts) -> Iterator[Block]:
    listed = list(facts.plan.not_migrated)
    for name in facts.tables:
        planned = facts.plan.tables[name]
        taken = {c.name for c in planned.target.columns}
        listed += [
            ("partial or expression index", f"{name}: {index.name}")
            for index in planned.source.indexes
            if index.partial or None in index.columns
        ]
        listed += [
            ("generated column", f"{name}.{column.name}")
            for column in planned.source.columns
            if column.generated and column.name not in taken
        ]
    yield from _section("Not migrated", ("What", "Name"), [(kind, Code(name)) for kind, name in listed])


def _misbuilt(facts: Facts) -> Iterator[Block]:
    yield from _section(
        "Indexes and constraints that are not as declared",
        ("Table", "Name", "State"),
        [(Code(m.table), Code(m.name), m.detail) for m in facts.misbuilt],
        "ON CONFLICT does not find a unique index over md5 by its columns: it needs the same expression.",
        empty="None." if facts.state.finished else "None is built yet: the target is not finished.",
    )


def _next(facts: Facts) -> Iterator[tuple[Inline, ...]]:
    migrate = Code("cowrie-assets migrate")
    verdict = facts.overall.verdict
    if verdict is Verdict.FAIL:
        failed = dict.fromkeys(p.table for p in facts.open if p.verdict is Verdict.FAIL)
        if failed or not facts.plan.damage:
            yield "Load what differs again: ", Code(_reload(list(failed))), ", then look at the report it writes."
        if facts.plan.damage:
            yield (
                "Look for the rows that the source cannot give in a backup of it, or in what ",
                Code("sqlite3 SOURCE .recover"),
                " finds; all others are migrated.",
            )
    if any(not p.loaded for p in facts.open):
        yield "Load the partitions that are missing: ", migrate, "; what is in place is skipped."
    elif any(s.outdated for s in facts.sums):
        yield "Load the partitions again of which the plan counts other rows: ", migrate, "; all others are skipped."
    elif any(p.verdict is Verdict.NOT_CHECKED for p in facts.open):
        yield "Verify what is loaded: ", Code("cowrie-assets verify"), "."
    if not facts.state.finished:
        yield "Build indexes and constraints: ", migrate, " does it when all partitions are loaded."
    if any(t.after_plan for t in facts.totals):
        yield "Take the newer rows: ", Code("cowrie-assets plan --replace"), ", then ", migrate, "."
    if facts.set_aside:
        yield "Look at the rows set aside: ", Code(QUARANTINE), "."
    if verdict is Verdict.PASS and facts.state.finished:
        yield ("The migration is done: the processor can write to the target.",)


def _reload(tables: list[str]) -> str:
    """The command for these tables; for all where `--tables` cannot name them, or the command would not show whole."""
    command = "cowrie-assets migrate --force"
    names = ",".join(tables)
    named = f"{command} --tables {shlex.quote(names)}"
    return named if [n.strip() for n in names.split(",")] == tables and inert(named) == named else command


def _section(
    title: str,
    header: tuple[str, ...],
    rows: Sequence[tuple[Cell, ...]],
    lead: str = "",
    *,
    empty: str = "None.",
    fold: str | None = None,
    total: tuple[Cell, ...] | None = None,
) -> Iterator[Block]:
    """A heading and a table of at most SHOWN rows and their total, or the words for no rows."""
    yield Heading(title)
    if not rows:
        yield Paragraph.of(empty)
        return
    if lead:
        yield Paragraph.of(lead)
    yield Table(header, [*rows[:SHOWN], total] if total else rows[:SHOWN], fold)
    if len(rows) > SHOWN:
        yield Paragraph.of(f"And {len(rows) - SHOWN:,} more.")


def _names(names: Sequence[str], most: int = EXAMPLES) -> tuple[Inline, ...]:
    """The first few, and how many there are besides."""
    parts: list[Inline] = []
    for name in names[:most]:
        parts += [", ", Code(name)] if parts else [Code(name)]
    return (*parts, f" and {len(names) - most:,} more") if len(names) > most else tuple(parts)
