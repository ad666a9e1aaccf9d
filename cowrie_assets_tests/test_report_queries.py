"""The reports' queries: the same answers on both backends, for every value that can be stored, by the index.

Not here: the commands (`test_report_cli.py`), the comparison within `verify` (`test_report_compare.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from cowrie_assets.db.engine import open_database
from cowrie_assets.db.tables import METADATA, SQL_TABLES
from cowrie_assets.reporting.queries.catalogue import REPORTS
from cowrie_assets.reporting.queries.events import commands
from cowrie_assets.reporting.queries.facts import MOST, Facts, Window

from .db_backends import POSTGRES, SQLITE

EVENTS, SESSIONS = SQL_TABLES["raw_events"], SQL_TABLES["session_summaries"]
EVENT_REPORTS = [name for name, report in REPORTS.items() if report.table == "raw_events"]
DAY = date(2026, 10, 10)


class Filled:
    """A database that rows are put into and reports are asked of."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        METADATA.create_all(engine)
        self.number = 0

    def event(self, kind: str | None, *, stored: bool = True, **members: Any) -> None:
        """An event; its columns say what its payload says, or (not `stored`) nothing."""
        self.number += 1
        payload = {"session": "s", "eventid": kind, "timestamp": f"{DAY}T05:00:00.000000Z"} | members
        columns = {"session_id": "session", "event_type": "eventid", "event_timestamp": "timestamp"}
        row: dict[str, Any] = {"source": "/log", "source_offset": self.number, "payload": payload}
        with self.engine.begin() as connection:
            connection.execute(
                sa.insert(EVENTS).values(row | {c: payload[m] if stored else None for c, m in columns.items()})
            )

    def session(self, name: str, **columns: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.insert(SESSIONS).values({"session_id": name} | columns))

    def ask(self, report: str, **window: Any) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [astuple(row) for row in REPORTS[report].find(Facts(connection), Window(**window))]


@pytest.fixture
def filled(database: sa.Engine) -> Filled:
    return Filled(database)


def test_events_are_counted(filled: Filled) -> None:
    for session, command in (("a", "id"), ("b", "id"), ("b", "id"), ("a", "ls")):
        filled.event("cowrie.command.input", session=session, input=command, sensor="x")
    filled.event("cowrie.command.input", input=None, input_safe="cat [PIPE] sh", sensor="y", src_ip="192.0.2.1")
    filled.event("cowrie.command.failed", input="id")
    filled.event("cowrie.session.file_download", shasum="1f", url="http://h/x", stored=False)
    for kind in ("failed", "success", "failed"):
        filled.event(f"cowrie.login.{kind}", username="root", password="1", src_ip="192.0.2.1")  # noqa: S106
    filled.event("cowrie.login.failed", username="root", password=None)
    assert filled.ask("commands") == [("id", 3, 2), ("cat [PIPE] sh", 1, 1), ("ls", 1, 1)]
    assert filled.ask("downloads") == [("1f", "http://h/x", 1, 1)]
    assert filled.ask("credentials") == [("root", "1", 3, 1), ("root", None, 1, 0)]
    assert filled.ask("sources") == [("192.0.2.1", 4, 1)]
    hour = f"{DAY} 05"
    assert filled.ask("sensors") == [
        (None, 6, 4, 0, 1, hour, hour),
        ("x", 4, 0, 4, 0, hour, hour),
        ("y", 1, 0, 1, 0, hour, hour),
    ]
    assert filled.ask("hours") == [(hour, 11, 4, 5, 1)]
    assert filled.ask("days", sensor="x") == [(str(DAY), 4, 0, 4, 0)]
    assert filled.ask("commands", sensor="y") == [("cat [PIPE] sh", 1, 1)]


def test_equal_counts_are_ordered_by_bytes_and_cut(filled: Filled) -> None:
    words = ["b", "B", "a", "ä", "_", "Z", "10", "9", "", "😀", "\uffff"]
    for word in words:
        filled.event("cowrie.command.input", input=word)
    filled.event("cowrie.command.input", input=None)
    expected = [*sorted(words, key=str.encode), None]
    assert [row[0] for row in filled.ask("commands")] == expected
    assert [row[0] for row in filled.ask("commands", limit=4)] == expected[:4]


def test_a_collation_of_the_database_does_not_order_rows(filled: Filled) -> None:
    with filled.engine.connect() as connection:
        facts = Facts(connection)
        with _statements(connection) as seen:
            for report in REPORTS.values():
                report.find(facts, Window(first=DAY))
    collation = {"sqlite": "COLLATE BINARY", "postgresql": 'COLLATE "C"'}[filled.engine.dialect.name]
    assert len(seen) == len(REPORTS)
    assert all(collation in statement.rpartition("ORDER BY")[2] for statement in seen)


INSIDE = (
    "2026-10-10T00:00:00.000000Z",
    "2026-10-10T23:59:59.999999Z",
    "2026-10-10",
    "2026-10-10 12:00",
    "2026-10-10T12:00:00.123456789Z",
    "2026-10-11T03:00:00+05:30",
    "2026-10-09T20:00:00-0430",
    "2026-10-09T08:01:00-15:59",
    "2026-10-11T15:58:00+15:59",
)
OUTSIDE = (
    "2026-10-09T23:59:59.999999Z",
    "2026-10-11T00:00:00.000000Z",
    "2026-10-10T03:00:00+05:30",
    "2026-10-10T20:00:00-0430",
    "2026-10-10T24:00:00.000000Z",
    "2026-10-10T10:60:00.000000Z",
    "2026-10-10T10:00:60.000000Z",
    "2026-10-10T1०:00:00.000000Z",
    "2026-10-10T10:00:00.000000Zx",
    "2026-10-10T10:00:00,000000Z",
    "2026-10-10T10:00:00.000000Z\n",
    "2026-10-1",
    "now",
    "",
    "1791590400",
)


@pytest.mark.parametrize("stored", [True, False])
def test_a_day_holds_its_instants_in_every_form(filled: Filled, stored: bool) -> None:
    for text in (*INSIDE, *OUTSIDE):
        filled.event("cowrie.command.input", stored=stored, timestamp=text, input=text, src_ip=text)
    day = {"first": DAY, "last": DAY, "limit": 100}
    assert {row[0] for row in filled.ask("commands", **day)} == set(INSIDE)
    assert {row[0] for row in filled.ask("sources", **day)} == set(INSIDE)
    assert sum(row[1] for row in filled.ask("hours", **day)) == len(INSIDE)
    assert filled.ask("days", **day) == [(str(DAY), len(INSIDE), 0, len(INSIDE), 0)]
    unread = [row for row in filled.ask("days", limit=100) if row[0] is None]
    assert unread == [(None, len(OUTSIDE) - 4, 0, len(OUTSIDE) - 4, 0)]
    assert len(filled.ask("commands", first=DAY, limit=100)) == len(INSIDE) + 2
    assert len(filled.ask("commands", last=DAY, limit=100)) == len(INSIDE) + 2


def test_impossible_days_and_the_ends_of_time(filled: Filled) -> None:
    for text in ("2026-02-30T10:00:00.000000Z", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:00:00.000000Z"):
        filled.event("cowrie.command.input", timestamp=text, input=text[:10])
    assert filled.ask("commands", first=date(2026, 2, 28), last=date(2026, 3, 1)) == []
    assert [r[0] for r in filled.ask("commands", first=date.min, last=date.max)] == ["0001-01-01", "9999-12-31"]
    assert [r[0] for r in filled.ask("hours")] == ["0001-01-01 00", "9999-12-31 23", None]


def test_the_latest_hours_come_in_order(filled: Filled) -> None:
    for hour in (9, 3, 7):
        filled.event("cowrie.session.connect", timestamp=f"{DAY}T0{hour}:30:00.000000Z")
    assert [row[0] for row in filled.ask("hours")] == [f"{DAY} 03", f"{DAY} 07", f"{DAY} 09"]
    assert [row[0] for row in filled.ask("hours", limit=2)] == [f"{DAY} 07", f"{DAY} 09"]


def test_sessions_are_summed_by_sensor(filled: Filled) -> None:
    noon = datetime(2026, 10, 10, 12, tzinfo=UTC)
    filled.session("a", matcher="x", first_event_at=noon, event_count=2**63 - 1, risk_score=5, vt_flagged=True)
    filled.session("b", matcher="x", first_event_at=noon, event_count=2**63 - 1, command_count=-3)
    filled.session("c", matcher="y", first_event_at=noon.replace(day=11), login_attempts=7)
    filled.session("d")
    both = ("x", 2, 2**64 - 2, -3, 0, 0, 1, 0, 5)
    other, none = ("y", 1, 0, 0, 0, 7, 0, 0, None), (None, 1, 0, 0, 0, 0, 0, 0, None)
    assert filled.ask("sessions") == [both, other, none]
    assert filled.ask("sessions", last=DAY) == [both]
    assert filled.ask("sessions", first=date(2026, 10, 11)) == [other]
    assert filled.ask("sessions", sensor="y") == [other]


def test_enriched_sessions_by_risk(filled: Filled) -> None:
    noon = datetime(2026, 10, 10, 12, tzinfo=UTC)
    filled.session("a", enrichment={"dshield": {"attacks": 1.5}}, event_count=4)
    filled.session("b", dshield_flagged=True, risk_score=9, first_event_at=noon, matcher="x")
    for name, empty in (("c", {}), ("d", None), ("e", [])):
        filled.session(name, enrichment=empty)
    filled.session("B", enrichment={"k": [None]}, risk_score=9)
    assert filled.ask("enriched") == [
        ("B", None, None, 0, False, False, 9, {"k": [None]}),
        ("b", "x", noon, 0, False, True, 9, None),
        ("a", None, None, 4, False, False, None, {"dshield": {"attacks": 1.5}}),
    ]
    assert [row[0] for row in filled.ask("enriched", first=DAY)] == ["b"]


def test_events_that_are_kept_answer_the_same(filled: Filled) -> None:
    for number, kind in enumerate(("command.input", "login.success", "session.file_download", "session.connect")):
        for members in (
            {},
            {"input": ["id", 1.50], "username": True, "url": "é", "src_ip": 7, "session": f"s{number}"},
        ):
            filled.event(f"cowrie.{kind}", stored=number != 1, **members)
    with filled.engine.connect() as connection:
        facts, window = Facts(connection), Window(DAY, DAY)
        before = {name: REPORTS[name].find(facts, window) for name in EVENT_REPORTS}
        facts.keep_events()
        with _statements(connection) as seen:
            assert {name: REPORTS[name].find(facts, window) for name in EVENT_REPORTS} == before
        kept = all("kept_events" in statement and "raw_events" not in statement for statement in seen)
        may = filled.engine.dialect.name == "sqlite" or connection.scalar(
            sa.text("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
        )
    assert kept == may
    assert all(before.values())


@SQLITE
def test_whatever_a_sqlite_file_holds_is_read(filled: Filled) -> None:
    name = {"eventid": "cowrie.command.input", "timestamp": f"{DAY}T05:00:00Z"}
    payloads: list[Any] = [
        json.dumps(name | {"input": "a\x00b"}),
        json.dumps(name | {"input": "\ud800"}),
        json.dumps(name | {"input": 1}),
        json.dumps(name | {"input": {"k": True}}),
        '{"input": "first", ' + json.dumps(name | {"input": "last"})[1:],
        json.dumps(name | {"input": "blob"}).encode(),
        json.dumps(name | {"input": "cut"})[:-1],
        "\n " + json.dumps(name | {"input": "blank before, damage behind"}) + "]",
        *(7, 1.5, "", "no JSON", "[", b"\xff\xfe"),
    ]
    odd = ["2026-10-10T08:00:00+05:00", "soon", 1791630000, 1791630000.5, b"2026", None]
    with filled.engine.begin() as connection:
        for number, payload in enumerate(payloads):
            connection.exec_driver_sql(
                "INSERT INTO raw_events (id, source, payload) VALUES (?, 'x', ?)", (number, payload)
            )
        for number, began in enumerate(odd):
            connection.exec_driver_sql(
                "INSERT INTO session_summaries (session_id, first_event_at, matcher, event_count, vt_flagged, enrichment)"
                " VALUES (?, ?, CAST(x'61ff0062' AS TEXT), 'many', 'TRUE', '{')",
                (f"s{number}", began),
            )
    day = {"first": DAY, "last": DAY, "limit": 100}
    expected = ["1", "\\ud800", "a\\x00b", "blank before, damage behind", "blob", "cut", "last", '{"k": true}']
    assert [row[0] for row in filled.ask("commands", **day)] == expected
    assert filled.ask("days") == [(str(DAY), 8, 0, 8, 0), (None, 6, 0, 0, 0)]
    assert filled.ask("sessions", **day) == [("a\\xff\\x00b", 3, 0, 0, 0, 0, 3, 0, None)]
    assert filled.ask("sessions", sensor="a\\xff\\x00b")[0][1] == len(odd)
    assert len(filled.ask("enriched", **day)) == 3


@SQLITE
def test_an_old_schema_lacks_columns_and_is_read(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE session_summaries (session_id TEXT, event_count INTEGER)")
        connection.exec_driver_sql("INSERT INTO session_summaries VALUES ('a', 3)")
    with database.connect() as connection:
        facts = Facts(connection)
        assert [astuple(r) for r in REPORTS["sessions"].find(facts, Window())] == [(None, 1, 3, 0, 0, 0, 0, 0, None)]
        assert REPORTS["enriched"].find(facts, Window(first=DAY)) == []


@contextmanager
def _statements(connection: sa.Connection) -> Iterator[list[str]]:
    """The SELECTs that are executed, with their parameters in place on PostgreSQL."""
    seen: list[str] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith(("SELECT", "WITH")):
            seen.append(statement if isinstance(parameters, tuple) else _bound(cursor, statement, parameters))

    sa.event.listen(connection, "before_cursor_execute", note)
    yield seen
    sa.event.remove(connection, "before_cursor_execute", note)


def _bound(cursor: Any, statement: str, parameters: Any) -> str:
    import psycopg

    return psycopg.ClientCursor(cursor.connection).mogrify(statement, parameters)


@POSTGRES
def test_a_day_of_events_is_found_by_the_index(filled: Filled) -> None:
    with filled.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO raw_events (source, source_offset, payload, event_type, event_timestamp, session_id)"
            " SELECT '/log', n, jsonb_build_object('src_ip', n::text, 'sensor', 'x', 'input', repeat('x', 200)),"
            " 'cowrie.command.input', to_char(timestamp '2026-10-01' + n * interval '3 minutes',"
            ' \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\'), n::text FROM generate_series(1, 14400) n'
        )
        connection.exec_driver_sql("ANALYZE raw_events")
    found = {}
    with filled.engine.connect() as connection:
        for name in EVENT_REPORTS:
            with _statements(connection) as seen:
                found[name] = len(REPORTS[name].find(Facts(connection), Window(DAY, DAY, limit=MOST)))
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {seen[-1]}".replace("%", "%%")))
            assert "Seq Scan on raw_events" not in plan, name
            assert "ix_raw_events_event_timestamp" in plan, name
    counts = {"commands": 1, "sources": 480, "hours": 24, "days": 1, "sensors": 1, "downloads": 0, "credentials": 0}
    assert found == counts


@SQLITE
def test_a_day_of_events_is_found_by_the_index_of_a_plain_column(filled: Filled) -> None:
    filled.event("cowrie.command.input", input="id")
    with filled.engine.connect() as connection:
        facts = Facts(connection)
        with _statements(connection) as seen:
            assert len(commands(facts, Window(DAY, DAY))) == 1
        nothing = (None,) * seen[0].count("?")
        plan = " ".join(str(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[0]}", nothing))
    assert plan.count("USING INDEX ix_raw_events_event_timestamp") == 2


@pytest.mark.parametrize("limit", [0, MOST + 1])
def test_answers_are_bounded(limit: int) -> None:
    with pytest.raises(ValueError, match="is not between 1"):
        Window(limit=limit)


def test_a_source_opened_read_only_is_not_changed(filled: Filled, empty_url: str) -> None:
    filled.event("cowrie.login.failed", username="root", password="x")  # noqa: S106
    engine = open_database(empty_url, write=False)
    try:
        with engine.connect() as connection:
            assert [astuple(r) for r in REPORTS["credentials"].find(Facts(connection), Window())] == [
                ("root", "x", 1, 0)
            ]
    finally:
        engine.dispose()
