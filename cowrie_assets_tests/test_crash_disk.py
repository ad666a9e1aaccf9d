"""A full disk, below staging and below the server: the run stops at once and says which; with room again it goes on.

Not here: killed processes (`test_crash_points.py`).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.demo import make_demo
from cowrie_assets.errors import LoadError, StagingError
from cowrie_assets.loading import failures
from cowrie_assets.pipeline import Pipeline
from cowrie_assets_tests.conftest import documented_privileges, execute, new_database
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.own_server import OwnServer, own_server
from cowrie_assets_tests.test_crash_points import done_again, left
from cowrie_assets_tests.test_crash_server import strike
from cowrie_assets_tests.test_migration import contents, migrate, pipeline_for, verdicts

pytestmark = pytest.mark.crash

ROLE = "cowrie"
ROOM = "256m"
Contents = dict[str, list[tuple[Any, ...]]]


class Disk:
    """A small file system of its own (tmpfs), whose size changes under its files."""

    def __init__(self, size: str) -> None:
        """Mount it; for this root, or sudo without a password, is needed."""
        self.path = Path(tempfile.mkdtemp(prefix="cowrie-disk-"))
        self._as_root("mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(self.path))

    def _as_root(self, *command: str) -> None:
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        subprocess.run([*prefix, *command], check=True, capture_output=True)

    def resize(self, size: str) -> None:
        """Give it another size."""
        self._as_root("mount", "-o", f"remount,size={size}", str(self.path))

    def fill(self) -> None:
        """Leave not a byte free."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return

    def close(self) -> None:
        """Unmount it."""
        self._as_root("umount", "--lazy", str(self.path))
        self.path.rmdir()


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(ROOM)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as running:
        execute(running.url(), documented_privileges("", ROLE)[0])
        yield running


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "demo.sqlite"
    make_demo(path, events=2_000, days=3, last_day=date(2026, 10, 31), dirty_per_mille=20)
    return path


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    new_database(server.url(), "target", ROLE)
    yield server.url("target", user=ROLE)
    execute(server.url(), "DROP DATABASE target WITH (FORCE)")


@pytest.fixture(scope="module")
def undisturbed(source: Path, server: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Contents, int]:
    """What the target holds at the end, and the bytes that staging took, in whole pages."""
    folder = tmp_path_factory.mktemp("undisturbed")
    new_database(server.url(), "undisturbed", ROLE)
    line = pipeline_for(source, server.url("undisturbed", user=ROLE), folder)
    complete(line)
    files = [p.stat().st_size for p in (folder / "staging").rglob("*") if p.is_file()]
    return contents(line.target_url), sum(-(-size // 4096) * 4096 for size in files)


@pytest.mark.parametrize("number", range(24))
def test_staging_fills_up(
    number: int, source: Path, url: str, undisturbed: tuple[Contents, int], disk: Disk, tmp_path: Path
) -> None:
    share = (number + random.Random(number).random()) / 25
    disk.resize(str(max(4096, int(undisturbed[1] * share))))
    line = pipeline_for(source, url, disk.path)
    with pytest.raises(
        StagingError, match="Staging's disk is full.*Free space there or set COWRIE_STAGING_URL"
    ) as full:
        migrate(line)
    assert full.value.exit_code == 3
    assert "\n" not in str(full.value)
    before = left(disk.path, url)
    assert not list(disk.path.rglob("*.part"))
    disk.resize(ROOM)
    (disk.path / "journal").touch()
    again = pipeline_for(source, url, disk.path)
    complete(again)
    assert contents(url) == undisturbed[0]
    assert done_again(disk.path, before, left(disk.path, url)) == []


def complete(line: Pipeline) -> None:
    """Every stage, with the verdicts."""
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}


def command(source: Path, url: str, folder: Path, home: Path) -> tuple[list[str], dict[str, str]]:
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    names = {"COWRIE_POSTGRES_URL": as_url(url), "COWRIE_STAGING_URL": str(folder), "COWRIE_HOME": str(home)}
    words = [sys.executable, "-m", "cowrie_assets.cli.main", "migrate", "--source", str(source)]
    return words, {**os.environ, **names, "DAGSTER_HOME": str(home)}


@pytest.mark.parametrize("home_too", [False, True])
@pytest.mark.parametrize("appears", ["plan.json", "staging/*.json", "cleaned/*.json"])
def test_the_command_meets_a_full_disk(
    appears: str, home_too: bool, source: Path, url: str, undisturbed: tuple[Contents, int], disk: Disk, tmp_path: Path
) -> None:
    staging = disk.path / "staging"
    words, environment = command(source, url, staging, (disk.path if home_too else tmp_path) / "home")
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    folder, _, pattern = appears.rpartition("/")
    while not list((staging / folder).rglob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.005)
    disk.fill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert re.fullmatch(r"Error: [^\n]*disk is full[^\n]*\n", err), err
    (disk.path / "ballast").unlink()
    ended = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert contents(url) == undisturbed[0]


@pytest.mark.parametrize("megabytes", [0.5, 1.0, 1.5, 2.0, 2.5])
def test_the_tables_disk_fills_up(
    megabytes: float,
    source: Path,
    server: OwnServer,
    undisturbed: tuple[Contents, int],
    disk: Disk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("cowrie_assets.loading.failures.time.sleep", waits.append)
    shutil.chown(disk.path, server.data.owner(), server.data.group())
    execute(server.url(), f"CREATE TABLESPACE small LOCATION '{disk.path}'")
    new_database(server.url(), "target", ROLE)
    execute(server.url(), "ALTER DATABASE target SET TABLESPACE small")
    url = server.url("target", user=ROLE)
    try:
        used = shutil.disk_usage(disk.path).used
        disk.resize(str(used + int(megabytes * 1e6)))
        line = pipeline_for(source, url, tmp_path)
        with pytest.raises(LoadError, match=r"\[53100\].*The server's disk is full: free space there") as full:
            migrate(line)
        assert full.value.exit_code == 3
        assert "\n" not in str(full.value)
        assert waits == []
        before = left(tmp_path, url)
        disk.resize(ROOM)
        (tmp_path / "journal").touch()
        again = pipeline_for(source, url, tmp_path)
        complete(again)
        assert contents(url) == undisturbed[0]
        assert done_again(tmp_path, before, left(tmp_path, url)) == []
    finally:
        execute(server.url(), "DROP DATABASE target WITH (FORCE)")
        execute(server.url(), "DROP TABLESPACE small")


def test_the_write_ahead_logs_disk_fills_up(
    source: Path, undisturbed: tuple[Contents, int], disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "TRIES", 4)
    (disk.path / "server").mkdir()
    with own_server(disk.path / "server", wal_recycle="off", max_wal_size="32MB") as server:
        execute(server.url(), documented_privileges("", ROLE)[0])
        new_database(server.url(), "target", ROLE)
        url = server.url("target", user=ROLE)
        line = pipeline_for(source, url, tmp_path)
        done = strike(line, disk.fill)
        with pytest.raises(
            LoadError, match="disk is full|The server was stopped|server closed|cannot be reached"
        ) as full:
            migrate(line)
        assert done
        assert full.value.exit_code == 3
        server.stop()
        (disk.path / "ballast").unlink()
        server.start()
        complete(pipeline_for(source, url, tmp_path))
        assert contents(url) == undisturbed[0]
