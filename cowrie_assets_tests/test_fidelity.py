"""Fidelity before cleaning: what the target holds with the same value arrives as it is, to the byte and the class.

Not here: what a rule changes (`test_rules.py`).
"""

from __future__ import annotations

from pathlib import Path

from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import database, opened

SUMMARIES = (
    "CREATE TABLE session_summaries (session_id VARCHAR(64) PRIMARY KEY, first_event_at DATETIME, event_count INTEGER,"
    " matcher VARCHAR(16), source_files JSON, enrichment JSON, created_at DATETIME)"
)


def test_nulls_and_empty_texts_stay_apart_and_long_values_whole(pg_url: str, tmp_path: Path) -> None:
    path = database(tmp_path / "s", SUMMARIES)
    long = "x " * 40_000
    rows = [
        ("null", None, 2**62, "", "null", None),
        ("", None, -(2**63), " ", None, '""'),
        (" pad ", None, 0, long, " [1.10, 12345678901234567890123] ", "{}"),
        ("\u00e9\u2028", None, 2**31, None, '"doubly \\"encoded\\""', "[]"),
    ]
    with opened(path) as connection:
        connection.executemany(
            "INSERT INTO session_summaries VALUES (?, ?, ?, ?, ?, ?, '2026-11-24 05:48:08.5+02:00')", rows
        )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    assert query(pg_url, "SELECT count(*) FROM cowrie_migration.repairs") == [(0,)]
    assert query(pg_url, "SELECT count(*) FROM cowrie_migration.quarantine") == [(0,)]
    found = query(
        pg_url,
        "SELECT session_id, first_event_at, event_count, matcher, source_files::text, enrichment::text"
        " FROM session_summaries ORDER BY event_count = 0, event_count = 2147483648, event_count",
    )
    by_id = {row[0]: row for row in found}
    assert by_id["null"][3:] == ("", "null", None)
    assert by_id[""][3:] == (" ", None, '""')
    assert by_id[" pad "][3:] == (long, "[1.10, 12345678901234567890123]", "{}")
    assert [by_id[row[0]][2] for row in rows] == [row[2] for row in rows]
    kinds = query(pg_url, "SELECT jsonb_typeof(source_files), source_files IS NULL FROM session_summaries"
                          " WHERE session_id IN ('null', '') ORDER BY session_id")  # fmt: skip
    assert kinds == [(None, True), ("null", False)]


NO_DATES = ["now", "today", "24:00:00", "2025-09-22 24:00:00", "2025-09-22 23:59:60", "09/22/2025", "infinity", "J2460941",
            "2025-265", "epoch", ""]  # fmt: skip


def test_no_date_of_another_meaning_reaches_the_server(pg_url: str, tmp_path: Path) -> None:
    path = database(tmp_path / "s", SUMMARIES)
    rows = [
        row
        for i, text in enumerate(NO_DATES)
        for row in [
            (f"{i} null", text, "2026-11-24"),
            (f"{i} stands in", "2026-11-24", text),
            (f"{i} none", None, text),
        ]
    ]
    with opened(path) as connection:
        connection.executemany(
            "INSERT INTO session_summaries (session_id, first_event_at, created_at, event_count) VALUES (?, ?, ?, 0)",
            rows,
        )
    migrate(pipeline_for(path, pg_url, tmp_path))
    loaded = query(pg_url, "SELECT session_id, first_event_at IS NULL, created_at::date::text FROM session_summaries")
    assert set(loaded) == {
        row
        for i in range(len(NO_DATES))
        for row in [(f"{i} null", True, "2026-11-24"), (f"{i} stands in", False, "2026-11-24")]
    }
    ledger = query(pg_url, "SELECT target_key, column_name, rule, original FROM cowrie_migration.repairs")
    assert set(ledger) == {
        row
        for i, text in enumerate(NO_DATES)
        for row in [
            (f"{i} null", "first_event_at", "date.unreadable", text.encode()),
            (f"{i} stands in", "created_at", "date.fallback", text.encode()),
        ]
    }
    aside = query(pg_url, "SELECT target_key, rule FROM cowrie_migration.quarantine")
    assert set(aside) == {(f"{i} none", "date.unreadable") for i in range(len(NO_DATES))}
