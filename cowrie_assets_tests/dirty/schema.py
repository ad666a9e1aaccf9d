"""The processor's seven tables by schema version, as SQL, strictly declared or not.

Belongs here: columns, defaults and declarations. Not here: rows (`rows.py`), tables of other makers (`others.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_COLUMNS = {
    "raw_events": """
        id INTEGER! | ingest_id VARCHAR(64) | ingest_at DATETIME! | source VARCHAR(512)! | source_offset BIGINT
        | source_inode VARCHAR(128) | source_generation INTEGER!=0 @2 | payload JSON! | payload_hash VARCHAR(64)
        | risk_score INTEGER | quarantined BOOLEAN!=false | session_id VARCHAR(64) | event_type VARCHAR(128)
        | event_timestamp VARCHAR(64)""",
    "session_summaries": """
        session_id VARCHAR(64)! | first_event_at DATETIME | last_event_at DATETIME | event_count INTEGER!=0
        | command_count INTEGER!=0 | file_downloads INTEGER!=0 | login_attempts INTEGER!=0 | vt_flagged BOOLEAN!=false
        | dshield_flagged BOOLEAN!=false | risk_score INTEGER | matcher VARCHAR(32) | source_files JSON
        | enrichment JSON @3 | created_at DATETIME! | updated_at DATETIME!""",
    "command_stats": """
        id INTEGER! | session_id VARCHAR(64)! | command_normalized TEXT! | occurrences INTEGER!=0
        | first_seen DATETIME | last_seen DATETIME | high_risk BOOLEAN!=false""",
    "ingest_cursors": """
        source VARCHAR(512)! | inode VARCHAR(128) | last_offset INTEGER!=-1 | last_ingest_at DATETIME!
        | last_ingest_id VARCHAR(64) | metadata_json JSON""",
    "dead_letter_events": """
        id INTEGER! | ingest_id VARCHAR(64) | source VARCHAR(512) | source_offset INTEGER | reason VARCHAR(128)!
        | payload JSON! | metadata_json JSON | created_at DATETIME! | resolved BOOLEAN!=false | resolved_at DATETIME""",
    "files": """
        id INTEGER! | session_id VARCHAR(64)! | shasum VARCHAR(64)! | filename VARCHAR(512) | file_size BIGINT
        | download_url VARCHAR(1024) | vt_classification VARCHAR(128) | vt_description TEXT
        | vt_malicious BOOLEAN!=false | vt_first_seen DATETIME | vt_last_analysis DATETIME | vt_positives INTEGER
        | vt_total INTEGER | vt_scan_date DATETIME | first_seen DATETIME! | last_updated DATETIME!
        | enrichment_status VARCHAR(32)!='pending'""",
    "schema_state": "key VARCHAR(128)! | value VARCHAR(256)!",
}
SINCE = {"ingest_cursors": 2, "dead_letter_events": 2, "files": 4}
"""The version that first had the table; the others are of version 1."""
GENERATED = {"session_id": "session", "event_type": "eventid", "event_timestamp": "timestamp"}
"""raw_events' columns that versions 1 to 4 generate from the payload, and the member."""
KEYS = {"session_summaries": "session_id", "ingest_cursors": "source", "schema_state": "key"}
"""Primary keys; `id` elsewhere."""
UNIQUE = {
    "raw_events": ("source", "source_inode", "source_generation", "source_offset"),
    "command_stats": ("session_id", "command_normalized"),
    "files": ("session_id", "shasum"),
}
FALLBACKS = {
    ("raw_events", "ingest_at"): ("payload.timestamp",),
    ("session_summaries", "created_at"): ("last_event_at", "first_event_at"),
    ("session_summaries", "updated_at"): ("created_at", "last_event_at", "first_event_at"),
    ("files", "first_seen"): ("last_updated",),
    ("files", "last_updated"): ("first_seen",),
    ("dead_letter_events", "created_at"): ("resolved_at",),
}
"""The columns that stand in for an unreadable date that may not be NULL, in order."""
_KINDS = {"JSON": "jsonb", "DATETIME": "timestamptz", "BOOLEAN": "boolean", "INTEGER": "bigint", "BIGINT": "bigint"}


class Mode(Enum):
    """How strictly a table is declared."""

    STRICT = "as the processor declares it"
    NULLABLE = "keys and unique constraints, but NULL everywhere"
    LOOSE = "no constraint, text columns without a type, JSON as TEXT"
    LYING = "written as if loose, then declared NOT NULL in sqlite_master"


@dataclass(frozen=True)
class Spec:
    """A column as the newest version has it; `default` is the target's, as text."""

    name: str
    declared: str
    required: bool
    default: str | None
    since: int

    @property
    def kind(self) -> str:
        """The target type."""
        return _KINDS.get(self.declared, "text")


def _spec(text: str) -> Spec:
    text, _, since = text.partition("@")
    name, _, rest = text.strip().partition(" ")
    declared, mark, default = rest.partition("!")
    return Spec(name, declared.strip(), bool(mark), default.strip("= '") or None, int(since or 1))


COLUMNS = {table: [_spec(part) for part in text.split("|")] for table, text in _COLUMNS.items()}


def stored_columns(table: str, version: int, *, generated: bool) -> list[Spec]:
    """The columns that the source stores at a version."""
    return [
        spec
        for spec in COLUMNS[table]
        if spec.since <= version and not (generated and table == "raw_events" and spec.name in GENERATED)
    ]


def key_of(table: str) -> str:
    """The primary key's column."""
    return KEYS.get(table, "id")


def unique_of(table: str, version: int) -> list[tuple[str, ...]]:
    """The target's unique column sets, the key first."""
    return [(key_of(table),), *([UNIQUE[table]] if table in UNIQUE else [])]


def create(
    table: str, version: int, mode: Mode, extra: list[tuple[str, str]], *, generated: bool
) -> tuple[str, str | None]:
    """CREATE TABLE for the time of writing, and what sqlite_master is made to say afterwards where that differs.

    Args:
        table: its name.
        version: the schema version.
        mode: how strictly.
        extra: further columns, name and declaration.
        generated: raw_events generates its three columns. They are declared last: SQLite computes them on INSERT, and
            refuses the row where the payload is malformed.
    """
    typed, required = mode is not Mode.LOOSE, mode in (Mode.STRICT, Mode.LYING)
    lying = mode is Mode.LYING
    first = _lines(
        table, version, extra, typed=typed and not lying, required=required and not lying,
        generated=None if generated else False,
    )  # fmt: skip
    last = _lines(table, version, extra, typed=typed, required=required, generated=generated)
    constraints = []
    if mode in (Mode.STRICT, Mode.NULLABLE):
        constraints.append(f'CONSTRAINT pk_{table} PRIMARY KEY ("{key_of(table)}")')
        if table in UNIQUE:
            columns = ("source", "source_offset") if table == "raw_events" and version == 1 else UNIQUE[table]
            constraints.append(f"CONSTRAINT uq_{table} UNIQUE ({', '.join(columns)})")
    now, then = _table(table, first + constraints), _table(table, last + constraints)
    return now, None if now == then else then


def _table(table: str, lines: list[str]) -> str:
    return f"CREATE TABLE {table} (\n    " + ",\n    ".join(lines) + "\n)"


def _lines(
    table: str, version: int, extra: list[tuple[str, str]], *, typed: bool, required: bool, generated: bool | None
) -> list[str]:
    """Columns and their declarations; `generated` None leaves out those that may be generated."""
    lines = []
    for spec in COLUMNS[table]:
        if spec.since > version:
            continue
        loosely = {"text": "", "jsonb": "TEXT"}.get(spec.kind, spec.declared)
        declared = spec.declared if typed else loosely
        if table == "raw_events" and spec.name in GENERATED and generated is not False:
            if generated is None:
                continue
            declared += f" GENERATED ALWAYS AS (json_extract(payload, '$.{GENERATED[spec.name]}')) VIRTUAL"
        elif spec.required and required:
            declared += " NOT NULL"
        lines.append(f'"{spec.name}" {declared}')
    return lines + [f'"{name.replace(chr(34), chr(34) * 2)}" {declared}' for name, declared in extra]
