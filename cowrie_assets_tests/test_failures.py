"""Failures of a living server: what is transient is retried, what is not stops at once, each in one clear line.

Not here: servers that are killed, restarted or full (`test_crash_server.py`, `test_crash_disk.py`), roles.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from cowrie_assets.errors import CowrieError, LoadError, TargetError, UnavailableError
from cowrie_assets.loading import failures
from cowrie_assets.loading.connection import _refused, connect
from cowrie_assets.loading.lock import LOCK_KEY
from cowrie_assets.pipeline import Pipeline
from cowrie_assets_tests.test_loading import commands
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_roles import user_of

SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$;"
    " CREATE TRIGGER slow BEFORE INSERT ON command_stats FOR EACH ROW EXECUTE FUNCTION slow()"
)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which are made short and counted."""
    seen: list[float] = []
    sleep = time.sleep

    def short(seconds: float) -> None:
        seen.append(seconds)
        sleep(min(seconds, 0.02))

    monkeypatch.setattr("cowrie_assets.loading.failures.time.sleep", short)
    return seen


@pytest.fixture
def cleaned(pg_url: str, tmp_path: Path) -> Callable[..., Pipeline]:
    """A pipeline whose partition `all` of command_stats is ready to be loaded; `options` go to the server."""

    def make(options: str = "") -> Pipeline:
        url = psycopg.conninfo.make_conninfo(pg_url, options=options)
        line = pipeline_for(commands(tmp_path / "s", "ls", "rm", "id"), url, tmp_path)
        line.prepare()
        line.stage("command_stats", list(line.plan.partitions("command_stats")))
        line.clean("command_stats", key_of(line))
        return line

    return make


def key_of(line: Pipeline) -> str:
    """The partition that the rows of `commands` are in."""
    (key,) = [k for k in line.plan.partitions("command_stats") if line.plan.tables["command_stats"].slice(k).rows]
    return key


def load(line: Pipeline) -> bool:
    return line.load("command_stats", key_of(line), "test").made


def completes(line: Pipeline) -> bool:
    migrate(line)
    return {v.verdict.value for v in verdicts(line)} == {"PASS"}


def failure(line: Pipeline, says: str) -> LoadError:
    with pytest.raises(LoadError, match=says) as caught:
        load(line)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert "again" in str(caught.value)
    assert query(line.target_url, "SELECT count(*) FROM command_stats") == [(0,)]
    return caught.value


def test_a_statement_timeout_stops_at_once_and_is_named(cleaned: Callable[..., Pipeline], waits: list[float]) -> None:
    line = cleaned("-c statement_timeout=300")
    query(line.target_url, SLOW)
    failure(line, r"\[57014\].*ALTER ROLE … SET statement_timeout = 0")
    assert waits == []
    query(line.target_url, "DROP TRIGGER slow ON command_stats")
    assert completes(line)


def test_a_lock_is_waited_for_several_times_then_named(cleaned: Callable[..., Pipeline], waits: list[float]) -> None:
    line = cleaned("-c lock_timeout=30ms")
    with psycopg.connect(line.target_url) as other:
        other.execute("LOCK TABLE command_stats IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LoadError, match=r"\[55P03\].*Another session holds a lock") as caught:
            load(line)
    assert caught.value.exit_code == 3
    assert len(waits) == failures.TRIES - 1
    assert all(0.75 <= wait / failures.FIRST_WAIT / 2**i <= 1.25 for i, wait in enumerate(waits)), waits
    assert len(set(waits)) == len(waits)
    assert completes(line)


def test_a_lock_that_is_released_in_time_is_no_failure(cleaned: Callable[..., Pipeline], waits: list[float]) -> None:
    line = cleaned("-c lock_timeout=30ms")
    with psycopg.connect(line.target_url) as other:
        other.execute("LOCK TABLE command_stats IN ACCESS EXCLUSIVE MODE")
        threading.Timer(0.15, other.rollback).start()
        assert load(line)
    assert waits
    assert completes(line)


def test_the_victim_of_a_deadlock_tries_again(
    cleaned: Callable[..., Pipeline], admin_url: str, waits: list[float]
) -> None:
    line = cleaned()
    with psycopg.connect(admin_url) as other:
        other.execute("SET deadlock_timeout = '10min'")  # so that the victim is us
        other.execute("LOCK TABLE command_stats IN ACCESS EXCLUSIVE MODE")

        def cross() -> None:
            other.execute("UPDATE cowrie_migration.partitions SET detail = detail")
            other.rollback()

        timer = threading.Timer(0.3, cross)
        timer.start()
        assert load(line)
        timer.join()
    assert len(waits) >= 1
    assert completes(line)


def test_a_terminated_session_is_replaced_with_the_lock(
    cleaned: Callable[..., Pipeline], admin_url: str, waits: list[float]
) -> None:
    line = cleaned()
    ended: list[object] = []

    def end(stage: str, table: str, rows: int, expected: int | None) -> None:
        if stage == "postgres" and not ended:
            ended.extend(
                query(
                    admin_url,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'cowrie-assets' AND datname = current_database()",
                )
            )

    line.progress = end
    with line.locked():
        assert load(line)
        with pytest.raises(TargetError, match="Another migration is running"):
            pipeline_for(line.settings.require_source(), line.target_url + " ", Path("other")).locked(0).__enter__()
    assert ended == [(True,)]
    assert len(waits) == 1
    assert completes(line)


def test_a_lock_that_another_migration_took_meanwhile_ends_the_run(
    cleaned: Callable[..., Pipeline], admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "TRIES", 2)
    line = cleaned()
    with psycopg.connect(admin_url, autocommit=True) as other:

        def take(stage: str, table: str, rows: int, expected: int | None) -> None:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'cowrie-assets' AND datname = current_database()"
            )
            other.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))

        line.progress = take
        failure(line, "Another migration is running.*Wait for it to end")
    line.progress = lambda *_: None
    assert completes(line)


def test_a_session_that_may_not_idle_is_named(
    cleaned: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "TRIES", 2)
    line = cleaned("-c idle_in_transaction_session_timeout=50ms")
    line.progress = lambda *_: time.sleep(0.3)
    failure(line, r"\[25P03\].*idle_in_transaction_session_timeout")
    line.progress = lambda *_: None
    assert completes(line)


def test_a_target_that_takes_no_writes_is_refused_before_anything_is_done(
    cleaned: Callable[..., Pipeline], pg_url: str, tmp_path: Path
) -> None:
    read_only = psycopg.conninfo.make_conninfo(pg_url, options="-c default_transaction_read_only=on")
    line = pipeline_for(cleaned().settings.require_source(), read_only, tmp_path)
    with pytest.raises(TargetError, match="read-only.*ALTER ROLE .* SET default_transaction_read_only = off") as caught:
        line.prepare()
    assert caught.value.exit_code == 2
    failure(line, r"\[25006\].*takes writes")


def test_a_server_without_a_connection_to_spare_is_asked_again(
    cleaned: Callable[..., Pipeline], admin_url: str, waits: list[float]
) -> None:
    line = cleaned()
    user, _ = user_of(line.target_url)
    query(admin_url, f"ALTER ROLE {user} CONNECTION LIMIT 1")
    try:
        with psycopg.connect(line.target_url) as other:
            with pytest.raises(UnavailableError, match="too many connections.*free connections"):
                load(line)
            assert len(waits) == failures.TRIES - 1
            threading.Timer(0.05, other.close).start()
            assert load(line)
    finally:
        query(admin_url, f"ALTER ROLE {user} CONNECTION LIMIT -1")
    assert completes(line)


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="cannot be reached: .*timeout"):
            connect(f"host=127.0.0.1 port={silent.getsockname()[1]} connect_timeout=2")
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("said", "kind", "hint"),
    [
        ('FATAL:  password authentication failed for user "u"', TargetError, "Check user and password"),
        ("fe_sendauth: no password supplied", UnavailableError, "Check user and password"),
        ('FATAL:  no pg_hba.conf entry for host "h", user "u"', TargetError, "pg_hba.conf"),
        ('FATAL:  role "u" does not exist', TargetError, "Check user and password"),
        ('FATAL:  database "d" does not exist', TargetError, "CREATE DATABASE d"),
        ('FATAL:  permission denied for database "d"', TargetError, "GRANT CONNECT, CREATE ON DATABASE d TO u"),
        ("FATAL:  sorry, too many clients already", UnavailableError, "free connections"),
        ("FATAL:  remaining connection slots are reserved for roles with", UnavailableError, "free connections"),
        ("FATAL:  the database system is starting up", UnavailableError, "Wait"),
        ("FATAL:  the database system is in recovery mode", UnavailableError, "Wait"),
        ("FATAL:  the database system is shutting down", UnavailableError, "Wait"),
        ("FATAL:  the database system is not yet accepting connections", UnavailableError, "Wait"),
        ("connection refused", UnavailableError, "that the server runs"),
    ],
)
def test_a_refused_connection_says_what_to_do(said: str, kind: type[CowrieError], hint: str) -> None:
    told = _refused("postgresql://u:geheim@h/d", psycopg.OperationalError(f"connection failed: {said}\nmore"))
    assert type(told) is kind
    assert said.rstrip(".") in str(told)
    assert hint in str(told)
    assert "geheim" not in str(told)
    assert "\n" not in str(told)


class Foreign(BaseException):
    """An interrupt that psycopg does not know, such as Dagster's."""


def test_an_interrupt_of_another_kind_cancels_the_servers_statement(pg_url: str) -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise Foreign

    connection = connect(pg_url)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Foreign):
            connection.execute("SELECT pg_sleep(60)")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert connection.closed
    deadline = time.monotonic() + 10
    at_work = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(60%'"
    while query(pg_url, at_work) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
