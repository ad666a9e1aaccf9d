"""Schema 6: boolean columns default to false instead of the text '0', which only SQLite takes for it."""

from .steps import BooleanDefaults, Migration

MIGRATION = Migration(
    6,
    "boolean defaults",
    (
        BooleanDefaults("raw_events", ("quarantined",)),
        BooleanDefaults("session_summaries", ("vt_flagged", "dshield_flagged")),
        BooleanDefaults("command_stats", ("high_risk",)),
        BooleanDefaults("dead_letter_events", ("resolved",)),
        BooleanDefaults("files", ("vt_malicious",)),
    ),
)
