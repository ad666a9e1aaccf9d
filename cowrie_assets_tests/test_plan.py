"""The plan: where rows lie, which lose as duplicates, and whether it still fits the source.

Not here: windows alone (`test_windows.py`).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cowrie_assets.catalog import TABLES, Index, Type
from cowrie_assets.errors import PlanError
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.planning.plan import Plan
from cowrie_assets.planning.scan import make_plan
from cowrie_assets.settings import Grain, Settings
from cowrie_assets.source.dating import date_rows
from cowrie_assets.source.reader import read_table
from cowrie_assets.source.schema import read_schema
from cowrie_assets.source.sqlite import read_only, source_state
from cowrie_assets_tests.test_source import database

SUMMARY = (
    "CREATE TABLE session_summaries (session_id VARCHAR(64) NOT NULL, first_event_at DATETIME, {key})",
    "INSERT INTO session_summaries (session_id, first_event_at) VALUES {rows}",
)


def summaries(path: Path, rows: str, key: str = "CONSTRAINT pk PRIMARY KEY (session_id)") -> Plan:
    database(path, *(s.format(key=key, rows=rows) for s in SUMMARY))
    return make_plan(Settings(source=path))


@pytest.mark.parametrize("grain", [None, Grain.DAY, Grain.MONTH])
def test_every_row_lies_in_exactly_one_partition(grain: Grain | None, real_v6: Path) -> None:
    plan = make_plan(Settings(source=real_v6, grain=grain))
    with read_only(real_v6) as connection:
        for name, table in plan.tables.items():
            found: Counter[str] = Counter()
            for batch in read_table(connection, read_schema(connection).tables[name]):
                if table.dated:
                    places = plan.windows.place(date_rows(batch, table.dated_by))
                    keys = ["undated" if p < 0 else plan.windows.keys[p] for p in places]
                else:
                    keys = ["all"] * len(batch)
                for key, rowid in zip(keys, batch.rowids.to_pylist(), strict=True):
                    found[key] += 1
                    assert any(low <= rowid <= high for low, high in table.slice(key).ranges)
            assert found == {k: s.rows for k, s in table.slices.items()}
            assert sum(found.values()) == table.rows


def test_it_reads_back_as_it_was_written(real_v3: Path) -> None:
    plan = make_plan(Settings(source=real_v3))
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.id == plan.id == make_plan(Settings(source=real_v3)).id


def test_an_unrepaired_key_wins_over_a_repaired_one(tmp_path: Path) -> None:
    plan = summaries(tmp_path / "s", "('a' || char(0), NULL), ('a\\x00', NULL), ('b', NULL)")
    assert plan.tables["session_summaries"].losers == {1: (2, "session_id")}


def test_among_repaired_keys_the_lowest_rowid_wins(tmp_path: Path) -> None:
    plan = summaries(tmp_path / "s", "(CAST(x'61ff' AS TEXT), NULL), (x'61ff', NULL), ('c', NULL)")
    assert plan.tables["session_summaries"].losers == {2: (1, "session_id")}


def test_without_a_constraint_the_whole_table_is_grouped(tmp_path: Path) -> None:
    rows = "('a', NULL), ('b', '2025-01-01'), ('a', '2026-01-01'), ('a', NULL)"
    plan = summaries(tmp_path / "s", rows, key="matcher TEXT")
    assert plan.tables["session_summaries"].losers == {3: (1, "session_id"), 4: (1, "session_id")}


def test_nulls_in_a_column_declared_not_null_are_no_duplicates(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE session_summaries (session_id TEXT)",
        "INSERT INTO session_summaries VALUES (NULL), (NULL)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE session_summaries (session_id TEXT NOT NULL)'",
    )
    assert make_plan(Settings(source=path)).tables["session_summaries"].losers == {}


def test_a_column_the_source_lacks_makes_no_duplicates(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE raw_events (id INTEGER PRIMARY KEY, source TEXT, source_offset INTEGER, payload JSON)",
        "INSERT INTO raw_events (source, source_offset, payload) VALUES ('a', 1, '{}'), ('a', 1, '{}')",
    )
    # source_inode is NULL in every row of the target, and NULLs are never equal.
    assert make_plan(Settings(source=path)).tables["raw_events"].losers == {}


@pytest.mark.parametrize(
    ("columns", "rows", "losers"),
    [
        ("k TEXT COLLATE NOCASE, v, UNIQUE (k, v)", "('a' || char(0), 1), ('A\\x00', 1)", {}),
        ("k TEXT COLLATE NOCASE, v, UNIQUE (k, v)", "('a' || char(0), 1), ('a\\x00', 1)", {1: (2, "k, v")}),
        ("k PRIMARY KEY, v", "(1, 0), ('x', 0), ('1', 0)", {3: (1, "k")}),
        ("k PRIMARY KEY, v", "('1', 0), (1, 0), (x'31', 0)", {2: (1, "k"), 3: (1, "k")}),
        ("k PRIMARY KEY, v", "(x'31', 0), (1, 0), ('x', 0)", {1: (2, "k")}),
        ("k PRIMARY KEY, v", "(x'31', 0), ('1', 0), (1, 0)", {1: (2, "k"), 3: (2, "k")}),
        ("k PRIMARY KEY, v", "('1', 0), ('x', 0), (1, 0)", {3: (1, "k")}),
        ("k INTEGER, v, UNIQUE (k)", "(1, 0), ('x', 0)", {}),
        ("k PRIMARY KEY, v", "(1, 0), (2, 0)", {}),
        ("k INTEGER, v TEXT, UNIQUE (k, v)", "(1, 'a' || char(0)), (1, 'a\\x00'), (2, 'a\\x00')", {1: (2, "k, v")}),
        ("k TEXT PRIMARY KEY, v) WITHOUT ROWID --", "('a' || char(0), 1), ('a\\x00', 1), ('b', 1)", {1: (0, "k")}),
    ],
)
def test_duplicates_are_what_the_target_takes_for_equal(
    columns: str, rows: str, losers: dict[int, tuple[int, str]], tmp_path: Path
) -> None:
    closing_bracket = "\n" if columns.endswith("--") else ")"
    path = database(tmp_path / "s", f"CREATE TABLE t ({columns}{closing_bracket}", f"INSERT INTO t VALUES {rows}")
    assert make_plan(Settings(source=path)).tables["t"].losers == losers


@pytest.mark.parametrize(
    ("rows", "losers"),
    [
        ("(5, 's', 1), (6, 's', 1), (7, 's', 2)", {2: (1, "s")}),
        ("(5, 's', 1), (5, 't', 1)", {2: (1, "id")}),
        ("(5, 7, 1), (6, '7', 1), (7, 7, 1)", {1: (2, "s"), 3: (1, "s")}),  # a number here is repaired
        ("(5, 7, 1), (6, 7.0, 1)", {}),
        ("(5, 's', 'x'), (6, 's', 'x')", {}),  # the offset becomes NULL, and NULLs are never equal
        ("('x', 's', 1), ('x', 't', 1)", {}),  # set aside both, but not as duplicates
        ("(5, 's' || char(0), 'x'), (6, 's\\x00', 'x')", {}),
        ("(5, 's\\x00', 1), (6, 's\\x00', 1), (6, 's' || char(0), 1)", {3: (2, "id"), 2: (1, "s")}),
        ("(5, 't', 2), (5, 's\\x00', 1), (6, 's' || char(0), 1)", {2: (1, "id")}),  # what lost holds no key
    ],
)
def test_duplicates_of_a_known_table_without_constraints(
    rows: str, losers: dict[int, tuple[int, str]], tmp_path: Path
) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE raw_events (id INTEGER, source, source_offset BIGINT, source_inode DEFAULT 'i', payload JSON)",
        f"INSERT INTO raw_events (id, source, source_offset) VALUES {rows}",
    )
    found = make_plan(Settings(source=path)).tables["raw_events"].losers
    assert {row: (winner, "id" if columns == "id" else "s") for row, (winner, columns) in found.items()} == losers


def test_a_commit_while_the_plan_is_made_counts_as_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(tmp_path / "s", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")

    @contextmanager
    def then_written(source: Path) -> Iterator[sqlite3.Connection]:
        with read_only(source) as connection:
            database(path, "INSERT INTO t VALUES (2)")
            yield connection

    monkeypatch.setattr("cowrie_assets.planning.scan.read_only", then_written)
    plan = make_plan(Settings(source=path))
    assert plan.tables["t"].rows == 1
    assert plan.source_state != source_state(path).as_dict()


def test_rows_after_the_plan_are_not_staged(tmp_path: Path) -> None:
    path = tmp_path / "s"
    line = Pipeline(Settings(source=path, staging=str(tmp_path / "staging")))
    summaries(path, "('a', '2025-01-01 00:00:00'), ('b', NULL)")
    keys = line.plan.partitions("session_summaries")
    database(path, "INSERT INTO session_summaries VALUES ('c', NULL), ('d', '2025-01-01 00:00:00')")
    staged = line.stage("session_summaries", keys)
    assert {key: manifest.rows for key, (manifest, _) in staged.items()} == {"2025-01-01": 1, "undated": 1}


def test_a_table_that_only_has_the_name_is_unknown(tmp_path: Path) -> None:
    path = database(tmp_path / "s", "CREATE TABLE files (name TEXT)", "INSERT INTO files VALUES ('x')")
    plan = make_plan(Settings(source=path))
    assert plan.dated == ()
    assert plan.tables["files"].target.columns[0].type is Type.TEXT


@pytest.mark.parametrize(
    ("declared", "values", "kind"),
    [
        ("INTEGER", "(1), (NULL)", Type.BIGINT),
        ("INTEGER", "(1), ('x')", Type.TEXT),
        ("int(11)", "(1)", Type.BIGINT),
        ("VARCHAR(10)", "('much longer than ten')", Type.TEXT),
        ("BOOLEAN", "(0), (1)", Type.BOOLEAN),
        ("BOOLEAN", "(0), (2)", Type.TEXT),
        ("DATETIME", "('2025-01-01 00:00:00')", Type.TIMESTAMPTZ),
        ("DATETIME", "('2025-01-01 00:00:00'), (1758542400)", Type.TEXT),
        ("JSON", "('{\"a\": 1}')", Type.JSONB),
        ("JSON", "('{\"a\": NaN}')", Type.TEXT),
        ("REAL", "(1.5), (2)", Type.DOUBLE),
        ("BLOB", "(x'00')", Type.BYTEA),
        ("BLOB", "('text')", Type.TEXT),
        ("NUMERIC", "(1), (1.5)", Type.DOUBLE),
        ("", "(1), ('x')", Type.TEXT),
        ("", "(1)", Type.BIGINT),
    ],
)
def test_types_of_unknown_columns(declared: str, values: str, kind: Type, tmp_path: Path) -> None:
    path = database(tmp_path / "s", f"CREATE TABLE t (c {declared})", f"INSERT INTO t VALUES {values}")
    plan = make_plan(Settings(source=path))
    assert plan.tables["t"].types == {"c": kind}
    widened = [f.code for f in plan.findings]
    assert widened == (["type.widened"] if kind is Type.TEXT and declared not in ("", "VARCHAR(10)") else [])


def test_a_later_processors_columns_are_carried(tmp_path: Path) -> None:
    path = tmp_path / "s"
    summaries(path, "('a', NULL)")
    database(path, "ALTER TABLE session_summaries ADD COLUMN score REAL", "UPDATE session_summaries SET score = 0.5")
    table = make_plan(Settings(source=path)).tables["session_summaries"].target
    assert table.columns[-1].name == "score"
    assert table.columns[:-1] == TABLES["session_summaries"].columns


def test_renumbered_rowids_are_noticed(real_v6: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(real_v6, path)
    line = Pipeline(Settings(source=path, staging=str(tmp_path / "staging")))
    assert line.checked_source() == path
    connection = sqlite3.connect(path)
    # What VACUUM may do to a table without an INTEGER PRIMARY KEY; some versions of SQLite keep the rowids.
    (declaration,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'session_summaries'").fetchone()
    connection.execute("ALTER TABLE session_summaries RENAME TO old")
    connection.execute(declaration)
    connection.execute("INSERT INTO session_summaries SELECT * FROM old ORDER BY rowid")
    connection.execute("DROP TABLE old")
    connection.commit()
    connection.close()
    with pytest.raises(PlanError, match=r"session_summaries.*VACUUM.*cowrie-assets reset"):
        line.checked_source()


def test_another_source_under_the_same_path_is_noticed(real_v6: Path, real_v3: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(real_v6, path)
    line = Pipeline(Settings(source=path, staging=str(tmp_path / "staging")))
    assert line.checked_source() == path
    shutil.copy(real_v3, path)
    with pytest.raises(PlanError, match="replaced"):
        line.checked_source()


def test_other_settings_than_the_plans_are_refused(real_v3: Path, tmp_path: Path) -> None:
    Pipeline(Settings(source=real_v3, staging=str(tmp_path))).make_plan()
    with pytest.raises(PlanError, match=r"grain: plan auto, now month.*plan --replace"):
        _ = Pipeline(Settings(source=real_v3, staging=str(tmp_path), grain=Grain.MONTH)).plan


def test_declared_defaults_keys_and_indexes_are_carried(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a REAL DEFAULT 1.5, b INTEGER DEFAULT '-1', c TEXT DEFAULT 'q' NOT NULL,"
        " d BOOLEAN DEFAULT '0', e DATETIME DEFAULT CURRENT_TIMESTAMP, f TEXT DEFAULT (lower('X')), UNIQUE (b, c))",
        "CREATE INDEX mine ON t (a)",
        "CREATE UNIQUE INDEX doubled ON t (b, c)",
        "CREATE INDEX partial ON t (a) WHERE a > 1",
    )
    table = make_plan(Settings(source=path)).tables["t"].target
    assert {c.name: c.default for c in table.columns} == {
        "id": None,
        "a": "1.5",
        "b": "-1",
        "c": "'q'",
        "d": "false",
        "e": "CURRENT_TIMESTAMP",
        "f": None,
    }
    assert [c.name for c in table.columns if not c.nullable] == ["id", "c"]
    assert table.serial == "id"
    assert {(i.columns, i.unique) for i in table.indexes} == {(("b", "c"), True), (("a",), False)}


def test_an_outgrown_constraint_of_version_1_is_not_carried(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE raw_events (id INTEGER PRIMARY KEY, source TEXT NOT NULL, source_offset BIGINT, payload JSON NOT NULL,"
        " UNIQUE (source, source_offset))",
        "CREATE INDEX mine ON raw_events (source)",
    )
    table = make_plan(Settings(source=path)).tables["raw_events"].target
    assert set(table.indexes) - set(TABLES["raw_events"].indexes) == {Index("mine", ("source",))}


def test_a_unique_index_is_carried_beside_a_plain_one_and_long_names_stay_apart(tmp_path: Path) -> None:
    a, b = "a" * 60, "a" * 60 + "b"
    path = database(
        tmp_path / "s",
        f"CREATE TABLE t (x TEXT, {a} TEXT, {b} TEXT, UNIQUE (x, {a}), UNIQUE (x, {b}))",
        "CREATE INDEX plain ON t (x)",
        "CREATE UNIQUE INDEX strict ON t (x)",
        "CREATE INDEX again ON t (x)",
    )
    indexes = make_plan(Settings(source=path)).tables["t"].target.indexes
    unique = {i.columns for i in indexes if i.unique}
    assert unique == {("x",), ("x", a), ("x", b)}
    assert [i.name for i in indexes if not i.unique] == ["plain"]
    assert len({i.name for i in indexes}) == 4


def test_what_cannot_be_carried_is_listed(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (a, b GENERATED ALWAYS AS (a + 1) STORED)",
        "INSERT INTO t VALUES (1), (2)",
        "CREATE INDEX some ON t (a) WHERE a > 1",
        "CREATE INDEX computed ON t (a + 1)",
        "CREATE VIEW v AS SELECT a FROM t",
    )
    plan = make_plan(Settings(source=path))
    kind = "partial or expression index"
    assert set(plan.not_migrated) == {(kind, "some"), (kind, "computed"), ("view", "v")}
    assert [(f.column, f.code, f.count) for f in plan.findings] == [("b", "column.generated", 2)]


def test_a_widened_column_names_the_row_that_does_not_fit(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (i INTEGER, n NUMERIC, j JSON, d DATETIME)",
        "INSERT INTO t VALUES (1, 1, '{}', NULL), (2, 1.5, '{}', '2025-01-01'), (3, 'x', '{}', 'x'), ('x', 1, x'00', NULL)",
    )
    found = {f.column: f.examples for f in make_plan(Settings(source=path)).findings}
    assert found == {"i": (4,), "n": (3,), "j": (4,), "d": (3,)}


def test_a_row_that_is_set_aside_takes_no_other_with_it(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE files (id BIGINT, session_id TEXT NOT NULL, shasum TEXT NOT NULL)",
        "INSERT INTO files VALUES (1, 'a', 'x'), (1, 'b', 'y'), (2, 'b', 'y'), (3, 'b', 'y'), (4, 'a', 'z')",
    )
    # Row 2 loses its id to row 1; so of rows 2 to 4 with one session and hash, row 3 stays.
    assert make_plan(Settings(source=path)).tables["files"].losers == {
        2: (1, "id"),
        4: (3, "session_id, shasum"),
    }


@pytest.mark.parametrize(("gap", "noticed"), [(999, True), (1_000, False), (500, True)])
def test_a_renumbering_close_to_the_end_is_noticed_and_a_deletion_is_none(
    gap: int, noticed: bool, tmp_path: Path
) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (a TEXT NOT NULL)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT 'v' || i FROM n",
    )
    line = Pipeline(Settings(source=path, staging=str(tmp_path / "staging")))
    assert line.plan.tables["t"].rows == 1_000
    database(
        path,
        f"DELETE FROM t WHERE rowid = {gap}",
        "CREATE TABLE copy (a TEXT NOT NULL)",
        "INSERT INTO copy SELECT a FROM t ORDER BY rowid",
        "DROP TABLE t",
        "ALTER TABLE copy RENAME TO t",
    )
    if noticed:
        with pytest.raises(PlanError, match="VACUUM"):
            line.checked_source()
    else:
        assert line.checked_source() == path
