"""Makes the plan: one pass over each table, in rowid order.

Belongs here: reading for the plan. Not here: its form (`plan.py`), windows (`windows.py`), `duplicates.py`.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ..catalog import ALL, TABLES, UNDATED, Table, Type
from ..policies import Treatment
from ..settings import Settings
from ..source.dating import date_rows, needed_columns
from ..source.declared import read_declared
from ..source.reader import Batch, Range, joined, read_table
from ..source.schema import SourceTable, quoted, read_schema
from ..source.sqlite import check_file, read_only, source_state
from .duplicates import KeyWatch
from .identity import take_samples
from .plan import Finding, ForeignKey, Plan, Slice, TablePlan, asked
from .shape import candidates, first_misfit, is_known, target_table
from .windows import Windows, choose_windows

Progress = Callable[[str, int, int | None], None]
"""Called with (table, rows read since the last call, rows expected or None)."""

_DAY_US = 86_400_000_000
_NO_DAY = np.iinfo(np.int32).min
GAP_ROWIDS = 20_000
"""Ranges of one day closer than this are merged: skipping fewer rows costs as much as reading them."""


@dataclass
class _Days:
    """Rows and rowid ranges a day; None holds the rows without a readable date."""

    rows: dict[date | None, int] = field(default_factory=lambda: defaultdict(int))
    ranges: dict[date | None, list[list[int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, rowids: pa.Int64Array, dates: pa.TimestampArray) -> None:
        ids = rowids.to_numpy()
        micros = dates.cast(pa.int64())
        days = micros.fill_null(0).to_numpy(zero_copy_only=False) // _DAY_US
        days[~np.asarray(micros.is_valid())] = _NO_DAY
        order = np.argsort(days, kind="stable")
        values, starts, counts = np.unique(days[order], return_index=True, return_counts=True)
        for value, start, count in zip(values.tolist(), starts.tolist(), counts.tolist(), strict=True):
            day = None if value == _NO_DAY else date(1970, 1, 1) + timedelta(days=value)
            first, last = int(ids[order[start]]), int(ids[order[start + count - 1]])
            self.rows[day] += count
            spans = self.ranges[day]
            if spans and first - spans[-1][1] <= GAP_ROWIDS:
                spans[-1][1] = last
            else:
                spans.append([first, last])

    def slices(self, windows: Windows | None) -> dict[str, Slice]:
        """Fold the days into partitions; without windows the whole table is one."""
        rows: dict[str, int] = defaultdict(int)
        spans: dict[str, list[Range]] = defaultdict(list)
        for day, count in self.rows.items():
            key = ALL if windows is None else _key_of(day, windows)
            rows[key] += count
            spans[key] += [(low, high) for low, high in self.ranges[day]]
        return {key: Slice(rows[key], tuple(joined(spans[key], GAP_ROWIDS))) for key in sorted(rows)}


def _key_of(day: date | None, windows: Windows) -> str:
    if day is None or not windows.start <= day < windows.end:
        return UNDATED
    micros = pa.array([(day - date(1970, 1, 1)).days * _DAY_US]).cast(pa.timestamp("us", "UTC"))
    return windows.keys[int(windows.place(micros)[0])]


class _Fit:
    """Narrows the target type of one column that the catalog does not know."""

    def __init__(self, table: str, column: str, declared: str, json_type: Type) -> None:
        self.table, self.column, self.declared = table, column, declared
        self.open = list(candidates(declared, json_type))
        self.first_misfit: int | None = None
        self.seen = False

    def add(self, batch: Batch) -> None:
        cells = batch.cells(self.column)
        self.seen = self.seen or cells.data.null_count < len(cells)
        misfits = {kind: first_misfit(kind, cells) for kind in self.open}
        kept = [kind for kind, row in misfits.items() if row is None]
        if self.open and not kept:
            self.first_misfit = batch.rowids[max(row for row in misfits.values() if row is not None)].as_py()
        self.open = kept

    def result(self) -> tuple[Type, Finding | None]:
        if not self.declared and not self.seen:
            return Type.TEXT, None
        if self.open:
            return self.open[0], None
        if self.first_misfit is None or not self.declared:
            return Type.TEXT, None
        detail = f"declared {self.declared}, a cell does not fit: the column is text in the target"
        return Type.TEXT, Finding(self.table, self.column, "type.widened", detail, 1, (self.first_misfit,))


def make_plan(settings: Settings, progress: Progress | None = None) -> Plan:
    """Scan the source and make its plan; raises SourceError or SettingsError."""
    path = settings.require_source()
    now = datetime.now(UTC)
    today = settings.today or now.date()
    check_file(path)
    # Before the snapshot: what is committed in between then counts as a change since the plan, never as known.
    state = source_state(path)
    with read_only(path) as connection:
        schema = read_schema(connection)
        settings.treatment.policies.check_places(_places(schema.tables.values()))
        json_type = settings.treatment.json_type
        scanned = {name: _scan(connection, table, json_type, progress) for name, table in schema.tables.items()}
        declared = read_declared(connection, schema.tables)
        samples = {name: s for name, table in schema.tables.items() if (s := take_samples(connection, table))}
    seen = {day for name, s in scanned.items() if s.dated for day in s.days.rows if day is not None}
    windows = choose_windows(seen, today=today, grain=settings.grain, start=settings.start, end=settings.end)
    return Plan(
        created=now.isoformat(timespec="seconds"),
        source_path=str(path),
        source_state=state.as_dict(),
        samples=samples,
        asked=asked(settings),
        windows=windows,
        tables={name: s.plan(windows, settings.treatment) for name, s in scanned.items()},
        not_migrated=schema.not_migrated,
        findings=tuple(f for s in scanned.values() for f in s.findings),
        declared=declared,
    )


@dataclass
class _Scanned:
    table: SourceTable
    dated: bool
    days: _Days
    rows: int
    high_water: int | None
    types: dict[str, Type]
    losers: dict[int, tuple[int, str]]
    foreign_keys: tuple[ForeignKey, ...]
    findings: list[Finding]

    def plan(self, windows: Windows, treatment: Treatment) -> TablePlan:
        slices = self.days.slices(windows if self.dated else None)
        return TablePlan(
            self.table, self.rows, self.high_water, self.types, slices, self.losers, self.foreign_keys, treatment
        )


def _places(tables: Iterable[SourceTable]) -> dict[str, set[str]]:
    """The tables and columns that a rule may be set for: the source's and the catalog's."""
    places = {name: {c.name for c in table.columns} for name, table in TABLES.items()}
    for table in tables:
        places.setdefault(table.name, set()).update(c.name for c in table.columns)
    return places


def _scan(connection: sqlite3.Connection, table: SourceTable, json_type: Type, progress: Progress | None) -> _Scanned:
    known = TABLES[table.name] if is_known(table) else None
    dated_by = known.dated_by if known else ()
    unknown = [c for c in table.columns if not c.generated and (known is None or not _has(known, c.name))]
    watch = KeyWatch(table, target_table(table, {c.name: Type.TEXT for c in table.columns}))
    # The type json has no order, so no index and no key: such a column stays jsonb.
    ordered = {*table.key, *(n for i in table.indexes for n in i.columns)}
    kinds = {c.name: Type.JSONB if c.name in ordered else json_type for c in unknown}
    fitting = [_Fit(table.name, c.name, c.declared, kinds[c.name]) for c in unknown]
    wanted = {*needed_columns(dated_by), *watch.columns, *(c.name for c in unknown)}
    columns = [n for n in table.stored if n in wanted]
    low, high = _bounds(connection, table)
    days, rows = _Days(), 0
    for batch in _read(connection, table, columns, high):
        rows += len(batch)
        days.add(batch.rowids, date_rows(batch, dated_by))
        watch.add(batch)
        for fit in fitting:
            fit.add(batch)
        if progress:
            progress(table.name, len(batch), None if high is None or low is None else high - low + 1)
    results = {f.column: f.result() for f in fitting}
    types = {name: kind for name, (kind, _) in results.items()}
    return _Scanned(
        table=table,
        dated=bool(dated_by),
        days=days,
        rows=rows,
        high_water=high,
        types=types,
        losers=watch.losers(connection, high, types),
        foreign_keys=_foreign_keys(connection, table),
        findings=[f for _, f in results.values() if f] + _computed(table, known, rows),
    )


def _computed(table: SourceTable, known: Table | None, rows: int) -> list[Finding]:
    """What only SQLite computes, and no rule of ours: the target does not have it."""
    ours = {c.name for c in known.columns if c.derived} if known else set()
    names = [c.name for c in table.columns if c.generated and c.name not in ours]
    detail = "computed by the source: the target has no such column"
    return [Finding(table.name, name, "column.generated", detail, rows) for name in names]


def _has(table: object, column: str) -> bool:
    return any(c.name == column for c in table.columns)  # type: ignore[attr-defined]


def _read(connection: sqlite3.Connection, table: SourceTable, columns: list[str], high: int | None) -> Iterator[Batch]:
    if table.rowid is not None and high is None:
        return iter(())
    return read_table(connection, table, [(-(2**63), high if high is not None else 2**63 - 1)], columns)


def _bounds(connection: sqlite3.Connection, table: SourceTable) -> tuple[int | None, int | None]:
    if table.rowid is None:
        return None, None
    sql = f"SELECT min({table.rowid}), max({table.rowid}) FROM {quoted(table.name)}"
    low, high = connection.execute(sql).fetchone()
    return low, high


def _foreign_keys(connection: sqlite3.Connection, table: SourceTable) -> tuple[ForeignKey, ...]:
    grouped: dict[int, list[tuple[int, str, str, str | None]]] = defaultdict(list)
    for row in connection.execute(f"PRAGMA foreign_key_list({quoted(table.name)})"):
        text: list[Any] = [bytes(v).decode() if isinstance(v, bytearray) else v for v in row]
        grouped[text[0]].append((text[1], text[2], text[3], text[4]))
    keys = []
    for parts in grouped.values():
        parts.sort(key=lambda p: p[0])
        parents = tuple(p[3] for p in parts)
        if all(parents):
            keys.append(ForeignKey(tuple(p[2] for p in parts), parts[0][1], tuple(map(str, parents))))
    return tuple(keys)
