"""The proof finds every fault that is put into the target or the ledger, and none where there is none.

Not here: its reading of single values (`test_proof_values.py`).
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from cowrie_assets.pipeline import Pipeline
from cowrie_assets.validation.prove import prove_cells
from cowrie_assets.validation.totals import check_totals
from cowrie_assets.validation.verdicts import Difference, Extent, Proof, Verdict
from cowrie_assets_tests.conftest import empty
from cowrie_assets_tests.dirty import make
from cowrie_assets_tests.faults import KINDS, Connection, Loaded, Place
from cowrie_assets_tests.test_dirty import migrate, pipeline
from cowrie_assets_tests.test_migration import units


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
        with psycopg.connect(module_url) as connection:
            empty(connection)
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
        with psycopg.connect(module_url) as connection:
            empty(connection)
        line = loaded(tmp_path / f"{seed}.sqlite", module_url, seed, dirt=0.3 * (seed % 2))
        with line.connect() as connection:
            assert differences(line, connection) == ([], []), seed
