"""What the ledger, the target's own catalog and the quality stage say, as the report and the commands show it.

Belongs here: aggregates, whose answers are bounded by tables, rules and partitions, never by rows. Not here: rows of
the quarantine (`quarantine.py`), writing the ledger (`loading/ledger.py`), proving (`validation/`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..catalog import TABLES
from ..errors import TargetError
from ..loading import ledger
from ..loading.ddl import kept_name, key_name, short
from ..loading.foreign import foreign_key_name
from ..loading.target import target_tables
from ..planning.plan import Plan
from ..quality.analyse import read_profile
from ..source.ranges import last_of
from ..staging.store import Store
from ..validation.verdicts import WORDS, Proof, TableTotal, Verdict

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

EXAMPLES = 3
"""Rows named for each rule."""
DETAIL_LENGTH = 300
"""Characters of a detail or key that leave the server for a summary: it may quote a cell of any length."""


@dataclass(frozen=True)
class TableSum:
    """A table's sums over its partitions; rows of the source are those of the loaded partitions.

    Attributes:
        outdated: partitions that are to be loaded again: the pinned plan counts other rows than their load had.
        total_fault: what failed when the table's total was last looked at.
    """

    table: str
    partitions: int
    loaded_partitions: int
    source: int
    loaded: int
    set_aside: int
    repaired: int
    passed: int
    failed: int
    proof: str | None
    outdated: int = 0
    total_fault: str | None = None

    @property
    def verified(self) -> int:
        """Partitions that a proof ran on."""
        return self.passed + self.failed

    @property
    def verdict(self) -> Verdict:
        """FAIL where a partition or the total fails, PASS where all pass and none is outdated, else NOT CHECKED."""
        if self.failed or self.total_fault is not None:
            return Verdict.FAIL
        proven = self.partitions and self.passed == self.partitions and not self.outdated
        return Verdict.PASS if proven else Verdict.NOT_CHECKED


@dataclass(frozen=True)
class OpenPartition:
    """A partition that is not proven: not loaded, not verified, or failed."""

    table: str
    partition: str
    loaded: bool
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class RuleCount:
    """How often a rule applied.

    Attributes:
        column: empty where the rule is about whole rows (the quarantine).
        examples: the first source rowids as text, or target keys where the source has no rowids.
        detail: the first row's detail (quarantine only); quotes data, to be shown through `text.inert`.
    """

    table: str
    column: str
    rule: str
    count: int
    examples: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True)
class Derivation:
    """Cells of a column that the source holds as NULL and that we filled."""

    table: str
    column: str
    rule: str
    cells: int


@dataclass(frozen=True)
class Overall:
    """The whole migration's verdict, and why, without a full stop."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Misbuilt:
    """An index or constraint that is missing, or that is not as declared."""

    table: str
    name: str
    detail: str


@dataclass(frozen=True)
class TargetState:
    """The target and the plan it was loaded with; `finished` is None until indexes and constraints are built."""

    server: str
    plan: Plan
    finished: datetime | None


def target_state(connection: Connection) -> TargetState:
    """The target's state; TargetError where no migration has begun on it, PlanError for another ledger format."""
    plan = ledger.pinned(connection)
    if plan is None:
        raise TargetError("The target has no migration's ledger.", hint="Materialise target/schema first.")
    rows = connection.execute("SELECT current_setting('server_version'), finished_at FROM cowrie_migration.plan")
    [(server, finished)] = rows.fetchall()
    return TargetState(server, plan, finished)


def table_sums(connection: Connection) -> list[TableSum]:
    """Every table of the ledger: the catalog's in its order, then the others by name."""
    order = {name: place for place, name in enumerate(TABLES)}
    sums = [TableSum(**row) for row in ledger.summary(connection)]
    return sorted(sums, key=lambda s: (order.get(s.table, len(order)), s.table))


def open_partitions(connection: Connection) -> list[OpenPartition]:
    """The partitions without a PASS."""
    rows = connection.execute(
        "SELECT table_name, partition_key, loaded_at IS NOT NULL, verdict, coalesce(detail, '')"
        " FROM cowrie_migration.partitions WHERE verdict <> 'PASS' OR loaded_at IS NULL ORDER BY 1, 2"
    )
    return [OpenPartition(table, key, loaded, Verdict(verdict), detail) for table, key, loaded, verdict, detail in rows]


def repairs(connection: Connection) -> list[RuleCount]:
    """Repaired cells by table, column and rule."""
    return _by_rule(connection, "repairs", "column_name", "''")


def set_aside(connection: Connection) -> list[RuleCount]:
    """Rows in the quarantine by table and rule."""
    return _by_rule(connection, "quarantine", "''", f"left(detail, {DETAIL_LENGTH})")


def _by_rule(connection: Connection, name: str, column: str, detail: str) -> list[RuleCount]:
    # One sort, then one pass: the server keeps no more than EXAMPLES rows of a group, however many there are.
    rows = connection.execute(
        f"SELECT table_name, col, rule, count(*), array_agg(example ORDER BY n) FILTER (WHERE n <= {EXAMPLES}),"
        " min(detail) FILTER (WHERE n = 1)"
        f" FROM (SELECT table_name, {column} AS col, rule, {detail} AS detail,"
        f" coalesce(source_rowid::text, left(target_key, {DETAIL_LENGTH}), '?') AS example,"
        f" row_number() OVER (PARTITION BY table_name, {column}, rule ORDER BY source_rowid, target_key) AS n"
        f" FROM cowrie_migration.{name}) numbered GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC, 2, 3".encode()
    )
    return [RuleCount(t, c, r, count, tuple(first), text or "") for t, c, r, count, first, text in rows]


def derivations(connection: Connection) -> list[Derivation]:
    """Derived cells by table, column and rule."""
    rows = connection.execute(
        f"SELECT table_name, column_name, rule, sum((SELECT coalesce(sum({last_of('r')}::numeric - lower(r) + 1), 0)"
        " FROM unnest(source_rowids) r))::bigint FROM cowrie_migration.derivations"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3".encode()
    )
    return [Derivation(*row) for row in rows]


def overall(sums: Sequence[TableSum], totals: Sequence[TableTotal] = (), further: Sequence[str] = ()) -> Overall:
    """FAIL if any partition or total fails, NOT CHECKED if any is not loaded, outdated or not verified, else PASS.

    Args:
        sums: of every table.
        totals: of every table, where they were asked for.
        further: other faults, in words: what of the source cannot be read (`Plan.damage`: rows that nobody can prove),
            reports that differ.
    """
    partitions, failed = sum(s.partitions for s in sums), sum(s.failed for s in sums)
    waiting = partitions - sum(s.loaded_partitions for s in sums)
    unverified = partitions - sum(s.verified for s in sums) - waiting
    wrong = {s.table: s.total_fault for s in sums if s.total_fault is not None}
    wrong |= {t.table: t.detail for t in totals if t.verdict is Verdict.FAIL}
    faults = [f"{failed:,} of {partitions:,} partitions differ"] if failed else []
    if wrong:
        table, detail = next(iter(wrong.items()))
        shown = detail if len(detail) <= DETAIL_LENGTH else f"{detail[:DETAIL_LENGTH]}…"
        faults.append(f"{len(wrong)} of {len(sums)} tables do not add up ({table}: {shown})")
    faults += further
    if faults:
        return Overall(Verdict.FAIL, "; ".join(faults))
    gaps = [f"{waiting:,} of {partitions:,} partitions are not loaded"] if waiting else []
    if outdated := sum(s.outdated for s in sums):
        gaps.append(f"{outdated:,} of {partitions:,} partitions are to be loaded again, as the plan counts other rows")
    if unverified:
        gaps.append(f"{unverified:,} of {partitions:,} partitions are loaded and not verified")
    if not gaps and any(t.verdict is not Verdict.PASS for t in totals):
        gaps.append("a table's total was not checked")
    if not partitions:
        gaps.append("the ledger holds no partition")
    if gaps:
        return Overall(Verdict.NOT_CHECKED, "; ".join(gaps))
    rows, aside = sum(s.loaded for s in sums), sum(s.set_aside for s in sums)
    proofs = {s.proof for s in sums if s.proof}
    weakest = next(p for p in (Proof.COUNTS, Proof.SAMPLE, Proof.FULL) if p in proofs)
    counted = f"{rows:,} rows are in the target and {aside:,} set aside, as many as the source has"
    return Overall(Verdict.PASS, f"{counted}; compared: {WORDS[weakest]}")


def not_as_declared(connection: Connection, plan: Plan) -> list[Misbuilt]:
    """Keys, indexes and foreign keys of the plan that the target lacks or has in another form, by looking."""
    found = {
        (table, name): definition
        for table, name, definition in connection.execute(
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
        )
    }
    foreign = {
        (table, name): validated
        for table, name, validated in connection.execute(
            "SELECT c.relname, k.conname, k.convalidated FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
            " WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace"
        )
    }
    listed = []
    for table in target_tables(plan).values():
        names = ([key_name(table)] if table.key else []) + [short(index.name) for index in table.indexes]
        for name in names:
            definition = found.get((kept_name(table.name), name))
            if definition is None:
                listed.append(Misbuilt(table.name, name, "missing"))
            elif "md5(" in definition:
                listed.append(Misbuilt(table.name, name, "over md5 of the text: a value is too long for a btree"))
        for key in plan.tables[table.name].foreign_keys if table.name in plan.tables else ():
            name = foreign_key_name(table.name, key)
            if not foreign.get(place := (kept_name(table.name), name)):
                state = "not valid: rows without a parent" if place in foreign else "missing"
                listed.append(Misbuilt(table.name, name, f"foreign key {state}"))
    return listed


@dataclass
class ColumnQuality:
    """A column's profiles added up; `json` counts valid and invalid cells, None for other types."""

    classes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    longest: int | None = None
    json: Counter[str] | None = None

    def add(self, profile: dict[str, Any]) -> None:
        """Add one partition's."""
        self.classes.update(profile["classes"])
        self.formats.update(profile["formats"])
        if profile["longest"] is not None:
            self.longest = max(self.longest or 0, profile["longest"])
        if profile["json_valid"] is not None:
            self.json = self.json or Counter()
            self.json.update(valid=profile["json_valid"], invalid=profile["json_invalid"] or 0)


@dataclass
class Quality:
    """The quality stage over all partitions.

    Attributes:
        partitions: that hold rows.
        analysed: those of them that have an analysis.
        columns: (table, column) -> its profiles added up.
        findings: one for each (table, column, code); its examples are of the first partitions.
    """

    partitions: int
    analysed: int
    columns: dict[tuple[str, str], ColumnQuality]
    findings: list[RuleCount]


def read_quality(plan: Plan, store: Store) -> Quality:
    """Add up the analyses of the plan's partitions: one small file for each that holds rows."""
    columns: dict[tuple[str, str], ColumnQuality] = {}
    counts: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], list[str]] = {}
    units = [(table, key) for table in (*plan.dated, *plan.others) for key in sorted(plan.tables[table].slices)]
    profiles = [profile for table, key in units if (profile := read_profile(store, table, key))]
    for profile in profiles:
        for name, column in profile.columns.items():
            columns.setdefault((profile.table, name), ColumnQuality()).add(column)
        for found in profile.findings:
            place = (profile.table, found["column"], found["code"])
            counts[place] += found["count"]
            kept = examples.setdefault(place, [])
            kept += map(str, found["examples"][: EXAMPLES - len(kept)])
    findings = [RuleCount(*place, counts[place], tuple(examples[place])) for place in sorted(counts)]
    return Quality(len(units), len(profiles), columns, findings)
