"""Schema 1: events, sessions, commands, and the version itself."""

from .steps import CreateTable, Migration

SCHEMA_STATE = CreateTable(
    "schema_state",
    """
    "key" VARCHAR(128) NOT NULL
    value VARCHAR(256) NOT NULL
    """,
    ('CONSTRAINT pk_schema_state PRIMARY KEY ("key")',),
)

RAW_EVENTS = CreateTable(
    "raw_events",
    """
    id INTEGER NOT NULL
    ingest_id VARCHAR(64)
    ingest_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL
    source VARCHAR(512) NOT NULL
    source_offset BIGINT
    source_inode VARCHAR(128)
    payload JSON NOT NULL
    payload_hash VARCHAR(64)
    risk_score INTEGER
    quarantined BOOLEAN DEFAULT '0' NOT NULL
    session_id VARCHAR(64) GENERATED ALWAYS AS (json_extract(payload, '$.session')) VIRTUAL
    event_type VARCHAR(128) GENERATED ALWAYS AS (json_extract(payload, '$.eventid')) VIRTUAL
    event_timestamp VARCHAR(64) GENERATED ALWAYS AS (json_extract(payload, '$.timestamp')) VIRTUAL
    """,
    (
        "CONSTRAINT pk_raw_events PRIMARY KEY (id)",
        "CONSTRAINT uq_raw_events_source_offset UNIQUE (source, source_offset)",
    ),
    """
    ix_raw_events_event_type: event_type
    ix_raw_events_ingest_at: ingest_at
    ix_raw_events_session_id: session_id
    ix_raw_events_event_timestamp: event_timestamp
    """,
)

SESSION_SUMMARIES = CreateTable(
    "session_summaries",
    """
    session_id VARCHAR(64) NOT NULL
    first_event_at DATETIME
    last_event_at DATETIME
    event_count INTEGER DEFAULT '0' NOT NULL
    command_count INTEGER DEFAULT '0' NOT NULL
    file_downloads INTEGER DEFAULT '0' NOT NULL
    login_attempts INTEGER DEFAULT '0' NOT NULL
    vt_flagged BOOLEAN DEFAULT '0' NOT NULL
    dshield_flagged BOOLEAN DEFAULT '0' NOT NULL
    risk_score INTEGER
    matcher VARCHAR(32)
    source_files JSON
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL
    """,
    ("CONSTRAINT pk_session_summaries PRIMARY KEY (session_id)",),
    """
    ix_session_summaries_flags: vt_flagged, dshield_flagged
    ix_session_summaries_last_event: last_event_at
    ix_session_summaries_first_event: first_event_at
    """,
)

COMMAND_STATS = CreateTable(
    "command_stats",
    """
    id INTEGER NOT NULL
    session_id VARCHAR(64) NOT NULL
    command_normalized TEXT NOT NULL
    occurrences INTEGER DEFAULT '0' NOT NULL
    first_seen DATETIME
    last_seen DATETIME
    high_risk BOOLEAN DEFAULT '0' NOT NULL
    """,
    (
        "CONSTRAINT pk_command_stats PRIMARY KEY (id)",
        "CONSTRAINT uq_command_stats_session_command UNIQUE (session_id, command_normalized)",
    ),
    """
    ix_command_stats_command: command_normalized
    ix_command_stats_session: session_id
    """,
)

MIGRATION = Migration(1, "events, sessions, commands", (SCHEMA_STATE, RAW_EVENTS, SESSION_SUMMARIES, COMMAND_STATS))
