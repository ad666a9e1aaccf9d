"""The seven tables as typed classes; each class's columns are the catalog's, its annotations are for readers and mypy.

Belongs here: classes and what follows from one row. Not here: columns (`catalog.py`, `tables.py`), queries.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped

from .json_access import former_generated
from .json_sql import Former
from .json_value import JsonNull, MalformedJson, text_at
from .tables import METADATA, SQL_TABLES


class Base(DeclarativeBase):
    """The base of all classes; `Base.metadata.create_all(engine)` makes every table."""

    metadata = METADATA


class RawEvent(Base):
    """An event as the loader read it from a log line."""

    __table__ = SQL_TABLES["raw_events"]

    id: Mapped[int]
    ingest_id: Mapped[str | None]
    ingest_at: Mapped[datetime]
    source: Mapped[str]
    source_offset: Mapped[int | None]
    source_inode: Mapped[str | None]
    source_generation: Mapped[int]
    payload: Mapped[Any]
    payload_hash: Mapped[str | None]
    risk_score: Mapped[int | None]
    quarantined: Mapped[bool]
    session_id: Mapped[str | None]
    event_type: Mapped[str | None]
    event_timestamp: Mapped[str | None]

    # The three columns that schemas 1 to 4 generate from the payload, and that newer loaders leave NULL. In Python a
    # member that is a float prints as Python writes it (1.1 where SQL answers 1.10).

    @hybrid_property
    def session_id_computed(self) -> str | None:
        """`session_id`, else the payload's `session`."""
        return _stored_or_member(self.session_id, self.payload, "session")

    @session_id_computed.inplace.expression
    @classmethod
    def _session_id_computed(cls) -> Former:
        return former_generated(cls.session_id, cls.payload, "session")

    @hybrid_property
    def event_type_computed(self) -> str | None:
        """`event_type`, else the payload's `eventid`."""
        return _stored_or_member(self.event_type, self.payload, "eventid")

    @event_type_computed.inplace.expression
    @classmethod
    def _event_type_computed(cls) -> Former:
        return former_generated(cls.event_type, cls.payload, "eventid")

    @hybrid_property
    def event_timestamp_computed(self) -> str | None:
        """`event_timestamp`, else the payload's `timestamp`."""
        return _stored_or_member(self.event_timestamp, self.payload, "timestamp")

    @event_timestamp_computed.inplace.expression
    @classmethod
    def _event_timestamp_computed(cls) -> Former:
        return former_generated(cls.event_timestamp, cls.payload, "timestamp")


def _stored_or_member(stored: str | None, payload: Any, name: str) -> str | None:
    if stored is not None or isinstance(payload, (JsonNull, MalformedJson)):
        return stored
    return text_at(json.dumps(payload), (name,))


class SessionSummary(Base):
    """What the loader sums up about a session."""

    __table__ = SQL_TABLES["session_summaries"]

    session_id: Mapped[str]
    first_event_at: Mapped[datetime | None]
    last_event_at: Mapped[datetime | None]
    event_count: Mapped[int]
    command_count: Mapped[int]
    file_downloads: Mapped[int]
    login_attempts: Mapped[int]
    vt_flagged: Mapped[bool]
    dshield_flagged: Mapped[bool]
    risk_score: Mapped[int | None]
    matcher: Mapped[str | None]
    source_files: Mapped[Any]
    enrichment: Mapped[Any]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class CommandStat(Base):
    """A normalized command within a session."""

    __table__ = SQL_TABLES["command_stats"]

    id: Mapped[int]
    session_id: Mapped[str]
    command_normalized: Mapped[str]
    occurrences: Mapped[int]
    first_seen: Mapped[datetime | None]
    last_seen: Mapped[datetime | None]
    high_risk: Mapped[bool]


class File(Base):
    """A file that a session downloaded or left."""

    __table__ = SQL_TABLES["files"]

    id: Mapped[int]
    session_id: Mapped[str]
    shasum: Mapped[str]
    filename: Mapped[str | None]
    file_size: Mapped[int | None]
    download_url: Mapped[str | None]
    vt_classification: Mapped[str | None]
    vt_description: Mapped[str | None]
    vt_malicious: Mapped[bool]
    vt_first_seen: Mapped[datetime | None]
    vt_last_analysis: Mapped[datetime | None]
    vt_positives: Mapped[int | None]
    vt_total: Mapped[int | None]
    vt_scan_date: Mapped[datetime | None]
    first_seen: Mapped[datetime]
    last_updated: Mapped[datetime]
    enrichment_status: Mapped[str]


class DeadLetterEvent(Base):
    """A line or event that the loader could not take."""

    __table__ = SQL_TABLES["dead_letter_events"]

    id: Mapped[int]
    ingest_id: Mapped[str | None]
    source: Mapped[str | None]
    source_offset: Mapped[int | None]
    reason: Mapped[str]
    payload: Mapped[Any]
    metadata_json: Mapped[Any]
    created_at: Mapped[datetime]
    resolved: Mapped[bool]
    resolved_at: Mapped[datetime | None]


class IngestCursor(Base):
    """How far the loader read a log file."""

    __table__ = SQL_TABLES["ingest_cursors"]

    source: Mapped[str]
    inode: Mapped[str | None]
    last_offset: Mapped[int]
    last_ingest_at: Mapped[datetime]
    last_ingest_id: Mapped[str | None]
    metadata_json: Mapped[Any]


class SchemaState(Base):
    """A fact about the schema, such as its version."""

    __table__ = SQL_TABLES["schema_state"]

    key: Mapped[str]
    value: Mapped[str]
