"""A migration whose source changed, was planned again, or is proven again to another extent.

Not here: what one run over an unchanged source does (`test_migration.py`).
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cowrie_assets.cli.summary import read_summary
from cowrie_assets.errors import PlanError
from cowrie_assets.health.connections import connect_once
from cowrie_assets.health.probe import Probe
from cowrie_assets.health.report import Status
from cowrie_assets.health.settings import load_health_settings
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.planning import identity
from cowrie_assets.reporting.migration import write_report
from cowrie_assets.settings import Settings
from cowrie_assets.validation.verdicts import WORDS, Extent, Proof, Verdict
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, units, verdicts
from cowrie_assets_tests.test_source import opened


def test_what_a_new_plan_counts_otherwise_is_not_checked_until_it_is_loaded_again(
    real_v6: Path, pg_url: str, tmp_path: Path
) -> None:
    source = tmp_path / "copy.sqlite"
    shutil.copy(real_v6, source)
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict for v in verdicts(line)} == {Verdict.PASS}
    with opened(source) as sqlite:
        (day,) = sqlite.execute("SELECT max(first_seen) FROM files").fetchone()
        sqlite.executemany(
            "INSERT INTO files (session_id, shasum, first_seen) VALUES (?, 'x', ?)",
            [(f"late {i}", day) for i in range(9)],
        )
    again = Pipeline(line.settings)
    again.make_plan()
    again.prepare()  # and killed before the first row

    def said() -> tuple[str, str, Verdict, Verdict]:
        with again.connect() as connection:
            summary = read_summary(connection)
        [files] = [t for t in summary.tables if t.table == "files"]
        [total] = [t for t in again.totals() if t.table == "files"]
        return summary.overall.verdict, summary.overall.reason, files.verdict, total.verdict

    no = Verdict.NOT_CHECKED
    assert said() == (no, "1 of 317 partitions are to be loaded again, as the plan counts other rows", no, no)
    assert write_report(again).verdict == "NOT CHECKED"
    assert "Load the partitions again" in write_report(again).markdown.read_text(encoding="utf-8")
    health = Probe(lambda: connect_once(as_url(pg_url), 10), None, again.settings, load_health_settings({})).look()
    [check] = [c for c in health.checks if c.name == "migration"]
    assert check.status is Status.WARNING
    assert "1 of 317 partitions are to be loaded again, as the plan counts other rows" in check.text
    assert migrate(again)["postgres"] == 1
    assert said()[0] is no  # loaded, not verified
    assert {v.verdict for v in verdicts(again)} == {Verdict.PASS}
    assert said()[0] is Verdict.PASS


def test_a_weaker_proof_that_passes_leaves_a_full_one(real_v3: Path, pg_url: str, tmp_path: Path) -> None:
    source = tmp_path / "copy.sqlite"
    shutil.copy(real_v3, source)
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)

    def said(extent: Extent) -> tuple[str, str]:
        for table, keys in units(line.plan):
            line.validate(table, keys, extent)
        with line.connect() as connection:
            overall = read_summary(connection).overall
        return overall.verdict, overall.reason.rpartition("compared: ")[2]

    counts, sample = Extent(Proof.COUNTS), Extent.parse("10%")
    assert said(counts) == ("PASS", WORDS[Proof.COUNTS])
    assert said(Extent()) == ("PASS", WORDS[Proof.FULL])
    assert said(counts) == said(sample) == ("PASS", WORDS[Proof.FULL])
    with opened(source) as sqlite:
        sqlite.execute("UPDATE schema_state SET value = value")
        sqlite.execute("CREATE TABLE further (a)")  # another state of the source
    assert said(sample) == ("PASS", WORDS[Proof.SAMPLE])
    said(Extent())
    query(pg_url, "DELETE FROM dead_letter_events WHERE id = 3")
    assert said(counts)[0] == "FAIL"


def keyless(path: Path, *statements: str) -> None:
    """A table without a key: 40 rows with a gap behind the 30th, changed by the statements."""
    with closing(sqlite3.connect(path)) as db:
        if not path.stat().st_size:
            db.execute("CREATE TABLE t (a TEXT, b TEXT)")
            db.executemany("INSERT INTO t VALUES (?, 'x')", [(f"row {i}",) for i in range(43)])
            db.execute("DELETE FROM t WHERE rowid BETWEEN 31 AND 33")
        for statement in statements:
            db.execute(statement)
        db.commit()


RENUMBERED = ("CREATE TABLE u AS SELECT a, b FROM t ORDER BY rowid", "DELETE FROM t", "INSERT INTO t SELECT * FROM u",
              "DROP TABLE u")  # fmt: skip


@pytest.mark.parametrize(
    ("statements", "same"),
    [
        (("UPDATE t SET a = 'new' WHERE rowid = 5",), True),
        (("UPDATE t SET a = 'new' WHERE rowid = 43",), True),
        (("UPDATE t SET a = 'new' WHERE rowid IN (5, 43)", "INSERT INTO t VALUES ('more', 'x')"), True),
        (("DELETE FROM t WHERE rowid IN (5, 43)", "UPDATE t SET a = 'new' WHERE rowid = 20"), True),
        (("UPDATE t SET a = a || '!'",), False),
        (("DELETE FROM t",), False),
        (RENUMBERED, False),
        ((*RENUMBERED, "INSERT INTO t VALUES ('more', 'x'), ('more', 'x'), ('more', 'x'), ('more', 'x')"), False),
        ((*RENUMBERED, "UPDATE t SET a = 'new' WHERE rowid = 40"), False),
    ],
)
def test_rewritten_rows_of_a_small_table_are_no_other_source(
    statements: tuple[str, ...], same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.sqlite"
    keyless(path)
    line = Pipeline(Settings(source=path, staging=str(tmp_path / "staging")))
    assert line.checked_source() == path
    keyless(path, *statements)
    if same:
        assert line.checked_source() == path
        # Of a large table nobody looks where a row stands now.
        monkeypatch.setattr(identity, "SMALL", 10)
        if statements[0].endswith("rowid = 5"):
            assert line.checked_source() == path
        else:
            with pytest.raises(
                PlanError, match=r"^Table t: rowid \d+ .* by a, b\): rows were rewritten.*plan --replace"
            ):
                line.checked_source()
        return
    with pytest.raises(PlanError, match=r"^Table t: rowid \d+ .* by a, b\): .*renumbered.*plan --replace.*reset"):
        line.checked_source()


def test_a_changed_row_of_a_table_without_a_key_is_loaded_again(pg_url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    keyless(path)
    migrate(line := pipeline_for(path, pg_url, tmp_path))
    keyless(path, "UPDATE t SET a = 'new' WHERE rowid = 43")
    again = Pipeline(line.settings)
    assert migrate(again)["postgres"] == 1
    assert {v.verdict for v in verdicts(again)} == {Verdict.PASS}
    assert query(pg_url, "SELECT count(*) FROM t WHERE a = 'new'") == [(1,)]


def test_a_small_table_written_anew_needs_a_new_plan_and_no_reset(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    source = tmp_path / "copy.sqlite"
    shutil.copy(real_v6, source)
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    with opened(source) as sqlite:
        sqlite.execute("INSERT OR REPLACE INTO ingest_cursors SELECT * FROM ingest_cursors")
    again = Pipeline(line.settings)
    with pytest.raises(
        PlanError,
        match=r"ingest_cursors: rowid 1 .*2 of 2 sampled rows are others, by source\): .*`cowrie-assets plan --replace`",
    ):
        again.checked_source()
    again.make_plan()
    assert migrate(again)["postgres"] == 1
    assert {v.verdict for v in verdicts(again)} == {Verdict.PASS}
    assert {t.verdict for t in again.totals()} == {Verdict.PASS}


def test_a_renumbered_source_is_named_by_its_table(pg_url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    keyless(path, "DELETE FROM t WHERE rowid < 10")
    migrate(line := pipeline_for(path, pg_url, tmp_path))
    keyless(path, *RENUMBERED)
    again = Pipeline(line.settings)
    again.make_plan()
    with pytest.raises(PlanError) as refused:
        again.prepare()
    said = f"(source {path}: the rows of t are not there under the same rowids, as after a VACUUM)"
    assert said in str(refused.value)


def test_the_only_row_of_a_table_without_a_key_may_change(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    keyless(path, "DELETE FROM t WHERE rowid > 1", "CREATE TABLE k (a TEXT PRIMARY KEY)", "INSERT INTO k VALUES ('x')")
    line = Pipeline(Settings(source=path, staging=str(tmp_path / "staging")))
    assert line.checked_source() == path
    keyless(path, "UPDATE t SET a = 'new'")
    assert line.checked_source() == path
    keyless(path, "UPDATE k SET a = 'new'")
    with pytest.raises(
        PlanError, match="^Table k: rowid 1 is not the row that the plan saw .1 of 1 sampled rows are others, by a"
    ):
        line.checked_source()
