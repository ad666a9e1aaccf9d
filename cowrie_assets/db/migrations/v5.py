"""Schema 5: session_id, event_type and event_timestamp are plain columns, which PostgreSQL and SQLite fill alike."""

from .steps import MakePlain, Migration

MIGRATION = Migration(
    5, "plain instead of generated columns", (MakePlain("raw_events", ("session_id", "event_type", "event_timestamp")),)
)
