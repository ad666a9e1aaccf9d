"""The demo database in SQL: a Cowrie processor's tables at schema 3 and 6, what follows from events, damage.

Belongs here: the DDL as `sqlite_master` of real databases has it (the processor's interface), sums of the
events, and each defect as the SQL that makes it. Not here: events (`demo.py`), the migration's catalog.
"""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

SCHEMAS = (3, 6)

BACKUP_TABLE = "dead_letter_events_test_backup"
"""A table that no code knows, as production has one: somebody's CREATE TABLE ... AS SELECT."""

_SCHEMA_STATE = """
CREATE TABLE schema_state (
    "key" VARCHAR(128) NOT NULL,
    value VARCHAR(256) NOT NULL,
    CONSTRAINT pk_schema_state PRIMARY KEY ("key")
)"""

_RAW_EVENTS = """
CREATE TABLE raw_events (
    id INTEGER NOT NULL,
    ingest_id VARCHAR(64),
    ingest_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    source VARCHAR(512) NOT NULL,
    source_offset BIGINT,
    source_inode VARCHAR(128),
    source_generation INTEGER DEFAULT '0' NOT NULL,
    payload JSON NOT NULL,
    payload_hash VARCHAR(64),
    risk_score INTEGER,
    quarantined BOOLEAN DEFAULT {false} NOT NULL,
    session_id VARCHAR(64){from_session},
    event_type VARCHAR(128){from_eventid},
    event_timestamp VARCHAR(64){from_timestamp},
    CONSTRAINT pk_raw_events PRIMARY KEY (id),
    CONSTRAINT uq_raw_events_source_offset UNIQUE (source, source_inode, source_generation, source_offset)
)"""

_SESSION_SUMMARIES = """
CREATE TABLE session_summaries (
    session_id VARCHAR(64) NOT NULL,
    first_event_at DATETIME,
    last_event_at DATETIME,
    event_count INTEGER DEFAULT '0' NOT NULL,
    command_count INTEGER DEFAULT '0' NOT NULL,
    file_downloads INTEGER DEFAULT '0' NOT NULL,
    login_attempts INTEGER DEFAULT '0' NOT NULL,
    vt_flagged BOOLEAN DEFAULT {false} NOT NULL,
    dshield_flagged BOOLEAN DEFAULT {false} NOT NULL,
    risk_score INTEGER,
    matcher VARCHAR(32),
    source_files JSON,
    enrichment JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_session_summaries PRIMARY KEY (session_id)
)"""

_COMMAND_STATS = """
CREATE TABLE command_stats (
    id INTEGER NOT NULL,
    session_id VARCHAR(64) NOT NULL,
    command_normalized TEXT NOT NULL,
    occurrences INTEGER DEFAULT '0' NOT NULL,
    first_seen DATETIME,
    last_seen DATETIME,
    high_risk BOOLEAN DEFAULT {false} NOT NULL,
    CONSTRAINT pk_command_stats PRIMARY KEY (id),
    CONSTRAINT uq_command_stats_session_command UNIQUE (session_id, command_normalized)
)"""

_INGEST_CURSORS = """
CREATE TABLE ingest_cursors (
    source VARCHAR(512) NOT NULL,
    inode VARCHAR(128),
    last_offset INTEGER DEFAULT '-1' NOT NULL,
    last_ingest_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    last_ingest_id VARCHAR(64),
    metadata_json JSON,
    CONSTRAINT pk_ingest_cursors PRIMARY KEY (source)
)"""

_DEAD_LETTER_EVENTS = """
CREATE TABLE dead_letter_events (
    id INTEGER NOT NULL,
    ingest_id VARCHAR(64),
    source VARCHAR(512),
    source_offset INTEGER,
    reason VARCHAR(128) NOT NULL,
    payload JSON NOT NULL,
    metadata_json JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    resolved BOOLEAN DEFAULT {false} NOT NULL,
    resolved_at DATETIME,
    CONSTRAINT pk_dead_letter_events PRIMARY KEY (id)
)"""

_FILES = """
CREATE TABLE files (
    id INTEGER NOT NULL,
    session_id VARCHAR(64) NOT NULL,
    shasum VARCHAR(64) NOT NULL,
    filename VARCHAR(512),
    file_size BIGINT,
    download_url VARCHAR(1024),
    vt_classification VARCHAR(128),
    vt_description TEXT,
    vt_malicious BOOLEAN DEFAULT {false} NOT NULL,
    vt_first_seen DATETIME,
    vt_last_analysis DATETIME,
    vt_positives INTEGER,
    vt_total INTEGER,
    vt_scan_date DATETIME,
    first_seen DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    last_updated DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    enrichment_status VARCHAR(32) DEFAULT 'pending' NOT NULL,
    CONSTRAINT pk_files PRIMARY KEY (id),
    CONSTRAINT uq_files_session_hash UNIQUE (session_id, shasum)
)"""

_INDEXES = (
    "CREATE INDEX ix_raw_events_event_type ON raw_events (event_type)",
    "CREATE INDEX ix_raw_events_ingest_at ON raw_events (ingest_at)",
    "CREATE INDEX ix_raw_events_session_id ON raw_events (session_id)",
    "CREATE INDEX ix_raw_events_event_timestamp ON raw_events (event_timestamp)",
    "CREATE INDEX ix_session_summaries_flags ON session_summaries (vt_flagged, dshield_flagged)",
    "CREATE INDEX ix_session_summaries_last_event ON session_summaries (last_event_at)",
    "CREATE INDEX ix_session_summaries_first_event ON session_summaries (first_event_at)",
    "CREATE INDEX ix_command_stats_command ON command_stats (command_normalized)",
    "CREATE INDEX ix_command_stats_session ON command_stats (session_id)",
    "CREATE INDEX ix_ingest_cursors_offset ON ingest_cursors (last_offset)",
    "CREATE INDEX ix_dead_letter_events_created ON dead_letter_events (created_at)",
    "CREATE INDEX ix_dead_letter_events_source ON dead_letter_events (source)",
)

_FILES_INDEXES = (
    "CREATE INDEX ix_files_vt_malicious ON files (vt_malicious)",
    "CREATE INDEX ix_files_enrichment_status ON files (enrichment_status)",
    "CREATE INDEX ix_files_first_seen ON files (first_seen)",
    "CREATE INDEX ix_files_session_id ON files (session_id)",
    "CREATE INDEX ix_files_shasum ON files (shasum)",
)

# Real databases hold the same key twice: as a table constraint and as this index.
_UNIQUE_AGAIN = (
    "CREATE UNIQUE INDEX uq_raw_events_source_gen ON raw_events(source, source_inode, source_generation, source_offset)"
)


def _generated(key: str) -> str:
    return f" GENERATED ALWAYS AS (json_extract(payload, '$.{key}')) VIRTUAL"


def table_ddl(schema: int) -> list[str]:
    """CREATE TABLE statements of processor schema 3 or 6, in the order in which the processor makes them.

    Schema 3 generates session_id, event_type and event_timestamp from the payload; at 6 they are plain.
    """
    generated = schema < 5
    tables = [
        _SCHEMA_STATE,
        _RAW_EVENTS,
        _SESSION_SUMMARIES,
        _COMMAND_STATS,
        _INGEST_CURSORS,
        _DEAD_LETTER_EVENTS,
    ]
    if schema >= 4:
        tables.append(_FILES)
    return [
        ddl.strip().format(
            false="'0'" if schema < 6 else "0",
            from_session=_generated("session") if generated else "",
            from_eventid=_generated("eventid") if generated else "",
            from_timestamp=_generated("timestamp") if generated else "",
        )
        for ddl in tables
    ]


def index_ddl(schema: int) -> list[str]:
    """CREATE INDEX statements of processor schema 3 or 6; cheapest when run after the rows are in."""
    return [*_INDEXES, *(_FILES_INDEXES if schema >= 4 else ()), _UNIQUE_AGAIN]


# A file of ours bears "CowD" as application_id and a checksum of the arguments as user_version, in its first
# 100 bytes (sqlite.org/fileformat.html). To look at them no database is opened, so no -shm appears.
_APPLICATION_ID = 0x436F7744

# A file that is thrown away where its making fails needs no journal. The cache, 32 MB, bounds sorts too.
BUILD_SETTINGS = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;
PRAGMA locking_mode = EXCLUSIVE;
"""
INSERT_EVENT = """
INSERT INTO raw_events (ingest_id, ingest_at, source, source_offset, source_inode, payload, payload_hash,
    risk_score, quarantined)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_DEAD_LETTER = """
INSERT INTO dead_letter_events (ingest_id, source, source_offset, reason, payload, created_at)
    VALUES (?, ?, ?, ?, ?, ?)"""

# What follows from the events, run where they are all in and still whole. GROUP BY sorts what it reads: so a
# few columns, not the payload.
_SUMMARIES = """
INSERT INTO session_summaries (session_id, first_event_at, last_event_at, event_count, command_count,
    file_downloads, login_attempts, risk_score, matcher, source_files, enrichment, created_at, updated_at)
SELECT session, replace(substr(min(at), 1, 26), 'T', ' '), replace(substr(max(at), 1, 26), 'T', ' '),
    count(*), sum(kind = 'cowrie.command.input'), sum(kind = 'cowrie.session.file_download'),
    sum(kind IN ('cowrie.login.failed', 'cowrie.login.success')), max(risk_score), max(sensor),
    '["' || min(source) || CASE WHEN max(source) > min(source) THEN '", "' || max(source) ELSE '' END || '"]',
    'null', min(ingest_at), max(ingest_at)
FROM (
    SELECT id, source, ingest_at, risk_score, json_extract(payload, '$.session') AS session,
        json_extract(payload, '$.eventid') AS kind, json_extract(payload, '$.sensor') AS sensor,
        json_extract(payload, '$.timestamp') AS at
    FROM raw_events
) GROUP BY session ORDER BY min(id)"""
_COMMANDS = """
INSERT INTO command_stats (session_id, command_normalized, occurrences, first_seen, last_seen, high_risk)
SELECT session, command, count(*), replace(substr(min(at), 1, 26), 'T', ' '),
    replace(substr(max(at), 1, 26), 'T', ' '), max(risk_score >= 85)
FROM (
    SELECT id, risk_score, json_extract(payload, '$.session') AS session,
        substr(json_extract(payload, '$.message'), 6) AS command, json_extract(payload, '$.timestamp') AS at
    FROM raw_events WHERE json_extract(payload, '$.eventid') = 'cowrie.command.input'
) GROUP BY session, command ORDER BY min(id)"""
_FETCHED = """
INSERT INTO files (session_id, shasum, download_url, first_seen, last_updated)
SELECT session, shasum, url, replace(substr(min(at), 1, 26), 'T', ' '), ingest_at
FROM (
    SELECT id, ingest_at, json_extract(payload, '$.session') AS session,
        json_extract(payload, '$.url') AS url, json_extract(payload, '$.shasum') AS shasum,
        json_extract(payload, '$.timestamp') AS at
    FROM raw_events WHERE json_extract(payload, '$.eventid') = 'cowrie.session.file_download'
) GROUP BY session, shasum ORDER BY min(id)"""
# A few cursors, of what was read last; bare columns are those of the row with the highest offset.
_CURSORS = """
INSERT INTO ingest_cursors
SELECT source, source_inode, max(source_offset), ingest_at, ingest_id, '{"generation": 0, "first_hash": null}'
FROM raw_events WHERE id > (SELECT max(id) * 9 / 10 FROM raw_events) GROUP BY source
ORDER BY ingest_at DESC, source LIMIT 5"""
_BACKUP = f"CREATE TABLE {BACKUP_TABLE} AS SELECT * FROM dead_letter_events ORDER BY id LIMIT 400"


def derived_rows(schema: int) -> list[str]:
    """Statements for the tables that follow from raw_events and dead_letter_events, and the version."""
    version = f"INSERT INTO schema_state VALUES ('schema_version', '{schema:d}')"
    return [_SUMMARIES, _COMMANDS, *([_FETCHED] if schema >= 4 else []), _CURSORS, version, _BACKUP]


# Defects of raw_events.payload are such that json_extract takes them: schema 3 indexes columns generated from
# it, and SQLite makes no index over malformed JSON. What json_extract refuses (before 3.42 also NaN) lies in
# dead_letter_events.payload, cut from a raw event; these come first, while raw_events is still whole.
_MESSAGE = """ '"message": "' """
_FROM_EVENT = "payload = (SELECT {} FROM raw_events AS event WHERE event.id = dead_letter_events.id)"
_LOG_LINE = "' [HoneyPotSSHTransport,7,198.18.4.2] login attempt [root/123456] failed'"


def _in_message(text: str) -> str:
    return f"payload = replace(payload, {_MESSAGE}, {_MESSAGE} || '{text}')"


def _before_message(field: str) -> str:
    return f"payload = replace(payload, {_MESSAGE}, '{field}, ' || {_MESSAGE})"


DEFECTS: dict[str, tuple[str, str]] = {
    "json_nan": (
        "dead_letter_events",
        _FROM_EVENT.format("""replace(payload, '"eventid"', '"ratio": NaN, "eventid"')"""),
    ),
    "json_truncated": (
        "dead_letter_events",
        _FROM_EVENT.format("substr(payload, 1, length(payload) * 2 / 3)"),
    ),
    "json_trailing": ("dead_letter_events", _FROM_EVENT.format("payload || '} [root/123]'")),
    "json_no_json": ("dead_letter_events", f"payload = created_at || {_LOG_LINE}"),
    "text_invalid_utf8": ("dead_letter_events", "source = source || x'2eff'"),
    "integer_40_bit": ("dead_letter_events", "source_offset = (1 << 40) + id"),
    "boolean_two": ("dead_letter_events", "resolved = 2"),
    "date_epoch": ("dead_letter_events", "created_at = CAST(strftime('%s', created_at) AS INTEGER)"),
    "date_unreadable": ("session_summaries", "first_event_at = 'not-a-date'"),
    "date_year_1": ("session_summaries", "first_event_at = '0001-01-01 00:00:00.000000'"),
    "date_year_9999": ("session_summaries", "first_event_at = '9999-12-31 23:59:59.999999'"),
    "date_nanoseconds": ("session_summaries", "last_event_at = last_event_at || '789'"),
    "session_id_nul": ("session_summaries", "session_id = session_id || char(0) || 's'"),
    "session_id_long": ("session_summaries", "session_id = session_id || printf('%.*c', 188, 's')"),
    "json_nul": ("raw_events", _in_message(r"\u0000")),
    "json_escaped_nul": ("raw_events", _in_message(r"\\u0000")),
    "json_lone_surrogate": ("raw_events", _in_message(r"\ud800")),
    "json_duplicate_key": ("raw_events", _before_message('"src_port": 22')),
    "json_negative_zero": ("raw_events", _before_message('"duration": -0')),
    "json_tiny_number": ("raw_events", _before_message('"ratio": 1e-16384')),
    "payload_integer": ("raw_events", "payload = '123'"),
    "payload_real": ("raw_events", "payload = '1.10'"),
    "source_nul": ("raw_events", "source = source || char(0) || '.1'"),
    "risk_score_text": ("raw_events", "risk_score = 'high'"),
    "date_offset": ("raw_events", "ingest_at = ingest_at || '+02:00'"),
    "date_zero": ("raw_events", "ingest_at = '0000-00-00 00:00:00'"),
}
"""What can be wrong with a row: name of the defect, its table, SET clause of the UPDATE that makes it."""

DECOYS = frozenset({"json_escaped_nul", "integer_40_bit", "date_offset", "date_year_1", "date_year_9999"})
"""Names in `DEFECTS` that only look like damage: PostgreSQL holds these values as they are."""


def damage_count(events: int, dirty_per_mille: float) -> int:
    """Rows that each defect gets: an equal share of the dirty rows, at least 1; 0 where none are wanted."""
    return max(1, round(events * dirty_per_mille / 1_000 / len(DEFECTS))) if dirty_per_mille else 0


def damage(db: sqlite3.Connection, rng: random.Random, count: int) -> None:
    """Give each defect to `count` rows of its table, drawn by `rng`, no row twice. Run before the indexes."""
    # Sessions without commands and files: nothing refers to them, so a damaged id makes no orphans.
    quiet = "SELECT rowid FROM session_summaries WHERE command_count = 0 AND file_downloads = 0"
    rows: dict[str, range | list[int]] = {"session_summaries": [rowid for (rowid,) in db.execute(quiet)]}
    for table in ("dead_letter_events", "raw_events"):
        rows[table] = range(1, 1 + db.execute(f"SELECT max(id) FROM {table}").fetchone()[0])
    chosen = {
        table: iter(rng.sample(rowids, count * sum(at == table for at, _ in DEFECTS.values())))
        for table, rowids in rows.items()
    }
    for table, change in DEFECTS.values():
        update = f"UPDATE {table} SET {change} WHERE rowid = ?"
        db.executemany(update, [(next(chosen[table]),) for _ in range(count)])


def count_rows(db: sqlite3.Connection) -> dict[str, int]:
    """Number of rows by table, for all tables in the order of their making."""
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    return {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in names}


def stamp(db: sqlite3.Connection, mark: int) -> None:
    """Mark a database as a demo made by arguments of this checksum (31 bits)."""
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID:d}")
    db.execute(f"PRAGMA user_version = {mark:d}")


def has_stamp(path: Path, mark: int) -> bool:
    """Whether a file bears the stamp of this checksum; OSError where it cannot be read."""
    with path.open("rb") as file:
        header = file.read(100)
    return (header[60:64], header[68:72]) == (mark.to_bytes(4, "big"), _APPLICATION_ID.to_bytes(4, "big"))
