"""Pace, waits, keys and cache of the services, each without HTTP.

Not here: the clients themselves (test_enrichment_clients.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.enrichment import limits, shape
from cowrie_assets.enrichment.answers import Answer, Kind
from cowrie_assets.enrichment.cache import NOT_FOUND_LIFETIME, Cache
from cowrie_assets.enrichment.config import SERVICES, ServiceConfig, service_configs
from cowrie_assets.errors import SettingsError

from .fake_service import FakeTime

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHA = "0" * 64
KEY = "k3y-that-nobody-may-see"


@given(st.lists(st.floats(0, 120), min_size=1, max_size=40), st.sampled_from([1.0, 4.0, 30.0]), st.integers(1, 5))
def test_no_window_holds_more_than_the_bucket_allows(pauses: list[float], per_minute: float, burst: int) -> None:
    time = FakeTime()
    bucket = limits.TokenBucket(per_minute, time.clock, burst)
    asked = []
    for pause in pauses:
        time.seconds += pause
        bucket.take()
        asked.append(time.seconds)
    for i, start in enumerate(asked):
        for j, end in enumerate(asked[i:]):
            assert j + 1 <= burst + (end - start) * per_minute / 60 + 1e-6


def test_an_idle_bucket_does_not_wait() -> None:
    time = FakeTime()
    bucket = limits.TokenBucket(4, time.clock)
    assert [bucket.take(), bucket.take()] == [0.0, 15.0]
    time.seconds += 3_600
    assert [bucket.take(), bucket.take()] == [0.0, 15.0]


def test_the_backoff_doubles_up_to_its_limit() -> None:
    middle = [limits.backoff(n, lambda low, high: (low + high) / 2) for n in range(1, 8)]
    assert middle == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Tue, 24 Nov 2026 12:00:10 GMT", 10.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("9" * 400, 999_999_999.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert limits.retry_after(header, NOW) == seconds


def configs(table: Mapping[str, Any] | None = None, **env: str) -> dict[str, ServiceConfig]:
    return service_configs(env, table or {})


def test_keys_come_from_the_environment_then_its_file_then_the_table(tmp_path: Path) -> None:
    filed, named = tmp_path / "vt", tmp_path / "vt2"
    filed.write_text("from-file\n", encoding="utf-8")
    named.write_text("from-table", encoding="utf-8")
    table = {"virustotal": {"key_file": str(named)}}
    env = {"COWRIE_VT_API_KEY_FILE": str(filed)}

    def key(**more: str) -> str | None:
        credential = configs(table, **more)["virustotal"].credential
        return credential.reveal if credential else None

    assert (key(), key(**env), key(**env, COWRIE_VT_API_KEY=" direct ")) == ("from-table", "from-file", "direct")
    assert {name: c.credential for name, c in configs().items()} == dict.fromkeys(SERVICES)


def test_no_form_of_a_config_shows_its_key() -> None:
    config = configs(COWRIE_VT_API_KEY=KEY)["virustotal"]
    assert config.credential
    assert KEY not in f"{config!r} {config} {config.credential} {config.credential!r}"


@pytest.mark.parametrize(
    ("table", "env", "named"),
    [
        ({"virustotal": {"key": KEY}}, {}, "virustotal"),
        ({"spur": {"token": KEY}}, {}, "spur"),
        ({"virustotal": {"keyfile": "/x"}}, {}, "keyfile"),
        ({"shodan": {}}, {}, "shodan"),
        ({"spur": 7}, {}, "spur"),
        ({"timeout_seconds": 0}, {}, "timeout_seconds"),
        ({"spur": {"per_minute": True}}, {}, "per_minute"),
        ({"spur": {"cache_days": "nan"}}, {}, "cache_days"),
        ({"spur": {"base_url": "http://api.spur.us/v2"}}, {}, "base_url"),
        ({"spur": {"base_url": f"https://u:{KEY}@api.spur.us"}}, {}, "base_url"),
        ({"spur": {"base_url": "https://[bad"}}, {}, "base_url"),
        ({}, {"COWRIE_VT_API_KEY": f"{KEY}\r\nX-Evil: 1"}, "COWRIE_VT_API_KEY"),
        ({}, {"COWRIE_VT_API_KEY": f"{KEY}ü"}, "COWRIE_VT_API_KEY"),
        ({}, {"COWRIE_VT_API_KEY": KEY * 100}, "COWRIE_VT_API_KEY"),
        ({}, {"COWRIE_SPUR_API_KEY_FILE": "/nowhere/key"}, "COWRIE_SPUR_API_KEY_FILE"),
        ({}, {"COWRIE_SPUR_API_KEY_FILE": "/dev/null"}, "COWRIE_SPUR_API_KEY_FILE"),
        ({}, {"COWRIE_VT_PER_MINUTE": "fast"}, "per_minute"),
    ],
)
def test_a_wrong_setting_is_named_and_no_key_shown(table: dict[str, Any], env: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        configs(table, **env)
    assert KEY not in str(caught.value)


def test_a_binary_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="no text"):
        configs(COWRIE_SPUR_API_KEY_FILE=str(tmp_path / "k"))


def answer(value: str = SHA, found: bool = True, asked_at: datetime = NOW) -> Answer:
    return Answer("virustotal", Kind.FILE, value, found, flagged=found, data={"positives": 3}, asked_at=asked_at)


def test_the_cache_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "folder ? #" / "cache.sqlite"
    cache = Cache(path)
    day = timedelta(days=1)
    for one in (answer(asked_at=NOW - day), answer(), answer("1" * 64, found=False)):
        cache.put(one)
    cache.close()
    again = Cache(path)
    got = again.get("virustotal", Kind.FILE, SHA, now=NOW + day, lifetime=30 * day)
    assert got and (got.found, got.flagged, got.data, got.asked_at, got.cached) == (
        True,
        True,
        {"positives": 3},
        NOW,
        True,
    )
    assert again.get("virustotal", Kind.IP, SHA, now=NOW, lifetime=day) is None
    assert again.get("spur", Kind.FILE, SHA, now=NOW, lifetime=day) is None
    assert path.exists()
    again.close()


@pytest.mark.parametrize(
    ("found", "age", "lifetime", "fresh"),
    [
        (True, timedelta(days=29), timedelta(days=30), True),
        (True, timedelta(days=31), timedelta(days=30), False),
        (True, timedelta(seconds=1), timedelta(0), False),
        (True, -timedelta(hours=1), timedelta(days=30), False),
        (False, NOT_FOUND_LIFETIME, timedelta(days=30), True),
        (False, NOT_FOUND_LIFETIME + timedelta(seconds=1), timedelta(days=30), False),
    ],
)
def test_an_answer_lives_as_long_as_it_may(
    tmp_path: Path, found: bool, age: timedelta, lifetime: timedelta, fresh: bool
) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    cache.put(answer(found=found))
    got = cache.get("virustotal", Kind.FILE, SHA, now=NOW + age, lifetime=lifetime)
    cache.close()
    assert (got is not None) is fresh


def test_a_cache_that_is_only_read_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "home ? #" / "cache.sqlite"
    week = timedelta(days=7)
    for there in ([], ["home ? #"]):  # neither folder nor file; then the folder, with the file that a kill left empty
        cache = Cache(path, write=False)
        assert cache.get("virustotal", Kind.FILE, SHA, now=NOW, lifetime=week) is None
        cache.close()
        assert [entry.name for entry in tmp_path.iterdir()] == there
        path.parent.mkdir(exist_ok=True)
        path.touch()
    filled = Cache(path)
    filled.put(answer())
    filled.close()
    before = path.read_bytes()
    cache = Cache(path, write=False)
    got = cache.get("virustotal", Kind.FILE, SHA, now=NOW, lifetime=week)
    assert got and got.data == {"positives": 3}
    with pytest.raises(SettingsError, match="readonly"):
        cache.put(answer())
    cache.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["cache.sqlite"]
    assert path.read_bytes() == before


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"no database" * 100)
    with pytest.raises(SettingsError, match="Delete it"):
        Cache(tmp_path / "c")
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(SettingsError, match="COWRIE_HOME"):
        Cache(tmp_path / "f" / "c")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_members_of_any_shape_are_read_without_an_error(value: Any) -> None:
    for read in (shape.text, shape.number, shape.instant, shape.texts, shape.mapping):
        read(value)
    text = shape.text(value)
    assert text is None or (text.isprintable() and 0 < len(text) <= shape.TEXT_LIMIT)
