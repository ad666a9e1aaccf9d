"""Declared foreign keys when tables are loaded again: ours step aside and come back, an application's is named.

Not here: keys in a first migration (`test_loading.py`).
"""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from click.testing import CliRunner, Result

from cowrie_assets.cli import main as main_module
from cowrie_assets.cli.main import cli
from cowrie_assets.defs.build import build_defs
from cowrie_assets.errors import LoadError
from cowrie_assets.loading import finish as finishing
from cowrie_assets.loading.reset import plan_reset, reset
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.settings import Settings
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import database, opened

KEYS = "SELECT conrelid::regclass::text, conname, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2"
FAMILY = (
    "CREATE TABLE par (id INTEGER PRIMARY KEY, u TEXT)",
    "CREATE TABLE ch (id INTEGER PRIMARY KEY, p INTEGER REFERENCES par (id))",
    "INSERT INTO par VALUES (1, 'a'), (9, 'z')",
    "INSERT INTO ch VALUES (1, 1)",
)
KEPT = [("ch", "fk_ch_p", True)]
THEIRS = "CREATE TABLE notes (id bigint PRIMARY KEY, par bigint CONSTRAINT theirs REFERENCES par (id){}); INSERT INTO notes VALUES (1, 1)"


@pytest.fixture
def family(tmp_path: Path) -> Path:
    return database(tmp_path / "s.sqlite", *FAMILY)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("COWRIE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COWRIE_STAGING_URL", str(tmp_path / "staging"))
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")


def command(source: Path, url: str, *arguments: str) -> Result:
    name, *options = arguments
    return CliRunner().invoke(cli, [name, *options, "--source", str(source), "--target", as_url(url)])


def failed(source: Path, url: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and standard error of the command line itself."""
    with pytest.raises(SystemExit) as stopped:
        main_module.main([*arguments, "--source", str(source), "--target", as_url(url)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, capsys.readouterr().err


def change(source: Path, *statements: str) -> None:
    with opened(source) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def planned(source: Path, url: str, folder: Path) -> Pipeline:
    """As after `plan --replace`: rows that are new in the source belong to it."""
    line = pipeline_for(source, url, folder)
    line.make_plan()
    return line


def proven(line: Pipeline) -> set[str]:
    return {v.verdict.value for v in verdicts(line)} | {t.verdict.value for t in line.totals()}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("way", ["force", "update", "replace"])
def test_a_real_database_with_foreign_keys_is_loaded_again(
    way: str, real_other: Path, pg_url: str, tmp_path: Path
) -> None:
    source = Path(shutil.copy(real_other, tmp_path / "real.sqlite"))
    assert command(source, pg_url, "migrate").exit_code == 0
    keys = query(pg_url, KEYS)
    assert ("ipforwards", "fk_ipforwards_session", True) in keys
    if way != "force":
        change(source, "UPDATE sessions SET endtime = '2026-11-30 10:00:00' WHERE rowid = 1")
    if way == "replace":
        assert CliRunner().invoke(cli, ["plan", "--replace", "--source", str(source)]).exit_code == 0
    result = command(source, pg_url, "migrate", *(["--force"] if way == "force" else []))
    assert result.exit_code == 0, result.output
    assert "PASS" in result.output
    assert query(pg_url, KEYS) == keys
    assert command(source, pg_url, "verify").exit_code == 0


def test_a_changed_parent_is_loaded_and_the_key_is_there(family: Path, pg_url: str, tmp_path: Path) -> None:
    migrate(pipeline_for(family, pg_url, tmp_path))
    assert query(pg_url, KEYS) == KEPT
    change(family, "UPDATE par SET u = 'b' WHERE id = 1")
    line = pipeline_for(family, pg_url, tmp_path)
    assert migrate(line)["postgres"] == 1
    assert query(pg_url, "SELECT u FROM par ORDER BY id") == [("b",), ("z",)]
    assert query(pg_url, KEYS) == KEPT
    assert proven(line) == {"PASS"}


def test_nothing_to_load_leaves_the_keys_alone(family: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(family, pg_url, tmp_path)
    migrate(line)
    made = query(pg_url, "SELECT oid FROM pg_constraint WHERE contype = 'f'")
    assert migrate(line)["postgres"] == 0
    assert query(pg_url, "SELECT oid FROM pg_constraint WHERE contype = 'f'") == made


def test_self_references_and_cycles_are_loaded_again(pg_url: str, tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE tree (id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree (id), v TEXT)",
        "CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b (id), v TEXT)",
        "CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id), v TEXT)",
        "INSERT INTO tree VALUES (1, 2, 'x'), (2, 2, 'x'), (3, 1, 'x')",
        "INSERT INTO a VALUES (1, 1, 'x')",
        "INSERT INTO b VALUES (1, 1, 'x')",
    )
    migrate(pipeline_for(path, pg_url, tmp_path))
    for table in ("tree", "a", "b"):
        change(path, f"UPDATE {table} SET v = 'y' WHERE id = 1")
        line = pipeline_for(path, pg_url, tmp_path)
        assert migrate(line)["postgres"] == 1
        assert query(pg_url, KEYS) == [("a", "fk_a_b", True), ("b", "fk_b_a", True), ("tree", "fk_tree_up", True)]
    assert proven(line) == {"PASS"}


def test_a_key_to_unique_columns_of_a_later_table(pg_url: str, tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE a_child (id INTEGER PRIMARY KEY, p TEXT REFERENCES z_parent (name))",
        "CREATE TABLE z_parent (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
        "INSERT INTO z_parent VALUES (1, 'n')",
        "INSERT INTO a_child VALUES (1, 'n')",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert query(pg_url, KEYS) == [("a_child", "fk_a_child_p", True)]
    change(path, "UPDATE z_parent SET name = 'm'", "UPDATE a_child SET p = 'm'")
    line = pipeline_for(path, pg_url, tmp_path)
    assert migrate(line)["postgres"] == 2
    assert query(pg_url, KEYS) == [("a_child", "fk_a_child_p", True)]
    assert proven(line) == {"PASS"}


def test_keys_whose_names_are_the_same_are_both_made(pg_url: str, tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE par (id INTEGER PRIMARY KEY)",
        "CREATE TABLE a (b_c INTEGER REFERENCES par (id))",
        "CREATE TABLE a_b (c INTEGER REFERENCES par (id))",
    )
    migrate(pipeline_for(path, pg_url, tmp_path))
    assert query(pg_url, KEYS) == [("a", "fk_a_b_c", True), ("a_b", "fk_a_b_c", True)]


def test_a_parent_that_left_the_source_leaves_an_orphan_until_its_child_is_loaded(
    family: Path, pg_url: str, tmp_path: Path
) -> None:
    migrate(pipeline_for(family, pg_url, tmp_path))
    change(family, "PRAGMA foreign_keys = OFF", "DELETE FROM par WHERE id = 1")
    line = pipeline_for(family, pg_url, tmp_path)
    migrate(line)
    ((table, name, detail),) = line.finish().findings
    assert (table, name) == ("ch", "fk_ch_p")
    assert "1 orphans, 1" in detail
    assert query(pg_url, KEYS) == [("ch", "fk_ch_p", False)]
    assert query(pg_url, "SELECT id FROM par") == [(9,)]
    assert proven(line) == {"PASS"}
    # An orphan of the source is loaded, not set aside, though the unproven key was there.
    change(family, "INSERT INTO ch VALUES (2, 9)")
    line = planned(family, pg_url, tmp_path)
    assert migrate(line)["postgres"] == 1
    assert query(pg_url, "SELECT id, p FROM ch ORDER BY 1") == [(1, 1), (2, 9)]
    assert query(pg_url, "SELECT count(*) FROM cowrie_migration.quarantine") == [(0,)]
    change(family, "DELETE FROM ch WHERE id = 1")
    line = pipeline_for(family, pg_url, tmp_path)
    migrate(line)
    assert query(pg_url, KEYS) == KEPT
    assert proven(line) == {"PASS"}


def test_a_child_that_comes_before_its_new_parent_is_loaded(family: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(family, pg_url, tmp_path)
    assert list(line.plan.others).index("ch") < list(line.plan.others).index("par")
    migrate(line)
    change(family, "INSERT INTO par VALUES (2, 'b')", "INSERT INTO ch VALUES (2, 2)")
    line = planned(family, pg_url, tmp_path)
    migrate(line)
    assert query(pg_url, "SELECT id, p FROM ch ORDER BY 1") == [(1, 1), (2, 2)]
    assert query(pg_url, KEYS) == KEPT
    assert proven(line) == {"PASS"}


@pytest.mark.usefixtures("environment")
def test_one_table_alone_is_loaded_again_and_finished(family: Path, pg_url: str) -> None:
    assert command(family, pg_url, "migrate").exit_code == 0
    for table in ("par", "ch"):
        result = command(family, pg_url, "migrate", "--tables", table, "--force")
        assert result.exit_code == 0, result.output
        assert query(pg_url, KEYS) == KEPT


@pytest.mark.usefixtures("environment")
def test_a_run_that_died_before_finish_is_finished_by_the_next(
    family: Path, pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(family, pg_url, "migrate").exit_code == 0
    assert "Nothing to do" in command(family, pg_url, "migrate").output
    with monkeypatch.context() as broken:

        def dies(*arguments: object, **options: object) -> None:
            raise LoadError("died")

        broken.setattr("cowrie_assets.pipeline.finish", dies)
        assert isinstance(command(family, pg_url, "migrate", "--force").exception, LoadError)
    assert query(pg_url, KEYS) == []
    assert query(pg_url, "SELECT min(verdict), max(verdict) FROM cowrie_migration.partitions") == [("PASS", "PASS")]
    result = command(family, pg_url, "migrate")
    assert result.exit_code == 0, result.output
    assert "Nothing to do" not in result.output
    assert query(pg_url, KEYS) == KEPT
    assert "Nothing to do" in command(family, pg_url, "migrate").output


def test_dagster_loads_a_parent_alone_and_finish_makes_the_keys(family: Path, pg_url: str, tmp_path: Path) -> None:
    migrate(pipeline_for(family, pg_url, tmp_path))
    settings = Settings(source=family, target=pg_url, staging=str(tmp_path / "staging"), home=tmp_path / "home")
    defs = build_defs(settings)

    def materialize(instance: dg.DagsterInstance, key: str) -> dg.ExecuteInProcessResult:
        config = {"ops": {"postgres__other_tables": {"config": {"force": True, "tables": ["par"]}}}}
        return dg.materialize(
            list(defs.assets or ()),  # type: ignore[arg-type]
            selection=key,
            run_config=config if key.startswith('key:"postgres') else None,
            instance=instance,
            raise_on_error=False,
        )

    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        assert materialize(instance, 'key:"postgres/other_tables"').success
        assert query(pg_url, KEYS) == []
        assert query(pg_url, "SELECT finished_at FROM cowrie_migration.plan") == [(None,)]
        assert materialize(instance, 'key:"target/finish"').success
    assert query(pg_url, KEYS) == KEPT


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("deferred", ["", " DEFERRABLE INITIALLY DEFERRED"])
def test_an_applications_key_is_named_with_what_to_do(
    deferred: str, family: Path, pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(family, pg_url, "migrate").exit_code == 0
    query(pg_url, THEIRS.format(deferred))
    change(family, "DELETE FROM par WHERE id = 1")
    code, error = failed(family, pg_url, capsys, "migrate")
    assert code == 3
    assert len(error.strip().splitlines()) == 1
    assert (
        'Loading partition all of par failed: update or delete on table "par" violates foreign key constraint' in error
    )
    assert 'run ALTER TABLE "public"."notes" DROP CONSTRAINT "theirs", start it again, then run' in error
    assert f'ADD CONSTRAINT "theirs" FOREIGN KEY (par) REFERENCES par(id){deferred}.' in error
    assert error.lower().count("start it again") == 1
    assert query(pg_url, "SELECT id FROM par ORDER BY id") == [(1,), (9,)]
    query(pg_url, 'ALTER TABLE "public"."notes" DROP CONSTRAINT "theirs"')
    assert command(family, pg_url, "migrate").exit_code == 0
    assert query(pg_url, "SELECT id FROM par") == [(9,)]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_an_applications_key_that_acts_on_deletes_keeps_its_rows(
    action: str, family: Path, pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(family, pg_url, "migrate").exit_code == 0
    query(pg_url, THEIRS.format(f" ON DELETE {action}"))
    code, error = failed(family, pg_url, capsys, "migrate", "--force")
    assert code == 3
    assert "the foreign key theirs of notes would delete or change rows there" in error
    assert f'ADD CONSTRAINT "theirs" FOREIGN KEY (par) REFERENCES par(id) ON DELETE {action}.' in error
    assert query(pg_url, "SELECT id, par FROM notes") == [(1, 1)]


def test_a_key_of_our_name_with_other_actions_is_theirs(family: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(family, pg_url, tmp_path)
    migrate(line)
    query(
        pg_url,
        "ALTER TABLE ch DROP CONSTRAINT fk_ch_p, ADD CONSTRAINT fk_ch_p FOREIGN KEY (p) REFERENCES par ON DELETE CASCADE",
    )
    with line.locked(), pytest.raises(LoadError, match="fk_ch_p of ch would delete or change rows"):
        line.load("par", "all", "again", force=True)
    assert query(pg_url, "SELECT count(*) FROM ch") == [(1,)]


def test_an_application_that_writes_meanwhile_is_waited_for(family: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(family, pg_url, tmp_path)
    migrate(line)
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with psycopg.connect(pg_url) as theirs:
            for number in range(100, 10_000):
                with theirs.transaction():
                    theirs.execute("INSERT INTO par VALUES (%s, 'theirs')", (number,))
                    time.sleep(0.05)
                    theirs.execute("INSERT INTO ch VALUES (%s, %s)", (number, number))
                written.append(number)
                if stop.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with line.locked():
            for _ in range(3):
                for table in ("par", "ch"):
                    assert line.load(table, "all", "again", force=True).made
                line.finish()
    finally:
        stop.set()
        writer.join()
    counts = query(pg_url, "SELECT (SELECT count(*) FROM par), (SELECT count(*) FROM ch)")
    assert counts == [(len(written) + 2, len(written) + 1)]
    assert query(pg_url, KEYS) == KEPT


def test_a_reset_takes_our_keys_too(family: Path, pg_url: str, tmp_path: Path) -> None:
    migrate(pipeline_for(family, pg_url, tmp_path))
    query(pg_url, "INSERT INTO par VALUES (7, 'theirs')")
    query(pg_url, "INSERT INTO ch VALUES (7, 7)")
    with psycopg.connect(pg_url, autocommit=True) as connection:
        reset(connection, *plan_reset(connection))
    assert query(pg_url, "SELECT id FROM par") == query(pg_url, "SELECT id FROM ch") == [(7,)]
    assert query(pg_url, KEYS) == []


def test_a_finish_that_failed_on_the_way_is_made_up_for(
    family: Path, pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = pipeline_for(family, pg_url, tmp_path)
    migrate(line)
    with line.locked():
        line.load("par", "all", "again", force=True)
    with monkeypatch.context() as broken:

        def full(*arguments: object) -> None:
            raise psycopg.errors.DiskFull("no space")

        broken.setattr(finishing, "_foreign_key", full)
        with pytest.raises(LoadError, match="disk is full"):
            line.finish()
    assert query(pg_url, KEYS) == []
    assert line.finish().built == ["ch.fk_ch_p"]
