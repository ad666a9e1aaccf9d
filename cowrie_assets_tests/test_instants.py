"""The grammar of dates, and the order in which a row's columns are asked for one.

Not here: windows (`test_windows.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.source.cells import Cells
from cowrie_assets.source.dating import date_rows
from cowrie_assets.source.instants import EPOCH_RULE, FRACTION_RULE, parse_text, read_instants
from cowrie_assets.source.reader import Batch


def micros(*when: int) -> int:
    return (datetime(*when, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24 05:48:08", (micros(2026, 11, 24, 5, 48, 8), None)),
        ("2025-09-22T19:24:50.304226Z", (micros(2025, 9, 22, 19, 24, 50, 304226), None)),
        ("2025-09-22 19:24:50.3", (micros(2025, 9, 22, 19, 24, 50, 300000), None)),
        ("2025-09-22", (micros(2025, 9, 22), None)),
        ("2025-09-22 19:24", (micros(2025, 9, 22, 19, 24), None)),
        ("2025-09-22T19:24:50+02:00", (micros(2025, 9, 22, 17, 24, 50), None)),
        ("2025-09-22 19:24:50-0530", (micros(2025, 9, 23, 0, 54, 50), None)),
        ("2025-09-22 23:59:59.9999999", (micros(2025, 9, 22, 23, 59, 59, 999999), FRACTION_RULE)),
        ("2025-09-22 19:24:50.123456000", (micros(2025, 9, 22, 19, 24, 50, 123456), None)),
        ("0001-01-01 00:00:00", (micros(1, 1, 1), None)),
        ("9999-12-31 23:59:59.999999", (micros(9999, 12, 31, 23, 59, 59, 999999), None)),
        ("2024-02-29 00:00:00", (micros(2024, 2, 29), None)),
    ],
)
def test_what_is_a_date(text: str, expected: tuple[int, str | None]) -> None:
    assert parse_text(text.encode()) == expected
    read = read_instants(Cells.encode([bytearray(text.encode())]))
    assert read.values.cast(pa.int64()).to_pylist() == [expected[0]]
    assert read.rules.get(0) == expected[1]


@pytest.mark.parametrize(
    "text",
    ["", "now", "today", "infinity", "epoch", "24:00:00", "2025-09-22 24:00:00", "2025-09-22 23:59:60", "09/22/2025",
     "J2460941", "2025-265", "2025-W39-1", "2025", "2025-09", "0000-00-00 00:00:00", "0000-01-01 00:00:00", "2025-02-30", "2025-02-29 00:00:00",
     "2025-09-22 19:24:50,5", "2025-09-22 19:24:50+16:00", " 2025-09-22", "2025-09-22\n", "2025-09-22T19:24:50\x00Z",
     "２025-09-22", "0001-01-01T00:00:00+01:00", "20250922T192450Z", "not-a-date", "1758542400"],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    assert parse_text(text.encode()) is None
    assert read_instants(Cells.encode([bytearray(text.encode())])).values.null_count == 1


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1758542400, micros(2025, 9, 22, 12)),
        (1758542400.123456, micros(2025, 9, 22, 12, 0, 0, 123456)),
        (1758542400123, micros(2025, 9, 22, 12, 0, 0, 123000)),
        (1758542400123456, micros(2025, 9, 22, 12, 0, 0, 123456)),
        (20250922, None),
        (0, None),
        (-1758542400, None),
        (float("inf"), None),
        (2**62, None),
    ],
)
def test_epoch_numbers(number: int | float, expected: int | None) -> None:
    read = read_instants(Cells.encode([number]))
    assert read.values.cast(pa.int64()).to_pylist() == [expected]
    assert read.rules == ({0: EPOCH_RULE} if expected is not None else {})


DATES = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(lambda d: d.strftime("%Y-%m-%d %H:%M:%S.%f").zfill(26)),
    st.datetimes().map(lambda d: d.isoformat()),
    st.from_regex(r"\d{4}-[01]\d-[0-3]\d[ T][0-2]\d:[0-6]\d:[0-6]\d(\.\d{1,9})?(Z|[+-][01]\d:?\d\d)?", fullmatch=True),
    st.text(alphabet="0123456789-: TZ.+", max_size=30),
)


@given(st.lists(st.none() | DATES, max_size=20))
def test_the_fast_path_reads_what_the_grammar_reads(texts: list[str | None]) -> None:
    cells = Cells.encode([None if t is None else bytearray(t.encode()) for t in texts])
    expected = [None if t is None else parse_text(t.encode()) for t in texts]
    assert read_instants(cells).values.cast(pa.int64()).to_pylist() == [e[0] if e else None for e in expected]


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), st.integers(-15 * 60, 15 * 60))
def test_an_offset_is_the_same_instant(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    read = parse_text(moment.isoformat().encode())
    assert read is not None
    assert read[0] == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_the_order_in_which_a_row_is_dated() -> None:
    payloads = [
        b'{"timestamp": "2025-01-01T00:00:00Z"}',
        b'{"timestamp": "2024-01-01T00:00:00Z", "timestamp": "2025-01-02T00:00:00Z"}',
        b'{"a": NaN, "timestamp": "2025-01-03T00:00:00Z"}',
        b'{"timestamp": 1735948800.5}',
        b'{"timestamp": "nonsense"}',
        b'{"timestamp": ["2025-01-01"]}',
        b'{"a": NaN, "timestamp": ' + b"9" * 5_000 + b"}",
        b"no json",
        b'{"message": "{\\"timestamp\\": \\"2020-01-01T00:00:00Z\\"}"}',
    ]
    columns = [None] * 6 + ["2025-01-06 00:00:00", None, None]
    ingested = ["2025-06-01 00:00:00"] * 7 + ["bad", "2025-06-02 00:00:00"]
    batch = Batch(
        pa.array(range(9), pa.int64()),
        {
            "payload": Cells.encode([bytearray(p) for p in payloads]),
            "event_timestamp": Cells.encode([None if c is None else bytearray(c.encode()) for c in columns]),
            "ingest_at": Cells.encode([bytearray(i.encode()) for i in ingested]),
        },
    )
    dates = date_rows(batch, ("payload.timestamp", "event_timestamp", "ingest_at")).to_pylist()
    assert [None if d is None else d.strftime("%Y-%m-%d") for d in dates] == [
        "2025-01-01",
        "2025-01-02",
        "2025-01-03",
        "2025-01-04",
        "2025-06-01",
        "2025-06-01",
        "2025-01-06",
        None,
        "2025-06-02",
    ]


def test_a_payload_stored_as_blob_dates_its_row() -> None:
    payload = b'{"timestamp": "2025-01-01T00:00:00Z"}'
    batch = Batch(pa.array([1, 2], pa.int64()), {"payload": Cells.encode([payload, bytearray(payload)])})
    assert date_rows(batch, ("payload.timestamp",)).cast(pa.int64()).to_pylist() == [micros(2025, 1, 1)] * 2
