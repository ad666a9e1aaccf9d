"""Whole migrations of small databases at the edges of what SQLite can hold.

Not here: dirty cells (`test_dirty.py`), large content (`test_large_content.py`).
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from cowrie_assets.loading.reset import plan_reset, reset
from cowrie_assets.validation.sample import BLOCK, blocks
from cowrie_assets.validation.verdicts import Extent, Verdict
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


def test_a_sample_follows_rows_not_rowids(tmp_path: Path, pg_url: str) -> None:
    path, ids = tmp_path / "s.sqlite", [-(2**63), 1, 2, 1_732_900_000_000_000, 2**63 - 1]
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(i, "v") for i in ids])
        db.commit()
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    began = time.monotonic()
    for share, rows in (("0.0001%", 1), ("100%", 5)):
        [found] = line.validate("t", ["all"], Extent.parse(share))
        assert (found.verdict, found.detail, found.cells) == (Verdict.PASS, "", 2 * rows)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_the_blocks_of_a_sample_depend_on_their_numbers_alone(fraction: float) -> None:
    """As when every block between the ends is asked, but for those without a row."""
    rng = random.Random(5)
    for _ in range(50):
        ids = sorted(rng.sample(range(-40_000, 40_000), 60))
        ranges = [(ids[0], ids[20]), (ids[21], ids[21] + 5), (ids[30], 60_000)]

        def next_rowid(low: int, high: int, ids: list[int] = ids) -> int | None:
            return next((i for i in ids if low <= i <= high), None)

        asked: list[tuple[int, int]] = []
        for low, high in ranges:
            for number in range(low // BLOCK, high // BLOCK + 1):
                chance = int.from_bytes(hashlib.blake2b(str(number).encode(), digest_size=4).digest())
                if not asked or chance < fraction * 2**32:
                    asked.append((max(low, number * BLOCK), min(high, number * BLOCK + BLOCK - 1)))
        wanted = [i for i in ids if any(low <= i <= high for low, high in asked)]
        chosen = list(blocks(ranges, fraction, next_rowid))
        assert [i for i in ids if any(low <= i <= high for low, high in chosen)] == wanted
        assert len(chosen) <= len(wanted)


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
