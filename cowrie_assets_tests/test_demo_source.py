"""The demo database: it holds what it says it holds, and the same arguments make the same rows.

Belongs here: tests of `cowrie_assets.demo`, whose damage is counted again from the stored bytes, without the
generator's own list. Not here: what a migration makes of it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets import demo_schema
from cowrie_assets.demo import DemoSource, make_demo
from cowrie_assets.errors import SettingsError

LAST = date(2026, 11, 20)
EVENTS, DAYS = 20_000, 10
TABLES = (
    "schema_state raw_events session_summaries command_stats ingest_cursors dead_letter_events"
    " dead_letter_events_test_backup"
)


def opened(path: Path) -> sqlite3.Connection:
    """A connection that reads text as its bytes and leaves nothing beside the file."""
    db = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    db.text_factory = bytes
    return db


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with closing(opened(path)) as db:
        return db.execute(query).fetchall()


def strings(value: object) -> Iterator[str]:
    """All keys and string values of parsed JSON, of which objects are lists of pairs."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def json_defects(text: str) -> set[str]:
    """Names of the defects of one JSON text."""
    found = set()

    def pairs(items: list[tuple[str, object]]) -> list[tuple[str, object]]:
        if len({key for key, _ in items}) < len(items):
            found.add("json_duplicate_key")
        return items

    def integer(digits: str) -> None:
        found.update({"json_negative_zero"} if digits == "-0" else ())

    def real(digits: str) -> None:
        found.update({"json_tiny_number"} if int(digits.lower().partition("e")[2] or 0) < -16_383 else ())

    def constant(word: str) -> None:
        found.add(f"json_{word.lower()}")

    hooks: dict[str, Any] = {"parse_int": integer, "parse_float": real, "parse_constant": constant}
    try:
        value, end = json.JSONDecoder(object_pairs_hook=pairs, **hooks).raw_decode(text)
    except json.JSONDecodeError:
        return {"json_truncated" if text.startswith("{") else "json_no_json"}
    if not isinstance(value, list):
        return {"json_no_json"}
    if end < len(text):
        found.add("json_trailing")
    for string in strings(value):
        if "\0" in string:
            found.add("json_nul")
        if "\\u0000" in string:
            found.add("json_escaped_nul")
        if any("\ud800" <= character <= "\udfff" for character in string):
            found.add("json_lone_surrogate")
    return found


def date_defects(value: object) -> set[str]:
    """Names of the defects of one stored date."""
    if isinstance(value, int):
        return {"date_epoch"}
    text = bytes(value).decode() if isinstance(value, bytes) else ""
    for start, name in (("0000-", "zero"), ("0001-", "year_1"), ("9999-", "year_9999")):
        if text.startswith(start):
            return {f"date_{name}"}
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return {"date_unreadable"}
    if moment.tzinfo is not None:
        return {"date_offset"}
    return {"date_nanoseconds"} if len(text.partition(".")[2]) == 9 else set()


def census(path: Path) -> Counter[str]:
    """Number of rows by defect, from the stored bytes."""
    found: Counter[str] = Counter()
    raw = rows(path, "SELECT payload, source, risk_score, ingest_at FROM raw_events")
    for payload, source, risk, ingest_at in raw:
        if isinstance(payload, bytes):
            found.update(json_defects(payload.decode()))
        else:
            found[f"payload_{'integer' if isinstance(payload, int) else 'real'}"] += 1
        found["source_nul"] += b"\0" in source
        found["risk_score_text"] += isinstance(risk, bytes)
        found.update(date_defects(ingest_at))
    letters = rows(path, "SELECT payload, source, source_offset, resolved, created_at FROM dead_letter_events")
    for payload, source, offset, resolved, created in letters:
        found.update(json_defects(payload.decode()))
        found["text_invalid_utf8"] += source.decode(errors="replace").count("\ufffd")
        found["integer_40_bit"] += offset >= 2**40
        found["boolean_two"] += resolved not in (0, 1)
        found.update(date_defects(created))
    summaries = rows(path, "SELECT session_id, first_event_at, last_event_at FROM session_summaries")
    for session, first, last in summaries:
        found["session_id_nul"] += b"\0" in session
        found["session_id_long"] += len(session) > 64
        found.update(date_defects(first) | date_defects(last))
    return +found


def events(source: DemoSource) -> list[dict[str, Any]]:
    """All events of a demo, in row order; payloads that are numbers are left out."""
    payloads = rows(source.path, "SELECT payload FROM raw_events ORDER BY id")
    return [json.loads(payload) for (payload,) in payloads if isinstance(payload, bytes)]


def fingerprint(path: Path) -> str:
    """A digest of all rows of all tables, generated columns too."""
    digest = hashlib.sha256()
    with closing(opened(path)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in db.execute(f'SELECT rowid, * FROM "{name.decode()}" ORDER BY rowid'):
                digest.update(repr(row).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> DemoSource:
    """A schema 3 demo with damage."""
    path = tmp_path_factory.mktemp("demo") / "made" / "dirty.sqlite"
    return make_demo(path, events=EVENTS, days=DAYS, last_day=LAST, dirty_per_mille=10)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> DemoSource:
    """A schema 6 demo without damage."""
    path = tmp_path_factory.mktemp("demo") / "clean.sqlite"
    return make_demo(path, events=EVENTS, days=DAYS, last_day=LAST, dirty_per_mille=0, schema=6)


def test_row_counts_are_those_of_the_file_and_in_proportion(dirty: DemoSource) -> None:
    """Events and dead letters are exact; the others follow from the traffic."""
    counted = {name: rows(dirty.path, f"SELECT count(*) FROM {name}")[0][0] for name in TABLES.split()}
    assert dirty.rows == counted
    assert counted["raw_events"] == EVENTS
    assert counted["dead_letter_events"] == EVENTS // 2
    assert EVENTS / 14 < counted["session_summaries"] < EVENTS / 10
    assert EVENTS / 25 < counted["command_stats"] < EVENTS / 16
    assert 1 <= counted["ingest_cursors"] <= 5
    assert counted["dead_letter_events_test_backup"] == 400


def test_damage_is_counted_exactly(dirty: DemoSource) -> None:
    """Every defect is there as often as it is said to be, and no other."""
    assert census(dirty.path) == dirty.dirty
    assert set(dirty.dirty.values()) == {round(EVENTS * 10 / 1_000 / len(demo_schema.DEFECTS))}
    assert set(demo_schema.DECOYS) < set(dirty.dirty)


def test_without_damage_there_is_none(clean: DemoSource) -> None:
    """The traffic itself holds nothing that would be counted as damage."""
    assert census(clean.path) == Counter()
    assert set(clean.dirty.values()) == {0}


@pytest.mark.parametrize("name", ["dirty", "clean"])
def test_the_file_stands_alone_in_wal_mode(name: str, request: pytest.FixtureRequest) -> None:
    """Only the main file is there, sound, in WAL mode; counting its rows left nothing beside it."""
    path = request.getfixturevalue(name).path
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes()[18:20] == b"\x02\x02"
    assert rows(path, "PRAGMA integrity_check") == [(b"ok",)]


def test_schema_3_generates_three_columns(dirty: DemoSource) -> None:
    """They are virtual and readable in every row, and equal to the payload's values."""
    hidden = {name: flag for _, name, *_, flag in rows(dirty.path, "PRAGMA table_xinfo(raw_events)") if flag}
    assert hidden == {b"session_id": 2, b"event_type": 2, b"event_timestamp": 2}
    generated = rows(dirty.path, "SELECT session_id, event_type, event_timestamp FROM raw_events ORDER BY id")
    expected = [tuple(event[key].encode() for key in ("session", "eventid", "timestamp")) for event in events(dirty)]
    assert [row for row in generated if row != (None, None, None)] == expected
    assert rows(dirty.path, "SELECT * FROM schema_state") == [(b"schema_version", b"3")]


def test_schema_6_has_plain_columns_and_files(clean: DemoSource) -> None:
    """The three columns are NULL in every row, and each download has its row in files."""
    assert not [flag for *_, flag in rows(clean.path, "PRAGMA table_xinfo(raw_events)") if flag]
    unset = "SELECT count(*) FROM raw_events WHERE coalesce(session_id, event_type, event_timestamp) IS NULL"
    assert rows(clean.path, unset) == [(EVENTS,)]
    fetched = {(event["session"], event["shasum"]) for event in events(clean) if "url" in event}
    stored = rows(clean.path, "SELECT session_id, shasum FROM files")
    assert {(session.decode(), digest.decode()) for session, digest in stored} == fetched
    assert clean.rows["files"] == len(stored) > 50


def test_summaries_and_commands_follow_from_the_events(clean: DemoSource) -> None:
    """Counts, first and last times and commands, computed again from the payloads."""
    sessions: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events(clean):
        sessions[event["session"]].append(event)
    expected, commands = set(), Counter[tuple[str, str]]()
    for name, own in sessions.items():
        kinds = Counter(event["eventid"].removeprefix("cowrie.") for event in own)
        times = sorted(event["timestamp"].replace("T", " ").rstrip("Z") for event in own)
        logins = kinds["login.failed"] + kinds["login.success"]
        counts = (len(own), kinds["command.input"], kinds["session.file_download"], logins)
        expected.add((name, times[0], times[-1], *counts))
        typed = (event["message"] for event in own if event["eventid"] == "cowrie.command.input")
        commands.update((name, message.removeprefix("CMD: ")) for message in typed)
    columns = "session_id, first_event_at, last_event_at, event_count, command_count, file_downloads"
    summaries = rows(clean.path, f"SELECT {columns}, login_attempts FROM session_summaries")
    assert {(*(text.decode() for text in row[:3]), *row[3:]) for row in summaries} == expected
    stats = rows(clean.path, "SELECT session_id, command_normalized, occurrences FROM command_stats")
    assert {(name.decode(), text.decode()): times for name, text, times in stats} == commands
    assert rows(clean.path, "SELECT DISTINCT enrichment FROM session_summaries") == [(b"null",)]
    for (sources,) in rows(clean.path, "SELECT source_files FROM session_summaries"):
        assert 1 <= len(json.loads(sources)) <= 2


def test_events_fill_the_days_and_one_load_came_late(clean: DemoSource) -> None:
    """Each day has events and no other; a tenth was loaded on one late day, most others within minutes."""
    lags: defaultdict[str, list[timedelta]] = defaultdict(list)
    loaded: defaultdict[str, set[date]] = defaultdict(set)
    per_day: Counter[date] = Counter()
    for payload, ingest_at in rows(clean.path, "SELECT payload, ingest_at FROM raw_events ORDER BY id"):
        event = json.loads(payload)
        moment = datetime.fromisoformat(event["timestamp"]).replace(tzinfo=None)
        load = datetime.fromisoformat(ingest_at.decode())
        per_day[moment.date()] += 1
        lags[event["sensor"]].append(load - moment)
        loaded[event["sensor"]].add(load.date())
    assert set(per_day) == {LAST - timedelta(days=number) for number in range(DAYS)}
    assert min(per_day.values()) > EVENTS / DAYS / 2
    assert len(lags["hp-old"]) == EVENTS // 10
    assert loaded["hp-old"] == {LAST - timedelta(days=DAYS - 1 - DAYS * 4 // 5)}
    assert min(lags["hp-old"]) > timedelta(days=1)
    late = [lag for lag in lags["hp-live"] if lag > timedelta(hours=1)]
    assert 0 < len(late) < 0.01 * EVENTS
    assert min(lags["hp-live"]) > timedelta(0)


def test_rows_lie_nearly_in_time_order(clean: DemoSource) -> None:
    """From row to row, times seldom step back: ingest times hardly ever, event times in few rows."""
    ingested = [value for (value,) in rows(clean.path, "SELECT ingest_at FROM raw_events ORDER BY id")]
    happened = [event["timestamp"] for event in events(clean)]
    steps_back = [sum(later < earlier for earlier, later in pairwise(times)) for times in (ingested, happened)]
    assert steps_back[0] < EVENTS / 1_000
    assert 0 < steps_back[1] < EVENTS / 20


def test_lines_of_a_source_are_numbered_without_gaps(clean: DemoSource) -> None:
    """Offsets count from 0 in row order within each source; inode, hash and ingest id are the loader's."""
    following: Counter[bytes] = Counter()
    inodes: dict[bytes, set[bytes]] = defaultdict(set)
    columns = "source, source_offset, source_inode, ingest_id, payload_hash, payload"
    stored = rows(clean.path, f"SELECT {columns} FROM raw_events ORDER BY id")
    for source, offset, inode, ingest, digest, payload in stored:
        assert offset == following[source]
        following[source] += 1
        inodes[source].add(inode)
        assert len(ingest) == 32
        assert digest.decode() == hashlib.sha256(payload).hexdigest()
    assert len(following) > DAYS
    assert all(len(own) == 1 for own in inodes.values())
    for source, offset in rows(clean.path, "SELECT source, last_offset FROM ingest_cursors"):
        assert offset == following[source] - 1


def test_traffic_is_that_of_attackers(clean: DemoSource) -> None:
    """Event types, their key order, commands too long for a btree, Unicode and broken log lines are there."""
    shapes: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for event in events(clean):
        shapes[event["eventid"].removeprefix("cowrie.")].add(tuple(event))
    head = ("session", "protocol", "src_ip", "src_port", "dst_ip", "dst_port")
    tail = ("eventid", "sensor", "uuid", "timestamp", "message")
    typed = (*head, "input", *tail, "input_safe", "input_hash", "command")
    assert shapes["session.connect"] == {(*head, *tail)}
    assert shapes["login.failed"] == shapes["login.success"] == {(*head, "username", "password", *tail)}
    assert shapes["command.input"] == shapes["command.failed"] == {typed}
    others = "client.version client.kex session.params session.file_download log.closed session.closed"
    assert set(shapes) >= set(others.split())
    texts = [text.decode() for (text,) in rows(clean.path, "SELECT command_normalized FROM command_stats")]
    assert max(map(len, texts)) > 2_704
    assert any(not text.isascii() for text in texts)
    reasons = Counter(rows(clean.path, "SELECT reason FROM dead_letter_events"))
    assert reasons[(b"validation",)] > reasons[(b"quarantined",)] > 0
    wrapped = "SELECT payload FROM dead_letter_events WHERE reason = 'validation'"
    assert {tuple(json.loads(payload)) for (payload,) in rows(clean.path, wrapped)} == {("malformed",)}


def test_same_arguments_same_rows(tmp_path: Path) -> None:
    """Two files of the same arguments hold the same bytes in all rows; another seed gives others."""
    made = [
        make_demo(tmp_path / f"{number}.sqlite", events=3_000, days=5, last_day=LAST, seed=seed)
        for number, seed in enumerate((7, 7, 8))
    ]
    digests = [fingerprint(source.path) for source in made]
    assert digests[0] == digests[1] != digests[2]
    assert made[0].rows == made[1].rows


def test_a_demo_is_made_once(tmp_path: Path) -> None:
    """The same arguments find the file; others, or a foreign file, are refused, and nothing changes."""
    path, notes = tmp_path / "demo.sqlite", tmp_path / "notes.txt"
    first = make_demo(path, events=500, days=3, last_day=LAST)
    notes.write_bytes(b"mine")
    before = (path.stat().st_mtime_ns, path.stat().st_ino)
    assert make_demo(path, events=500, days=3, last_day=LAST) == first
    for taken in (path, notes):
        with pytest.raises(SettingsError, match=f"{taken.name} is no demo of these arguments"):
            make_demo(taken, events=500, days=4, last_day=LAST)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert notes.read_bytes() == b"mine"
    assert {entry.name for entry in tmp_path.iterdir()} == {"demo.sqlite", "notes.txt"}


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file appears whole or not at all; what an earlier run left half-made is no obstacle."""
    path = tmp_path / "demo.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(demo_schema, "index_ddl", lambda _: ["CREATE INDEX broken ON nothing (x)"])
        with pytest.raises(SettingsError, match="nothing"):
            make_demo(path, events=500, days=1, last_day=LAST)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "demo.sqlite.part").write_bytes(b"half")
    make_demo(path, events=500, days=1, last_day=LAST)
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo.sqlite"]
    with pytest.raises(SettingsError, match="cannot be made"):
        make_demo(path / "in_a_file.sqlite", events=500, days=1, last_day=LAST)


@pytest.mark.parametrize(
    "wrong",
    [{"events": 499}, {"days": 0}, {"last_day": date.min}, {"dirty_per_mille": float("nan")}, {"schema": 5}],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is written, and the message says what is possible."""
    fitting: dict[str, Any] = {"events": 500, "last_day": LAST}
    with pytest.raises(SettingsError, match="has to be"):
        make_demo(tmp_path / "demo.sqlite", **{**fitting, **wrong})
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=10, deadline=None)
@given(
    size=st.integers(500, 2_000),
    days=st.integers(1, 40),
    seed=st.integers(0, 2**40),
    share=st.floats(0, 50),
    schema=st.sampled_from(demo_schema.SCHEMAS),
)
def test_counts_hold_for_all_arguments(size: int, days: int, seed: int, share: float, schema: int) -> None:
    """Whatever the arguments: exact numbers of rows and of defects, a sound file, events within the days."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.sqlite"
        asked = {"events": size, "days": days, "seed": seed, "schema": schema}
        source = make_demo(path, last_day=LAST, dirty_per_mille=share, **asked)
        assert (source.rows["raw_events"], source.rows["dead_letter_events"]) == (size, size // 2)
        assert census(path) == Counter(source.dirty)
        assert rows(path, "PRAGMA integrity_check") == [(b"ok",)]
        happened = sorted(event["timestamp"] for event in events(source))
        assert happened[0][:10] == str(LAST - timedelta(days=days - 1))
        assert happened[-1][:10] <= str(LAST)
