"""Content of a size or depth that nobody expects: it arrives whole, or is set aside with a rule, in bounded memory.

Not here: cells of the wrong kind (`test_hostile.py`), terminal escapes and markup (`test_inert.py`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cowrie_assets.errors import TargetError
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, units, verdicts
from cowrie_assets_tests.test_source import database, opened

MB = 1 << 20
MEASURED = """
import re, sys
from pathlib import Path
from cowrie_assets_tests.test_migration import migrate, pipeline_for, verdicts

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

line = pipeline_for(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
before = peak()
migrate(line)
assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
print(before, peak())
"""


def peak_megabytes(path: Path, url: str, folder: Path) -> int:
    """Migrate in a process of its own; by how many MB its resident memory grew at most."""
    command = [sys.executable, "-c", MEASURED, str(path), url, str(folder)]
    before, after = map(int, subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split())
    return after - before


def event(*members: str) -> str:
    """A document with the fields that are read, and further members as JSON text."""
    return "{" + ", ".join(('"session": "s1"', *members, '"timestamp": "2026-10-01T00:00:00Z"')) + "}"


def nested(depth: int) -> str:
    """An event that is nested so deep."""
    return event('"deep": ' + '{"a":' * (depth - 2) + "[]" + "}" * (depth - 2))


def source(path: Path, payloads: list[str]) -> Path:
    """raw_events with these payloads."""
    database(
        path,
        "CREATE TABLE raw_events (id INTEGER PRIMARY KEY, source TEXT, source_inode TEXT, source_offset INTEGER,"
        " source_generation INTEGER, ingest_at DATETIME, payload JSON)",
    )
    with opened(path) as connection:
        for number, payload in enumerate(payloads, 1):
            values = (number, "s", "i", number, 0, "2026-10-02 00:00:00", payload)
            connection.execute("INSERT INTO raw_events VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    return path


# Each with the rules of its repair, or of its quarantine after a "!"; a member that was read from it.
PAYLOADS: dict[str, tuple[Callable[[int], str], str]] = {
    "a long string": (lambda size: event(f'"x": "{"a" * size}"'), ""),
    "many keys": (lambda size: event(*(f'"k{n}": {n}' for n in range(size // 100))), ""),
    "many keys, one twice": (lambda size: event(*(f'"k{n}": {n}' for n in range(size // 100)), '"k1": 0'), "json.duplicate"),
    "a long key": (lambda size: event(f'"{"k" * size}": 1'), ""),
    "a long key twice": (lambda size: event(*[f'"{"k" * (size // 2)}": 1'] * 2), "json.duplicate"),
    "a long array": (lambda size: event(f'"x": [{",".join(map(str, range(size)))}]'), ""),
    "NULs": (lambda size: event('"x": "' + r"a\u0000" * (size // 7) + '"'), "json.nul"),
    "lone surrogates": (lambda size: event('"x": "' + r"\ud800" * (size // 6) + '"'), "json.surrogate"),
    "a long number": (lambda size: event(f'"x": {"1" * size}'), "json.number"),
    "cut off": (lambda size: event(f'"y": 1, "x": "{"a" * size}')[: size // 2], "json.truncated"),
    "the same field again and again": (lambda size: "{" + '"session": "s1", ' * (size // 17), "json.truncated+json.duplicate"),
    "single quotes": (lambda size: event(f'"x": "{"a" * size}"').replace('"', "'"), "json.json5"),
    "no JSON": (lambda size: "x" * size, "!json.unreadable"),
    "only quotes": (lambda size: '"' * size, "!json.unreadable"),
    "only brackets": (lambda size: "[" * size, "!json.depth"),
    "comments that never end": (lambda size: "{/*" * (size // 3), "!json.unreadable"),
    "backslashes": (lambda size: '{"a": "' + "\\" * (size | 1), "!json.unreadable"),
    "depth 10,000": (lambda size: nested(10_000), ""),
    "depth 10,001": (lambda size: nested(10_001), "!json.depth"),
    "depth 14,000": (lambda size: nested(14_000), "!json.depth"),
}  # fmt: skip


def check_payloads(names: list[str], size: int, url: str, folder: Path) -> int:
    """Migrate payloads of about that many bytes, see what became of each, and return the growth in MB."""
    texts = [PAYLOADS[name][0](size) for name in names]
    path = source(folder / "s.sqlite", texts)
    grown = peak_megabytes(path, url, folder)
    found = dict.fromkeys(range(1, len(names) + 1), "")
    found |= dict(query(url, "SELECT source_rowid, rule FROM cowrie_migration.repairs"))
    found |= {
        rowid: f"!{rule}" for rowid, rule in query(url, "SELECT source_rowid, rule FROM cowrie_migration.quarantine")
    }
    assert dict(zip(names, found.values(), strict=True)) == {name: PAYLOADS[name][1] for name in names}
    kept = [number for number, rule in found.items() if not rule.startswith("!")]
    assert query(url, "SELECT array_agg(id ORDER BY id) FROM raw_events WHERE session_id = 's1'") == [(kept or None,)]
    for number, name in enumerate(names, 1):
        if found[number] == "":
            # Compared by the server itself: what was sent is what the source holds.
            same = "SELECT payload = %s::jsonb FROM raw_events WHERE id = %s"
            assert query(url, same, (texts[number - 1], number)) == [(True,)], name
        elif "!" not in found[number]:
            original = (
                "SELECT convert_from(original, 'UTF8') = %s FROM cowrie_migration.repairs WHERE source_rowid = %s"
            )
            assert query(url, original, (texts[number - 1], number)) == [(True,)], name
    return grown


def test_payloads_of_200_kb_and_of_every_depth(pg_url: str, tmp_path: Path) -> None:
    assert check_payloads(list(PAYLOADS), 200_000, pg_url, tmp_path) < 200


@pytest.mark.slow
def test_a_key_of_a_megabyte_and_an_array_of_a_million(pg_url: str, tmp_path: Path) -> None:
    grown = check_payloads(list(PAYLOADS), 1_000_000, pg_url, tmp_path)
    print(f"all at 1 MB: {grown} MB")
    assert grown < 600


TENTH = ("the same field again and again", "a long array")
"""Millions of members: what they become in Python costs about 100 bytes each, so a tenth of the size does."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAYLOADS if "depth" not in name])
def test_a_payload_of_100_mb(name: str, pg_url: str, tmp_path: Path) -> None:
    grown = check_payloads([name], (10 if name in TENTH else 100) * MB, pg_url, tmp_path)
    print(f"{name}: {grown} MB")
    assert grown < 2_600


@pytest.mark.slow
def test_texts_and_blobs_of_100_mb(pg_url: str, tmp_path: Path) -> None:
    path = database(
        tmp_path / "s.sqlite",
        "CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT, b BLOB)",
        f"INSERT INTO t VALUES ('1', hex(zeroblob({50 * MB})), NULL), ('2', NULL, randomblob({100 * MB}))",
        f"INSERT INTO t VALUES ('3', hex(zeroblob({50 * MB})) || char(0), NULL), (NULL, NULL, randomblob({100 * MB}))",
    )
    grown = peak_megabytes(path, pg_url, tmp_path)
    print(f"texts and blobs: {grown} MB")
    with opened(path) as connection:
        blob = connection.execute("SELECT b FROM t WHERE k = '2'").fetchone()[0]
    assert query(pg_url, "SELECT k::int, length(a), b = %s FROM t ORDER BY k", (blob,)) == [
        (1, 100 * MB, None),
        (2, None, True),
        (3, 100 * MB + 4, None),
    ]
    assert query(pg_url, "SELECT source_rowid, rule FROM cowrie_migration.quarantine") == [(4, "key.null")]
    assert grown < 2_600


def test_a_thousand_columns_and_names_that_are_sql(pg_url: str, tmp_path: Path) -> None:
    names = ['"', '""; DROP TABLE files; --', "a b", "%s", "%(x)s", "100%", "select", "Ünï", "x" * 63, "\\", "'"]
    columns = [*names, *(f"c{n}" for n in range(1_000 - len(names)))]

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    path = tmp_path / "s.sqlite"
    listed = ", ".join(f"{quoted(name)} TEXT" for name in columns)
    with opened(path) as connection:
        connection.execute(f"CREATE TABLE wide ({listed})")
        connection.execute(f"INSERT INTO wide VALUES ({', '.join('?' * 1_000)})", columns)
        for name in names:
            connection.execute(f"CREATE TABLE {quoted(name)} ({quoted(name)} INTEGER PRIMARY KEY, t TEXT)")
            connection.execute(f"INSERT INTO {quoted(name)} VALUES (7, ?)", (name,))
            connection.execute(f"CREATE UNIQUE INDEX {quoted('u' + name)} ON {quoted(name)} (t)")
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    with line.locked():
        for table, keys in units(line.plan):
            for key in keys:
                assert line.load(table, key, "again", force=True).loaded == 1
    line.finish()
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    assert query(pg_url, "SELECT * FROM wide") == [tuple(columns)]
    for name in names:
        assert query(pg_url, f"INSERT INTO {quoted(name)} (t) VALUES ('next'); SELECT * FROM {quoted(name)}") == []
        assert query(pg_url, f"SELECT * FROM {quoted(name)} ORDER BY 1") == [(7, name), (8, "next")]


@pytest.mark.parametrize(
    "tables",
    [
        ["CREATE TABLE t (ctid TEXT)"],
        ['CREATE TABLE "" (a TEXT)'],
        ['CREATE TABLE t ("" TEXT)'],
        [f"CREATE TABLE {'x' * 63}a (k)", f"CREATE TABLE {'x' * 63}b (k)"],
        [f"CREATE TABLE t ({'x' * 63}a, {'x' * 63}b)"],
    ],
)
def test_a_name_that_postgresql_cannot_take_is_refused_in_one_line(
    tables: list[str], pg_url: str, tmp_path: Path
) -> None:
    line = pipeline_for(database(tmp_path / "s.sqlite", *tables), pg_url, tmp_path)
    with pytest.raises(TargetError, match=r"cannot take the name .* Rename it in a copy of the source\.") as caught:
        line.prepare()
    assert caught.value.exit_code == 2
    assert query(pg_url, "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'cowrie_migration')") == [(0,)]


def test_names_over_63_bytes_are_cut_as_postgresql_does(pg_url: str, tmp_path: Path) -> None:
    name = "é" * 40
    path = database(
        tmp_path / "s.sqlite",
        f'CREATE TABLE "{name}" ("{name}" INTEGER PRIMARY KEY, t TEXT UNIQUE)',
        f"INSERT INTO \"{name}\" VALUES (1, 'x')",
    )
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    line.prepare()
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    assert query(pg_url, f'SELECT * FROM "{"é" * 31}"') == [(1, "x")]
