"""Makes the plan: one pass over each table, in rowid order.

Belongs here: reading for the plan. Not here: its form (`plan.py`), windows (`windows.py`), `duplicates.py`.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ..catalog import ALL, TABLES, UNDATED, Table, Type
from ..errors import DamagedSourceError
from ..policies import Treatment
from ..settings import Settings
from ..source.damage import Damage, is_damage
from ..source.dating import date_rows, needed_columns
from ..source.declared import read_declared
from ..source.reader import EVERYTHING, Batch, Range, joined, read_table
from ..source.schema import SourceTable, quoted, read_schema
from ..source.sqlite import check_file, read_only, source_state
from .damage import Shadow, check_found, findings_of
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
        samples = {
            name: s
            for name, table in schema.tables.items()
            if (s := take_samples(connection, table, scanned[name].bounds))
        }
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
    damage: Damage | None

    @property
    def bounds(self) -> Range | None:
        """The lowest and the highest rowid; None where there is no row."""
        spans = [span for spans in self.days.ranges.values() for span in spans]
        return (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else None

    def plan(self, windows: Windows, treatment: Treatment) -> TablePlan:
        slices = self.days.slices(windows if self.dated else None)
        return TablePlan(
            self.table,
            self.rows,
            self.high_water,
            self.types,
            slices,
            self.losers,
            self.foreign_keys,
            treatment,
            self.damage is not None and self.damage.of_rows,
            tuple(self.damage.unreadable) if self.damage else (),
        )


def _places(tables: Iterable[SourceTable]) -> dict[str, set[str]]:
    """The tables and columns that a rule may be set for: the source's and the catalog's."""
    places = {name: {c.name for c in table.columns} for name, table in TABLES.items()}
    for table in tables:
        places.setdefault(table.name, set()).update(c.name for c in table.columns)
    return places


def _scan(connection: sqlite3.Connection, table: SourceTable, json_type: Type, progress: Progress | None) -> _Scanned:
    try:
        return _scan_table(connection, table, json_type, progress, None)
    except DamagedSourceError:
        return _scan_table(connection, table, json_type, progress, Damage())
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        # An index is damaged; the table was read to its end, as far as a scan can tell.
        return _scan_table(connection, table, json_type, progress, Damage(disorder=False))


def _scan_table(
    connection: sqlite3.Connection,
    table: SourceTable,
    json_type: Type,
    progress: Progress | None,
    damage: Damage | None,
) -> _Scanned:
    known = TABLES[table.name] if is_known(table) else None
    dated_by = known.dated_by if known else ()
    unknown = [c for c in table.columns if not c.generated and (known is None or not _has(known, c.name))]
    watch = KeyWatch(table, target_table(table, {c.name: Type.TEXT for c in table.columns}))
    # The type json has no order, so no index and no key: such a column stays jsonb.
    ordered = {*table.key, *(n for i in table.indexes for n in i.columns)}
    kinds = {c.name: Type.JSONB if c.name in ordered else json_type for c in unknown}
    # Two spellings of one document are two keys in SQLite and would be one as jsonb: a key keeps its text.
    kinds |= {name: Type.TEXT for name in table.key if name in kinds}
    fitting = [_Fit(table.name, c.name, c.declared, kinds[c.name]) for c in unknown]
    wanted = {*needed_columns(dated_by), *watch.columns, *(c.name for c in unknown)}
    columns = [n for n in table.stored if n in wanted]
    expected = _expected(connection, table)
    shadow = Shadow(table, watch.columns) if damage else None
    days, rows, high = _Days(), 0, None
    # Every cell is loaded, so that the plan knows of each row that cannot be read whole.
    for batch in read_table(connection, table, [EVERYTHING], columns, damage=damage, whole=True):
        rows += len(batch)
        high = int(batch.rowids[len(batch) - 1].as_py())
        days.add(batch.rowids, date_rows(batch, dated_by))
        watch.add(batch)
        for fit in fitting:
            fit.add(batch)
        if shadow:
            shadow.add(batch)
        if progress:
            progress(table.name, len(batch), expected)
    if damage is None:
        starts = [low for spans in days.ranges.values() for low, _ in spans]
        check_found(connection, table, rows, high, starts)
    results = {f.column: f.result() for f in fitting}
    types = {name: kind for name, (kind, _) in results.items()}
    return _Scanned(
        table=table,
        dated=bool(dated_by),
        days=days,
        rows=rows,
        high_water=None if table.rowid is None else high,
        types=types,
        losers=watch.losers(shadow.connection if shadow else connection, high, types, trusted=damage is None),
        foreign_keys=_foreign_keys(connection, table),
        findings=[f for _, f in results.values() if f] + _computed(table, known, rows) + findings_of(table, damage),
        damage=damage,
    )


def _computed(table: SourceTable, known: Table | None, rows: int) -> list[Finding]:
    """What only SQLite computes, and no rule of ours: the target does not have it."""
    ours = {c.name for c in known.columns if c.derived} if known else set()
    names = [c.name for c in table.columns if c.generated and c.name not in ours]
    detail = "computed by the source: the target has no such column"
    return [Finding(table.name, name, "column.generated", detail, rows) for name in names]


def _has(table: object, column: str) -> bool:
    return any(c.name == column for c in table.columns)  # type: ignore[attr-defined]


def _expected(connection: sqlite3.Connection, table: SourceTable) -> int | None:
    """Rows to expect at most, for a progress bar; None where nobody knows."""
    if table.rowid is None:
        return None
    sql = f"SELECT min({table.rowid}), max({table.rowid}) FROM {quoted(table.name)} NOT INDEXED"
    try:
        low, high = connection.execute(sql).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return None
    return None if low is None else int(high - low + 1)


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
