"""The stream of rows: order, ranges, names, and how much of it is in memory.

Not here: the cells' classes (`test_source.py`).
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.errors import SourceError
from cowrie_assets.source import reader
from cowrie_assets.source.cells import Cells
from cowrie_assets.source.reader import Batch, read_table
from cowrie_assets.source.schema import read_schema
from cowrie_assets.source.sqlite import read_only
from cowrie_assets_tests.test_source import database, opened, rows

SERIES = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) INSERT INTO t SELECT {} FROM n"


def test_a_column_dropped_since_the_plan_is_an_error_and_no_text(tmp_path: Path) -> None:
    path = database(tmp_path / "s", "CREATE TABLE t (a, b)", "INSERT INTO t VALUES (1, 2)")
    with read_only(path) as connection:
        planned = read_schema(connection).tables["t"]
    with opened(path) as writer:
        writer.execute("ALTER TABLE t DROP COLUMN b")
    # SQLite would take "b" for the text 'b', in every row.
    with pytest.raises(SourceError, match="no such column.*plan --replace"), read_only(path) as connection:
        list(read_table(connection, planned))


def test_positions_do_not_depend_on_the_columns_chosen(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (rowid, _rowid_, oid, a)",
        "CREATE INDEX i ON t (oid)",
        "INSERT INTO t VALUES (0, 0, 3, 'x'), (0, 0, 2, 'y'), (0, 0, 1, 'z')",
    )
    assert rows(path, columns=["oid"]).columns["oid"].values() == [3, 2, 1]
    assert rows(path).columns["oid"].values() == [3, 2, 1]


@given(st.lists(st.tuples(st.integers(-2, 12), st.integers(-2, 12)).map(sorted), min_size=1, max_size=3))
def test_ranges_of_a_table_without_rowids_are_positions(ranges: list[list[int]]) -> None:
    batch = Batch(pa.array([0] * 5, pa.int64()), {"a": Cells.encode([10, 20, 30, 40, 50])})
    found = reader._numbered(iter([batch, batch]), [(low, high) for low, high in ranges])
    numbers = [n for b in found for n in b.rowids.to_pylist()]
    assert numbers == [n for n in range(1, 11) if any(low <= n <= high for low, high in ranges)]


def test_the_memory_of_a_run_of_huge_cells_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 4 << 20)
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (a)",
        SERIES.format(3_000, "'small'"),
        SERIES.format(60, "zeroblob(1000000)"),
        SERIES.format(3_000, "'small'"),
    )
    before = pa.total_allocated_bytes()
    peak, count = 0, 0
    with read_only(path) as connection:
        table = read_schema(connection).tables["t"]
        tracemalloc.start()
        try:
            for batch in read_table(connection, table):
                count += len(batch)
                peak = max(peak, pa.total_allocated_bytes() - before)
                del batch
            python = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == 6_060
    # All 60 together would be 60 MB; a block stops behind the row that passes 4 MiB.
    assert python < 12_000_000
    assert peak < 20_000_000


def test_a_large_row_travels_without_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 1 << 20)
    monkeypatch.setattr(reader, "BLOCK_ROWS", 1)
    path = database(
        tmp_path / "s", "CREATE TABLE t (a)", "INSERT INTO t VALUES ('x'), ('y'), (zeroblob(2000000)), ('z')"
    )
    with read_only(path) as connection:
        batches = [b.rowids.to_pylist() for b in read_table(connection, read_schema(connection).tables["t"])]
    assert batches == [[1, 2], [3], [4]]


@given(
    st.lists(st.none() | st.integers(-9, 9) | st.binary(max_size=3), max_size=9), st.integers(0, 9), st.integers(0, 9)
)
def test_a_slice_is_what_take_gives(values: list[object], start: int, length: int) -> None:
    batch = Batch(pa.array(range(len(values)), pa.int64()), {"a": Cells.encode(values)})
    at = list(range(len(values)))[start : start + length]
    cut = batch.slice(min(start, len(values)), length)
    assert cut.rowids.to_pylist() == at
    assert cut.columns["a"].values() == batch.take(pa.array(at, pa.int64())).columns["a"].values()
