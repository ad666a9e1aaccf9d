"""The one place that describes Cowrie's tables: the target's shape at schema version 6.

Belongs here: columns, keys, indexes and what dates a row; adding a table is one entry in `TABLES`.
Not here: how a table is read, cleaned or loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

SCHEMA_VERSION = 6
"""The processor's schema version whose shape the target has."""


class Type(StrEnum):
    """The target types, by their PostgreSQL names."""

    TEXT = "text"
    BIGINT = "bigint"
    DOUBLE = "double precision"
    BOOLEAN = "boolean"
    TIMESTAMPTZ = "timestamptz"
    JSONB = "jsonb"
    JSON = "json"
    BYTEA = "bytea"


@dataclass(frozen=True)
class Column:
    """A column of the target.

    Attributes:
        default: SQL expression of the default, or None.
        derived: for the former generated columns, (JSON column, member) they equal where the source has NULL.
        fallback: for NOT NULL dates, the columns (or "payload.timestamp") that stand in for an unreadable cell.
        rule: name of a rule that belongs to this column alone.
    """

    name: str
    type: Type
    nullable: bool = True
    default: str | None = None
    derived: tuple[str, str] | None = None
    fallback: tuple[str, ...] = ()
    rule: str | None = None


@dataclass(frozen=True)
class Index:
    """An index of the target; `unique` without `constraint` is a unique index."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    constraint: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the target.

    Attributes:
        key: the primary key's columns; empty where there is none.
        dated_by: what gives a row its partition, first readable wins; "payload.timestamp" is the member of the
            JSON column. Empty: not partitioned.
        known: False for tables found in the source that no entry below describes.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    key_name: str | None = None
    indexes: tuple[Index, ...] = field(default=())
    dated_by: tuple[str, ...] = ()
    known: bool = True

    def column(self, name: str) -> Column:
        """The column of that name; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def with_columns(self, extra: tuple[Column, ...]) -> Table:
        """The same table with columns that only this source has (of a later processor) at its end."""
        return replace(self, columns=self.columns + extra)

    def with_json(self, kind: Type) -> Table:
        """The same table with its documents stored as `kind`: jsonb, or json, which keeps their bytes."""
        columns = (replace(c, type=kind) if c.type is Type.JSONB else c for c in self.columns)
        return replace(self, columns=tuple(columns))

    @property
    def serial(self) -> str | None:
        """The integer key that PostgreSQL numbers on insert, or None."""
        if len(self.key) == 1 and self.column(self.key[0]).type is Type.BIGINT:
            return self.key[0]
        return None

    @property
    def unique_sets(self) -> tuple[tuple[str, ...], ...]:
        """The column sets that are unique in the target, the key first, each once."""
        sets = ([self.key] if self.key else []) + [i.columns for i in self.indexes if i.unique]
        return tuple(dict.fromkeys(sets))


def _text(name: str, **kw: object) -> Column:
    return Column(name, Type.TEXT, **kw)  # type: ignore[arg-type]


def _int(name: str, **kw: object) -> Column:
    return Column(name, Type.BIGINT, **kw)  # type: ignore[arg-type]


def _count(name: str) -> Column:
    return Column(name, Type.BIGINT, nullable=False, default="0")


def _flag(name: str) -> Column:
    return Column(name, Type.BOOLEAN, nullable=False, default="false")


def _date(name: str) -> Column:
    return Column(name, Type.TIMESTAMPTZ)


def _stamp(name: str, *fallback: str) -> Column:
    return Column(name, Type.TIMESTAMPTZ, nullable=False, default="CURRENT_TIMESTAMP", fallback=fallback)


def _json(name: str, nullable: bool = True) -> Column:
    return Column(name, Type.JSONB, nullable=nullable)


_ID = Column("id", Type.BIGINT, nullable=False)


def _indexes(table: str, **columns: tuple[str, ...]) -> tuple[Index, ...]:
    return tuple(Index(f"ix_{table}_{suffix}", names) for suffix, names in columns.items())


_SOURCE_KEY = ("source", "source_inode", "source_generation", "source_offset")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "raw_events",
            (
                _ID,
                _text("ingest_id"),
                _stamp("ingest_at", "payload.timestamp"),
                _text("source", nullable=False),
                _int("source_offset"),
                _text("source_inode"),
                _count("source_generation"),
                _json("payload", nullable=False),
                _text("payload_hash"),
                _int("risk_score"),
                _flag("quarantined"),
                _text("session_id", derived=("payload", "session")),
                _text("event_type", derived=("payload", "eventid")),
                _text("event_timestamp", derived=("payload", "timestamp")),
            ),
            key=("id",),
            key_name="pk_raw_events",
            indexes=(
                Index("uq_raw_events_source_offset", _SOURCE_KEY, unique=True, constraint=True),
                *_indexes(
                    "raw_events",
                    event_type=("event_type",),
                    ingest_at=("ingest_at",),
                    session_id=("session_id",),
                    event_timestamp=("event_timestamp",),
                ),
            ),
            dated_by=("payload.timestamp", "event_timestamp", "ingest_at"),
        ),
        Table(
            "session_summaries",
            (
                _text("session_id", nullable=False),
                _date("first_event_at"),
                _date("last_event_at"),
                _count("event_count"),
                _count("command_count"),
                _count("file_downloads"),
                _count("login_attempts"),
                _flag("vt_flagged"),
                _flag("dshield_flagged"),
                _int("risk_score"),
                _text("matcher"),
                _json("source_files"),
                _json("enrichment"),
                _stamp("created_at", "last_event_at", "first_event_at"),
                _stamp("updated_at", "created_at", "last_event_at", "first_event_at"),
            ),
            key=("session_id",),
            key_name="pk_session_summaries",
            indexes=_indexes(
                "session_summaries",
                first_event=("first_event_at",),
                last_event=("last_event_at",),
                flags=("vt_flagged", "dshield_flagged"),
            ),
            dated_by=("first_event_at",),
        ),
        Table(
            "command_stats",
            (
                _ID,
                _text("session_id", nullable=False),
                _text("command_normalized", nullable=False),
                _count("occurrences"),
                _date("first_seen"),
                _date("last_seen"),
                _flag("high_risk"),
            ),
            key=("id",),
            key_name="pk_command_stats",
            indexes=(
                Index(
                    "uq_command_stats_session_command",
                    ("session_id", "command_normalized"),
                    unique=True,
                    constraint=True,
                ),
                *_indexes("command_stats", session=("session_id",), command=("command_normalized",)),
            ),
            dated_by=("first_seen",),
        ),
        Table(
            "files",
            (
                _ID,
                _text("session_id", nullable=False),
                _text("shasum", nullable=False),
                _text("filename"),
                _int("file_size"),
                _text("download_url"),
                _text("vt_classification"),
                _text("vt_description"),
                _flag("vt_malicious"),
                _date("vt_first_seen"),
                _date("vt_last_analysis"),
                _int("vt_positives"),
                _int("vt_total"),
                _date("vt_scan_date"),
                _stamp("first_seen", "last_updated"),
                _stamp("last_updated", "first_seen"),
                _text("enrichment_status", nullable=False, default="'pending'"),
            ),
            key=("id",),
            key_name="pk_files",
            indexes=(
                Index("uq_files_session_hash", ("session_id", "shasum"), unique=True, constraint=True),
                *_indexes(
                    "files",
                    session_id=("session_id",),
                    shasum=("shasum",),
                    vt_malicious=("vt_malicious",),
                    enrichment_status=("enrichment_status",),
                    first_seen=("first_seen",),
                ),
            ),
            dated_by=("first_seen",),
        ),
        Table(
            "dead_letter_events",
            (
                _ID,
                _text("ingest_id"),
                _text("source"),
                _int("source_offset"),
                _text("reason", nullable=False),
                _json("payload", nullable=False),
                _json("metadata_json"),
                _stamp("created_at", "resolved_at"),
                _flag("resolved"),
                _date("resolved_at"),
            ),
            key=("id",),
            key_name="pk_dead_letter_events",
            indexes=_indexes("dead_letter_events", source=("source",), created=("created_at",)),
            dated_by=("created_at",),
        ),
        Table(
            "ingest_cursors",
            (
                _text("source", nullable=False),
                _text("inode"),
                _int("last_offset", nullable=False, default="-1"),
                _stamp("last_ingest_at"),
                _text("last_ingest_id"),
                _json("metadata_json"),
            ),
            key=("source",),
            key_name="pk_ingest_cursors",
            indexes=_indexes("ingest_cursors", offset=("last_offset",)),
        ),
        Table(
            "schema_state",
            (_text("key", nullable=False), _text("value", nullable=False, rule="schema.version")),
            key=("key",),
            key_name="pk_schema_state",
        ),
    )
}
"""Every table of the processor at version 6, by name. Source: `sqlite_master` of databases it wrote."""

DATED: tuple[str, ...] = tuple(name for name, table in TABLES.items() if table.dated_by)
"""The tables that are partitioned by date."""

UNDATED = "undated"
"""The unit, and partition key, of the rows that no window holds."""

OTHER_TABLES = "other_tables"
"""The unit of all tables that are not dated; their partition key is `ALL`."""

ALL = "all"
"""Partition key of a table that is migrated as a whole."""
