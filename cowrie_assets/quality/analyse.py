"""Analyses a staged partition: statistics a column, and what the rules would do, counted with examples.

Belongs here: the analysis and its file. Not here: the rules; they are asked, by the code path that also cleans.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import Type
from ..cleaning.partition import RULES_VERSION
from ..cleaning.partition import inputs_of as cleaning_inputs
from ..cleaning.table import Cleaned, TableCleaner
from ..planning.plan import Plan
from ..source.cells import Cells, Storage
from ..staging.files import read_partition, require_manifest
from ..staging.store import Store, part

VERSION = 1
EXAMPLES = 5
"""Rowids kept for each finding."""
FORMATS = 8
"""Date formats kept for each column."""


@dataclass
class ColumnProfile:
    """A column of one partition: classes, extremes (numbers as they are, text lengths in bytes), formats, JSON."""

    nulls: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    minimum: float | int | None = None
    maximum: float | int | None = None
    first_text: str | None = None
    last_text: str | None = None
    longest: int | None = None
    formats: dict[str, int] = field(default_factory=dict)
    json_valid: int | None = None
    json_invalid: int | None = None

    def add(self, cells: Cells, kind: Type | None) -> None:
        """Count a batch's cells."""
        seen = Counter(self.classes)
        for pair in pc.value_counts(cells.classes()).to_pylist():
            seen[Storage(pair["values"]).label] += pair["counts"]
        self.nulls = seen.get("null", 0)
        self.classes = dict(seen)
        for storage in (Storage.INTEGER, Storage.REAL):
            if cells.storage in (storage, None):
                low, high = pc.min_max(cells.of(storage)).as_py().values()
                self.minimum = (
                    low if self.minimum is None else min(self.minimum, low if low is not None else self.minimum)
                )
                self.maximum = (
                    high if self.maximum is None else max(self.maximum, high if high is not None else self.maximum)
                )
        if cells.storage in (Storage.TEXT, None):
            text = cells.of(Storage.TEXT)
            longest = pc.max(pc.binary_length(text)).as_py()
            if longest is not None:
                self.longest = max(self.longest or 0, longest)
                if kind not in (Type.JSONB, Type.JSON):
                    self._extremes(text)
                if kind is Type.TIMESTAMPTZ:
                    self._formats(text)

    def _extremes(self, text: pa.BinaryArray) -> None:
        low, high = pc.min_max(text).as_py().values()
        first, last = (v[:64].decode("utf-8", "backslashreplace") for v in (low, high))
        self.first_text = first if self.first_text is None else min(self.first_text, first)
        self.last_text = last if self.last_text is None else max(self.last_text, last)

    def _formats(self, text: pa.BinaryArray) -> None:
        shapes = pc.replace_substring_regex(pc.binary_slice(text, 0, 40), "[0-9]", "9")
        seen = Counter(self.formats)
        for pair in pc.value_counts(shapes.drop_null()).to_pylist():
            seen[pair["values"].decode("utf-8", "backslashreplace")] += pair["counts"]
        self.formats = dict(seen.most_common(FORMATS))


@dataclass(frozen=True)
class Profile:
    """A partition's analysis.

    Attributes:
        findings: `column code` -> count and example rowids; codes are those of the rules.
    """

    table: str
    partition: str
    inputs: str
    rows: int
    columns: dict[str, dict[str, Any]]
    findings: list[dict[str, Any]]


def profile_path(table: str, key: str) -> str:
    """Where a partition's analysis lies."""
    return f"quality/{part(table)}/{part(key)}.json"


def read_profile(store: Store, table: str, key: str) -> Profile | None:
    """The analysis, or None where there is none."""
    content = store.read_json(profile_path(table, key))
    return None if content is None else Profile(**content)


def analyse_partition(
    plan: Plan,
    store: Store,
    table: str,
    key: str,
    *,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[Profile, bool]:
    """See that a staged partition is analysed: the analysis, and whether it was made now."""
    planned = plan.tables[table]
    staged = require_manifest(store, table, key)
    parts = f"{VERSION}:{RULES_VERSION}:{cleaning_inputs(planned, staged)}"
    inputs = hashlib.sha256(parts.encode()).hexdigest()[:32]
    known = None if force else read_profile(store, table, key)
    if known and known.inputs == inputs:
        return known, False
    cleaner = TableCleaner(planned)
    kinds = {c.name: c.type for c in planned.target.columns}
    columns = {name: ColumnProfile() for name in planned.source.stored}
    findings: dict[tuple[str, str], list[int]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for batch in read_partition(store, staged):
        for name, cells in batch.columns.items():
            columns[name].add(cells, kinds.get(name))
        cleaned = cleaner.clean(batch)
        _collect(cleaned, counts, findings)
        _json_validity(cleaned, columns, kinds)
        if progress:
            progress(len(batch))
    listed = [
        {"column": column, "code": code, "count": counts[column, code], "examples": findings[column, code]}
        for column, code in sorted(counts)
    ]
    profile = Profile(table, key, inputs, staged.rows, {n: asdict(c) for n, c in columns.items()}, listed)
    store.write_json(profile_path(table, key), asdict(profile))
    return profile, True


def _collect(cleaned: Cleaned, counts: Counter[tuple[str, str]], examples: dict[tuple[str, str], list[int]]) -> None:
    seen = [(r.column, r.rule, r.rowid) for r in cleaned.repairs]
    seen += [("", q.rule, q.rowid) for q in cleaned.quarantine]
    for column, rowids in cleaned.differing.items():
        counts[column, "derived.differs"] += len(rowids)
        examples.setdefault((column, "derived.differs"), []).extend(rowids[:EXAMPLES].to_pylist())
    for column, code, rowid in seen:
        counts[column, code] += 1
        kept = examples.setdefault((column, code), [])
        if len(kept) < EXAMPLES:
            kept.append(rowid)
    for key in [k for k, n in counts.items() if not n]:
        del counts[key]


def _json_validity(cleaned: Cleaned, columns: dict[str, ColumnProfile], kinds: dict[str, Type]) -> None:
    for name, profile in columns.items():
        if kinds.get(name) not in (Type.JSONB, Type.JSON):
            continue
        changed = sum(r.column == name and r.rule.startswith("json.") for r in cleaned.repairs)
        unreadable = sum(q.rule.startswith("json.") and q.detail.startswith(f"{name}:") for q in cleaned.quarantine)
        kept = len(cleaned.rowids) - cleaned.columns[name].null_count
        profile.json_valid = (profile.json_valid or 0) + kept - changed
        profile.json_invalid = (profile.json_invalid or 0) + changed + unreadable
