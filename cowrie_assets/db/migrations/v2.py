"""Schema 2: a log's generation in an event's key, the loader's place in each log, and what it could not take."""

from .steps import AddColumns, CreateTable, Migration, WidenUnique

INGEST_CURSORS = CreateTable(
    "ingest_cursors",
    """
    source VARCHAR(512) NOT NULL
    inode VARCHAR(128)
    last_offset INTEGER DEFAULT '-1' NOT NULL
    last_ingest_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL
    last_ingest_id VARCHAR(64)
    metadata_json JSON
    """,
    ("CONSTRAINT pk_ingest_cursors PRIMARY KEY (source)",),
    "ix_ingest_cursors_offset: last_offset",
)

DEAD_LETTER_EVENTS = CreateTable(
    "dead_letter_events",
    """
    id INTEGER NOT NULL
    ingest_id VARCHAR(64)
    source VARCHAR(512)
    source_offset INTEGER
    reason VARCHAR(128) NOT NULL
    payload JSON NOT NULL
    metadata_json JSON
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL
    resolved BOOLEAN DEFAULT '0' NOT NULL
    resolved_at DATETIME
    """,
    ("CONSTRAINT pk_dead_letter_events PRIMARY KEY (id)",),
    """
    ix_dead_letter_events_created: created_at
    ix_dead_letter_events_source: source
    """,
)

MIGRATION = Migration(
    2,
    "log generations, cursors, dead letters",
    (
        AddColumns("raw_events", "source_inode VARCHAR(128)\nsource_generation INTEGER DEFAULT '0' NOT NULL"),
        WidenUnique(
            "raw_events",
            "uq_raw_events_source_offset",
            before="source, source_offset",
            after="source, source_inode, source_generation, source_offset",
        ),
        INGEST_CURSORS,
        DEAD_LETTER_EVENTS,
    ),
)
