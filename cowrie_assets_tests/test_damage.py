"""Damaged sources: every row that SQLite still finds arrives, the rest is named, and nothing hangs or crashes.

Not here: files that cannot be opened at all (`test_source.py`, `test_source_files.py`).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import date
from functools import cache
from pathlib import Path

import psycopg
import pytest

from cowrie_assets.demo import make_demo
from cowrie_assets.errors import DamagedSourceError, SourceError
from cowrie_assets.planning.plan import DISORDER, UNREADABLE, Plan, TablePlan
from cowrie_assets.planning.scan import make_plan
from cowrie_assets.reporting.migration import write_report
from cowrie_assets.settings import Settings
from cowrie_assets.source import search
from cowrie_assets.source.reader import read_table
from cowrie_assets.source.schema import read_schema
from cowrie_assets.source.sqlite import read_only
from cowrie_assets.staging.stage import stage
from cowrie_assets.staging.store import Store
from cowrie_assets.validation.verdicts import Verdict
from cowrie_assets_tests.damage import all_rowids, damage, pages_by_kind, passed, rows_left, schema_of
from cowrie_assets_tests.test_cli import Run, run
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import database, opened

__all__ = ["run"]
SECONDS = 15.0
"""Processor time in which any of these files must be planned; 200,000 questions take about one second."""
Row = tuple[object, ...]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 events with long payloads, so that there are overflow pages; read only."""
    path = tmp_path_factory.mktemp("damage") / "demo.sqlite"
    make_demo(path, events=600, days=3, last_day=date(2026, 10, 31))
    return path


def planned(path: Path) -> Plan:
    return make_plan(Settings(source=path))


def arrived(path: Path, table: TablePlan) -> dict[int, Row]:
    """The rows that a pass after the plan reads."""
    got: dict[int, Row] = {}
    with read_only(path) as connection:
        for batch in read_table(connection, table.source, damage=table.damage):
            cells = [batch.cells(name).values() for name in table.source.stored]
            rows = list(zip(batch.rowids.to_pylist(), *cells, strict=True))
            assert not got.keys() & {row[0] for row in rows}
            got.update({row[0]: row[1:] for row in rows})
    return got


@cache
def whole(path: Path) -> dict[str, dict[int, Row]]:
    """All rows of an undamaged file."""
    with read_only(path) as connection:
        tables = read_schema(connection).tables
    return {name: rows_left(path, tables[name], rowids) for name, rowids in all_rowids(path).items()}


def check(original: Path, path: Path, seed: int) -> int:
    """Damage a copy and compare what arrives with what SQLite finds; the number of rows lost."""
    broken, done = damage(original.read_bytes(), seed)
    path.write_bytes(broken)
    started, lost = time.process_time(), 0
    try:
        plan = planned(path)
    except SourceError as error:
        # Damage of the schema is the one that nothing is migrated of.
        assert schema_of(path) != schema_of(original), (done, error)
        return 0
    assert time.process_time() - started < SECONDS, done
    for name, before in whole(original).items():
        table = plan.tables[name]
        left, got = rows_left(path, table.source, list(before)), arrived(path, table)
        assert left.keys() <= got.keys(), (done, name)
        # repr, as a NaN or -0.0 is not equal to itself or not told apart.
        assert not [r for r in left if repr(left[r]) != repr(got[r])], (done, name)
        # What no seek finds and arrives all the same is a row as it was, or one that a plain scan passes.
        extra = {r for r in got.keys() - left.keys() if r not in before or repr(before[r]) != repr(got[r])}
        assert extra <= (passed(path, table.source, [-(2**63), 2**63 - 1, *before]) if extra else extra), (done, name)
        assert len(got) == table.rows, (done, name)
        named = {r for r in before if any(low <= r <= high for low, high in table.unreadable)}
        assert not named & got.keys(), (done, name)
        if table.source.indexes:
            assert before.keys() - got.keys() <= named or table.damaged, (done, name)
        assert table.damaged == any(f.table == name and f.code in (UNREADABLE, DISORDER) for f in plan.findings)
        lost += len(before.keys() - got.keys())
    return lost


@pytest.mark.parametrize("seed", range(60))
def test_every_row_that_sqlite_finds_arrives(seed: int, demo: Path, tmp_path: Path) -> None:
    check(demo, tmp_path / "s.sqlite", seed)


@pytest.mark.parametrize("seed", range(1_000, 1_004))
def test_every_row_of_a_real_database_that_sqlite_finds_arrives(seed: int, real_v6: Path, tmp_path: Path) -> None:
    check(real_v6, tmp_path / "s.sqlite", seed)


@pytest.mark.fuzz
@pytest.mark.parametrize("start", range(2_000, 3_000, 50))
def test_every_row_that_sqlite_finds_arrives_at_length(
    start: int, demo: Path, real_v6: Path, real_other: Path, tmp_path: Path
) -> None:
    sources = [demo, demo, real_v6, real_other]
    lost = [check(sources[seed % 4], tmp_path / "s.sqlite", seed) for seed in range(start, start + 50)]
    assert sum(n > 0 for n in lost) > 10


def numbered(path: Path, rows: int, *, step: int = 1, filler: int = 100) -> Path:
    return database(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)",
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        f" INSERT INTO t SELECT i * {step}, hex(zeroblob({filler // 2})) FROM n",
    )


def zero(path: Path, *pages: int) -> None:
    """Overwrite pages, by their offsets, with zeros."""
    with path.open("r+b") as file:
        for at in pages:
            file.seek(at)
            file.write(bytes(4096))


def last_leaf(path: Path, table: str) -> int:
    """The offset of the last leaf of a table whose root has leaves below it."""
    with opened(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return 4096 * (int.from_bytes(path.read_bytes()[(root - 1) * 4096 + 8 :][:4], "big") - 1)


def test_a_lost_leaf_is_one_range_of_exactly_its_rows(tmp_path: Path) -> None:
    path = numbered(tmp_path / "s", 5_000)
    zero(path, pages_by_kind(path.read_bytes())["leaf"][40])
    plan = planned(path)
    table = plan.tables["t"]
    left = rows_left(path, table.source, list(range(1, 5_001)))
    [(low, high)] = table.unreadable
    assert set(range(1, 5_001)) - left.keys() == set(range(low, high + 1))
    assert plan.damage == (f"t: 1 rowid range cannot be read: {low} to {high}",)
    assert arrived(path, table) == left


def test_leaves_lost_here_and_there_hide_none_between_them(tmp_path: Path) -> None:
    path = numbered(tmp_path / "s", 20_000)
    zero(path, *pages_by_kind(path.read_bytes())["leaf"][100:140:3])
    table = planned(path).tables["t"]
    assert arrived(path, table) == rows_left(path, table.source, list(range(1, 20_001)))
    assert len(table.unreadable) == 14


def test_sparse_rowids_are_found_behind_a_lost_leaf(tmp_path: Path) -> None:
    step = 2**40 + 12_345
    path = numbered(tmp_path / "s", 5_000, step=step)
    zero(path, *pages_by_kind(path.read_bytes())["leaf"][60:64:2])
    table = planned(path).tables["t"]
    assert arrived(path, table) == rows_left(path, table.source, [i * step for i in range(1, 5_001)])


def test_a_lost_interior_page_takes_bounded_time(tmp_path: Path) -> None:
    path = numbered(tmp_path / "s", 100_000, filler=60)
    content = path.read_bytes()
    root = 4096
    inner = [at for at in pages_by_kind(content)["interior"] if at != root]
    zero(path, inner[len(inner) // 2])
    started = time.process_time()
    table = planned(path).tables["t"]
    assert time.process_time() - started < SECONDS
    left = rows_left(path, table.source, list(range(1, 100_001)))
    assert 10_000 < len(left) < 95_000
    assert arrived(path, table).keys() == left.keys()


def test_a_broken_overflow_chain_costs_one_row(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (a TEXT, b BLOB, c INTEGER)",
        *[f"INSERT INTO t VALUES ('row {i}', zeroblob(20000), {i})" for i in range(20)],
    )
    chain = pages_by_kind(path.read_bytes())["overflow"][20]
    with path.open("r+b") as file:
        file.seek(chain)
        file.write(b"\xff" * 4)  # its next page lies beyond the file
    table = planned(path).tables["t"]
    assert len(arrived(path, table)) == table.rows == 19
    assert [high - low for low, high in table.unreadable] == [0]


def test_a_damaged_index_hinders_nothing(demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(demo.read_bytes())
    zero(path, *pages_by_kind(path.read_bytes())["index"])
    plan = planned(path)
    assert plan.damage == ()
    assert {n: arrived(path, plan.tables[n]) for n in whole(demo)} == whole(demo)
    assert {f.code for f in plan.findings} >= {"source.index"}


def test_a_file_cut_before_an_index_is_read(tmp_path: Path) -> None:
    path = numbered(tmp_path / "s", 500)
    with opened(path) as connection:
        connection.execute("CREATE INDEX i ON t (a)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'i'").fetchone()
    content = bytearray(path.read_bytes()[: (root - 1) * 4096])
    content[28:32] = (root - 1).to_bytes(4, "big")
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.DatabaseError):
        connection.execute("SELECT * FROM t").fetchone()
    table = planned(path).tables["t"]
    assert arrived(path, table).keys() | set(range(1, 501)) == set(range(1, 501))
    assert len(arrived(path, table)) == table.rows > 400


def test_damage_of_the_schema_stays_one_clear_error(tmp_path: Path) -> None:
    path = numbered(tmp_path / "s", 500)
    content = bytearray(path.read_bytes())
    content[100:4096] = bytes(3996)
    path.write_bytes(content)
    with pytest.raises(SourceError, match="damaged|no user table"):
        planned(path)


def test_a_table_without_rowids_is_read_from_both_ends(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE w (k TEXT, n INTEGER, v, PRIMARY KEY (k, n DESC)) WITHOUT ROWID",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)"
        " INSERT INTO w SELECT printf('%05d', i / 2), i, hex(zeroblob(50)) FROM n",
    )
    with opened(path) as connection:
        before = [bytes(k, "ascii") for (k,) in connection.execute("SELECT DISTINCT k FROM w ORDER BY k")]
    zero(path, pages_by_kind(path.read_bytes())["index"][50])
    plan = planned(path)
    table = plan.tables["w"]
    got = arrived(path, table)
    keys = [bytes(row[0]) for row in got.values()]  # type: ignore[call-overload]
    [(gap, _)] = table.unreadable
    ahead, behind = keys[: gap - 1], keys[gap - 1 :]
    assert sorted(ahead) == ahead
    assert sorted(behind, reverse=True) == behind
    assert ahead[0] == before[0]
    assert behind[0] == before[-1]
    assert 3_900 < len(got) == table.rows < 4_000
    assert f"first {gap - 1:,}" in plan.damage[0]


def test_damage_after_the_plan_is_an_error_that_says_to_plan_again(demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(demo.read_bytes())
    plan = planned(path)
    zero(path, last_leaf(path, "raw_events"))
    with pytest.raises(DamagedSourceError, match="plan --replace"):
        stage(plan, path, Store(str(tmp_path / "staging")), "raw_events", plan.partitions("raw_events"))


def test_more_damage_than_planned_is_an_error(tmp_path: Path) -> None:
    path = numbered(tmp_path / "s", 5_000)
    leaves = pages_by_kind(path.read_bytes())["leaf"]
    zero(path, leaves[40])
    table = planned(path).tables["t"]
    zero(path, leaves[50])
    with pytest.raises(DamagedSourceError, match="could be when the plan was made"):
        arrived(path, table)


def test_an_interior_key_that_hides_rows_from_seeks_hides_none_from_the_migration(tmp_path: Path) -> None:
    path = numbered(tmp_path / "s", 5_000)
    content = bytearray(path.read_bytes())
    # The root's cells: a child's page and the highest rowid in it, as a varint of two bytes (fileformat2, 1.6).
    first = int.from_bytes(content[4096 + 12 + 2 * 60 : 4096 + 14 + 2 * 60], "big") + 4096
    content[first + 4 : first + 6] = b"\x81\x00"
    path.write_bytes(content)
    left = rows_left(path, planned(path).tables["t"].source, list(range(1, 5_001)))
    assert len(left) < 5_000
    assert arrived(path, planned(path).tables["t"]).keys() == set(range(1, 5_001))


def test_the_verdict_says_it_and_all_other_rows_are_loaded(demo: Path, pg_url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(demo.read_bytes())
    zero(path, last_leaf(path, "raw_events"))
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict for v in verdicts(line)} == {Verdict.PASS}
    assert {t.verdict for t in line.totals()} == {Verdict.PASS}
    source = line.plan.tables["raw_events"].source
    left = rows_left(path, source, list(whole(demo)["raw_events"]))
    aside = query(pg_url, "SELECT source_rowid FROM cowrie_migration.quarantine WHERE table_name = 'raw_events'")
    loaded = query(pg_url, "SELECT id FROM raw_events")
    assert {r for (r,) in loaded + aside} == left.keys() < whole(demo)["raw_events"].keys()
    written = write_report(line)
    assert written.verdict == "FAIL"
    text = written.markdown.read_text(encoding="utf-8")
    assert "1 rowid range cannot be read" in text
    assert "sqlite3 SOURCE .recover" in text


def test_the_commands_say_it(run: Run, pg_url: str, tmp_path: Path) -> None:
    path = numbered(tmp_path / "s.sqlite", 3_000)
    zero(path, pages_by_kind(path.read_bytes())["leaf"][20])
    for command in ("inspect", "plan"):
        ended = run(command, "--source", str(path))
        assert (ended.code, "1 rowid range cannot be read" in ended.out) == (0, True)
        assert "the verdict will be FAIL" in ended.out
    with psycopg.connect(pg_url) as connection:
        info = connection.info
        url = f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"
    ended = run("migrate", "--source", str(path), "--target", url)
    assert ended.code == 1
    assert "FAIL: t: 1 rowid range cannot be read" in ended.out
    assert "Not every row of the source can be read" in ended.err
    assert query(pg_url, "SELECT count(*) FROM t")[0][0] > 2_900
    assert run("status", "--target", url).code == 0
    ended = run("verify", "--source", str(path), "--target", url)
    assert ended.code == 1
    assert "1 rowid range cannot be read" in ended.out


def test_the_search_is_bounded_where_nothing_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered(tmp_path / "s", 5_000)
    zero(path, 4096)
    asked = 0
    read = search.Search._read

    def counted(self: search.Search, *arguments: object) -> object:
        nonlocal asked
        asked += 1
        return read(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(search.Search, "_read", counted)
    table = planned(path).tables["t"]
    assert (table.rows, table.unreadable) == (0, ((-(2**63), 2**63 - 1),))
    assert asked < 2 * search.FEW_PROBES
