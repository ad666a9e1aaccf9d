"""SIGKILL of the worker and of its backend at 200 seeded moments: a rerun gives what an undisturbed run gives.

Not here: killing itself (`crash_worker.py`), whole runs through Dagster (`test_crash.py`).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cowrie_assets.demo import make_demo
from cowrie_assets_tests.conftest import documented_privileges, execute, new_database
from cowrie_assets_tests.crash_worker import Moment, start
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.own_server import OwnServer, own_server
from cowrie_assets_tests.test_migration import contents, query

pytestmark = pytest.mark.crash

WORKER, COMMAND, BACKEND, TERMINATE = 120, 10, 45, 25
"""Points by kind: the worker in its stages, the command `migrate`, a backend by SIGKILL, one by an administrator."""
EVENTS, DAYS = 3_000, 4
ROLE = "cowrie"

Contents = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nobody disturbs leaves, the moments it has, and the seconds that the command takes."""

    contents: Contents
    steps: int


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """Its backends are killed, which stops all its sessions: no other test shares it."""
    with own_server() as running:
        execute(running.url(), documented_privileges("", ROLE)[0])
        yield running


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    """An empty database for the least privileged user."""
    server.wait_ready()
    new_database(server.url(), "target", ROLE)
    yield server.url("target", user=ROLE)
    server.wait_ready()
    execute(server.url(), "DROP DATABASE target WITH (FORCE)")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("points") / "demo.sqlite"
    make_demo(path, events=EVENTS, days=DAYS, last_day=date(2026, 10, 31), dirty_per_mille=20)
    return path


@pytest.fixture(scope="module")
def undisturbed(source: Path, server: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    new_database(server.url(), "undisturbed", ROLE)
    url = server.url("undisturbed", user=ROLE)
    steps, _, verdicts = run(source, url, folder, "only", None, server, 0)
    assert verdicts == "PASS"
    return Undisturbed(contents(url), int(steps))


def run(
    source: Path, url: str, folder: Path, run_id: str, moment: Moment | None, server: OwnServer, code: int
) -> tuple[int, int, str]:
    """Run a worker to its end: the moments it had, loads it began, and what it said."""
    report = folder / f"report-{run_id}"
    process = start(source, url, folder, run_id, moment, server.url(), report)
    process.join(120)
    said = report.read_text(encoding="utf-8") if report.exists() else ""
    assert process.exitcode == code, said
    steps, tried, struck, words = said.split("\t") if said else ("0", "0", "True", "")
    assert struck == str(moment is not None)
    return int(steps), int(tried), words


def moment(kind: str, number: int, of: int, steps: int) -> Moment:
    """The moment of a point: its stratum of the steps, seeded within; every second one up to 15 ms behind its step."""
    seeded = random.Random(f"{kind} {number}")
    step = 1 + int((number + seeded.random()) / of * (steps - 1))
    return Moment(kind, step, seeded.uniform(0.0002, 0.015) if number % 2 else 0.0)


@dataclass(frozen=True)
class Left:
    """What a killed run left complete: manifests with their times, chunks with theirs and their partitions, loads."""

    manifests: dict[Path, int]
    chunks: dict[Path, tuple[int, list[str]]]
    loaded: dict[tuple[str, str], object]


def keys_in(chunk: Path) -> list[str]:
    """The partitions that have rows in a chunk."""
    return list(json.loads(pq.read_schema(chunk).metadata[b"chunk"])["partitions"])


def left(folder: Path, url: str) -> Left:
    files = [p for p in (folder / "staging").rglob("*") if p.is_file()]
    times = {p: p.stat().st_mtime_ns for p in files}
    loaded: dict[tuple[str, str], object] = {}
    if query(url, "SELECT to_regclass('cowrie_migration.partitions') IS NOT NULL") == [(True,)]:
        rows = query(
            url,
            "SELECT table_name, partition_key, loaded_at FROM cowrie_migration.partitions WHERE loaded_at IS NOT NULL",
        )
        loaded = {(table, key): at for table, key, at in rows}
    return Left(
        {p: t for p, t in times.items() if p.suffix == ".json" and p.name != "plan.json" and ".ended." not in p.name},
        {p: (t, keys_in(p)) for p, t in times.items() if p.suffix == ".parquet" and p.parent.name == "chunks"},
        loaded,
    )


def done_again(folder: Path, before: Left, after: Left) -> list[str]:
    """The partitions that were complete, or in hand, when the run was killed, and were worked on again.

    A staged chunk counts for every partition that has rows in it.
    """
    found = [f"complete: {p}" for p, t in before.manifests.items() if after.manifests.get(p) != t]
    found += [f"loaded: {unit}" for unit, at in before.loaded.items() if after.loaded.get(unit) != at]
    named = {
        (content["partition"], folder / "staging" / piece["file"])
        for content in (
            json.loads(p.read_text(encoding="utf-8")) for p in (folder / "staging" / "staging").rglob("*.json")
        )
        for piece in content["pieces"]
    }
    for path, (time_ns, keys) in before.chunks.items():
        lost = keys if after.chunks.get(path, (0, []))[0] != time_ns else [k for k in keys if (k, path) not in named]
        found += [f"staged: {path.parent.parent.name} {key}" for key in lost]
    begun: dict[str, str] = {}
    for line in (folder / "journal").read_text(encoding="utf-8").splitlines():
        run_id, what, unit = line.split("\t", 2)
        if run_id == "killed":
            begun[unit] = what
        elif what == "made" and begun.get(unit) == "begin":
            found.append(f"in hand: {unit}")
    return found


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[dict[str, list[int]]]:
    """Points by kind with the partitions that each did again; told at the end."""
    counts: dict[str, list[int]] = {}
    yield counts
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        for kind, again in counts.items():
            print(
                f"\n{kind}: {len(again)} points survived, {sum(again)} partitions done again, {max(again)} at a point"
            )


@pytest.mark.parametrize("number", range(WORKER))
def test_a_killed_worker(
    number: int,
    source: Path,
    url: str,
    undisturbed: Undisturbed,
    server: OwnServer,
    tmp_path: Path,
    tally: dict[str, list[int]],
) -> None:
    struck = moment("worker", number, WORKER, undisturbed.steps)
    (tmp_path / "journal").touch()
    run(source, url, tmp_path, "killed", struck, server, -signal.SIGKILL)
    before = left(tmp_path, url)
    assert run(source, url, tmp_path, "again", None, server, 0)[2] == "PASS"
    assert contents(url) == undisturbed.contents
    again = done_again(tmp_path, before, left(tmp_path, url))
    assert len(again) <= 1, again
    tally.setdefault("worker", []).append(len(again))


@pytest.mark.parametrize(
    ("kind", "number", "of"),
    [("backend", n, BACKEND) for n in range(BACKEND)] + [("terminate", n, TERMINATE) for n in range(TERMINATE)],
)
def test_a_killed_backend(
    kind: str,
    number: int,
    of: int,
    source: Path,
    url: str,
    undisturbed: Undisturbed,
    server: OwnServer,
    tmp_path: Path,
    tally: dict[str, list[int]],
) -> None:
    struck = moment(kind, number, of, undisturbed.steps)
    _, tried, verdicts = run(source, url, tmp_path, "killed", struck, server, 0)
    server.wait_ready()
    assert verdicts == "PASS"
    assert contents(url) == undisturbed.contents
    again = tried - query(url, "SELECT count(*) FROM cowrie_migration.partitions")[0][0]
    assert 0 <= again <= 1
    tally.setdefault(kind, []).append(again)


@pytest.mark.parametrize("number", range(COMMAND))
def test_a_killed_command(
    number: int, source: Path, url: str, undisturbed: Undisturbed, tmp_path: Path, tally: dict[str, list[int]]
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    command = [sys.executable, "-m", "cowrie_assets.cli.main", "migrate", "--source", str(source)]
    environment = {
        **os.environ,
        "COWRIE_POSTGRES_URL": as_url(url),
        "COWRIE_STAGING_URL": str(tmp_path / "staging"),
        "COWRIE_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(tmp_path),
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Counted from the plan on: what comes before it is Python's imports.
    deadline = time.monotonic() + 60
    while not (tmp_path / "staging" / "plan.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.Random(number).uniform(0.2, 4.0))
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    before = left(tmp_path, url)
    (tmp_path / "journal").touch()
    ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert contents(url) == undisturbed.contents
    again = done_again(tmp_path, before, left(tmp_path, url))
    assert len(again) <= 1, again
    tally.setdefault("command", []).append(len(again))
