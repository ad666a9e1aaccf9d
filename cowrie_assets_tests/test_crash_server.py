"""The server, or the way to it, fails under a load: cut, silent, restarted, stopped, refusing. The run goes on or says why.

Not here: killed processes (`test_crash_points.py`), full disks (`test_crash_disk.py`).
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cowrie_assets.demo import make_demo
from cowrie_assets.errors import LoadError, TargetError, UnavailableError
from cowrie_assets.loading import failures, watched
from cowrie_assets.pipeline import Pipeline
from cowrie_assets_tests.conftest import documented_privileges, execute, new_database
from cowrie_assets_tests.own_server import OwnServer, Proxy, own_server
from cowrie_assets_tests.test_migration import contents, migrate, pipeline_for, query, units, verdicts

pytestmark = pytest.mark.crash

ROLE, PASSWORD = "cowrie", "geheim"
BYTES = 1_200_000
"""What a load of the source sends, about; a cut lies within."""


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as running:
        execute(running.url(), documented_privileges("", ROLE)[0].replace("secret", PASSWORD))
        yield running


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("server") / "demo.sqlite"
    make_demo(path, events=2_000, days=3, last_day=date(2026, 10, 31), dirty_per_mille=20)
    return path


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    """An empty database over TCP with a password, as on another machine."""
    new_database(server.url(), "target", ROLE)
    yield server.url("target", user=ROLE, host="127.0.0.1", password=PASSWORD)
    server.wait_ready()
    execute(server.url(), "DROP DATABASE target WITH (FORCE)")


@pytest.fixture(scope="module")
def undisturbed(
    source: Path, server: OwnServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[Any, ...]]]:
    new_database(server.url(), "undisturbed", ROLE)
    line = pipeline_for(source, server.url("undisturbed", user=ROLE), tmp_path_factory.mktemp("undisturbed"))
    migrate(line)
    return contents(line.target_url)


def through(proxy: Proxy, url: str, **parts: str) -> str:
    return psycopg.conninfo.make_conninfo(url, port=str(proxy.port), **parts)


def strike(line: Pipeline, work: Callable[[], object], after: int = 900) -> list[object]:
    """Have the work done once, after that many rows went into the target; what it returned is in the list."""
    passed = 0
    done: list[object] = []

    def note(stage: str, table: str, rows: int, expected: int | None) -> None:
        nonlocal passed
        passed += rows if stage == "postgres" else 0
        if passed > after and not done:
            done.append(work())

    line.progress = note
    return done


@pytest.mark.parametrize("seed", range(12))
def test_a_connection_that_is_cut_in_mid_copy(
    seed: int, source: Path, url: str, server: OwnServer, undisturbed: object, tmp_path: Path
) -> None:
    proxy = Proxy(server.port, cut_after=random.Random(seed).randrange(20_000, BYTES))
    migrate(pipeline_for(source, through(proxy, url), tmp_path))
    proxy.close()
    assert proxy.cuts == 1
    assert contents(url) == undisturbed


@pytest.mark.parametrize("seed", range(4))
def test_a_path_that_falls_silent_in_mid_copy(
    seed: int,
    source: Path,
    url: str,
    server: OwnServer,
    undisturbed: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watched, "SILENT_SECONDS", 0.5)
    proxy = Proxy(server.port, cut_after=random.Random(seed).randrange(20_000, BYTES), silent=True)
    migrate(pipeline_for(source, through(proxy, url), tmp_path))
    proxy.close()
    assert proxy.cuts == 1
    assert contents(url) == undisturbed


def test_a_server_that_is_frozen_is_given_up(
    source: Path, url: str, server: OwnServer, undisturbed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(failures, "TRIES", 2)
    assert server.process is not None
    line = pipeline_for(source, psycopg.conninfo.make_conninfo(url, connect_timeout=2), tmp_path)
    group = [server.process.pid]

    def freeze() -> None:
        group.extend(p for (p,) in query(server.url(), "SELECT pid FROM pg_stat_activity WHERE datname = 'target'"))
        for pid in group:
            os.kill(pid, signal.SIGSTOP)

    strike(line, freeze)
    try:
        with pytest.raises(LoadError, match="cannot be reached: .*timeout") as caught:
            migrate(line)
    finally:
        for pid in group:
            os.kill(pid, signal.SIGCONT)
    assert caught.value.exit_code == 3
    assert len(group) > 1
    migrate(pipeline_for(source, url, tmp_path))
    assert contents(url) == undisturbed


def test_a_long_silence_of_a_working_server_is_waited_for(
    source: Path, url: str, undisturbed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "SILENT_SECONDS", 0.2)
    line = pipeline_for(source, url, tmp_path)
    line.prepare()
    query(
        url,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$;"
        " CREATE TRIGGER slow BEFORE INSERT ON schema_state EXECUTE FUNCTION slow()",
    )
    assert migrate(line)["postgres"] == len(list(line.plan.units()))
    query(url, "DROP TRIGGER slow ON schema_state; DROP FUNCTION slow")
    assert contents(url) == undisturbed


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
@pytest.mark.parametrize("down", [0.0, 2.0])
def test_a_server_that_is_restarted_under_a_load(
    how: signal.Signals, down: float, source: Path, url: str, server: OwnServer, undisturbed: object, tmp_path: Path
) -> None:
    line = pipeline_for(source, url, tmp_path)

    def restart() -> None:
        server.stop(how)
        threading.Timer(down, server.start).start()

    done = strike(line, restart)
    migrate(line)
    assert done
    assert contents(url) == undisturbed


def test_a_server_that_stays_away_ends_the_run_and_a_rerun_completes_it(
    source: Path, url: str, server: OwnServer, undisturbed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "TRIES", 4)
    line = pipeline_for(source, url, tmp_path)
    strike(line, server.stop)
    try:
        with pytest.raises(LoadError, match="cannot be reached: .*refused.*start it again") as caught:
            migrate(line)
    finally:
        server.start()
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    loaded = query(url, "SELECT count(loaded_at) FROM cowrie_migration.partitions")[0][0]
    assert 0 < loaded < len(list(line.plan.units()))
    made = migrate(pipeline_for(source, url, tmp_path))
    assert made["postgres"] == len(list(line.plan.units())) - loaded
    assert made["staging"] == 0
    assert contents(url) == undisturbed


def test_a_wrong_password_stops_at_once(
    source: Path, url: str, server: OwnServer, undisturbed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("cowrie_assets.loading.failures.time.sleep", waits.append)
    wrong = psycopg.conninfo.make_conninfo(url, password="falsch")
    with pytest.raises(TargetError, match="password authentication failed.*Check user and password") as refused:
        pipeline_for(source, wrong, tmp_path).prepare()
    assert type(refused.value) is not UnavailableError
    assert "falsch" not in str(refused.value)
    assert waits == []
    line = pipeline_for(source, url, tmp_path)

    def change() -> None:
        execute(server.url(), f"ALTER ROLE {ROLE} PASSWORD 'new'")
        execute(server.url(), f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")

    strike(line, change)
    try:
        with pytest.raises(LoadError, match="password authentication failed") as caught:
            migrate(line)
    finally:
        execute(server.url(), f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")
    assert caught.value.exit_code == 3
    assert len(waits) == 1  # for the lost session; the refusal itself is final
    migrate(pipeline_for(source, url, tmp_path))
    assert contents(url) == undisturbed


def test_a_standby_is_refused(source: Path, url: str, server: OwnServer, tmp_path: Path) -> None:
    server.stop()
    (server.data / "standby.signal").touch()
    try:
        server.start()
        with pytest.raises(TargetError, match="standby.*target_session_attrs=read-write") as caught:
            pipeline_for(source, url, tmp_path).prepare()
        assert caught.value.exit_code == 2
    finally:
        server.stop()
        (server.data / "standby.signal").unlink()
        server.start()
    assert {v.verdict.value for v in verdicts_of(source, url, tmp_path)} == {"PASS"}


def verdicts_of(source: Path, url: str, folder: Path) -> list[Any]:
    line = pipeline_for(source, url, folder)
    migrate(line)
    assert units(line.plan)
    return list(verdicts(line))
