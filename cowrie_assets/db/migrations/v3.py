"""Schema 3: what other services know about a session."""

from .steps import AddColumns, Migration

MIGRATION = Migration(3, "enrichment of sessions", (AddColumns("session_summaries", "enrichment JSON"),))
