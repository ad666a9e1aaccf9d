"""Schema 5: session_id, event_type and event_timestamp are plain columns, which PostgreSQL and SQLite fill alike."""

from .steps import CreateIndexes, MakePlain, Migration
from .v1 import RAW_EVENTS

MIGRATION = Migration(
    5,
    "plain instead of generated columns",
    (
        MakePlain("raw_events", ("session_id", "event_type", "event_timestamp")),
        CreateIndexes("raw_events", RAW_EVENTS.indexes),
    ),
)
