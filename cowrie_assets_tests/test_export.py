"""The way back: real and made databases migrated, exported and compared cell by cell; what an export refuses and says.

Not here: random tables (`test_export_random.py`) or the comparison itself (`test_compare.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cowrie_assets.catalog import Type
from cowrie_assets.cli.main import main
from cowrie_assets.demo import make_demo
from cowrie_assets.errors import ExportError, SettingsError, TargetError
from cowrie_assets.export.compare import compare, kinds_of
from cowrie_assets.export.run import STEP, Exported, TableExport, export
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.policies import Treatment
from cowrie_assets_tests.conftest import empty
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.dirty import make
from cowrie_assets_tests.test_hostile import hostile_source
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query
from cowrie_assets_tests.test_source import database, opened

CLASSES = (None, 5, -7, 5.0, 5.5, float("inf"), "5", "5.5", "a", "", "a\0b", b"", b"5", b"\xff\0")
TYPES = ("INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", "BOOLEAN", "DATETIME", "JSON", "")


def there_and_back(source: Path, url: str, folder: Path, **settings: Any) -> Exported:
    line = pipeline_for(source, url, folder, **settings)
    migrate(line)
    result = export(line.connect, folder / "back.sqlite")
    found = compare(source, folder / "back.sqlite", kinds_of(result.plan))
    assert found.differences == []
    assert found.rows == sum(t.loaded + t.set_aside for t in result.tables) > 0
    assert result.whole
    return result


@pytest.mark.parametrize("name", ["real_v3", "real_v6", "real_other"])
def test_a_real_database_comes_back(name: str, request: pytest.FixtureRequest, pg_url: str, tmp_path: Path) -> None:
    there_and_back(request.getfixturevalue(name), pg_url, tmp_path)


@pytest.mark.parametrize("json_type", [Type.JSONB, Type.JSON])
def test_generated_dirty_data_comes_back(json_type: Type, pg_url: str, tmp_path: Path) -> None:
    make_demo(tmp_path / "s.sqlite", events=600, days=3, last_day=date(2026, 10, 31), dirty_per_mille=50)
    # Stored as json, documents are compared byte for byte.
    result = there_and_back(tmp_path / "s.sqlite", pg_url, tmp_path, treatment=Treatment(json_type=json_type))
    assert sum(t.set_aside for t in result.tables) > 0
    assert sum(t.restored for t in result.tables) > 0
    with opened(tmp_path / "back.sqlite") as back:
        assert back.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.fuzz
@pytest.mark.parametrize("json_type", [Type.JSONB, Type.JSON])
@pytest.mark.parametrize("seed", range(5))
def test_misplaced_and_dirty_cells_come_back(seed: int, json_type: Type, pg_url: str, tmp_path: Path) -> None:
    treatment = Treatment(json_type=json_type, unwrap=seed % 2 == 1)
    hostile_source(tmp_path / "hostile.sqlite", seed, 300)
    make(tmp_path / "dirty.sqlite", seed)
    for name in ("hostile", "dirty"):
        with psycopg.connect(pg_url) as connection:
            empty(connection)
        (tmp_path / name).mkdir()
        there_and_back(tmp_path / f"{name}.sqlite", pg_url, tmp_path / name, treatment=treatment)


def odd_database(path: Path) -> Path:
    """Every class in every declared type, in tables of every kind, and what else a file declares."""
    names = [f'"c{i} ""{t}"""' for i, t in enumerate(TYPES)]
    columns = ", ".join(f"{n} {t}" for n, t in zip(names, TYPES, strict=True))
    computed = f"g TEXT AS (typeof({names[0]}))"
    kinds: dict[str, tuple[str, str, Callable[[int], list[object]]]] = {
        "keyless": (f"{columns}, {computed}", "", lambda i: []),
        'it\'s ""keyed': (f"k TEXT PRIMARY KEY, {columns}, {computed} STORED", "", lambda i: [f"k{i}\0"]),
        "by rowid": (f"id INTEGER PRIMARY KEY AUTOINCREMENT, {columns}", "", lambda i: [3 + 10 * i]),
        "without": (f"k TEXT, n INT, {columns}, PRIMARY KEY (n, k)", "WITHOUT ROWID", lambda i: [f"k{i}", i % 3]),
    }
    with opened(path) as connection:
        for setting in ("user_version = 42", "application_id = -5", "page_size = 8192"):
            connection.execute(f"PRAGMA {setting}")
        for name, (declared, end, key) in kinds.items():
            connection.execute(f'CREATE TABLE "{name}" ({declared}) {end}')
            keys = [c for c in ("k", "n", "id") if f"{c} " in declared.partition('"c0')[0]]
            for number, cell in enumerate(CLASSES):
                row = [*key(number), *[cell] * len(TYPES)]
                marks = ", ".join("?" * len(row))
                for _ in range(1 if keys else 2):
                    connection.execute(f'INSERT INTO "{name}" ({", ".join([*keys, *names])}) VALUES ({marks})', row)
        for statement in (
            'DELETE FROM "by rowid" WHERE id = (SELECT max(id) FROM "by rowid")',
            f"CREATE INDEX partly ON keyless ({names[0]}) WHERE {names[1]} = 'a'",
            "CREATE VIEW v AS SELECT * FROM keyless",
            "CREATE TRIGGER tr AFTER INSERT ON keyless BEGIN DELETE FROM without; END",
            "CREATE TABLE strict (a ANY, b INT) STRICT",
            "INSERT INTO strict VALUES ('5', 1), (5, 1), (5.0, 1), (x'35', 1), (NULL, 1)",
            "CREATE TABLE days (d DATE UNIQUE, j JSON UNIQUE)",
            # One instant, one value, three spellings: two rows are set aside, and the third must not take theirs.
            """INSERT INTO days VALUES ('2025-01-01', '{"a":1}'), ('2025-01-01 00:00:00', '{"a": 1}'),
            ('2025-01-01T00:00:00', '{ "a": 1}')""",
            "CREATE TABLE broken (a, t TEXT)",
            "INSERT INTO broken VALUES (1, CAST(x'ff' AS TEXT)), (2, CAST(x'61c3' AS TEXT))",
        ):
            connection.execute(statement)
    return path


def test_every_class_in_every_column_comes_back(pg_url: str, tmp_path: Path) -> None:
    source = odd_database(tmp_path / "s.sqlite")
    there_and_back(source, pg_url, tmp_path)
    with opened(tmp_path / "back.sqlite") as back:
        assert back.execute("PRAGMA user_version").fetchone() == (42,)
        assert back.execute("PRAGMA application_id").fetchone() == (-5,)
        assert back.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert [r[0] for r in back.execute("SELECT a FROM broken ORDER BY rowid")] == [1, 2]
        order = 'SELECT typeof("c0 ""INTEGER"""), hex("c8 """"") FROM keyless ORDER BY rowid'
        with opened(source) as given:
            assert back.execute(order).fetchall() == given.execute(order).fetchall()


def test_rows_from_before_their_declarations_come_back(pg_url: str, tmp_path: Path) -> None:
    source = database(
        tmp_path / "s.sqlite",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, p JSON, v TEXT, UNIQUE (v))",
        """INSERT INTO t VALUES (1, '{"a": "x"}', 'v'), (2, '{cut "a": "y"', 'w'), (3, 'nothing', NULL)""",
        'CREATE TABLE u (k INTEGER PRIMARY KEY, "a b", c, d, e)',
        "INSERT INTO u VALUES (1, 5, '5', 5.0, 5), (2, 'x', 5, 5.5, 5.0), (3, 1e300, 'y', '1e5', x'35')",
        "PRAGMA writable_schema = ON",
        """UPDATE sqlite_master SET sql = 'CREATE TABLE u (k INTEGER PRIMARY KEY, "a b" VARCHAR(5), c INTEGER,
        d  NUMERIC(5,2) DEFAULT 5, e REAL)' WHERE name = 'u'""",
        """UPDATE sqlite_master SET sql = 'CREATE TABLE t (id INTEGER PRIMARY KEY, p JSON, v TEXT NOT NULL ON CONFLICT
        FAIL DEFAULT (1 NOT NULL), a TEXT AS (json_extract(p, ''$.a'')) VIRTUAL NOT /* NULL */ NULL,
        b TEXT AS (a || ''b'') VIRTUAL, UNIQUE (v), CHECK (v <> ''w''))' WHERE name = 't'""",
    )
    there_and_back(source, pg_url, tmp_path)
    with opened(tmp_path / "back.sqlite") as back:
        assert back.execute("SELECT a, b, v FROM t WHERE id = 1").fetchall() == [("x", "xb", "v")]
        assert back.execute("SELECT id FROM t ORDER BY id").fetchall() == [(1,), (2,), (3,)]


def test_an_error_in_mid_table_ends_the_export(small: Pipeline, pg_url: str, tmp_path: Path) -> None:
    query(pg_url, "INSERT INTO n SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
    query(pg_url, "UPDATE cowrie_migration.partitions SET loaded_rows = 20002 WHERE table_name = 'n'")

    def stop(table: str, rows: int, total: int | None) -> None:
        if rows >= STEP:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(small.connect, tmp_path / "a.sqlite", progress=stop)
    assert not [p for p in tmp_path.iterdir() if "a.sqlite" in p.name]
    export(small.connect, tmp_path / "a.sqlite")


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_another_encoding_comes_back(encoding: str, pg_url: str, tmp_path: Path) -> None:
    source = database(
        tmp_path / "s.sqlite",
        f"PRAGMA encoding = '{encoding}'",
        "CREATE TABLE t (a, b TEXT)",
        "INSERT INTO t VALUES ('é', 'a' || char(0) || 'b'), (1, '😀'), (NULL, '')",
    )
    there_and_back(source, pg_url, tmp_path)


def test_normal_data_adds_nothing_to_the_ledger(real_other: Path, pg_url: str, tmp_path: Path) -> None:
    migrate(pipeline_for(real_other, pg_url, tmp_path))
    for table in ("storage_classes", "row_digests"):
        assert query(pg_url, f"SELECT * FROM cowrie_migration.{table}") == []


@pytest.fixture
def small(pg_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    """A migrated source: a table with a key, one without."""
    source = database(
        tmp_path / "s.sqlite",
        "CREATE TABLE k (id INTEGER PRIMARY KEY, v TEXT)",
        "CREATE TABLE n (v TEXT)",
        "INSERT INTO k VALUES (1, 'a'), (2, 'b' || char(0))",
        "INSERT INTO n VALUES ('a'), ('a')",
    )
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    yield line


def of(result: Exported, table: str) -> TableExport:
    return next(t for t in result.tables if t.table == table)


def values(path: Path, sql: str) -> list[Any]:
    with opened(path) as connection:
        return [row[0] for row in connection.execute(sql)]


def test_rows_of_others_stay_out_unless_asked_for(small: Pipeline, pg_url: str, tmp_path: Path) -> None:
    query(pg_url, "INSERT INTO k (v) VALUES ('theirs')")
    result = export(small.connect, tmp_path / "a.sqlite")
    assert (of(result, "k").others, of(result, "k").included) == (1, 0)
    assert values(tmp_path / "a.sqlite", "SELECT v FROM k") == ["a", "b\0"]
    result = export(small.connect, tmp_path / "b.sqlite", everything=True)
    assert (of(result, "k").others, of(result, "k").included) == (1, 1)
    assert values(tmp_path / "b.sqlite", "SELECT v FROM k") == ["a", "b\0", "theirs"]
    assert result.whole


def test_rows_of_others_without_a_key_are_not_guessed(small: Pipeline, pg_url: str, tmp_path: Path) -> None:
    query(pg_url, "INSERT INTO n VALUES ('theirs')")
    with pytest.raises(ExportError, match="Table n has no key"):
        export(small.connect, tmp_path / "a.sqlite")
    result = export(small.connect, tmp_path / "a.sqlite", everything=True)
    assert of(result, "n").included == 1
    assert values(tmp_path / "a.sqlite", "SELECT v FROM n") == ["a", "a", "theirs"]


def test_a_row_of_ours_that_is_gone_is_counted(small: Pipeline, pg_url: str, tmp_path: Path) -> None:
    query(pg_url, "DELETE FROM k WHERE id = 1")
    result = export(small.connect, tmp_path / "a.sqlite")
    assert of(result, "k").missing == 1
    assert not result.whole


def test_the_version_row_that_we_added_stays_out(pg_url: str, tmp_path: Path) -> None:
    source = database(
        tmp_path / "s.sqlite",
        'CREATE TABLE schema_state ("key" VARCHAR(128) PRIMARY KEY NOT NULL, value VARCHAR(256) NOT NULL)',
        "INSERT INTO schema_state VALUES ('other', '1')",
    )
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    assert query(pg_url, "SELECT value FROM schema_state WHERE key = 'schema_version'") == [("6",)]
    result = export(line.connect, tmp_path / "back.sqlite", everything=True)
    assert compare(source, tmp_path / "back.sqlite", kinds_of(result.plan)).count == 0
    assert of(result, "schema_state").others == 0


def test_rows_in_a_table_that_the_source_lacks_are_named(
    real_v3: Path, pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source of version 3 has no table of files; `finish` makes one, and `db backfill-files` fills it."""
    line = pipeline_for(real_v3, pg_url, tmp_path)
    migrate(line)
    assert "files" not in {t.table for t in export(line.connect, tmp_path / "a.sqlite").tables}
    query(pg_url, "INSERT INTO files (session_id, shasum) SELECT min(session_id), 'a' FROM session_summaries")
    monkeypatch.setenv("COWRIE_POSTGRES_URL", as_url(pg_url))
    with pytest.raises(SystemExit) as done:
        main(["export", "--to", str(tmp_path / "b.sqlite"), "--all"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert "1 rows were written by others since, 0 of them are in the file.\n" in out
    assert "Not in the file, as the source has no such table: files.\n" in out
    query(pg_url, "DROP TABLE files")
    assert "files" not in {t.table for t in export(line.connect, tmp_path / "c.sqlite").tables}


def test_an_incomplete_migration_is_refused(small: Pipeline, pg_url: str, tmp_path: Path) -> None:
    query(pg_url, "UPDATE cowrie_migration.partitions SET loaded_at = NULL WHERE table_name = 'n'")
    with pytest.raises(TargetError, match="1 partitions are not loaded, the first is all of n"):
        export(small.connect, tmp_path / "a.sqlite")
    assert not (tmp_path / "a.sqlite").exists()
    result = export(small.connect, tmp_path / "a.sqlite", everything=True, incomplete=True)
    assert not result.whole


def test_a_target_without_a_migration_is_refused(pg_url: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="holds no migration"):
        export(pipeline_for(tmp_path / "none", pg_url, tmp_path).connect, tmp_path / "a.sqlite")


def test_a_file_is_only_replaced_where_it_was_asked_for(small: Pipeline, tmp_path: Path) -> None:
    goal = tmp_path / "a.sqlite"
    goal.write_bytes(b"mine")
    with pytest.raises(SettingsError, match="exists"):
        export(small.connect, goal)
    assert goal.read_bytes() == b"mine"
    export(small.connect, goal, overwrite=True)
    assert values(goal, "SELECT count(*) FROM k") == [2]
    (tmp_path / "b.sqlite-wal").write_bytes(b"")
    with pytest.raises(SettingsError, match="in use"):
        export(small.connect, tmp_path / "b.sqlite")
    with pytest.raises(SettingsError, match="folder"):
        export(small.connect, tmp_path / "none" / "c.sqlite")


def test_the_source_is_never_replaced(small: Pipeline, tmp_path: Path) -> None:
    before = (tmp_path / "s.sqlite").read_bytes()
    with pytest.raises(SettingsError, match="is the source itself"):
        export(small.connect, tmp_path / "s.sqlite", overwrite=True)
    assert (tmp_path / "s.sqlite").read_bytes() == before


def test_the_name_is_taken_at_the_end_alone(small: Pipeline, tmp_path: Path) -> None:
    goal, part = tmp_path / "a.sqlite", tmp_path / ".a.sqlite.part"
    part.write_bytes(b"what a killed export left")
    seen: list[tuple[bool, bool]] = []
    export(small.connect, goal, progress=lambda table, rows, total: seen.append((goal.exists(), part.exists())))
    assert set(seen) == {(False, True)}
    assert values(goal, "SELECT count(*) FROM k") == [2]
    assert not part.exists()


def test_what_was_not_migrated_is_named(
    pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = database(
        tmp_path / "s.sqlite",
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (1)",
        "CREATE VIRTUAL TABLE words USING fts5(w)",
        "CREATE VIEW v AS SELECT 1 AS a",
        "CREATE TRIGGER tv INSTEAD OF INSERT ON v BEGIN SELECT 1; END",
        "ANALYZE",
    )
    result = there_and_back(source, pg_url, tmp_path)
    found = compare(source, tmp_path / "back.sqlite", kinds_of(result.plan))
    assert {"words", "words_data", "sqlite_stat1"} <= set(found.skipped)
    assert values(tmp_path / "back.sqlite", "SELECT name FROM sqlite_master WHERE type = 'trigger'") == ["tv"]


def test_a_failed_export_leaves_nothing(small: Pipeline, pg_url: str, tmp_path: Path) -> None:
    query(pg_url, "DROP TABLE n")
    with pytest.raises(ExportError, match="Reading the target failed"):
        export(small.connect, tmp_path / "a.sqlite")
    assert not [p for p in tmp_path.iterdir() if "a.sqlite" in p.name]


def test_the_command_compares_and_says_so(
    small: Pipeline, pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    info = psycopg.conninfo.conninfo_to_dict(pg_url)
    url = f"postgresql://{info['user']}@/{info['dbname']}?host={info['host']}&port={info['port']}"
    arguments = ["export", "--target", url, "--to", "a.sqlite", "--compare-with", str(tmp_path / "s.sqlite")]
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 0
    assert "4 rows compared, 0 differences." in capsys.readouterr().out
    query(pg_url, "UPDATE k SET v = 'c' WHERE id = 1")
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--overwrite"])
    assert done.value.code == 1
    assert "k, rowid 1, v: text of 1 bytes b'a' | text of 1 bytes b'c'" in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2


def test_a_large_original_comes_back(pg_url: str, tmp_path: Path) -> None:
    source = database(tmp_path / "s.sqlite", "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    with opened(source) as connection:
        connection.executemany(
            "INSERT INTO t (v) VALUES (?)", [("\0" * 1_500_000,), ("x",), (sqlite3.Binary(b"\0" * 2**21),)]
        )
    there_and_back(source, pg_url, tmp_path)
