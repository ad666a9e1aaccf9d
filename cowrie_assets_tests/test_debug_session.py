"""Why a session is stuck: each cause on both backends, locks and writers, the command's text and JSON.

Not here: other commands (test_cli.py).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.cli.main import main
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.session_debug import SessionState, session_state
from cowrie_assets.db.tables import METADATA, SQL_TABLES

SESSIONS, EVENTS, LETTERS, CURSORS = (
    SQL_TABLES[n] for n in ("session_summaries", "raw_events", "dead_letter_events", "ingest_cursors")
)
START = datetime(2026, 11, 24, 5, tzinfo=UTC)
TYPES = ("cowrie.session.connect", "cowrie.login.failed", "cowrie.command.input", "cowrie.session.closed")


class Case:
    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_database(url, write=True, create=True)

    def add(self, table: sa.Table, *rows: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.insert(table), list(rows))

    def events(self, *offsets: int, session: str = "s", **changes: Any) -> None:
        for number, offset in enumerate(offsets):
            at = START + timedelta(seconds=number) if "at" not in changes else changes["at"][number]
            kind = TYPES[number] if offset != offsets[-1] else changes.get("last", TYPES[-1])
            payload = {"session": session, "eventid": kind, "timestamp": at.isoformat()}
            row = {"source": "/log", "source_inode": "7", "source_offset": offset, "payload": payload}
            self.add(EVENTS, row | {"session_id": session if changes.get("named", True) else None})

    def state(self, session: str = "s", deep: bool = False) -> SessionState:
        engine = open_database(self.url, write=False)
        try:
            with engine.connect() as connection:
                return session_state(connection, session, deep=deep)
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def postgres(server_url: str) -> Iterator[str]:
    """One database for all tests of this file: making one costs a second."""
    name = f"t_debug_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0".encode())
    yield psycopg.conninfo.make_conninfo(server_url, dbname=name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    if request.param == "sqlite":
        url = str(tmp_path / "database.sqlite")
    else:
        parts = psycopg.conninfo.conninfo_to_dict(request.getfixturevalue("postgres"))
        query = urlencode({k: v for k, v in parts.items() if k in ("host", "port", "user", "password")})
        url = f"postgresql:///{parts['dbname']}?{query}"
    case = Case(url)
    METADATA.create_all(case.engine)
    with case.engine.begin() as connection:
        for table in METADATA.sorted_tables:
            connection.execute(sa.delete(table))
    yield case
    case.engine.dispose()


def summary(events: int) -> dict[str, Any]:
    return {"session_id": "s", "event_count": events, "first_event_at": START}


def test_a_complete_session_is_not_stuck(case: Case) -> None:
    case.events(0, 1, 2, 3)
    case.add(SESSIONS, summary(4))
    state = case.state()
    assert (state.stuck, len(state.events), state.gaps) == (False, 4, ())
    assert state.verdict.startswith("Complete: 4 events")
    assert [(s.first, s.last, s.missing, s.cursor) for s in state.sources] == [(0, 3, 0, None)]


def test_nobody_knows_the_session(case: Case) -> None:
    assert "NOT CHECKED" in case.state("x").verdict
    state = case.state("x", deep=True)
    assert (state.stuck, state.verdict) == (True, "Unknown: no event, no summary, no dead letter.")


@pytest.mark.parametrize("named", [True, False], ids=["in the column", "in the payload"])
def test_a_session_with_a_nul_goes_by_its_visible_form(case: Case, named: bool) -> None:
    stored, shown = "nul\0s", r"nul\x00s"
    if case.engine.dialect.name == "postgresql":
        stored = shown  # what the migration makes of it
    case.events(0, 1, 2, 3, session=stored, named=named)
    case.events(4, session="nul")
    case.add(SESSIONS, summary(4) | {"session_id": stored})
    state = case.state(shown)
    assert state.summary and state.summary["event_count"] == 4
    assert state.verdict.startswith("Complete: 4 events")


def test_a_session_with_a_nul_in_a_generated_column(real_v3: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    shutil.copy(real_v3, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        payload = '{"session": "nul\\u0000s", "eventid": "cowrie.session.closed", "timestamp": "2026-11-24T05:00:00Z"}'
        db.execute("INSERT INTO raw_events (source, source_offset, payload) VALUES ('/log', 1, ?)", (payload,))
        counts = "event_count, command_count, file_downloads, login_attempts"
        db.execute(f"INSERT INTO session_summaries (session_id, {counts}) VALUES ('nul' || char(0) || 's', 1, 0, 0, 0)")
    state = Case(str(copy)).state(r"nul\x00s")
    assert state.verdict.startswith("Complete: 1 events")


def test_events_without_a_summary(case: Case) -> None:
    case.events(0, 1, named=False)
    assert case.state().verdict.startswith("Not summarised: 2 events")


def test_a_summary_without_events(case: Case) -> None:
    case.add(SESSIONS, summary(4))
    assert case.state().verdict.startswith("Summary without events")


def test_a_summary_that_counts_otherwise(case: Case) -> None:
    case.events(0, 1)
    case.add(SESSIONS, summary(9))
    assert "counts 9, 2 are stored" in case.state().verdict


def test_lines_between_its_own_are_missing(case: Case) -> None:
    case.events(0, 1, 8)
    case.events(3, session="other")
    case.add(SESSIONS, summary(3))
    case.add(LETTERS, {"source": "/log", "source_offset": 4, "reason": "validation", "payload": {"malformed": "{"}})
    state = case.state()
    assert [(s.missing, s.examples) for s in state.sources] == [(4, (2, 5, 6, 7))]
    assert state.verdict == "Lines missing: 4 between 0 and 8 of /log, first 2."
    assert [(letter.own, letter.stored) for letter in state.letters] == [(False, False)]


def test_a_line_that_became_a_dead_letter(case: Case) -> None:
    case.events(0, 2)
    case.add(SESSIONS, summary(2))
    letter = {"source": "/log", "reason": "validation", "payload": {"session": "s"}}
    case.add(LETTERS, letter | {"source_offset": 1}, letter | {"source_offset": 2})
    state = case.state()
    assert [(one.own, one.stored) for one in state.letters] == [(True, False), (True, True)]
    assert state.verdict == "Incomplete: 1 of its lines are dead letters (validation) and no events."


def test_only_dead_letters_name_it(case: Case) -> None:
    case.add(LETTERS, {"source": "/log", "source_offset": 1, "reason": "bad", "payload": {"session": "s"}})
    case.add(LETTERS, {"source": "/log", "source_offset": 2, "reason": "bad", "payload": {"malformed": "x"}})
    assert case.state().letters == ()
    assert [letter.offset for letter in case.state(deep=True).letters] == [1]
    assert case.state(deep=True).verdict.startswith("Incomplete: 1")


def test_silence_within_the_session_is_a_gap(case: Case) -> None:
    late = START + timedelta(seconds=301)
    case.events(0, 1, 2, at=[START, late, late + timedelta(seconds=300)])
    assert [(a.offset, b.offset, s) for a, b, s in case.state().gaps] == [(0, 1, 301.0)]


@pytest.mark.parametrize(
    ("cursor", "words"),
    [
        (None, "loaded in bulk"),
        ({"inode": "7", "last_offset": 5}, "last at line 5 of /log"),
        ({"inode": "7", "last_offset": 0}, "stands at 0, before the session's last line 1"),
        ({"inode": "8", "last_offset": 3}, "a new file of the name /log"),
    ],
)
def test_an_open_session_says_where_its_loader_is(case: Case, cursor: dict[str, Any] | None, words: str) -> None:
    case.events(0, 1, last="cowrie.command.input")
    case.add(SESSIONS, summary(2))
    if cursor:
        case.add(CURSORS, {"source": "/log", "last_ingest_at": START} | cursor)
    state = case.state()
    assert state.verdict.startswith("Open: no cowrie.session.closed yet.")
    assert words in state.verdict


@contextmanager
def writer(case: Case) -> Iterator[None]:
    """Another connection that keeps writers out."""
    with case.engine.connect() as connection:
        if case.engine.dialect.name == "sqlite":
            connection.execution_options(cowrie_begin="BEGIN IMMEDIATE")
            connection.execute(sa.insert(CURSORS), {"source": "x"})
        else:
            connection.execute(sa.text("LOCK TABLE session_summaries IN SHARE ROW EXCLUSIVE MODE"))
        yield
        connection.rollback()


def test_a_writer_in_the_way_is_named(case: Case) -> None:
    case.events(0, 1, 2, 3)
    case.add(SESSIONS, summary(4))
    with writer(case):
        state = case.state()
    assert state.stuck
    if state.contention.file:
        assert (state.contention.file.busy, state.contention.file.journal_mode) == (True, "wal")
        assert state.contention.file.wal_bytes > 0
        assert state.verdict == "Blocked: another process holds the write lock."
    else:
        assert "holds ShareRowExclusiveLock on session_summaries" in state.verdict
    assert not case.state().stuck


def test_who_waits_for_whom_on_postgresql(case: Case) -> None:
    if case.engine.dialect.name == "sqlite":
        assert case.state().contention.holders == ()  # SQLite has one lock, and no list of who waits
        return

    def wait() -> None:
        with case.engine.begin() as connection:
            connection.execute(sa.text("UPDATE session_summaries SET event_count = 1"))

    with writer(case):
        thread = threading.Thread(target=wait)
        thread.start()
        while not any(not holder.granted for holder in case.state().contention.holders):
            assert thread.is_alive()
        found = case.state().contention
    thread.join()
    waiting = [holder for holder in found.holders if not holder.granted]
    holding = [holder.pid for holder in found.holders if holder.granted and holder.mode == "ShareRowExclusiveLock"]
    assert [w.blocked_by for w in waiting] == [tuple(holding)]
    assert waiting[0].statement.startswith("UPDATE session_summaries")
    assert found.obstacle and "waits for session_summaries" in found.obstacle


def test_looking_changes_no_byte(real_v3: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    shutil.copy(real_v3, copy)
    before = copy.read_bytes()
    engine = open_database(str(copy), write=False)
    with engine.connect() as connection:
        state = session_state(connection, "7d168db9afce", deep=True)
    engine.dispose()
    assert state.verdict.startswith("Complete: 9 events")
    assert copy.read_bytes() == before


def test_the_command_shows_it(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.events(0, 1, 8)
    case.add(SESSIONS, summary(3))
    with pytest.raises(SystemExit) as ended:
        main(["debug", "session", "s", "--database", case.url, "--json", "--events", "2"])
    content = json.loads(capsys.readouterr().out)
    assert (ended.value.code, content["stuck"], content["event_count"], len(content["events"])) == (1, True, 3, 2)
    assert content["sources"][0]["missing"] == 6
    with pytest.raises(SystemExit) as ended:
        main(["debug", "session", "s", "--database", case.url])
    out = capsys.readouterr().out
    assert ended.value.code == 1
    assert "6 lines between them missing (first: 2, 3, 4, 5, 6)" in out
    assert out.rstrip().endswith("Lines missing: 6 between 0 and 8 of /log, first 2.")


def test_a_session_id_steers_no_terminal(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["debug", "session", "\x1b[31mred", "--database", case.url])
    assert "\x1b" not in capsys.readouterr().out


def test_a_database_without_the_tables_is_refused(
    tmp_path: Path, real_other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["debug", "session", "s", "--database", str(real_other)])
    assert (ended.value.code, "no table" in capsys.readouterr().err) == (2, True)
