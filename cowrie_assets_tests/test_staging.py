"""Staged files: whole or not at all, every cell as stored, one pass, resumed where it stopped.

Not here: reading SQLite alone (`test_source.py`).
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.demo import make_demo
from cowrie_assets.errors import StagingError
from cowrie_assets.planning.scan import make_plan
from cowrie_assets.settings import Settings
from cowrie_assets.source import reader
from cowrie_assets.source.cells import Cells
from cowrie_assets.source.reader import Batch, Range, join
from cowrie_assets.source.schema import SourceTable
from cowrie_assets.source.sqlite import read_only
from cowrie_assets.staging import stage as stage_module
from cowrie_assets.staging.digest import PartitionDigest
from cowrie_assets.staging.files import read_partition, to_batch, to_table
from cowrie_assets.staging.stage import stage
from cowrie_assets.staging.store import Store, part
from cowrie_assets_tests.test_source import opened

CELL = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.binary(max_size=20).map(bytearray),
)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20))
def test_every_cell_survives_parquet(rows: list[tuple[object, object]]) -> None:
    a, b = (list(column) for column in zip(*rows, strict=True))
    batch = Batch(pa.array(range(len(rows)), pa.int64()), {"a": Cells.encode(a), "b": Cells.encode(b)})
    sink = pa.BufferOutputStream()
    pq.write_table(to_table(batch), sink)
    again = to_batch(pq.read_table(pa.BufferReader(sink.getvalue())))
    for name, values in (("a", a), ("b", b)):
        read = again.columns[name].values()
        assert read == values
        assert list(map(type, read)) == list(map(type, values))


@given(st.lists(CELL, min_size=1, max_size=20), st.data())
def test_the_digest_does_not_depend_on_the_chunks(cells: list[object], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(cells)))

    def digest(*parts: list[object]) -> str:
        total, first = PartitionDigest(), 0
        for values in parts:
            if values:
                ids = pa.array(range(first, first + len(values)), pa.int64())
                total.add(Batch(ids, {"c": Cells.encode(values)}))
                first += len(values)
        return total.hex()

    assert digest(cells[:cut], cells[cut:]) == digest(cells)
    changed = [*cells[:-1], bytearray(b"another")] if cells[-1] != bytearray(b"another") else [*cells[:-1], None]
    assert digest(changed) != digest(cells)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of several chunks."""
    monkeypatch.setattr(reader, "BATCH_BYTES", 64 << 10)
    monkeypatch.setattr(stage_module, "CHUNK_BYTES", 128 << 10)
    path = tmp_path / "small.sqlite"
    make_demo(path, events=2_000, days=3, last_day=date(2026, 10, 31))
    return path


def test_partitions_hold_the_tables_rows(small: Path, tmp_path: Path) -> None:
    plan, store = make_plan(Settings(source=small)), Store(str(tmp_path / "staging"))
    keys = plan.partitions("raw_events")
    staged = stage(plan, small, store, "raw_events", keys)
    batches = [b for key in keys for b in read_partition(store, staged[key][0])]
    rowids = join(batches).rowids.to_pylist()
    assert sorted(rowids) == list(range(1, 2_001))
    assert {k: m.rows for k, (m, _) in staged.items()} == {k: plan.tables["raw_events"].slice(k).rows for k in keys}
    assert len({p.file for m, _ in staged.values() for p in m.pieces}) > 3


def test_a_range_is_one_pass_and_a_complete_partition_none(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = make_plan(Settings(source=small)), Store(str(tmp_path / "staging"))
    passes: list[object] = []

    def counted(
        connection: sqlite3.Connection, table: SourceTable, ranges: list[Range], *, damage: None
    ) -> Iterator[Batch]:
        passes.append(ranges)
        return reader.read_table(connection, table, ranges)

    monkeypatch.setattr(stage_module, "read_table", counted)
    stage(plan, small, store, "raw_events", plan.windows.keys)
    assert len(passes) == 1
    again = stage(plan, small, store, "raw_events", plan.windows.keys)
    assert len(passes) == 1
    assert not any(made for _, made in again.values())
    forced = stage(plan, small, store, "raw_events", plan.windows.keys, force=True)
    assert {k: m.digest for k, (m, _) in forced.items()} == {k: m.digest for k, (m, _) in again.items()}


def test_one_day_reads_only_where_its_rows_lie(small: Path, tmp_path: Path) -> None:
    plan, store = make_plan(Settings(source=small)), Store(str(tmp_path / "staging"))
    alone = stage(plan, small, store, "raw_events", plan.windows.keys[:1])
    together = stage(plan, small, Store(str(tmp_path / "other")), "raw_events", plan.windows.keys)
    key = plan.windows.keys[0]
    assert alone[key][0].digest == together[key][0].digest


def test_a_killed_pass_goes_on_behind_its_last_chunk(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(Settings(source=small))
    whole = stage(plan, small, Store(str(tmp_path / "whole")), "raw_events", plan.windows.keys)
    store = Store(str(tmp_path / "staging"))
    seen = 0

    def stop(table: str, rows: int, expected: int | None) -> None:
        nonlocal seen
        seen += rows
        if seen > 1_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(plan, small, store, "raw_events", plan.windows.keys, progress=stop)
    chunks = store.list("staging/raw_events/chunks")
    assert chunks
    before = {c: (tmp_path / "staging/staging/raw_events/chunks" / c).stat().st_mtime_ns for c in chunks}
    read: list[int] = []
    resumed = stage(
        plan, small, store, "raw_events", plan.windows.keys, progress=lambda table, rows, expected: read.append(rows)
    )
    assert sum(read) < 2_000
    assert {k: (m.digest, m.rows) for k, (m, _) in resumed.items()} == {
        k: (m.digest, m.rows) for k, (m, _) in whole.items()
    }
    assert all((tmp_path / "staging/staging/raw_events/chunks" / c).stat().st_mtime_ns == t for c, t in before.items())


def test_a_file_of_another_pass_is_no_continuation(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(Settings(source=small))
    store = Store(str(tmp_path / "staging"))
    whole = stage(plan, small, store, "raw_events", plan.windows.keys)
    folder = tmp_path / "staging/staging/raw_events"
    chunks = sorted((folder / "chunks").iterdir())
    for manifest in folder.glob("*.json"):
        manifest.unlink()
    shutil.copy(chunks[0], chunks[1])
    chunks[2].write_bytes(b"cut off")
    again = stage(plan, small, store, "raw_events", plan.windows.keys)
    assert {k: m for k, (m, _) in again.items()} == {k: m for k, (m, _) in whole.items()}


def test_a_partition_without_its_files_is_staged_again(small: Path, tmp_path: Path) -> None:
    plan, store = make_plan(Settings(source=small)), Store(str(tmp_path / "staging"))
    key = plan.windows.keys[0]
    ((manifest, _),) = stage(plan, small, store, "raw_events", [key]).values()
    store.delete(manifest.pieces[0].file)
    ((again, made),) = stage(plan, small, store, "raw_events", [key]).values()
    assert made
    assert again == manifest
    store.write_json(f"staging/raw_events/{key}.json", {"of": "another version"})
    assert stage(plan, small, store, "raw_events", [key])[key] == (manifest, True)


def test_a_damaged_file_is_named(small: Path, tmp_path: Path) -> None:
    plan, store = make_plan(Settings(source=small)), Store(str(tmp_path / "staging"))
    key = plan.windows.keys[0]
    ((manifest, _),) = stage(plan, small, store, "raw_events", [key]).values()
    first = manifest.pieces[0]
    for pieces in ((replace(first, rows=first.rows + 1),), (replace(first, row_group=99),)):
        with pytest.raises(StagingError, match="is damaged"):
            list(read_partition(store, replace(manifest, pieces=pieces)))
    with store.writing(first.file) as stream:
        stream.write(b"no parquet")
    with pytest.raises(StagingError, match="is damaged"):
        list(read_partition(store, manifest))
    with store.writing("plan.json") as stream:
        stream.write(b'{"cut": ')
    with pytest.raises(StagingError, match=r"plan\.json is damaged"):
        store.read_json("plan.json")


def test_a_changed_source_is_staged_again_and_moved_rows_are_found(small: Path, tmp_path: Path) -> None:
    source = tmp_path / "live.sqlite"
    shutil.copy(small, source)
    plan, store = make_plan(Settings(source=source)), Store(str(tmp_path / "staging"))
    first = stage(plan, source, store, "command_stats", plan.windows.keys)
    with opened(source) as connection:
        moved = connection.execute(
            "UPDATE command_stats SET first_seen = '2026-10-31 00:00:00' WHERE first_seen < '2026-10-30'"
        ).rowcount
    again = stage(plan, source, store, "command_stats", plan.windows.keys)
    last = plan.windows.keys[-1]
    assert again[last][0].rows == first[last][0].rows + moved
    assert again[last][0].digest != first[last][0].digest


def test_rows_that_move_just_before_the_snapshot_are_found(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "live.sqlite"
    shutil.copy(small, source)
    plan, store = make_plan(Settings(source=source)), Store(str(tmp_path / "staging"))
    last = plan.windows.keys[-1]
    planned = plan.tables["raw_events"].slice(last)

    @contextmanager
    def after_a_commit(path: Path) -> Iterator[sqlite3.Connection]:
        with opened(source) as writer:
            writer.execute(
                "UPDATE raw_events SET payload = json_set(payload, '$.timestamp', ?) WHERE id = 1",
                (f"{last}T00:00:00Z",),
            )
        with read_only(path) as connection:
            yield connection

    monkeypatch.setattr(stage_module, "read_only", after_a_commit)
    ((manifest, _),) = stage(plan, source, store, "raw_events", [last]).values()
    assert planned.ranges[0][0] > 1
    assert manifest.rows == planned.rows + 1


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(ValueError, match="stop"), store.writing("a/b.bin") as stream:
        stream.write(b"half")
        raise ValueError("stop")
    assert not store.exists("a/b.bin")
    assert store.list("a") == []
    with store.writing("a/b.bin") as stream:
        stream.write(b"whole")
    with store.open("a/b.bin") as file:
        assert file.read() == b"whole"
    with pytest.raises(StagingError, match="missing"):
        store.open("a/none")


@pytest.mark.parametrize("name", ["../x", "..", ".", "/etc/passwd", "a/../../b", "a\\b", "ü x", "%2E%2E"])
def test_a_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    safe = part(name)
    assert "/" not in safe
    assert (tmp_path / "folder" / safe).resolve().parent == (tmp_path / "folder").resolve()


def test_a_forced_pass_has_its_own_files_and_the_replaced_ones_go(small: Path, tmp_path: Path) -> None:
    plan, store = make_plan(Settings(source=small)), Store(str(tmp_path / "staging"))
    keys = plan.windows.keys
    first = stage(plan, small, store, "raw_events", keys)
    before = {p.file for m, _ in first.values() for p in m.pieces}

    def stop(table: str, rows: int, expected: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(plan, small, store, "raw_events", keys, force=True, progress=stop)
    # What the complete manifests name is as it was.
    assert sum(len(b) for m, _ in first.values() for b in read_partition(store, m)) == sum(
        m.rows for m, _ in first.values()
    )
    forced = stage(plan, small, store, "raw_events", keys[:1], force=True)
    now = {p.file for p in forced[keys[0]][0].pieces}
    others = {p.file for key in keys[1:] for p in first[key][0].pieces}
    assert not now & before
    present = {f"staging/raw_events/chunks/{name}" for name in store.list("staging/raw_events/chunks")}
    assert present == now | others
    assert forced[keys[0]][0].digest == first[keys[0]][0].digest


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with opened(path) as connection:
        connection.execute('CREATE TABLE "" ("__rowid__", "rowid", "storage", "")')
        connection.execute("INSERT INTO \"\" VALUES (1, 'a', 2.5, x'00')")
        connection.execute("CREATE TABLE chunks (a)")
    plan, store = make_plan(Settings(source=path)), Store(str(tmp_path / "staging"))
    for table in ("", "chunks"):
        stage(plan, path, store, table, ["all"])
    ((manifest, _),) = stage(plan, path, store, "", ["all"]).values()
    (batch,) = read_partition(store, manifest)
    assert batch.rowids.to_pylist() == [1]
    assert {n: c.values() for n, c in batch.columns.items()} == {
        "__rowid__": [1],
        "rowid": [bytearray(b"a")],
        "storage": [2.5],
        "": [b"\x00"],
    }


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), min_size=2, max_size=20))
def test_no_two_names_share_a_folder_and_each_fits_one(names: set[str]) -> None:
    parts = {part(name) for name in names}
    assert len(parts) == len(names)
    assert all(0 < len(p.encode()) <= 200 and "/" not in p and p not in (".", "..") for p in parts)


def test_staging_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    too_long = Store(str(tmp_path / ("a" * 300)))
    for use in (lambda: too_long.exists("a"), lambda: too_long.list("a"), lambda: too_long.delete("a"), too_long.size):
        with pytest.raises(StagingError, match="cannot be used"):
            use()
    (tmp_path / "file").touch()
    store = Store(str(tmp_path / "file"))
    with pytest.raises(StagingError, match="Writing a/b to .* failed"), store.writing("a/b"):
        pass
    with pytest.raises(StagingError) as caught:
        Store("s3://key:secret@bucket/x?bogus=1")
    assert "secret" not in str(caught.value)


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/staging").root == str(tmp_path / "staging")
