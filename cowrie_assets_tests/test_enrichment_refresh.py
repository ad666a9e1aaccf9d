"""Answers written into sessions and files, one body for both backends; what is fresh, merged, left out, interrupted.

Not here: how a service is asked (test_enrichment_clients.py), or the commands (test_enrichment_cli.py).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.db.engine import open_database
from cowrie_assets.db.tables import METADATA, SQL_TABLES
from cowrie_assets.enrichment import refresh as refreshing
from cowrie_assets.enrichment.cache import Cache
from cowrie_assets.enrichment.config import service_configs
from cowrie_assets.enrichment.files import Files
from cowrie_assets.enrichment.refresh import Scope, refresh
from cowrie_assets.enrichment.services import CachedService
from cowrie_assets.enrichment.sessions import Sessions
from cowrie_assets.enrichment.tally import Tally
from cowrie_assets.errors import LoadError

from .fake_service import VT_MISSING, Asked, FakeService, FakeTime, Planned, dshield_ip, fake_service, vt_file

pytestmark = pytest.mark.usefixtures("loopback_only")

SESSIONS, EVENTS, FILES = (SQL_TABLES[name] for name in ("session_summaries", "raw_events", "files"))
BAD_SHA, GOOD_SHA, NEW_SHA = "b" * 64, "d" * 64, "f" * 64
ENV = {"COWRIE_VT_API_KEY": "key", "COWRIE_DSHIELD_CONTACT": "me@isp.example"}


def event(session: str, number: int, **payload: Any) -> dict[str, Any]:
    eventid = payload.get("eventid", "cowrie.session.connect")
    return {
        "source": "/log",
        "source_offset": number,
        "payload": {"session": session, "eventid": eventid} | payload,
        "session_id": session,
        "event_type": eventid,
    }


@pytest.fixture
def server() -> Iterator[FakeService]:
    with fake_service() as service:
        service.answer = _answers
        yield service


def _answers(asked: Asked) -> Planned:
    value = asked.path.split("/")[-1].removesuffix("?json")
    if asked.path.startswith("/ip/"):
        return Planned(body=dshield_ip(value, 4 if value == "8.8.4.4" else None, 2))
    if value == NEW_SHA:
        return Planned(404, VT_MISSING)
    return Planned(body=vt_file(value, malicious=0 if value in (GOOD_SHA, "1.1.1.1") else 3))


class Case:
    """A database on one backend, a fake service, a fake clock and a cache."""

    def __init__(self, engine: sa.Engine, server: FakeService, cache: Cache) -> None:
        self.engine, self.server, self.cache, self.time = engine, server, cache, FakeTime()

    def service(self, name: str) -> CachedService:
        table = {"timeout_seconds": 5, name: {"base_url": self.server.url}}
        return CachedService(service_configs(ENV, table)[name], self.cache, self.time.clock)

    def sessions(self, name: str = "dshield", **scope: Any) -> Tally:
        return refresh(self.engine, Sessions(), self.service(name), Scope(**scope))

    def files(self, **scope: Any) -> Tally:
        return refresh(self.engine, Files(), self.service("virustotal"), Scope(**scope))

    def rows(self, query: sa.Select[Any]) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(query).all())

    def session(self, key: str) -> Any:
        return self.rows(sa.select(SESSIONS).where(SESSIONS.c.session_id == key))[0]

    def execute(self, statement: sa.Executable, rows: Any = None) -> None:
        with self.engine.begin() as connection:
            connection.execute(statement, rows)


@pytest.fixture(scope="module")
def postgres(server_url: str) -> Iterator[sa.Engine]:
    """One database for all tests of this file: making one costs a second."""
    name = f"t_enrichment_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0".encode())
    parts = psycopg.conninfo.conninfo_to_dict(server_url)
    query = urlencode({k: v for k, v in parts.items() if k in ("host", "port", "user", "password")})
    engine = open_database(f"postgresql:///{name}?{query}", write=True)
    METADATA.create_all(engine)
    yield engine
    engine.dispose()
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def case(request: pytest.FixtureRequest, tmp_path: Path, server: FakeService) -> Iterator[Case]:
    if request.param == "sqlite":
        engine = open_database(str(tmp_path / "database.sqlite"), write=True, create=True)
        METADATA.create_all(engine)
    else:
        engine = request.getfixturevalue("postgres")
        with engine.begin() as connection:
            for table in (SESSIONS, EVENTS, FILES):
                connection.execute(sa.delete(table))
    cache = Cache(tmp_path / "cache.sqlite")
    case = Case(engine, server, cache)
    case.execute(
        sa.insert(SESSIONS),
        [
            {"session_id": s, "enrichment": e}
            for s, e in (("a", None), ("b", {"spur": {"x": 1}}), ("c", None), ("d", None), ("e", None))
        ],
    )
    events = [
        event("a", 1, src_ip="8.8.4.4"),
        event("b", 2, src_ip="1.1.1.1"),
        event("c", 3, src_ip="10.0.0.7"),
        event("d", 4, eventid="cowrie.session.closed"),
        event("e", 5, eventid="cowrie.session.closed"),
        event("e", 6, eventid="cowrie.login.failed", src_ip="8.8.4.4"),
    ]
    case.execute(sa.insert(EVENTS), events)
    case.execute(
        sa.insert(FILES),
        [
            {"session_id": s, "shasum": sha}
            for s, sha in (("a", GOOD_SHA), ("b", BAD_SHA), ("c", BAD_SHA), ("d", NEW_SHA), ("e", "no hash"))
        ],
    )
    yield case
    cache.close()
    if request.param == "sqlite":
        engine.dispose()


def test_sessions_get_a_member_and_their_flag(case: Case) -> None:
    tally = case.sessions()
    assert (tally.rows, tally.asked, tally.cached, tally.written) == (5, 2, 1, 3)
    assert (tally.found, tally.flagged, tally.no_address, tally.not_sent) == (3, 3, 1, 1)
    assert [a.path for a in case.server.asked] == ["/ip/8.8.4.4?json", "/ip/1.1.1.1?json"]
    member = case.session("a").enrichment["dshield"]
    assert member["ip"]["asname"] == "EXAMPLE-AS"
    assert {k: member[k] for k in ("value", "found", "flagged")} == {"value": "8.8.4.4", "found": True, "flagged": True}
    assert datetime.fromisoformat(member["asked_at"]) == case.time.start
    flags = {r.session_id: (r.dshield_flagged, r.vt_flagged) for r in case.rows(sa.select(SESSIONS))}
    assert flags == {
        "a": (True, False),
        "b": (True, False),
        "c": (False, False),
        "d": (False, False),
        "e": (True, False),
    }


def test_another_services_member_stays(case: Case) -> None:
    case.sessions("dshield")
    case.sessions("virustotal")
    assert list(case.session("b").enrichment) >= ["dshield"]
    assert case.session("b").enrichment["spur"] == {"x": 1}
    assert case.session("b").enrichment["virustotal"]["positives"] == 0
    assert (case.session("b").vt_flagged, case.session("a").vt_flagged) == (False, True)


def test_the_digits_of_another_member_stay(case: Case) -> None:
    text = '{"other": {"price": 1.10, "big": 12345678901234567890123}}'
    cast = ":t" if case.engine.dialect.name == "sqlite" else "CAST(:t AS jsonb)"
    case.execute(sa.text(f"UPDATE session_summaries SET enrichment = {cast} WHERE session_id = 'a'"), {"t": text})
    case.sessions()
    [(stored,)] = case.rows(sa.text("SELECT CAST(enrichment AS TEXT) FROM session_summaries WHERE session_id = 'a'"))  # type: ignore[arg-type]
    assert "1.10" in stored and "12345678901234567890123" in stored and "dshield" in stored


def test_a_json_column_of_the_processors_own_is_merged_too(case: Case) -> None:
    if case.engine.dialect.name == "postgresql":
        change = "ALTER TABLE session_summaries ALTER COLUMN enrichment TYPE {0} USING enrichment::{0}"
        case.execute(sa.text(change.format("json")))
    case.sessions()
    assert list(case.session("b").enrichment) == ["spur", "dshield"]
    if case.engine.dialect.name == "postgresql":
        case.execute(sa.text(change.format("jsonb")))


@pytest.mark.parametrize("cell", ["[1]", '"text"', "7"])
def test_an_enrichment_that_is_no_object_is_left_as_it_is(case: Case, cell: str) -> None:
    cast = ":t" if case.engine.dialect.name == "sqlite" else "CAST(:t AS jsonb)"
    case.execute(sa.text(f"UPDATE session_summaries SET enrichment = {cast} WHERE session_id = 'a'"), {"t": cell})
    tally = case.sessions()
    assert (tally.written, tally.failed) == (2, {refreshing.NOT_TAKEN: 1})
    assert (case.session("a").enrichment, case.session("a").dshield_flagged) == (json.loads(cell), False)


def test_what_another_process_writes_meanwhile_stays(case: Case) -> None:
    def meanwhile(asked: Asked) -> Planned:
        cell = """'{"meanwhile": 1}'"""
        case.execute(
            sa.text(f"UPDATE session_summaries SET enrichment = {cell}, vt_flagged = true WHERE session_id = 'a'")
        )
        return _answers(asked)

    case.server.answer = meanwhile
    case.sessions()
    assert case.session("a").enrichment.keys() == {"meanwhile", "dshield"}
    assert case.session("a").vt_flagged is True


def test_what_is_fresh_is_not_asked_again(case: Case) -> None:
    case.sessions()
    before = len(case.server.asked)
    again = case.sessions()
    assert (again.fresh, again.answers, len(case.server.asked)) == (3, 0, before)
    case.time.seconds += timedelta(days=8).total_seconds()
    assert case.sessions().asked == 2


def test_older_than_makes_rows_due_and_passes_the_cache_over(case: Case) -> None:
    case.sessions()
    case.time.seconds += timedelta(days=2).total_seconds()
    assert case.sessions(older_than=timedelta(days=3)).answers == 0
    again = case.sessions(older_than=timedelta(days=1))
    assert (again.asked, again.cached, again.written) == (2, 1, 3)


def test_a_limit_counts_answers_and_the_next_run_goes_on(case: Case) -> None:
    assert [case.sessions(limit=1).written for _ in range(5)] == [1, 1, 1, 0, 0]


def test_a_limit_counts_questions_without_an_answer(case: Case) -> None:
    case.server.answer = lambda asked: Planned(body=b"garbage")
    assert (case.sessions(limit=2).failed, len(case.server.asked)) == ({"unexpected answer": 2}, 2)
    assert case.sessions(limit=2, dry_run=True).asked == 2


def test_a_dry_run_asks_and_writes_nothing(case: Case) -> None:
    dry = case.sessions(dry_run=True)
    assert (dry.asked, dry.cached, dry.written, dry.not_sent, dry.no_address) == (2, 1, 0, 1, 1)
    assert not case.server.asked
    assert not case.session("a").enrichment


def test_files_get_their_columns_and_their_sessions_the_flag(case: Case) -> None:
    tally = case.files()
    assert (tally.asked, tally.cached, tally.found, tally.not_found, tally.flagged) == (3, 1, 3, 1, 2)
    assert (tally.written, tally.not_sent) == (4, 1)
    rows = {r.session_id: r for r in case.rows(sa.select(FILES))}
    assert {s: r.enrichment_status for s, r in rows.items()} == {
        "a": "enriched",
        "b": "enriched",
        "c": "enriched",
        "d": "not_found",
        "e": "pending",
    }
    bad = rows["b"]
    assert (bad.vt_malicious, bad.vt_positives, bad.vt_total) == (True, 3, 63)
    assert (bad.vt_classification, bad.vt_description) == ("trojan.mirai/gafgyt", "ELF")
    assert bad.vt_first_seen == datetime.fromtimestamp(1_700_000_000, UTC)
    assert bad.vt_last_analysis == datetime.fromtimestamp(1_750_000_000, UTC)
    assert case.time.start <= bad.vt_scan_date <= case.time.now
    assert {r.session_id for r in case.rows(sa.select(SESSIONS)) if r.vt_flagged} == {"b", "c"}


def test_fresh_files_are_not_asked_again(case: Case) -> None:
    case.files()
    assert (case.files().fresh, case.files().answers) == (4, 0)
    case.time.seconds += timedelta(days=31).total_seconds()
    assert case.files().answers == 4


def test_a_quota_stops_the_service_and_keeps_what_was_answered(case: Case) -> None:
    answers = [_answers(Asked("GET", "/ip/8.8.4.4?json", {}, ""))]
    case.server.answers = [*answers, Planned(429, headers={"Retry-After": "3600"})]
    tally = case.sessions()
    assert (tally.written, tally.failed) == (1, {"rate limited": 1})
    assert tally.stopped and tally.stopped.resume_at == case.time.now + timedelta(hours=1)
    assert case.sessions().written == 2


def test_a_service_that_is_down_is_left_after_three_values(case: Case) -> None:
    many = [{"session_id": f"m{i}"} for i in range(6)]
    case.execute(sa.insert(SESSIONS), many)
    case.execute(sa.insert(EVENTS), [event(f"m{i}", 10 + i, src_ip=f"8.8.8.{i + 1}") for i in range(6)])
    case.server.answer = lambda asked: Planned(503)
    tally = case.sessions()
    assert (tally.failed, tally.stopped is not None) == ({"unreachable": 3}, True)
    assert tally.asked == len(case.server.asked) == 12  # three addresses, four tries each


def test_every_request_is_counted_and_an_unusable_answer_stops_no_other(case: Case) -> None:
    case.server.answers = [
        Planned(body=b"garbage"),
        Planned(429, headers={"Retry-After": "1"}),
        Planned(503),
        Planned(reset=True),
    ]
    tally = case.sessions()
    assert tally.asked == len(case.server.asked) == 5 + 1  # one address had no answer: it is asked for "e" again
    assert (tally.failed, tally.answers, tally.cached) == ({"unexpected answer": 1}, 2, 0)
    assert (tally.stopped, tally.written) == (None, 2)


def test_a_server_that_is_not_there_was_not_asked(case: Case) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        case.server.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    tally = case.sessions()
    assert (tally.asked, tally.failed) == (0, {"unreachable": 3})


def test_an_interruption_loses_no_answer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(asked: Asked) -> Planned:
        monkeypatch.setattr(CachedService, "ask", _interrupt)
        return _answers(asked)

    case.server.answer = interrupted
    with pytest.raises(KeyboardInterrupt):
        case.sessions()
    monkeypatch.undo()
    assert "dshield" in case.session("a").enrichment
    case.server.answer = _answers
    assert (case.sessions().written, len(case.server.asked)) == (2, 2)


def test_a_failing_statement_keeps_what_was_answered(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(self: Sessions, connection: sa.Connection, *_: Any) -> int:
        return connection.execute(sa.text("SELECT missing FROM session_summaries")).rowcount

    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "write", locked)
        with pytest.raises(LoadError, match="Refreshing session_summaries failed .*missing.*Start it again"):
            case.sessions()
    tally = case.sessions()
    assert (tally.asked, tally.cached, tally.written) == (0, 3, 3)


def _interrupt(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def test_batches_are_written_by_number_and_by_time(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = Sessions.write

    def counted(self: Sessions, connection: sa.Connection, answers: Any, now: datetime) -> int:
        written.append(len(answers))
        return write(self, connection, answers, now)

    monkeypatch.setattr(Sessions, "write", counted)
    monkeypatch.setattr(refreshing, "BATCH", 2)
    case.sessions()
    assert written == [2, 1]
    monkeypatch.setattr(refreshing, "BATCH_SECONDS", 14.0)
    case.sessions("virustotal")  # asked every 15 s; the first and the last answer come without a wait
    assert written[2:] == [2, 1]


def test_pages_meet(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cowrie_assets.enrichment.sessions.PAGE", 2)
    monkeypatch.setattr("cowrie_assets.enrichment.files.PAGE", 2)
    assert (case.sessions().rows, case.files().rows) == (5, 5)


@pytest.mark.parametrize("name", ["real_v3", "real_v6"])
def test_a_real_database_gives_every_address(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, server: FakeService
) -> None:
    # Version 3 computes session_id, in the other it is NULL in every row.
    copy = tmp_path / "copy.sqlite"
    shutil.copy(request.getfixturevalue(name), copy)
    engine = open_database(str(copy), write=True)
    cache = Cache(tmp_path / "cache.sqlite")
    tally = Case(engine, server, cache).sessions()
    member = "json_extract(payload, '$.{}')"
    named = sa.text(
        f"SELECT count(DISTINCT {member.format('session')}) FROM raw_events WHERE json_valid(payload)"
        f" AND {member.format('src_ip')} <> '' AND {member.format('session')} IN (SELECT session_id FROM session_summaries)"
    )
    with engine.connect() as connection:
        expected = connection.execute(named).scalar_one()
    cache.close()
    engine.dispose()
    assert tally.rows - tally.no_address == expected > 700
    assert (tally.not_sent, tally.answers, server.asked) == (expected, 0, [])  # the lab's addresses are private
