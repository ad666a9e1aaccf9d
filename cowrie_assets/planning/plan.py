"""The plan as data: what will be migrated, in which windows, and where each partition's rows lie.

Belongs here: the plan's form, its JSON, and whether it still fits source and settings. Not here: making it (`scan.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from ..catalog import ALL, TABLES, UNDATED, Table, Type
from ..errors import PlanError
from ..policies import Treatment
from ..settings import Grain, Settings
from ..source.damage import Damage
from ..source.declared import Declared
from ..source.reader import Range
from ..source.schema import SourceColumn, SourceIndex, SourceTable
from .shape import is_known, target_table
from .windows import Windows

UNREADABLE, DISORDER = "source.unreadable", "source.disorder"
DAMAGE = (UNREADABLE, DISORDER)
"""Findings of a damaged source: rowid ranges that cannot be read; rows that lie where SQLite does not look for them."""
FORMAT = 2
"""Version of the plan's form; a plan of another version is made again."""


@dataclass(frozen=True)
class Slice:
    """A partition's share of a table: its rows, and the rowid ranges that hold them (others may lie between)."""

    rows: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class ForeignKey:
    """A declared foreign key."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class TablePlan:
    """One table of the source.

    Attributes:
        rows: rows up to the mark.
        high_water: highest rowid that is migrated; None for WITHOUT ROWID tables and empty ones.
        types: the target type of each column that the catalog does not know.
        slices: partition key -> where its rows lie; partitions without rows are absent.
        losers: rowid -> (winning rowid, unique columns): rows that go to quarantine as duplicates.
        treatment: how its cells are treated: the plan's, kept once in what it `asked`.
        damaged: its pages are: every pass reads it as the plan did, what SQLite still gives.
        unreadable: the rowid ranges that it does not give (WITHOUT ROWID: the position between the two ends read).
    """

    source: SourceTable
    rows: int
    high_water: int | None
    types: dict[str, Type]
    slices: dict[str, Slice]
    losers: dict[int, tuple[int, str]] = field(default_factory=dict)
    foreign_keys: tuple[ForeignKey, ...] = ()
    treatment: Treatment = Treatment()
    damaged: bool = False
    unreadable: tuple[Range, ...] = ()

    @property
    def damage(self) -> Damage | None:
        """What `read_table` needs to know to read exactly the planned rows; None where the table is whole."""
        return Damage(self.unreadable) if self.damaged else None

    @property
    def dated(self) -> bool:
        """Whether its rows are partitioned by date."""
        return is_known(self.source) and bool(TABLES[self.source.name].dated_by)

    @cached_property
    def target(self) -> Table:
        """The target's table."""
        return target_table(self.source, self.types, self.treatment.json_type)

    @property
    def dated_by(self) -> tuple[str, ...]:
        """What dates a row, of the columns that the source stores."""
        if not self.dated:
            return ()
        return tuple(n for n in TABLES[self.source.name].dated_by if n.partition(".")[0] in self.source.stored)

    @property
    def rowid_is_key(self) -> bool:
        """Whether the target's key is the source's rowid, so that a row of the target tells which row it was."""
        return self.target.serial is not None and self.target.serial == self.source.rowid_key

    def slice(self, key: str) -> Slice:
        """A partition's share; an empty one where no row falls in it."""
        return self.slices.get(key, Slice(0, ()))


@dataclass(frozen=True)
class Finding:
    """Something found in a column, counted, with a few rowids."""

    table: str
    column: str
    code: str
    detail: str
    count: int
    examples: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The whole plan; `id` changes with anything that decides what is migrated."""

    created: str
    source_path: str
    source_state: dict[str, Any]
    samples: dict[str, dict[int, str]]
    asked: dict[str, str | None]
    windows: Windows
    tables: dict[str, TablePlan]
    not_migrated: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    declared: Declared = field(default_factory=Declared)

    @cached_property
    def id(self) -> str:
        """128 bits in hex over everything but the time it was made."""
        content = {k: v for k, v in self.to_json().items() if k not in ("created", "source_path", "id")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    @cached_property
    def treatment(self) -> Treatment:
        """How cells are treated."""
        return Treatment.from_asked(self.asked)

    @property
    def dated(self) -> tuple[str, ...]:
        """The dated tables that the source has."""
        return tuple(n for n in TABLES if n in self.tables and self.tables[n].dated)

    @property
    def others(self) -> tuple[str, ...]:
        """The tables that are migrated as a whole, known ones first."""
        names = [n for n in self.tables if not self.tables[n].dated]
        return tuple(sorted(names, key=lambda n: (n not in TABLES, n)))

    @property
    def is_cowrie(self) -> bool:
        """Whether the source has any table of the processor."""
        return any(is_known(t.source) for t in self.tables.values())

    @property
    def damage(self) -> tuple[str, ...]:
        """What of the source cannot be read, in words; empty where all can. The migration is then not proven."""
        return tuple(text for table in self.tables for text in self.damage_of(table))

    def damage_of(self, table: str) -> tuple[str, ...]:
        """The same of one table."""
        return tuple(f"{table}: {f.detail}" for f in self.findings if f.table == table and f.code in DAMAGE)

    def partitions(self, table: str) -> tuple[str, ...]:
        """Every partition key of a table, the empty ones too."""
        return (*self.windows.keys, UNDATED) if self.tables[table].dated else (ALL,)

    def units(self) -> Iterator[tuple[str, str]]:
        """Every (table, partition key) of the migration."""
        for table in (*self.dated, *self.others):
            for key in self.partitions(table):
                yield table, key

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "format": FORMAT,
            "created": self.created,
            "source_path": self.source_path,
            "source_state": self.source_state,
            "samples": {t: {str(r): h for r, h in s.items()} for t, s in self.samples.items()},
            "asked": self.asked,
            "windows": {
                "grain": self.windows.grain.value,
                "start": self.windows.start.isoformat(),
                "end": self.windows.end.isoformat(),
            },
            "tables": {n: _table_json(t) for n, t in self.tables.items()},
            "not_migrated": [list(x) for x in self.not_migrated],
            "findings": [asdict(f) for f in self.findings],
            "declared": asdict(self.declared),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Plan:
        """Read it back; PlanError for another format version."""
        if content.get("format") != FORMAT:
            raise PlanError(
                f"The plan has format {content.get('format')}, this version reads {FORMAT}.",
                hint="Run `cowrie-assets plan --replace`.",
            )
        w = content["windows"]
        treatment = Treatment.from_asked(content["asked"])
        return cls(
            created=content["created"],
            source_path=content["source_path"],
            source_state=content["source_state"],
            samples={t: {int(r): h for r, h in s.items()} for t, s in content["samples"].items()},
            asked=content["asked"],
            windows=Windows(Grain(w["grain"]), date.fromisoformat(w["start"]), date.fromisoformat(w["end"])),
            tables={n: _table_from(t, treatment) for n, t in content["tables"].items()},
            not_migrated=tuple((k, n) for k, n in content["not_migrated"]),
            findings=tuple(Finding(**{**f, "examples": tuple(f["examples"])}) for f in content["findings"]),
            declared=Declared.from_json(content["declared"]),
        )


def asked(settings: Settings) -> dict[str, str | None]:
    """What the settings ask of a plan."""
    return {
        "grain": settings.grain.value if settings.grain else "auto",
        "start": settings.start.isoformat() if settings.start else None,
        "end": settings.end.isoformat() if settings.end else None,
        **settings.treatment.asked(),
    }


def check_settings(plan: Plan, settings: Settings) -> None:
    """Raise PlanError where the settings are not those the plan was made with."""
    wanted = asked(settings)
    differing = [k for k, v in wanted.items() if plan.asked.get(k) != v]
    if differing:
        said = [f"{k}: plan {plan.asked.get(k) or 'default'}, now {wanted[k] or 'default'}" for k in differing]
        changed = ", ".join(said)
        raise PlanError(
            f"The plan was made with other settings ({changed}).",
            hint="Set them back, or run `cowrie-assets plan --replace`.",
        )


def _table_json(table: TablePlan) -> dict[str, Any]:
    return {
        "source": asdict(table.source),
        "rows": table.rows,
        "high_water": table.high_water,
        "types": {n: t.value for n, t in table.types.items()},
        "slices": {k: {"rows": s.rows, "ranges": [list(r) for r in s.ranges]} for k, s in table.slices.items()},
        "losers": {str(r): list(w) for r, w in table.losers.items()},
        "foreign_keys": [asdict(f) for f in table.foreign_keys],
        **({"unreadable": [list(r) for r in table.unreadable]} if table.damaged else {}),
    }


def _table_from(content: dict[str, Any], treatment: Treatment) -> TablePlan:
    source = content["source"]
    return TablePlan(
        source=SourceTable(
            source["name"],
            tuple(SourceColumn(**c) for c in source["columns"]),
            tuple(SourceIndex(**{**i, "columns": tuple(i["columns"])}) for i in source["indexes"]),
            source["rowid"],
            source["rowid_key"],
        ),
        rows=content["rows"],
        high_water=content["high_water"],
        types={n: Type(t) for n, t in content["types"].items()},
        slices={k: Slice(s["rows"], tuple((r[0], r[1]) for r in s["ranges"])) for k, s in content["slices"].items()},
        losers={int(r): (w[0], w[1]) for r, w in content["losers"].items()},
        foreign_keys=tuple(
            ForeignKey(tuple(f["columns"]), f["parent"], tuple(f["parent_columns"])) for f in content["foreign_keys"]
        ),
        treatment=treatment,
        damaged="unreadable" in content,
        unreadable=tuple((r[0], r[1]) for r in content.get("unreadable", ())),
    )
