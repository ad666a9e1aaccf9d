"""Cleans a staged partition into Parquet of the target's types, with what was repaired and set aside.

Belongs here: reading staged and writing cleaned files. Not here: the rules (`table.py`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..catalog import Type
from ..errors import RuleError, StagingError
from ..planning.plan import Plan, TablePlan
from ..rules import Policy, rule_of
from ..source.reader import Range, extend_ranges
from ..staging.files import COMPRESSION, ROWID, Manifest, read_partition, require_manifest
from ..staging.store import Store, part
from .table import Cleaned, Forbidden, QuarantineRow, RepairRow, TableCleaner

RULES_VERSION = 5
"""Raised with every change of a rule: what was cleaned by older rules is cleaned again."""

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.TEXT: pa.string(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BOOLEAN: pa.bool_(),
    Type.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
    Type.JSONB: pa.string(),
    Type.JSON: pa.string(),
    Type.BYTEA: pa.binary(),
}
REPAIRS = pa.schema(
    [
        ("rowid", pa.int64()),
        ("column", pa.string()),
        ("rule", pa.string()),
        ("original", pa.binary()),
        ("original_type", pa.string()),
        ("replacement", pa.string()),
        ("target_key", pa.string()),
    ]
)
QUARANTINE = pa.schema(
    [
        ("rowid", pa.int64()),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("original", pa.string()),
        ("target_key", pa.string()),
        ("large", pa.list_(pa.struct([("column", pa.string()), ("bytes", pa.binary())]))),
    ]
)


@dataclass(frozen=True)
class CleanedManifest:
    """A complete cleaned partition.

    Attributes:
        inputs: identity of staged content, rules and target shape.
        digest: of the staged content.
        columns: the target's columns that the files hold, in order.
        derived: column -> rowid ranges that we filled.
        rules: rule -> number of repaired cells.
        reasons: rule -> number of rows set aside.
        differing: column -> number of kept cells that the payload contradicts.
        storage: column -> class -> rowid ranges of cells whose class the target's value does not tell.
    """

    table: str
    partition: str
    inputs: str
    digest: str
    source_rows: int
    rows: int
    quarantined: int
    repaired: int
    columns: tuple[str, ...]
    derived: dict[str, list[Range]]
    rules: dict[str, int]
    reasons: dict[str, int]
    differing: dict[str, int]
    storage: dict[str, dict[str, list[Range]]]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> CleanedManifest:
        """Read it back."""
        derived = {c: [(r[0], r[1]) for r in ranges] for c, ranges in content["derived"].items()}
        storage = {
            c: {s: [(r[0], r[1]) for r in ranges] for s, ranges in classes.items()}
            for c, classes in content["storage"].items()
        }
        columns = tuple(content["columns"])
        return cls(**{**content, "columns": columns, "derived": derived, "storage": storage})


def folder(table: str, key: str) -> str:
    """Where a cleaned partition's files lie."""
    return f"cleaned/{part(table)}/{part(key)}"


def read_cleaned(store: Store, table: str, key: str) -> CleanedManifest | None:
    """The manifest, or None where the partition is not cleaned."""
    content = store.read_json(f"{folder(table, key)}/manifest.json")
    try:
        return None if content is None else CleanedManifest.from_json(content)
    except (KeyError, TypeError):
        return None  # another version's form: it is cleaned again


def inputs_of(plan: TablePlan, staged: Manifest) -> str:
    """Identity of what a cleaned partition is made from: staged content, rules, policies, shape, duplicates."""
    policies = plan.treatment.policies.concerning(plan.target.name)
    parts = [RULES_VERSION, staged.digest, staged.rows, repr(plan.target), sorted(plan.losers.items())]
    parts += [policies, plan.treatment.unwrap]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def clean_partition(
    plan: Plan,
    store: Store,
    table: str,
    key: str,
    *,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[CleanedManifest, bool]:
    """See that a partition is cleaned: its manifest, and whether it was made now.

    Raises:
        StagingError: where it is not staged.
        RuleError: where a rule whose policy is `fail` finds something.
    """
    planned = plan.tables[table]
    staged = require_manifest(store, table, key)
    inputs = inputs_of(planned, staged)
    known = None if force else read_cleaned(store, table, key)
    if known and known.inputs == inputs and _has_files(store, known):
        return known, False
    cleaner = TableCleaner(planned)
    batches = (cleaner.clean(batch) for batch in read_partition(store, staged))
    with _Writer(store, planned, table, key) as writer:
        for cleaned in batches:
            if cleaned.forbidden:
                raise _failure(table, key, cleaned.forbidden)
            writer.add(cleaned)
            if progress:
                progress(len(cleaned.rowids) + len(cleaned.quarantine))
    manifest = writer.manifest(inputs, staged)
    store.write_json(f"{folder(table, key)}/manifest.json", asdict(manifest))
    return manifest, True


def _failure(table: str, key: str, found: list[Forbidden]) -> RuleError:
    first, more = found[0], len(found) - 1
    rule = rule_of(first.rule)
    allowed = " or ".join(p for p in rule.allowed if p is not Policy.FAIL)
    return RuleError(
        f"Partition {key} of {table}, rowid {first.rowid}, {first.column}: {first.rule}, whose policy is fail"
        f"{f' (and {more:,} more in these rows)' if more else ''}.",
        hint=f'Mend the source, or set "{rule.code}@{table}" to {allowed} in COWRIE_RULES or sensors.toml, then run'
        " `cowrie-assets plan --replace`.",
    )


def _counts(manifest: CleanedManifest) -> dict[str, int]:
    return {"data": manifest.rows, "repairs": manifest.repaired, "quarantine": manifest.quarantined}


def _has_files(store: Store, manifest: CleanedManifest) -> bool:
    files = set(store.list(folder(manifest.table, manifest.partition)))
    return files.issuperset(f"{name}.parquet" for name, rows in _counts(manifest).items() if rows)


class _Writer:
    """Up to three Parquet files that appear together when all rows are in."""

    def __init__(self, store: Store, plan: TablePlan, table: str, key: str) -> None:
        self.table, self.key = table, key
        names = [c.name for c in TableCleaner(plan).columns]
        types = {c.name: ARROW_TYPES[c.type] for c in plan.target.columns}
        self.columns = tuple(names)
        self.schema = pa.schema([(ROWID, pa.int64()), *((n, types[n]) for n in names)])
        self.store, self.stack = store, ExitStack()
        self.rows = 0
        self.rules: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.differing: Counter[str] = Counter()
        self.derived: dict[str, list[Range]] = {}
        self.storage: dict[str, dict[str, list[Range]]] = {}

    def __enter__(self) -> _Writer:
        self.stack.__enter__()
        # What a killed or older run left must not be read for this one.
        self.store.delete(folder(self.table, self.key))
        self.writers: dict[str, pq.ParquetWriter] = {}
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def _write(self, name: str, rows: pa.Table) -> None:
        """Write to one of the files; a file without rows is never made."""
        if name not in self.writers:
            path = f"{folder(self.table, self.key)}/{name}.parquet"
            stream = self.stack.enter_context(self.store.writing(path))
            self.writers[name] = self.stack.enter_context(
                pq.ParquetWriter(stream, rows.schema, compression=COMPRESSION, use_dictionary=False)
            )
        self.writers[name].write_table(rows, row_group_size=rows.num_rows)

    def add(self, cleaned: Cleaned) -> None:
        self.rows += len(cleaned.rowids)
        if len(cleaned.rowids):
            arrays = [cleaned.rowids, *(cleaned.columns[n] for n in self.columns)]
            self._write("data", pa.Table.from_arrays(arrays, schema=self.schema))
        self.rules.update(r.rule for r in cleaned.repairs)
        self.reasons.update(q.rule for q in cleaned.quarantine)
        if cleaned.repairs:
            self._write("repairs", _repairs_table(cleaned.repairs))
        if cleaned.quarantine:
            self._write("quarantine", _quarantine_table(cleaned.quarantine))
        for column, rowids in cleaned.derived.items():
            extend_ranges(self.derived.setdefault(column, []), rowids)
        for column, classes in cleaned.storage.items():
            for storage, rowids in classes.items():
                extend_ranges(self.storage.setdefault(column, {}).setdefault(storage.label, []), rowids)
        self.differing.update({c: len(ids) for c, ids in cleaned.differing.items() if len(ids)})

    def manifest(self, inputs: str, staged: Manifest) -> CleanedManifest:
        return CleanedManifest(
            table=self.table,
            partition=self.key,
            inputs=inputs,
            digest=staged.digest,
            source_rows=staged.rows,
            rows=self.rows,
            quarantined=sum(self.reasons.values()),
            repaired=sum(self.rules.values()),
            columns=self.columns,
            derived={c: r for c, r in self.derived.items() if r},
            rules=dict(sorted(self.rules.items())),
            reasons=dict(sorted(self.reasons.items())),
            differing=dict(self.differing),
            storage={c: {s: r for s, r in classes.items() if r} for c, classes in self.storage.items()},
        )


def _repairs_table(rows: Iterable[RepairRow]) -> pa.Table:
    return pa.Table.from_pylist([asdict(r) for r in rows], schema=REPAIRS)


def _quarantine_table(rows: Iterable[QuarantineRow]) -> pa.Table:
    listed = [{**asdict(r), "large": [{"column": c, "bytes": b} for c, b in r.large]} for r in rows]
    return pa.Table.from_pylist(listed, schema=QUARANTINE)


def read_rows(store: Store, manifest: CleanedManifest, name: str) -> Iterator[pa.Table]:
    """One of a cleaned partition's files (`data`, `repairs`, `quarantine`), a row group at a time.

    Raises:
        StagingError: where the file is missing, damaged, or does not hold the rows that the manifest counts.
    """
    expected = _counts(manifest)[name]
    path = f"{folder(manifest.table, manifest.partition)}/{name}.parquet"
    found = 0
    hint = f"Materialise cleaned/{manifest.table} again with force."
    if store.exists(path):
        with store.open(path) as file:
            try:
                parquet = pq.ParquetFile(file)
                groups = parquet.num_row_groups
            except (pa.ArrowException, OSError) as error:
                raise StagingError(f"{path} is damaged: {error}.", hint=hint) from error
            for group in range(groups):
                try:
                    rows = parquet.read_row_group(group)
                except (pa.ArrowException, OSError) as error:
                    raise StagingError(f"{path} is damaged: {error}.", hint=hint) from error
                found += rows.num_rows
                yield rows
    if found != expected:
        raise StagingError(f"{path} holds {found:,} rows, its manifest counts {expected:,}.", hint=hint)
