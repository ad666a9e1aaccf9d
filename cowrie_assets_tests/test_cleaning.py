"""What a table's policy makes of cells: kept, repaired, filled, or the row set aside.

Not here: JSON's own rules (`test_json_rules.py`) or dates (`test_instants.py`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.catalog import TABLES, Type
from cowrie_assets.cleaning.json_cells import clean_json_cells
from cowrie_assets.cleaning.partition import clean_partition, read_rows
from cowrie_assets.cleaning.scalars import clean_boolean, clean_integer, clean_real, instant_texts
from cowrie_assets.cleaning.table import Cleaned, TableCleaner
from cowrie_assets.cleaning.text import clean_text, text_of
from cowrie_assets.errors import StagingError
from cowrie_assets.planning.plan import Plan, TablePlan
from cowrie_assets.planning.scan import make_plan
from cowrie_assets.settings import Settings
from cowrie_assets.source.cells import Cells
from cowrie_assets.source.reader import Batch, extend_ranges, read_table
from cowrie_assets.source.schema import SourceColumn, SourceTable
from cowrie_assets.source.sqlite import read_only
from cowrie_assets.staging.stage import stage
from cowrie_assets.staging.store import Store
from cowrie_assets_tests.test_source import database

GOOD: dict[str, dict[str, object]] = {
    "raw_events": {
        "id": 1,
        "ingest_at": "2026-11-24 05:48:08",
        "source": "s",
        "source_generation": 0,
        "payload": '{"session": "a", "eventid": "e", "timestamp": "2026-11-24T05:42:48.828261Z"}',
        "quarantined": 0,
    },
    "session_summaries": {"session_id": "a", "event_count": 0, "created_at": "2026-11-24 05:48:08"},
    "dead_letter_events": {"id": 1, "reason": "r", "payload": "{}", "created_at": "2026-11-24 05:48:08", "resolved": 0},
    "schema_state": {"key": "schema_version", "value": "3"},
}


def plan_of(table: str, stored: Sequence[str], **options: Any) -> TablePlan:
    columns = tuple(SourceColumn(n, "", False, None, 0, False) for n in stored)
    generated = tuple(
        SourceColumn(c.name, "", False, None, 0, True)
        for c in TABLES[table].columns
        if c.derived and c.name not in stored
    )
    others = tuple(
        SourceColumn(c.name, "", False, None, 0, True)
        for c in TABLES[table].columns
        if c.name not in stored and not c.derived
    )
    source = SourceTable(table, (*columns, *generated, *others), (), "rowid", None)
    return TablePlan(source, 0, None, {}, {}, **options)


def clean(table: str, *rows: dict[str, object], **options: Any) -> Cleaned:
    """Clean rows that differ from a good one in the given cells; str is text, bytes a blob."""
    full = [GOOD[table] | row for row in rows]
    names = list(dict.fromkeys(n for row in full for n in row))
    cells = {n: [row.get(n) for row in full] for n in names}
    encoded = {n: Cells.encode([bytearray(v.encode()) if isinstance(v, str) else v for v in c])
               for n, c in cells.items()}  # fmt: skip
    batch = Batch(pa.array(range(1, len(rows) + 1), pa.int64()), encoded)
    return TableCleaner(plan_of(table, names, **options)).clean(batch)


def one_repair(cleaned: Cleaned) -> tuple[str, str, bytes | None, str, str | None]:
    (r,) = cleaned.repairs
    assert cleaned.quarantine == []
    return r.column, r.rule, r.original, r.original_type, r.replacement


@pytest.mark.parametrize(
    ("table", "cells", "repair"),
    [
        ("raw_events", {"risk_score": "high"}, ("risk_score", "integer.none", b"high", "text", None)),
        ("raw_events", {"risk_score": 1.5}, ("risk_score", "integer.none", b"1.5", "real", None)),
        ("raw_events", {"source": "a\x00b"}, ("source", "text.nul", b"a\x00b", "text", "a\\x00b")),
        ("raw_events", {"source": b"blob"}, ("source", "text.blob", b"blob", "blob", "blob")),
        ("raw_events", {"ingest_at": "bad"},
         ("ingest_at", "date.fallback", b"bad", "text", "2026-11-24 05:42:48.828261+00")),
        ("raw_events", {"ingest_at": 1758542400},
         ("ingest_at", "date.epoch", b"1758542400", "integer", "2025-09-22 12:00:00+00")),
        ("raw_events", {"payload": 1.1}, ("payload", "json.real", b"1.1", "real", "1.1")),
        ("session_summaries", {"first_event_at": "0000-00-00"},
         ("first_event_at", "date.unreadable", b"0000-00-00", "text", None)),
        ("session_summaries", {"first_event_at": "2025-01-01 00:00:00.1234567"},
         ("first_event_at", "date.fraction", b"2025-01-01 00:00:00.1234567", "text", "2025-01-01 00:00:00.123456+00")),
        ("schema_state", {}, ("value", "schema.version", b"3", "text", "6")),
    ],
)  # fmt: skip
def test_a_changed_cell_is_a_repair_with_its_original(
    table: str, cells: dict[str, object], repair: tuple[object, ...]
) -> None:
    assert one_repair(clean(table, cells)) == repair


@pytest.mark.parametrize(
    ("table", "cells", "rule"),
    [
        ("raw_events", {"quarantined": 2}, "bool.none"),
        ("raw_events", {"source_generation": "x"}, "integer.none"),
        ("raw_events", {"source": None}, "null.required"),
        ("raw_events", {"ingest_at": None}, "null.required"),
        ("raw_events", {"payload": None}, "null.required"),
        ("raw_events", {"payload": "nothing in it"}, "json.unreadable"),
        ("raw_events", {"ingest_at": "bad", "payload": "{}"}, "date.unreadable"),
        ("session_summaries", {"session_id": None}, "key.null"),
        ("dead_letter_events", {"created_at": "bad"}, "date.unreadable"),
    ],
)
def test_a_row_that_cannot_be_placed_is_set_aside_whole(table: str, cells: dict[str, object], rule: str) -> None:
    cleaned = clean(table, cells, {})
    (row,) = cleaned.quarantine
    assert row.rule == rule
    assert cleaned.rowids.to_pylist() == [2]
    original = json.loads(row.original)
    for name, value in (GOOD[table] | cells).items():
        raw = base64.b64decode(original[name]["value"]).decode() if isinstance(value, str) else original[name]["value"]
        assert raw == (str(value) if isinstance(value, int) else value)


@pytest.mark.parametrize(
    ("table", "cells"),
    [
        ("raw_events", {"source": "x" * 100_000, "source_offset": 2**62}),
        ("raw_events", {"ingest_at": "2026-11-24T05:48:08+02:00"}),
        ("raw_events", {"event_timestamp": "not a date at all"}),
        ("raw_events", {"payload": "123"}),
        ("raw_events", {"payload": 123}),
        ("session_summaries", {"first_event_at": "0001-01-01 00:00:00", "enrichment": "null"}),
        ("dead_letter_events", {"payload": '{"malformed": "\\"src_ip\\": \\"1.2.3.4\\","}', "source": ""}),
        ("schema_state", {"value": "6"}),
        ("schema_state", {"value": "7"}),
        ("schema_state", {"key": "other", "value": "1"}),
    ],
)
def test_what_fits_leaves_no_row_in_the_ledger(table: str, cells: dict[str, object]) -> None:
    cleaned = clean(table, cells)
    assert (cleaned.repairs, cleaned.quarantine, len(cleaned.rowids)) == ([], [], 1)


def test_former_generated_columns_are_filled_and_a_stored_one_is_kept() -> None:
    absent = clean("raw_events", {}, {"payload": "{}"})
    assert absent.columns["session_id"].to_pylist() == ["a", None]
    assert {n: r.to_pylist() for n, r in absent.derived.items()} == {
        "session_id": [1],
        "event_type": [1],
        "event_timestamp": [1],
    }
    stored = clean("raw_events", {"session_id": "a"}, {"session_id": "other"}, {"session_id": None})
    assert stored.columns["session_id"].to_pylist() == ["a", "other", "a"]
    assert stored.derived["session_id"].to_pylist() == [3]
    assert stored.differing["session_id"].to_pylist() == [2]
    assert stored.repairs == []


def test_a_loser_is_set_aside_with_its_winner() -> None:
    cleaned = clean(
        "session_summaries", {"session_id": "a\x00"}, {"session_id": "a\\x00"}, losers={1: (2, "session_id")}
    )
    assert [(q.rowid, q.rule) for q in cleaned.quarantine] == [(1, "key.duplicate")]
    assert "row 2" in cleaned.quarantine[0].detail
    assert cleaned.repairs == []


def test_columns_that_the_source_lacks_are_left_to_the_targets_defaults() -> None:
    assert "vt_flagged" not in clean("session_summaries", {}).columns


def test_an_unknown_text_column_takes_numbers_without_repairs() -> None:
    cells = Cells.encode([5, bytearray(b"x"), 1.5, None])
    widened = clean_text(cells, numbers_fit=True)
    assert (widened.values.to_pylist(), widened.repairs) == (["5", "x", "1.5", None], [])
    assert [r.rules for r in clean_text(cells).repairs] == [("text.number",), ("text.number",)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [(0, False), (1, True), (2, None), (-1, None), (1.0, None), (bytearray(b"true"), True), (bytearray(b"t"), None),
     (bytearray(b""), None), (b"1", None)],
)  # fmt: skip
def test_booleans(cell: object, value: bool | None) -> None:
    outcome = clean_boolean(Cells.encode([cell, None]))
    assert outcome.values.to_pylist() == [value, None]
    assert len(outcome.refusals) == (value is None)


def test_numbers() -> None:
    assert clean_integer(Cells.encode([2**63 - 1, 1.0, None])).values.to_pylist() == [2**63 - 1, None, None]
    numbers = [2**53, 2**53 + 1, 0.1, -(2**53), -(2**63)]
    assert clean_real(Cells.encode(numbers)).values.to_pylist() == [2.0**53, None, 0.1, -(2.0**53), None]


CELL = st.one_of(
    st.none(), st.integers(-3, 3), st.floats(allow_nan=False), st.binary(max_size=6), st.binary(max_size=6).map(bytearray),
    st.sampled_from([bytearray(b"2025-01-01 00:00:00"), bytearray(b'{"session": "s"}'), bytearray(b"{cut")]),
)  # fmt: skip


@settings(max_examples=60)
@given(st.sampled_from(sorted(TABLES)), st.data())
def test_every_row_is_kept_or_set_aside_and_every_change_is_listed(table: str, data: st.DataObject) -> None:
    names = [c.name for c in TABLES[table].columns]
    count = data.draw(st.integers(1, 6))
    cells = {n: data.draw(st.lists(CELL, min_size=count, max_size=count)) for n in names}
    batch = Batch(pa.array(range(1, count + 1), pa.int64()), {n: Cells.encode(c) for n, c in cells.items()})
    cleaned = TableCleaner(plan_of(table, names)).clean(batch)
    kept, aside = cleaned.rowids.to_pylist(), [q.rowid for q in cleaned.quarantine]
    assert sorted(kept + aside) == list(range(1, count + 1))
    listed = {(r.rowid, r.column) for r in cleaned.repairs}
    assert len(listed) == len(cleaned.repairs)
    assert {rowid for rowid, _ in listed} <= set(kept)
    filled = {(rowid, n) for n, ids in cleaned.derived.items() for rowid in ids.to_pylist()}
    for position, rowid in enumerate(kept):
        for column in TABLES[table].columns:
            stored, value = cells[column.name][rowid - 1], cleaned.columns[column.name][position].as_py()
            if (rowid, column.name) in listed | filled or column.type is Type.TIMESTAMPTZ:
                continue
            if isinstance(stored, bytearray):
                assert column.type in (Type.TEXT, Type.JSONB)
                assert value.encode() == bytes(stored)
            elif column.type is Type.JSONB and isinstance(stored, int):
                assert value == str(stored)
            else:
                assert value == stored


@given(st.sets(st.integers(-50, 50)), st.integers(0, 100))
def test_ranges_hold_exactly_the_rowids(ids: set[int], cut: int) -> None:
    ordered = sorted(ids)
    ranges: list[tuple[int, int]] = []
    for chunk in (ordered[:cut], ordered[cut:]):
        extend_ranges(ranges, pa.array(chunk, pa.int64()))
    assert [n for low, high in ranges for n in range(low, high + 1)] == ordered
    assert all(b[0] > a[1] + 1 for a, b in zip(ranges, ranges[1:], strict=False))


@pytest.fixture
def cleaned_files(tmp_path: Path) -> tuple[Plan, Store]:
    """A source with a repair, a row set aside and an empty table, all of it staged."""
    path = database(
        tmp_path / "s",
        "CREATE TABLE schema_state (key TEXT, value TEXT)",
        "INSERT INTO schema_state VALUES ('schema_version', '3'), (NULL, 'x'), ('k', 'v')",
        "CREATE TABLE bare (a)",
    )
    plan, store = make_plan(Settings(source=path)), Store(str(tmp_path / "staging"))
    for table in plan.tables:
        stage(plan, path, store, table, ["all"])
    return plan, store


def test_a_partition_without_rows_has_only_a_manifest(cleaned_files: tuple[Plan, Store]) -> None:
    plan, store = cleaned_files
    manifest, made = clean_partition(plan, store, "bare", "all")
    assert made
    assert store.list("cleaned/bare/all") == ["manifest.json"]
    assert [list(read_rows(store, manifest, name)) for name in ("data", "repairs", "quarantine")] == [[], [], []]


def test_the_files_hold_what_the_manifest_counts(cleaned_files: tuple[Plan, Store]) -> None:
    plan, store = cleaned_files
    manifest, _ = clean_partition(plan, store, "schema_state", "all")
    counts = {"data": 2, "repairs": 1, "quarantine": 1}
    assert (manifest.rows, manifest.repaired, manifest.quarantined) == tuple(counts.values())
    for name, count in counts.items():
        assert sum(t.num_rows for t in read_rows(store, manifest, name)) == count
        with pytest.raises(StagingError, match=f"{name}.parquet holds {count} rows, its manifest counts 9"):
            list(read_rows(store, replace(manifest, rows=9, repaired=9, quarantined=9), name))
    assert clean_partition(plan, store, "schema_state", "all") == (manifest, False)
    store.delete("cleaned/schema_state/all/quarantine.parquet")
    with pytest.raises(StagingError, match="holds 0 rows"):
        list(read_rows(store, manifest, "quarantine"))
    assert clean_partition(plan, store, "schema_state", "all") == (manifest, True)
    with store.writing("cleaned/schema_state/all/data.parquet") as stream:
        stream.write(b"no parquet")
    with pytest.raises(StagingError, match=r"data\.parquet is damaged"):
        list(read_rows(store, manifest, "data"))


def test_a_killed_cleaning_leaves_no_manifest(
    cleaned_files: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = cleaned_files
    clean_partition(plan, store, "schema_state", "all")

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_partition(plan, store, "schema_state", "all", force=True, progress=stop)
    assert store.list("cleaned/schema_state/all") == []
    with pytest.raises(StagingError, match="not staged"):
        clean_partition(plan, store, "schema_state", "elsewhere")


def test_a_changed_shape_is_another_plan() -> None:
    plan = plan_of("files", ["id"])
    assert replace(plan, types={"x": Type.TEXT}) != plan


@given(st.lists(CELL, max_size=12), st.booleans())
def test_text_is_cleaned_as_cell_by_cell(cells: list[object], numbers_fit: bool) -> None:
    column = Cells.encode([bytearray(b"\xc3\xa9"), *cells])
    outcome = clean_text(column, numbers_fit=numbers_fit)
    expected = [column.value(row) for row in range(len(column))]
    assert outcome.values.to_pylist() == [None if v is None else text_of(s, v)[0] for s, v in expected]
    rules = {row: text_of(s, v)[1] for row, (s, v) in enumerate(expected) if v is not None}
    changed = {row: r for row, r in rules.items() if r and not (numbers_fit and r == ("text.number",))}
    assert {r.row: r.rules for r in outcome.repairs} == changed


@given(st.lists(st.datetimes(), max_size=6))
def test_instants_are_printed_as_postgresql_prints_them(moments: list[datetime]) -> None:
    texts = instant_texts(pa.array(moments, pa.timestamp("us", "UTC")))
    assert [datetime.fromisoformat(t).replace(tzinfo=None) for t in texts] == moments
    assert all(t.endswith("+00") and not (t[:-3].endswith("0") and "." in t) for t in texts)


def test_unreadable_dates_take_the_first_fallback_that_can_be_read() -> None:
    day = "2026-01-0{} 00:00:00"
    cleaned = clean(
        "session_summaries",
        {"created_at": "bad", "last_event_at": day.format(1), "first_event_at": day.format(2)},
        {"created_at": "bad", "last_event_at": "bad", "first_event_at": day.format(3)},
        {"created_at": day.format(4), "last_event_at": None, "first_event_at": None},
        {"created_at": "bad", "last_event_at": None, "first_event_at": "bad"},
    )
    assert [d.day for d in cleaned.columns["created_at"].to_pylist()] == [1, 3, 4]
    assert [(r.rowid, r.column, r.rule) for r in cleaned.repairs] == [
        (1, "created_at", "date.fallback"),
        (2, "last_event_at", "date.unreadable"),
        (2, "created_at", "date.fallback"),
    ]
    assert [(q.rowid, q.rule) for q in cleaned.quarantine] == [(4, "date.unreadable")]


def test_a_date_falls_back_on_what_the_repaired_payload_says() -> None:
    escaped = r"{\"timestamp\": \"2026-01-05T00:00:00Z\"}"
    inner = '{"a": {"timestamp": "2026-01-06T00:00:00Z"}, "b": NaN}'
    cleaned = clean("raw_events", {"ingest_at": "bad", "payload": escaped}, {"ingest_at": "bad", "payload": inner})
    assert [d.day for d in cleaned.columns["ingest_at"].to_pylist()] == [5]
    assert [(q.rowid, q.rule) for q in cleaned.quarantine] == [(2, "date.unreadable")]


def test_cells_that_together_do_not_fit_jsonb_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cowrie_assets.cleaning.table.LARGE_CELL", 50)
    monkeypatch.setattr("cowrie_assets.cleaning.table.LARGE_ROW", 110)
    # The payload is too large alone; reason, date and source leave no room for ingest_id.
    cells = {"id": 1, "reason": "r" * 40, "source": b"s" * 50, "payload": "p" * 51, "ingest_id": "i" * 40}
    (row,) = clean("dead_letter_events", cells).quarantine
    original = json.loads(row.original)
    assert dict(row.large) == {"payload": b"p" * 51, "ingest_id": b"i" * 40}
    assert [n for n, c in original.items() if c.get("large")] == ["payload", "ingest_id"]
    assert base64.b64decode(original["source"]["value"]) == b"s" * 50


def test_a_key_is_printed_as_postgresql_prints_it(tmp_path: Path) -> None:
    path = database(
        tmp_path / "s",
        "CREATE TABLE t (d DATETIME, b BOOLEAN, x BLOB, r REAL, n TEXT NOT NULL, PRIMARY KEY (d, b, x, r))",
        "INSERT INTO t VALUES ('2025-01-01T00:00:00.5Z', 1, x'00ff', 1.5, 'a' || char(0))",
    )
    plan = make_plan(Settings(source=path)).tables["t"]
    with read_only(path) as connection:
        (batch,) = read_table(connection, plan.source)
    (repair,) = TableCleaner(plan).clean(batch).repairs
    assert json.loads(repair.target_key or "") == ["2025-01-01 00:00:00.5+00", "true", "\\x00ff", "1.5"]


def test_json_cells_of_every_class() -> None:
    text = bytearray(b'{"session": "s"}')
    outcome, members = clean_json_cells(
        Cells.encode([text, 5, 1.5, b"[1]", b"no json", None, float("inf")]), ["session"]
    )
    assert outcome.values.to_pylist() == [text.decode(), "5", "1.5", "[1]", None, None, '"inf"']
    assert {r.row: r.rules for r in outcome.repairs} == {2: ("json.real",), 3: ("json.blob",), 6: ("json.real",)}
    assert [r.row for r in outcome.refusals] == [4]
    assert members["session"].to_pylist() == ["s"] + [None] * 6
