"""Whole migrations of small databases at the edges of what SQLite can hold.

Not here: dirty cells (`test_dirty.py`), large content (`test_large_content.py`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cowrie_assets.loading.reset import plan_reset, reset
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts


def test_the_highest_rowid_arrives_and_goes(tmp_path: Path, pg_url: str) -> None:
    """PostgreSQL's ranges end before their upper bound, and nothing comes after the highest bigint."""
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(-5, "low"), (2**63 - 2, "near"), (2**63 - 1, "last")])
        db.commit()
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert [v.detail for v in verdicts(line)] == [""]
    line.load("t", "all", "again", force=True)
    assert query(pg_url, "SELECT count(*) FROM t") == [(3,)]
    assert [v.detail for v in verdicts(line)] == [""]


def test_reset_drops_the_version_row_that_we_added(tmp_path: Path, pg_url: str) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE schema_state (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        db.execute("INSERT INTO schema_state VALUES ('other', '1')")
        db.commit()
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    with line.connect() as connection:
        plan, steps = plan_reset(connection)
        connection.commit()
        reset(connection, plan, steps)
    assert query(pg_url, "SELECT to_regclass('schema_state')") == [(None,)]
