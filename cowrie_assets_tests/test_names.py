"""Names from the source that break paths or SQL: they are kept as they are, or refused before anything is done.

Not here: cells (`test_hostile.py`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.errors import CowrieError, TargetError
from cowrie_assets.loading.reset import plan_reset, reset
from cowrie_assets.source.schema import quoted
from cowrie_assets.staging.store import MAX_PART, Store, part
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import opened

NASTY = [
    "../../etc/passwd", "..", ".", "...", ".hidden", "a/b", "/etc", "~", "~root", "a\\b", "C:\\x", "CON", "con.txt", "nul.", "%2f",
    "%2e%2e%2f", "a%sb", "%(x)s", "%%", "50%", "t;DROP TABLE x", 'q"q', "q'q", '"; DROP SCHEMA public CASCADE; --',
    "select", "user", "order", "table", "public", "pg_toast_x", "cowrie_migration", "partitions", "plan", "chunks",
    "staging", "quality", "É", "ÿ\u202e", "😀", " ", " a ", "a\nb", "a\tb", "\x1b[31mred", "$1", ":name", "?", "{x}",
    "a.b", "public.t", "rowid", "oid", "x" * 63, "é" * 31, "\\.", "--", "/*", "undated", "all", "=cmd()", "a,b",
]  # fmt: skip
"""Names that are kept: every one is a name in SQLite and, quoted, in PostgreSQL."""


NAMES = st.text(st.sampled_from("./\\~%2EeCcOoNn \0\u0130") | st.characters(exclude_categories=["Cs"]), max_size=200)


@given(NAMES, NAMES)
def test_a_name_is_one_component_of_a_path(name: str, other: str) -> None:
    made = part(name)
    assert made not in ("", ".", "..")
    assert len(made.encode()) <= MAX_PART + 1
    assert made.isascii()
    assert not set(made) & set('/\\:*?"<>|\x00 ')
    assert not made.startswith(".")
    assert not made.endswith(".")
    assert (made == part(other)) == (name == other)


@pytest.mark.parametrize("name", NASTY)
def test_what_is_written_under_a_name_lies_in_the_folder(name: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "deep" / "staging"))
    path = f"staging/{part(name)}/{part(name)}.json"
    store.write_json(path, {"name": name})
    [file] = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert file.parent.parent == tmp_path / "deep" / "staging" / "staging"
    assert store.read_json(path) == {"name": name}


def test_no_two_names_share_a_path() -> None:
    names = [*NASTY, *map(part, NASTY), *[n + "." for n in NASTY], "x" * 1_000, "x" * 1_001, "con", "Con"]
    assert len({part(n) for n in set(names)}) == len(set(names))


def with_names(path: Path, names: list[str]) -> None:
    """A table for each name, with a key, a column, an index and a foreign key of that name."""
    with opened(path) as connection:
        for name in names:
            q = quoted(name)
            connection.execute(f"CREATE TABLE {q} (id INTEGER PRIMARY KEY, {q} TEXT UNIQUE, b INT REFERENCES {q})")
            connection.execute(f"CREATE INDEX {quoted('ix ' + name)} ON {q} (b)")
            connection.execute(f"INSERT INTO {q} VALUES (1, 'a', NULL), (2, char(0), 1), (3, 'b', 'no number')")


@pytest.mark.parametrize("key", ["{q} TEXT PRIMARY KEY", "{q} TEXT, b TEXT, PRIMARY KEY ({q}, b)", "{q} TEXT"])
def test_every_kind_of_key_with_such_a_name(key: str, pg_url: str, tmp_path: Path) -> None:
    names = ["a%sb", "%%", "%(x)s", 'q"q', "{x}", "$1"]
    with opened(tmp_path / "s.sqlite") as connection:
        for name in names:
            connection.execute(f"CREATE TABLE {quoted(name)} ({key.format(q=quoted(name))})")
            connection.execute(f"INSERT INTO {quoted(name)} ({quoted(name)}) VALUES ('x'), ('y')")
            if " b " in key:
                connection.execute(f"UPDATE {quoted(name)} SET b = {quoted(name)}")
    line = pipeline_for(tmp_path / "s.sqlite", pg_url, tmp_path)
    migrate(line)
    for name in names:
        assert line.load(name, "all", "again", force=True).made
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    for name in names:
        assert query(pg_url, f"SELECT count(*) FROM {quoted(name)}") == [(2,)]
    with line.connect() as connection:
        plan, steps = plan_reset(connection)
        reset(connection, plan, steps)
    assert query(pg_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_names_that_are_kept(pg_url: str, tmp_path: Path) -> None:
    with_names(tmp_path / "s.sqlite", NASTY)
    line = pipeline_for(tmp_path / "s.sqlite", pg_url, tmp_path / "work")
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    assert {t.verdict.value for t in line.totals()} == {"PASS"}
    assert migrate(line)["postgres"] == 0
    found = {name for (name,) in query(pg_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert found == set(NASTY)
    for name in NASTY:
        q = quoted(name)
        assert query(pg_url, f"SELECT {q} FROM {q} ORDER BY id") == [("a",), ("\\x00",), ("b",)], name
    assert {p.name for p in tmp_path.iterdir()} == {"s.sqlite", "work"}


REFUSED = {
    "its first 63": ["CREATE TABLE t ({x63}a TEXT, {x63}b TEXT)"],
    "first 63": ["CREATE TABLE {x63}a (a)", "CREATE TABLE {x63}b (a)"],
    "name '' of a table": ['CREATE TABLE "" (a)'],
    "name '' of a column of table 't'": ['CREATE TABLE t (a, "" TEXT)'],
    "name of index  of table t is empty": ["CREATE TABLE t (a)", 'CREATE INDEX "" ON t (a)'],
    "system column": ["CREATE TABLE t (a, ctid TEXT)"],
    "PostgreSQL's own": ["CREATE TABLE pg_class (a)"],
    "one name for table pk_t and the key of table t": ["CREATE TABLE pk_t (a)", "CREATE TABLE t (a TEXT PRIMARY KEY)"],
    "1,900 columns": [f"CREATE TABLE t ({', '.join(f'c{i}' for i in range(1_900))})"],
    "40 columns": [f"CREATE TABLE t ({', '.join(f'c{i}' for i in range(40))}, UNIQUE ({', '.join(f'c{i}' for i in range(40))}))"],
}  # fmt: skip


@pytest.mark.parametrize("says", REFUSED)
def test_names_that_postgresql_does_not_take(says: str, pg_url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "s.sqlite") as connection:
        for statement in REFUSED[says]:
            connection.execute(statement.replace("{x63}", "x" * 63))
    line = pipeline_for(tmp_path / "s.sqlite", pg_url, tmp_path)
    with pytest.raises(TargetError, match=says) as refused:
        line.prepare()
    assert refused.value.exit_code == 2
    assert query(pg_url, "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'cowrie_migration')") == [(0,)]


def test_long_names_of_indexes_stay_apart(pg_url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "s.sqlite") as connection:
        connection.execute("CREATE TABLE t (a INT, b INT)")
        for end in "ab":
            connection.execute(f"CREATE INDEX {'i' * 80}{end} ON t ({end})")
    line = pipeline_for(tmp_path / "s.sqlite", pg_url, tmp_path)
    migrate(line)
    indexes = query(pg_url, "SELECT indexdef FROM pg_indexes WHERE tablename = 't'")
    assert len(indexes) == 2


def test_names_that_differ_in_case_alone(pg_url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "s.sqlite") as connection:
        connection.execute('CREATE TABLE "Straße" ("Ä" INT, "ä" INT)')
        connection.execute('CREATE TABLE "STRASSE" ("ID" INTEGER PRIMARY KEY, x)')
        connection.execute('CREATE TABLE "Raw_Events" (a)')
        connection.execute('INSERT INTO "Straße" VALUES (1, 2)')
    migrate(pipeline_for(tmp_path / "s.sqlite", pg_url, tmp_path))
    assert query(pg_url, 'SELECT "Ä", "ä" FROM "Straße"') == [(1, 2)]


def test_every_nasty_name_alone_ends_in_one_clear_error_at_most(pg_url: str, tmp_path: Path) -> None:
    for name in ("pg_catalog", "information_schema", "pg_type", "xmin", "tableoid", "x" * 300, "é" * 32):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        with_names(folder / "s.sqlite", [name])
        line = pipeline_for(folder / "s.sqlite", pg_url, folder)
        try:
            line.prepare()
        except CowrieError as error:
            assert error.exit_code == 2
            assert error.hint
            assert query(pg_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'cowrie_migration'") == [(0,)]
        else:
            migrate(line)
            assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
            query(pg_url, "DROP SCHEMA cowrie_migration CASCADE")
