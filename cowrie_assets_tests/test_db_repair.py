"""`db analyze` and `db repair`: what is mended in place is what the migration would have loaded, and the ledger says it.

Not here: the rules one by one (`test_cleaning.py`, `test_json_rules.py`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.cleaning.table import TableCleaner
from cowrie_assets.db import pages as pages_module
from cowrie_assets.db.data_quality import analyse
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.db.pages import pages_of
from cowrie_assets.db.repair import Repaired, repair
from cowrie_assets.db.tables import SQL_TABLES
from cowrie_assets.loading.lock import LOCK_KEY
from cowrie_assets.policies import Policies, Treatment
from cowrie_assets.rules import Policy
from cowrie_assets_tests.dirty import make
from cowrie_assets_tests.test_dirty import migrate as migrate_rows
from cowrie_assets_tests.test_dirty import pipeline

from .db_backends import POSTGRES, SQLITE, DbCommand, as_url

RAW = SQL_TABLES["raw_events"]
PLAIN = Treatment()
LEDGER = {"sqlite": "cowrie_migration_derivations", "postgresql": "cowrie_migration.inplace_derivations"}


def event(number: int, **changes: Any) -> dict[str, Any]:
    payload = {"session": f"s{number}", "eventid": "cowrie.login.failed", "timestamp": "2026-11-24T05:42:48.828261Z"}
    return {"source": "/log", "source_offset": number, "payload": payload} | changes


def add(engine: sa.Engine, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        for row in rows:
            connection.execute(sa.insert(RAW), [row])


def read(engine: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def counts(done: Repaired) -> dict[tuple[str, str], int]:
    return {(f.column, f.rule): f.count for f in done.changed}


def is_number(text: str | None) -> bool:
    try:
        return text is not None and float(text) is not None
    except ValueError:
        return False


@contextmanager
def engine_on(path: Path, write: bool = True) -> Iterator[sa.Engine]:
    engine = open_database(str(path), write=write)
    yield engine
    engine.dispose()


def test_empty_columns_are_filled_page_by_page(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "PAGE_ROWS", 4)
    migrate(database)
    add(
        database,
        *(event(n) for n in range(1, 11)),
        event(11, session_id="kept", event_type="kept", event_timestamp="kept"),
        event(12, payload={"nothing": 1}),
    )
    planned = repair(database, PLAIN)
    expected = dict.fromkeys([(c, "payload.member") for c in ("session_id", "event_type", "event_timestamp")], 10)
    assert (counts(planned), planned.applied) == (expected, False)
    assert set(read(database, "SELECT session_id FROM raw_events")) == {(None,), ("kept",)}
    done = repair(database, PLAIN, apply=True)
    assert counts(done) == expected
    assert done.left == []
    assert read(database, "SELECT session_id, event_type, event_timestamp FROM raw_events ORDER BY id") == [
        *((f"s{n}", "cowrie.login.failed", "2026-11-24T05:42:48.828261Z") for n in range(1, 11)),
        ("kept", "kept", "kept"),
        (None, None, None),
    ]
    names = "column_name, rule, partition_key, run_id, source_rowids"
    filled = read(database, f"SELECT {names} FROM {LEDGER[database.dialect.name]}")
    assert {row[:4] for row in filled} == {(c, rule, "repair", done.run_id) for c, rule in expected}
    ranges = [pair for row in filled if row[0] == "session_id" for pair in re.findall(r"\[(\d+),(\d+)\]", row[4])]
    assert [n for low, high in ranges for n in range(int(low), int(high) + 1)] == list(range(1, 11))
    assert counts(repair(database, PLAIN, apply=True)) == {}


def test_the_command_shows_and_applies(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database)
    add(database, event(1), event(2, session_id="other"))
    code, out, _ = db_command("analyze", "--database", empty_url, "--json")
    found = {(f["column"], f["rule"]): (f["count"], f["examples"]) for f in json.loads(out)["findings"]}
    assert code == 0
    assert found == {
        ("session_id", "payload.member"): (1, [1]),
        ("session_id", "derived.differs"): (1, [2]),
        ("event_type", "payload.member"): (2, [1, 2]),
        ("event_timestamp", "payload.member"): (2, [1, 2]),
    }
    code, out, _ = db_command("repair", "--database", empty_url)
    assert (code, "5 cells would change" in out) == (0, True)
    code, out, _ = db_command("repair", "--database", empty_url, "--apply")
    assert (code, "5 cells changed" in out) == (0, True)
    code, out, _ = db_command("repair", "--database", empty_url, "--apply", "--json")
    assert json.loads(out)["changed"] == []


def test_an_interrupted_repair_goes_on(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "PAGE_ROWS", 4)
    monkeypatch.setattr("cowrie_assets.source.reader.BATCH_BYTES", 1)
    monkeypatch.setattr("cowrie_assets.source.reader.BLOCK_ROWS", 4)
    migrate(database)
    add(database, *(event(n) for n in range(1, 11)))

    def interrupt(table: str, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(database, PLAIN, apply=True, progress=interrupt)
    filled = len(read(database, "SELECT 1 FROM raw_events WHERE session_id IS NOT NULL"))
    assert 0 < filled < 10
    assert counts(repair(database, PLAIN, apply=True))["session_id", "payload.member"] == 10 - filled


@SQLITE
@pytest.mark.parametrize("seed", range(12))
def test_in_place_is_what_the_migration_would_load(tmp_path: Path, seed: int, database: sa.Engine) -> None:
    """Databases of which every defect is known; the tables' declarations are those of versions 1 to 6."""
    path = tmp_path / "dirty.sqlite"
    truth = make(path, seed, rows=120)

    # The generator lets a JSON column hold a mere number as text, which only an older declaration can have left there:
    # whatever changes such a row, SQLite's affinity makes a number of it.
    numbers = {
        (name, row.rowid, column)
        for name, table in truth.tables.items()
        for row in table.rows
        for column, cell in row.cells.items()
        if table.kinds.get(column) == "jsonb" and is_number(cell.value or row.values.get(column))
    }

    def loaded(engine: sa.Engine) -> dict[tuple[str, int], dict[str, Any]]:
        """The cells that a migration would load, by table and rowid."""
        found = {}
        with engine.connect() as connection:
            for name, pages in pages_of(connection, PLAIN)[0].items():
                page = pages.read(connection, None)
                cleaned = TableCleaner(pages.plan).clean(page.batch) if page else None
                for place, rowid in enumerate(cleaned.rowids.to_pylist() if cleaned else []):
                    cells = {c: v[place].as_py() for c, v in cleaned.columns.items()}  # type: ignore[union-attr]
                    found[name, rowid] = {c: v for c, v in cells.items() if (name, rowid, c) not in numbers}
        return found

    with engine_on(path, write=False) as engine:
        before = loaded(engine)
    with engine_on(path) as engine:
        done = repair(engine, PLAIN, apply=True)
        after = loaded(engine)
        again = repair(engine, PLAIN, apply=True)
        names = "table_name, source_rowid, column_name, rule, original, original_type"
        ledger = set(read(engine, f"SELECT {names} FROM cowrie_migration_repairs"))
    assert after == before
    assert [f for f in again.changed if f.rule != "json.real"] == []  # 1e400 as text has become inf, see above
    assert {(f.table, f.rule, f.count) for f in again.left} <= {(f.table, f.rule, f.count) for f in done.left}
    known = {name: table for name, table in truth.tables.items() if name in done.rows}
    expected = {
        (name, row.rowid, column, cell.rule, cell.original, cell.label)
        for name, table in known.items()
        for row in table.rows
        for column, cell in row.repairs
        # A mere number in a JSON column stays one, and a version is raised with what belongs to it.
        if (name, row.rowid, column) not in numbers
        if cell.rule != "schema.version" and f"{name}.{column}" not in done.not_checked
    }
    # The loser of two keys keeps its row, so that its other cells are mended too; and version 1 has a narrower key,
    # which a mended cell may meet.
    losers = {(n, r.rowid) for n, t in known.items() for r in t.rows if r.aside == {"key.duplicate"}}
    assert {line[:2] for line in ledger - expected} <= losers
    refused = {f.table: f.count for f in done.left if f.rule == "key.duplicate"}
    missing = Counter(table for table, _ in {line[:2] for line in expected - ledger})
    assert all(count <= refused.get(table, 0) for table, count in missing.items())
    assert len(expected) > 5


@SQLITE
def test_what_no_rule_can_mend_stays(database: sa.Engine) -> None:
    migrate(database)
    with database.begin() as connection:
        for session in ("'a\\x00b'", "CAST(x'610062' AS TEXT)"):
            connection.exec_driver_sql(f"INSERT INTO session_summaries (session_id) VALUES ({session})")
        connection.exec_driver_sql("INSERT INTO raw_events (source, payload, risk_score) VALUES ('/log', 'none', 'x')")
    before = read(database, "SELECT CAST(session_id AS BLOB) FROM session_summaries ORDER BY rowid")
    done = repair(database, PLAIN, apply=True)
    assert [(f.table, f.rule, f.examples) for f in done.left] == [
        ("raw_events", "json.unreadable", [1]),
        ("session_summaries", "key.duplicate", [2]),
    ]
    assert done.changed == []
    assert read(database, "SELECT payload, risk_score FROM raw_events") == [("none", "x")]
    assert read(database, "SELECT CAST(session_id AS BLOB) FROM session_summaries ORDER BY rowid") == before
    assert read(database, "SELECT * FROM cowrie_migration_repairs") == []


@SQLITE
def test_the_highest_and_lowest_rowid(database: sa.Engine) -> None:
    migrate(database)
    add(database, event(1, id=2**63 - 1), event(2, id=-(2**63)))
    assert counts(repair(database, PLAIN, apply=True))["session_id", "payload.member"] == 2
    assert read(database, "SELECT session_id FROM raw_events ORDER BY id") == [("s2",), ("s1",)]


@SQLITE
def test_policies_hold_in_place(database: sa.Engine) -> None:
    migrate(database)
    with database.begin() as connection:
        connection.exec_driver_sql("""INSERT INTO raw_events (source, payload) VALUES ('/log', '{"a": NaN}')""")
    strict = Treatment(Policies((("json.nonfinite", Policy.QUARANTINE),)))
    done = repair(database, strict, apply=True)
    assert ([f.rule for f in done.left], done.changed) == (["json.nonfinite"], [])
    done = repair(database, PLAIN, apply=True)
    assert read(database, "SELECT payload FROM raw_events") == [('{"a": "NaN"}',)]


@POSTGRES
def test_what_postgresql_itself_lets_in(database: sa.Engine) -> None:
    migrate(database)
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE dead_letter_events ALTER payload TYPE json")
        connection.exec_driver_sql(
            "INSERT INTO session_summaries (session_id, first_event_at, last_event_at)"
            " VALUES ('a', 'infinity', '2026-11-24 05:00:00+02'), ('b', now(), '-infinity')"
        )
        connection.exec_driver_sql(
            r"""INSERT INTO dead_letter_events (reason, payload) VALUES ('x', '{"a": "\u0000"}'), ('x', '{"a":  1}')"""
        )
    found = {(f.table, f.column, f.rule, *f.examples) for f in analyse(database, PLAIN).findings}
    assert found == {
        ("session_summaries", "first_event_at", "date.unreadable", "a"),
        ("session_summaries", "last_event_at", "date.unreadable", "b"),
        ("dead_letter_events", "payload", "json.nul", 1),
    }
    done = repair(database, PLAIN, apply=True)
    assert {(f.table, f.column, f.rule, *f.examples) for f in done.changed} == found
    rows = read(database, "SELECT payload::text FROM dead_letter_events ORDER BY id")
    assert rows == [(r'{"a": "\\x00"}',), ('{"a":  1}',)]
    ledger = read(
        database,
        "SELECT source_rowid, target_key, original, original_type, replacement FROM cowrie_migration.inplace_repairs"
        " WHERE table_name = 'session_summaries' ORDER BY target_key",
    )
    assert ledger == [(None, "a", b"infinity", "text", None), (None, "b", b"-infinity", "text", None)]
    assert repair(database, PLAIN).changed == []


@POSTGRES
def test_no_repair_beside_a_migration(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database)
    with psycopg.connect(empty_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        code, _, err = db_command("repair", "--apply", "--database", empty_url)
        assert (code, "Another migration is running" in err) == (2, True)
    assert db_command("repair", "--apply", "--database", empty_url)[0] == 0


def test_in_a_migrated_target_nothing_is_left_to_repair(tmp_path: Path, pg_url: str) -> None:
    """And the ledger of repairs in place disturbs no proof."""
    source = tmp_path / "dirty.sqlite"
    make(source, 3, rows=100)
    line = pipeline(source, tmp_path, 3, as_url(pg_url))
    migrate_rows(line)
    line.finish()

    def verdicts() -> set[str]:
        proofs = [line.validate(t, line.plan.partitions(t)) for t in (*line.plan.dated, *line.plan.others)]
        return {p.verdict.value for found in proofs for p in found} | {t.verdict.value for t in line.totals()}

    assert verdicts() == {"PASS"}
    engine = open_database(as_url(pg_url), write=True)
    try:
        assert {f.rule for f in analyse(engine, PLAIN).findings} <= {"derived.differs"}
        done = repair(engine, PLAIN, apply=True)
        assert (done.changed, done.left) == ([], [])
    finally:
        engine.dispose()
    assert verdicts() == {"PASS"}
