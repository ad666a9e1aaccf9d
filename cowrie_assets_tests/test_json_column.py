"""The column kernel: its fast path decides as the exact one does, wherever in a column a cell stands.

Not here: what becomes of a cell (`test_json_rules.py`), and what a server says to it (`test_json_differential.py`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.cleaning.json_column import JsonColumn, JsonReject, JsonRepair, clean_json, number_as_json
from cowrie_assets.cleaning.json_document import Unusable, clean_document
from cowrie_assets.cleaning.json_text import field_texts

from .test_json_differential import make_cell

FIELDS = ("session", "eventid", "timestamp", "a")


def slowly(cells: Sequence[bytes | None]) -> JsonColumn:
    """Clean a column cell by cell, by the exact way alone."""
    values: list[str | None] = []
    members: dict[str, list[str | None]] = {name: [] for name in FIELDS}
    column = JsonColumn(pa.array([], pa.string()), [], [], {})
    for row, cell in enumerate(cells):
        found = None if cell is None else clean_document(cell)
        if isinstance(found, Unusable):
            column.rejects.append(JsonReject(row, found.rule, found.detail))
            found = None
        if found is not None and found.rules:
            column.repairs.append(JsonRepair(row, found.rules, found.text))
        values.append(found and found.text)
        texts = field_texts(found.text, FIELDS) if found else {}
        for name in FIELDS:
            members[name].append(texts.get(name))
    arrays = {name: pa.array(texts, pa.string()) for name, texts in members.items()}
    return JsonColumn(pa.array(values, pa.string()), column.repairs, column.rejects, arrays)


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_the_fast_path_is_the_slow_path(seed: int, count: int) -> None:
    random_ = random.Random(seed)
    cells = [None if random_.random() < 0.1 else make_cell(random_) for _ in range(count)]
    assert clean_json(pa.array(cells, pa.binary()), FIELDS) == slowly(cells)


@pytest.mark.parametrize(
    "cell",
    [
        b'{"a" : 1, "a": 2, "b": "\\":"}',  # as many marks as keys: the blank hides one, the string shows one
        b'{"a\\\\": 1, "a\\\\": 2}',
        b'{"b": ":x", "a\\\\\\\\": 1, "a\\\\\\\\":2}',
        b'{"a": [{"x": 1, "x": 2}]}',
        b'{"a": 1, "\\u0061": 2}',
        b"[-0]", b"[1,-0.0]", b'{"a":-0e3}', b" -0", b"-0", b'{"a": 1e-16384}', b"[0e-99999]", b"1e-99999",
        b'{"a": 0.' + b"1" * 15_400 + b"e-999}",
        b'{"a": "\\u0000"}',
    ],
)  # fmt: skip
def test_what_orjson_accepts_and_jsonb_alters_or_refuses_does_not_pass(cell: bytes) -> None:
    column = clean_json(pa.array([b"{}", cell, b"{}"], pa.binary()), FIELDS)
    assert [repair.row for repair in column.repairs] == [1]
    assert column.repairs == slowly([b"{}", cell, b"{}"]).repairs


def test_rows_keep_their_places_across_the_parts_that_are_taken_at_a_time() -> None:
    cells: list[bytes | None] = [json.dumps({"session": str(row)}).encode() for row in range(10_000)]
    cells[4_095], cells[4_096], cells[9_999], cells[5_000] = b'{"session": NaN}', b"?", b'{"session": 1.50e1}', None
    column = clean_json(pa.array(cells, pa.binary()), ("session",))
    expected: list[str | None] = [str(row) for row in range(10_000)]
    expected[4_095], expected[4_096], expected[9_999], expected[5_000] = "NaN", None, "15.0", None
    assert column.fields["session"].to_pylist() == expected
    assert column.repairs == [JsonRepair(4_095, ("json.nonfinite",), '{"session": "NaN"}')]
    assert [(reject.row, reject.rule) for reject in column.rejects] == [(4_096, "json.unreadable")]
    assert column.values[4_095:4_097].to_pylist() == ['{"session": "NaN"}', None]


@given(st.integers(0, 2**32), st.integers(0, 4), st.integers(0, 4))
def test_a_slice_of_an_array_is_a_column_like_any_other(seed: int, start: int, count: int) -> None:
    random_ = random.Random(seed)
    cells = [make_cell(random_) for _ in range(8)]
    sliced = pa.array(cells, pa.binary()).slice(start, count)
    assert clean_json(sliced, FIELDS) == slowly(cells[start : start + count])


def test_columns_without_any_cell() -> None:
    for cells in ([], [None, None]):
        column = clean_json(pa.array(cells, pa.binary()), ("session",))
        assert column.values.to_pylist() == column.fields["session"].to_pylist() == cells
        assert clean_json(pa.array(cells, pa.binary())).fields == {}


def test_untouched_cells_are_not_copied() -> None:
    cells = pa.array([b'{"session": "x"}', b"[1]"], pa.binary())
    values = clean_json(cells, ("session",)).values
    assert values.buffers()[2].address == cells.buffers()[2].address


def test_a_real_negative_zero_loses_its_sign_as_in_jsonb() -> None:
    assert number_as_json(-0.0) == ("0.0", ("json.real",))
