"""The proof finds every fault that is put into the target or the ledger, and none where there is none.

Not here: its reading of single values (`test_proof_values.py`).
"""

from __future__ import annotations

import base64
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cowrie_assets.catalog import Column, Table, Type
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.source.schema import quoted
from cowrie_assets.validation.prove import prove_cells
from cowrie_assets.validation.totals import check_totals
from cowrie_assets.validation.verdicts import Difference, Extent, Proof, Verdict
from cowrie_assets_tests.conftest import execute, new_database
from cowrie_assets_tests.dirty import make
from cowrie_assets_tests.test_dirty import migrate, pipeline
from cowrie_assets_tests.test_migration import units

Connection = psycopg.Connection[tuple[Any, ...]]
Place = tuple[str, str, str]
"""Table, key and column of a fault; no column where a whole row is at fault."""
AT_ONCE = 25
"""Faults of a kind put in at one time."""


@dataclass
class Loaded:
    """A migrated database and a connection to it."""

    line: Pipeline
    connection: Connection
    rng: random.Random

    def cells(self, *kinds: Type) -> list[tuple[Table, Column]]:
        """The columns of these types that are in no key and stored in the source, in tables with a key of one column."""
        found = [
            (t.target, c)
            for t in self.line.plan.tables.values()
            if len(t.target.key) == 1
            for c in t.target.columns
            if c.type in kinds and c.name in t.source.stored
        ]
        return [(t, c) for t, c in found if not any(c.name in s for s in t.unique_sets)]

    def values(self, table: Table, column: Column) -> list[tuple[str, Any]]:
        """(key, value) of every row of ours."""
        key = quoted(table.key[0])
        rows = self.connection.execute(
            f"SELECT {key}::text, {quoted(column.name)}::text FROM {quoted(table.name)} ORDER BY 1".encode()
        )
        return [(k, v) for k, v in rows if not (table.name == "schema_state" and k == "schema_version")]

    def set(self, table: Table, column: Column, key: str, value: Any) -> None:
        """Write a value over a cell."""
        self.connection.execute(
            f"UPDATE {quoted(table.name)} SET {quoted(column.name)} = %s::text::{column.type.value}"
            f" WHERE {quoted(table.key[0])}::text = %s".encode(),
            (value, key),
        )

    def change(self, kinds: tuple[Type, ...], changed: Callable[[Any], Any]) -> list[Place]:
        """Change up to AT_ONCE cells; `changed` gives the new value, or the same where the cell does not do."""
        candidates = [
            (table, column, key, new)
            for table, column in self.cells(*kinds)
            for key, value in self.values(table, column)
            if (new := changed(value)) != value
        ]
        chosen = self.rng.sample(candidates, min(AT_ONCE, len(candidates)))
        for table, column, key, new in chosen:
            self.set(table, column, key, new)
        return [(table.name, key, column.name) for table, column, key, _ in chosen]


def _flipped(rng: random.Random, text: str) -> str:
    at = [i for i, c in enumerate(text) if " " < c < "~"]
    if not at:
        return text
    place = rng.choice(at)
    other = chr(ord(text[place]) ^ 1)
    return text[:place] + other + text[place + 1 :]


def bit_flip(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: v and _flipped(db.rng, v))


def bit_flip_in_json(db: Loaded) -> list[Place]:
    def changed(value: str | None) -> str | None:
        document: Any = None if value is None else json.loads(value)
        texts = [k for k, v in document.items() if isinstance(v, str) and v] if isinstance(document, dict) else []
        if not texts:
            return value
        name = db.rng.choice(texts)
        document[name] = _flipped(db.rng, document[name])
        return json.dumps(document) if document != json.loads(value or "") else value

    return db.change((Type.JSONB,), changed)


def payloads_swapped(db: Loaded) -> list[Place]:
    places: list[Place] = []
    for table, column in db.cells(Type.JSONB):
        rows = db.values(table, column)
        db.rng.shuffle(rows)
        for (a, x), (b, y) in zip(rows[0:10:2], rows[1:10:2], strict=False):
            if x != y and None not in (x, y):
                db.set(table, column, a, y)
                db.set(table, column, b, x)
                places += [(table.name, a, column.name), (table.name, b, column.name)]
    return places


def row_dropped(db: Loaded) -> list[Place]:
    rows = {(t.name, key): t for t, c in db.cells(*Type) for key, _ in db.values(t, c)}
    chosen = db.rng.sample(sorted(rows), min(AT_ONCE, len(rows)))
    for name, key in chosen:
        sql = f"DELETE FROM {quoted(name)} WHERE {quoted(rows[name, key].key[0])}::text = %s"
        db.connection.execute(sql.encode(), (key,))
    return [(name, key, "") for name, key in chosen]


def row_doubled(db: Loaded) -> list[Place]:
    tables = {t.name: t for t, _ in db.cells(*Type)}
    places: list[Place] = []
    for name, table in tables.items():
        for (constraint,) in db.connection.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('p', 'u')", (quoted(name),)
        ).fetchall():
            db.connection.execute(f"ALTER TABLE {quoted(name)} DROP CONSTRAINT {quoted(constraint)}".encode())
        key = quoted(table.key[0])
        for (unique,) in db.connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indisunique",
            (quoted(name),),
        ).fetchall():
            db.connection.execute(f"DROP INDEX {unique}".encode())
        keys = [k for (k,) in db.connection.execute(f"SELECT {key}::text FROM {quoted(name)}".encode()).fetchall()]
        keys = [k for k in keys if (name, k) != ("schema_state", "schema_version")]
        for chosen in db.rng.sample(sorted(keys), min(4, len(keys))):
            sql = f"INSERT INTO {quoted(name)} SELECT * FROM {quoted(name)} WHERE {key}::text = %s LIMIT 1"
            db.connection.execute(sql.encode(), (chosen,))
            places.append((name, chosen, ""))
    return places


def null_for_empty(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: None if v == "" else v) if _nullable(db) else []


def _nullable(db: Loaded) -> bool:
    for table, column in db.cells(Type.TEXT):
        sql = f"ALTER TABLE {quoted(table.name)} ALTER COLUMN {quoted(column.name)} DROP NOT NULL"
        db.connection.execute(sql.encode())
    return True


def empty_for_null(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: "" if v is None else v)


def one_microsecond(db: Loaded) -> list[Place]:
    places = []
    rows = [(t, c, k) for t, c in db.cells(Type.TIMESTAMPTZ) for k, v in db.values(t, c) if v is not None]
    for table, column, key in db.rng.sample(rows, min(AT_ONCE, len(rows))):
        name = quoted(column.name)
        db.connection.execute(
            f"UPDATE {quoted(table.name)} SET {name} = {name} - interval '1 microsecond'"
            f" WHERE {quoted(table.key[0])}::text = %s".encode(),
            (key,),
        )
        places.append((table.name, key, column.name))
    return places


def trailing_space(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: v if v is None else v + " ")


def letter_case(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: v if v is None else v[:1].swapcase() + v[1:])


def sign_of_zero(db: Loaded) -> list[Place]:
    return db.change((Type.DOUBLE,), lambda v: "-0" if v == "0" else v)


def integer_off_by_one(db: Loaded) -> list[Place]:
    return db.change((Type.BIGINT,), lambda v: v if v is None or abs(int(v)) > 2**62 else str(int(v) + 1))


def boolean_turned(db: Loaded) -> list[Place]:
    return db.change((Type.BOOLEAN,), lambda v: {"true": "false", "false": "true"}.get(v, v))


def _lines(db: Loaded, name: str, columns: str) -> list[tuple[Any, ...]]:
    rows = db.connection.execute(
        f"SELECT ctid::text, table_name, source_rowid, target_key, {columns} FROM cowrie_migration.{name}"
        " WHERE source_rowid IS NOT NULL".encode()
    ).fetchall()
    keyed = {t.name for t, _ in db.cells(*Type)}
    db.rng.shuffle(rows)
    # One line a row: a row whose key is not found has no cells to compare.
    rows = list({(r[1], r[2]): r for r in rows if r[1] in keyed}.values())
    return db.rng.sample(sorted(rows, key=str), min(AT_ONCE, len(rows)))


def repair_removed(db: Loaded) -> list[Place]:
    rows = _lines(db, "repairs", "column_name")
    for line, *_ in rows:
        db.connection.execute("DELETE FROM cowrie_migration.repairs WHERE ctid = %s::tid", (line,))
    return [(table, f"row {rowid}", column) for _, table, rowid, _, column in rows]


def repair_altered(db: Loaded) -> list[Place]:
    rows = _lines(db, "repairs", "column_name")
    for line, *_ in rows:
        what = db.rng.choice(
            ["original = coalesce(original, '') || '\\x41'::bytea", "original_type = 'odd'", "rule = rule || 'x'"]
        )
        db.connection.execute(f"UPDATE cowrie_migration.repairs SET {what} WHERE ctid = %s::tid".encode(), (line,))
    return [(table, f"row {rowid}", column) for _, table, rowid, _, column in rows]


def quarantine_byte(db: Loaded) -> list[Place]:
    places = []
    for line, table, rowid, _, original in _lines(db, "quarantine", "original"):
        cells = [n for n, c in original.items() if c["type"] in ("text", "blob") and c["value"]]
        if cells:
            name = db.rng.choice(cells)
            raw = bytearray(base64.b64decode(original[name]["value"]))
            raw[db.rng.randrange(len(raw))] ^= 1 << db.rng.randrange(8)
            original[name]["value"] = base64.b64encode(raw).decode()
            db.connection.execute(
                "UPDATE cowrie_migration.quarantine SET original = %s WHERE ctid = %s::tid",
                (json.dumps(original), line),
            )
            places.append((table, f"row {rowid}", name))
    return places


KINDS = (
    bit_flip, bit_flip_in_json, payloads_swapped, row_dropped, row_doubled, null_for_empty, empty_for_null,
    one_microsecond, trailing_space, letter_case, sign_of_zero, integer_off_by_one, boolean_turned, repair_removed,
    repair_altered, quarantine_byte,
)  # fmt: skip


def loaded(path: Path, url: str, seed: int, dirt: float = 0.3) -> Pipeline:
    """A migrated dirty database, with a table of zeros and empty texts besides."""
    make(path, seed, dirt=dirt, rows=150)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE zeros (id INTEGER PRIMARY KEY, r REAL, empty TEXT)")
        db.executemany("INSERT INTO zeros (r, empty) VALUES (?, ?)", [(0.0, "")] * 40)
        db.commit()
    line = pipeline(path, path.parent / f"{path.stem}-home", seed, url)
    migrate(line)
    return line


def differences(line: Pipeline, connection: Connection) -> tuple[list[Difference], list[str]]:
    """What the proof reports over all tables, and the faults of its counts."""
    found: list[Difference] = []
    faults: list[str] = []
    for table, keys in units(line.plan):
        for result in prove_cells(connection, line.plan, line.checked_source(), table, keys):
            found += result.differences
            faults += result.faults
            assert (result.verdict is Verdict.FAIL) == bool(result.different or result.faults)
    return found, faults


def missed(places: list[Place], found: list[Difference]) -> list[Place]:
    """The faults that no difference names."""
    named = {(d.table, d.key, d.column) for d in found} | {(d.table, f"row {d.rowid}", d.column) for d in found}
    return [p for p in places if p not in named]


def inject(line: Pipeline, kind: Callable[[Loaded], list[Place]], seed: int) -> tuple[int, list[Place]]:
    """Put faults of a kind in, look, and take them out again: how many, and which were not found."""
    with line.connect() as connection, connection.transaction(force_rollback=True):
        places = kind(Loaded(line, connection, random.Random(seed)))
        found, _ = differences(line, connection)
        return len(places), missed(places, found)


@pytest.fixture(scope="module")
def module_url(server_url: str, role: tuple[str, str]) -> Iterator[str]:
    """A database for all tests of this module."""
    new_database(server_url, "proof_module", role[0])
    yield psycopg.conninfo.make_conninfo(server_url, dbname="proof_module", user=role[0], password=role[1])
    execute(server_url, "DROP DATABASE proof_module WITH (FORCE)")


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory, module_url: str) -> Pipeline:
    return loaded(tmp_path_factory.mktemp("proof") / "s.sqlite", module_url, 3)


def test_a_good_load_passes(dirty: Pipeline) -> None:
    with dirty.connect() as connection:
        assert differences(dirty, connection) == ([], [])


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_fault_is_found_where_it_is(dirty: Pipeline, kind: Callable[[Loaded], list[Place]]) -> None:
    put, lost = inject(dirty, kind, 1)
    assert put > 0
    assert lost == []


def test_one_fault_is_one_difference(dirty: Pipeline) -> None:
    with dirty.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("UPDATE zeros SET empty = 'x' WHERE id = 7")
        found, faults = differences(dirty, connection)
    assert [str(d) for d in found] == ["row 7, empty: source text b'', target b'x', and no repair is listed"]
    assert faults == []


def test_what_is_the_same_value_is_no_fault(dirty: Pipeline) -> None:
    with dirty.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("UPDATE raw_events SET payload = payload::text::jsonb, ingest_at = ingest_at")
        assert differences(dirty, connection) == ([], [])


def test_rows_of_the_application_are_told_apart_from_doubled_ones(dirty: Pipeline) -> None:
    def total(connection: Connection) -> tuple[Verdict, int, str]:
        source = dirty.checked_source()
        [found] = [t for t in check_totals(connection, dirty.plan, source) if t.table == "dead_letter_events"]
        return found.verdict, found.others, found.detail

    columns = "ingest_id, source, source_offset, reason, payload, metadata_json, created_at, resolved, resolved_at"
    with dirty.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO dead_letter_events (reason, payload) VALUES ('new', '{}')")
        assert total(connection) == (Verdict.PASS, 1, "")
        assert differences(dirty, connection) == ([], [])
        connection.execute(
            f"INSERT INTO dead_letter_events ({columns})"
            f" SELECT {columns} FROM dead_letter_events ORDER BY id LIMIT 1".encode()
        )
        verdict, others, detail = total(connection)
        assert (verdict, others) == (Verdict.FAIL, 2)
        assert "once more" in detail


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM cowrie_migration.derivations",
        "UPDATE cowrie_migration.partitions SET key_ids = key_ids - int8multirange(int8range(lower(key_ids), lower(key_ids)"
        " + 1)) WHERE table_name = 'raw_events' AND loaded_rows > 0",
        "UPDATE cowrie_migration.partitions SET loaded_rows = loaded_rows + 1 WHERE table_name = 'raw_events'",
        "INSERT INTO cowrie_migration.repairs (table_name, source_rowid, column_name, rule, original, original_type,"
        " replacement, target_key, partition_key) SELECT 'zeros', 1, 'empty', 'text.nul', '', 'text', '', '1', 'all'",
        "UPDATE cowrie_migration.repairs SET partition_key = 'elsewhere'",
    ],
)  # fmt: skip
def test_a_ledger_that_does_not_fit_fails(dirty: Pipeline, damage: str) -> None:
    with dirty.connect() as connection, connection.transaction(force_rollback=True):
        assert (connection.execute(damage.encode()).rowcount or 0) > 0
        found, faults = differences(dirty, connection)
        assert found or faults


def test_a_sample_sees_its_rows_and_says_so(dirty: Pipeline) -> None:
    table, keys = next(u for u in units(dirty.plan) if u[0] == "raw_events")
    everything = dirty.validate(table, keys)
    sampled = dirty.validate(table, keys, Extent.parse("50%"))
    counted = dirty.validate(table, keys, Extent(Proof.COUNTS))
    assert {r.verdict for r in [*everything, *sampled, *counted]} == {Verdict.PASS}
    assert {r.proof for r in sampled} == {Proof.SAMPLE}
    assert sum(r.cells for r in everything) >= sum(r.cells for r in sampled) > 0
    assert sum(r.cells for r in counted) == 0
    assert [r.source for r in sampled] == [r.source for r in everything] == [r.source for r in counted]


def test_what_was_proven_of_the_same_load_is_not_proven_again(dirty: Pipeline) -> None:
    table, keys = next(u for u in units(dirty.plan) if u[0] == "raw_events")
    first = dirty.validate(table, keys)
    again = dirty.validate(table, keys, force=False)
    assert [(r.source, r.target, r.quarantined, r.verdict) for r in again] == [
        (r.source, r.target, r.quarantined, r.verdict) for r in first
    ]
    assert not any(r.made for r in again)
    assert all(r.made for r in dirty.validate(table, keys))


@pytest.mark.fuzz
def test_a_thousand_faults_of_each_kind_are_found(
    tmp_path: Path, module_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put: Counter[str] = Counter()
    found: Counter[str] = Counter()
    seed = 1_000
    while any(put[kind.__name__] < 1_000 for kind in KINDS):
        seed += 1
        with psycopg.connect(module_url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS cowrie_migration CASCADE")
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        line = loaded(tmp_path / f"{seed}.sqlite", module_url, seed)
        for kind in KINDS:
            for again in range(4 if put[kind.__name__] < 1_000 else 0):
                count, lost = inject(line, kind, seed * 10 + again)
                put[kind.__name__] += count
                found[kind.__name__] += count - len(lost)
                assert lost == [], (seed, kind.__name__)
    with capsys.disabled():
        for name in put:
            print(f"{name}: {found[name]:,} of {put[name]:,} found")
    assert found == put


@pytest.mark.fuzz
@pytest.mark.parametrize("chunk", range(20))
def test_no_false_alarm_on_a_thousand_databases(tmp_path: Path, module_url: str, chunk: int) -> None:
    """Half of them entirely clean, half dirty and well migrated."""
    for seed in range(chunk * 50, chunk * 50 + 50):
        with psycopg.connect(module_url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS cowrie_migration CASCADE")
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        line = loaded(tmp_path / f"{seed}.sqlite", module_url, seed, dirt=0.3 * (seed % 2))
        with line.connect() as connection:
            assert differences(line, connection) == ([], []), seed
