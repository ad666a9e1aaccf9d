"""Databases of which every defect is known are migrated, and the ledger says what is true: no more, no less.

Belongs here: the generator's own tests, and the comparison of ledger, target and findings with its truth. Not here: the
generator (`dirty/`), the rules one by one (`test_cleaning.py`, `test_json_rules.py`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import psycopg
import pytest

from cowrie_assets import rules
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.settings import Grain, Settings
from cowrie_assets_tests.conftest import empty
from cowrie_assets_tests.dirty import Truth, make
from cowrie_assets_tests.dirty.compare import Comparison, compare, findings_of
from cowrie_assets_tests.test_migration import units
from cowrie_assets_tests.test_source import opened

CHUNK = 50
RULES = (
    "json.json5 json.utf8 json.nul json.control json.surrogate json.nonfinite json.number json.negzero json.duplicate"
    " json.trailing json.escaped json.fragment json.truncated json.fields json.blob json.real json.unreadable json.depth"
    " text.nul text.utf8 text.blob text.number integer.none bool.none bool.text date.epoch date.fraction"
    " date.unreadable date.fallback schema.version key.null key.duplicate null.required"
).split()
"""Every rule that a cell of a generated database can need."""
FINDINGS = {"type.widened", "payload.member", "derived.differs", "column.generated"}
"""Compared apart, but for the last: no generated column of another maker is made."""
NOT_MADE = {"json.wrapped", "json.size", "real.none", "blob.none", "postgres.*"}
"""Off by default; 100 MB; of columns that become text instead; what no rule foresees."""


def pipeline(source: Path, folder: Path, seed: int, url: str | None = None) -> Pipeline:
    """A pipeline whose windows differ from seed to seed: mostly one month and the rest undated, or all three; 60 days."""
    settings = Settings(
        source=source,
        target=url,
        staging=str(folder / "staging"),
        home=folder / "home",
        grain=Grain.MONTH if seed % 100 else Grain.DAY,
        today=date(2026, 1, 1),
    )
    return Pipeline(replace(settings, start=date(2025, 9, 1), end=date(2025, 9, 30)) if seed % 3 else settings)


def migrate(line: Pipeline) -> None:
    """All that writes rows and ledger."""
    with line.locked():
        line.prepare()
        for table, keys in units(line.plan):
            line.stage(table, keys)
            for key in keys:
                line.clean(table, key)
                line.load(table, key, "test")
        line.finish()


def widened(line: Pipeline) -> set[tuple[str, str]]:
    return {(f.table, f.column) for f in line.plan.findings if f.code == "type.widened"}


def checked(seed: int, url: str, folder: Path, *, dirt: float = 0.3, rows: int | None = None) -> Comparison:
    """Make a database, migrate it, compare, and leave the target empty."""
    folder.mkdir()
    try:
        truth = make(folder / "s.sqlite", seed, dirt=dirt, rows=rows)
        line = pipeline(folder / "s.sqlite", folder, seed, url)
        migrate(line)
        with psycopg.connect(url) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found = compare(truth, connection)
            empty(connection)
        if widened(line) != {(name, column) for name, table in truth.tables.items() for column in table.widened}:
            found.problems.append(f"widened columns: {widened(line)}")
        found.problems = [f"seed {seed}: {problem}" for problem in found.problems]
        return found
    finally:
        shutil.rmtree(folder)


def test_the_same_arguments_make_the_same_database(tmp_path: Path) -> None:
    first, again = make(tmp_path / "a", 7), make(tmp_path / "b", 7)
    assert first == again
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert make(tmp_path / "c", 8) != first
    assert sum(len(t.rows) for t in make(tmp_path / "d", 7, rows=30).tables.values()) < 40


def test_the_truth_names_exactly_what_lies_in_the_file(tmp_path: Path) -> None:
    for seed in range(12):
        truth = make(tmp_path / f"{seed}", seed, dirt=0.6)
        with opened(tmp_path / f"{seed}") as db:
            assert {n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == set(
                truth.tables
            )
            for name, table in truth.tables.items():
                quoted = '"' + name.replace('"', '""') + '"'
                assert db.execute(f"SELECT count(*) FROM {quoted}").fetchone() == (len(table.rows),)
                for row in table.rows if table.rowids else ():
                    cells = [f't."{c.replace(chr(34), chr(34) * 2)}"' for c in row.cells]
                    both = ", ".join(f"typeof({c}), CAST({c} AS BLOB)" for c in cells)
                    found = db.execute(f"SELECT {both} FROM {quoted} AS t WHERE t.rowid = ?", (row.rowid,)).fetchone()
                    for place, cell in enumerate(row.cells.values()):
                        kind, raw = found[2 * place : 2 * place + 2]
                        assert kind == cell.label
                        # SQLite prints reals with 15 digits: those are compared by value.
                        assert raw == cell.original or (kind == "real" and float(raw) == pytest.approx(cell.stored))


def test_every_rule_has_a_cause_somewhere_and_none_without_dirt(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(40):
        truth = make(tmp_path / f"{seed}", seed, rows=120)
        rows = [row for table in truth.tables.values() for row in table.rows]
        seen.update(rule for row in rows for _, cell in row.repairs for rule in (cell.rule or "").split("+"))
        seen.update(rule for row in rows for rule in row.aside)
        clean = make(tmp_path / f"c{seed}", seed, dirt=0.0, rows=60)
        left = {cell.rule for table in clean.tables.values() for row in table.rows for _, cell in row.repairs}
        assert left <= {"schema.version"}
        assert not [row for table in clean.tables.values() for row in table.rows if row.aside]
    assert sorted(seen) == sorted(RULES)


def test_every_rule_of_the_catalogue_is_made_or_listed() -> None:
    assert set(rules.RULES) == {*RULES, *FINDINGS, *NOT_MADE}


def test_the_command_writes_a_database_and_its_truth(tmp_path: Path) -> None:
    out = tmp_path / "dirty.sqlite"
    command = [sys.executable, "-m", "cowrie_assets_tests.dirty", "--seed", "5", "--out", str(out)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    truth = json.loads((tmp_path / "dirty.truth.json").read_text(encoding="utf-8"))
    assert truth["seed"] == 5
    assert str(truth["version"]) in said
    assert sum(table["rows"] for table in truth["tables"].values()) > 50


def count_findings(line: Pipeline) -> tuple[Counter[tuple[str, str, str]], Counter[tuple[str, str]]]:
    cells: Counter[tuple[str, str, str]] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    for table, keys in units(line.plan):
        line.stage(table, keys)
        for key in keys:
            for finding in line.analyse(table, key)[0].findings:
                if finding["column"]:
                    cells[table, finding["column"], finding["code"]] += finding["count"]
                else:
                    rows[table, finding["code"]] += finding["count"]
    return cells, rows


def finding_problems(truth: Truth, line: Pipeline) -> list[str]:
    """Findings of the quality stage that the truth does not have, and the other way round."""
    cells, rows = count_findings(line)
    expected, aside = findings_of(truth)
    problems = [f"{k}: {cells[k]} found, {expected[k]} made" for k in cells | expected if cells[k] != expected[k]]
    for table, code in {*rows, *((t, c) for t, codes in aside for c in codes.split("|"))}:
        # A row that may be set aside by several rules counts for one of them.
        least = aside[table, code]
        most = sum(n for (t, codes), n in aside.items() if t == table and code in codes.split("|"))
        if not least <= rows[table, code] <= most:
            problems.append(f"{table} {code}: {rows[table, code]} found, {least} to {most} made")
    if sum(rows.values()) != sum(aside.values()):
        problems.append(f"{sum(rows.values())} rows found, {sum(aside.values())} to set aside")
    return problems


def test_the_findings_count_what_was_made(tmp_path: Path) -> None:
    for seed in range(1, 7):
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        truth = make(folder / "s.sqlite", seed)
        assert finding_problems(truth, pipeline(folder / "s.sqlite", folder, seed)) == []


@pytest.fixture
def quick_url(pg_url: str) -> str:
    """The empty target without a wait for the disk at each commit: what is measured here are values."""
    return psycopg.conninfo.make_conninfo(pg_url, options="-c synchronous_commit=off")


def test_the_ledger_says_what_is_true(quick_url: str, tmp_path: Path) -> None:
    total = Comparison()
    for seed in range(1, 24):
        total.add(checked(seed, quick_url, tmp_path / f"{seed}", rows=60))
    for seed in (1, 2):
        total.add(checked(seed, quick_url, tmp_path / f"{seed}", rows=60, dirt=0.0))
    assert total.problems == []
    assert total.expected.total() > 1_500


TAMPERED = (
    "DELETE FROM cowrie_migration.repairs WHERE ctid = (SELECT min(ctid) FROM cowrie_migration.repairs)",
    "INSERT INTO cowrie_migration.repairs SELECT * FROM cowrie_migration.repairs LIMIT 1",
    "UPDATE cowrie_migration.repairs SET original = original || 'x' WHERE original_type = 'text'",
    "UPDATE cowrie_migration.repairs SET replacement = NULL WHERE rule LIKE 'text.%'",
    "UPDATE cowrie_migration.repairs SET rule = rule || '+json.nul' WHERE rule LIKE 'json.%'",
    "DELETE FROM cowrie_migration.quarantine WHERE ctid = (SELECT max(ctid) FROM cowrie_migration.quarantine)",
    "UPDATE cowrie_migration.quarantine SET rule = 'json.depth'",
    "DELETE FROM cowrie_migration.derivations WHERE column_name = 'event_type'",
    "UPDATE raw_events SET payload = payload || '{\"src_port\": 1}' WHERE jsonb_typeof(payload) = 'object'",
    "UPDATE raw_events SET ingest_at = ingest_at + interval '1 microsecond'",
    "UPDATE session_summaries SET matcher = matcher || ' ' WHERE matcher IS NOT NULL",
    "DELETE FROM raw_events WHERE id = (SELECT max(id) FROM raw_events)",
    "INSERT INTO ingest_cursors (source) VALUES ('one more')",
)


def test_the_comparison_sees_what_is_not_true(quick_url: str, tmp_path: Path) -> None:
    truth = make(tmp_path / "s.sqlite", 3, dirt=0.6)
    migrate(pipeline(tmp_path / "s.sqlite", tmp_path, 3, quick_url))
    with psycopg.connect(quick_url) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert compare(truth, connection).problems == []
        for statement in TAMPERED:
            with connection.transaction(force_rollback=True):
                assert connection.execute(statement.encode()).rowcount > 0
                assert compare(truth, connection).problems != [], statement


@pytest.fixture(scope="module")
def grand_total(request: pytest.FixtureRequest) -> Iterator[Comparison]:
    """Sums of all chunks, printed at the end."""
    total = Comparison()
    yield total
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *total.lines(), sep="\n")


@pytest.mark.fuzz
@pytest.mark.parametrize("first", range(0, 1_000, CHUNK))
def test_the_ledger_of_a_thousand_databases(
    first: int, quick_url: str, tmp_path: Path, grand_total: Comparison
) -> None:
    total = Comparison()
    for seed in range(first, first + CHUNK):
        total.add(checked(seed, quick_url, tmp_path / f"{seed}", dirt=(0.05, 0.3, 0.9)[seed % 3]))
    grand_total.add(total)
    assert total.problems == []


@pytest.mark.fuzz
def test_the_findings_of_two_hundred_databases(tmp_path: Path) -> None:
    for seed in range(2_000, 2_200):
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        truth = make(folder / "s.sqlite", seed)
        assert finding_problems(truth, pipeline(folder / "s.sqlite", folder, seed)) == [], seed
        shutil.rmtree(folder)
