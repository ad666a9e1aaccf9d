"""kill -9 in the middle of each stage: the next run ends with the same target as an undisturbed one.

Not here: faults that leave the process alive (`test_migration.py`).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import psycopg
import pytest

from cowrie_assets.db import embedded
from cowrie_assets.demo import make_demo
from cowrie_assets_tests.test_migration import contents

pytestmark = pytest.mark.crash

EVENTS = 60_000
"""Enough for several chunks of staging and several batches of each partition."""


def child(source: Path, url: str, folder: Path, stage: str = "", rows: int = 0) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    command = [sys.executable, "-m", "cowrie_assets_tests.killed_run", str(source), url, str(folder), stage, str(rows)]
    return subprocess.Popen(command, env={**os.environ, "DAGSTER_HOME": str(folder)}, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crash") / "demo.sqlite"
    make_demo(path, events=EVENTS, days=5, last_day=date(2026, 10, 31), dirty_per_mille=5)
    return path


@pytest.fixture(scope="module")
def undisturbed(source: Path, server_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE undisturbed ENCODING 'UTF8' TEMPLATE template0")
    url = psycopg.conninfo.make_conninfo(server_url, dbname="undisturbed")
    assert child(source, url, tmp_path_factory.mktemp("undisturbed")).wait(300) == 0
    found = contents(url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE undisturbed WITH (FORCE)")
    return dict(found)


@pytest.mark.parametrize(
    ("stage", "rows"),
    [
        ("plan", 30_000),
        ("staging", 20_000),
        ("staging", 75_000),
        ("quality", 40_000),
        ("cleaned", 20_000),
        ("cleaned", 70_000),
        ("postgres", 3_000),
        ("postgres", 33_000),
        ("postgres", 80_000),
        ("validation", 50_000),
    ],
)
def test_killed_in_a_stage_the_next_run_ends_the_same(
    stage: str, rows: int, source: Path, undisturbed: dict[str, object], pg_url: str, tmp_path: Path
) -> None:
    assert child(source, pg_url, tmp_path, stage, rows).wait(300) == -signal.SIGKILL
    staged = {p: p.stat().st_mtime_ns for p in (tmp_path / "staging").rglob("*.parquet")}
    assert child(source, pg_url, tmp_path).wait(300) == 0
    assert contents(pg_url) == undisturbed
    kept = sum(p.exists() and p.stat().st_mtime_ns == t for p, t in staged.items())
    assert kept >= len(staged) - 3  # at most the partition in hand (its three files) is made again


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_moment_the_next_run_ends_the_same(
    seed: int, source: Path, undisturbed: dict[str, object], pg_url: str, tmp_path: Path
) -> None:
    process = child(source, pg_url, tmp_path)
    time.sleep(random.Random(seed).uniform(1.0, 9.0))
    process.kill()
    process.wait(30)
    assert child(source, pg_url, tmp_path).wait(300) == 0
    assert contents(pg_url) == undisturbed


def test_killed_on_the_embedded_server_leaves_no_server(source: Path, tmp_path: Path) -> None:
    assert child(source, "", tmp_path, "postgres", 20_000).wait(300) == -signal.SIGKILL
    folder = (tmp_path / "home" / "postgres").absolute()
    deadline = time.monotonic() + 15
    while embedded.status(folder) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert embedded.status(folder) is None
    assert child(source, "", tmp_path).wait(300) == 0


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for that signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def command(source: Path, pg_url: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command line of a migration, and its environment."""
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    parts = psycopg.conninfo.conninfo_to_dict(pg_url)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname", "PGPASSWORD": "password"}
    return [sys.executable, "-m", "cowrie_assets.cli.main", "migrate", "--source", str(source)], {
        **os.environ,
        **{n: str(parts[p]) for n, p in names.items() if parts.get(p)},
        "COWRIE_POSTGRES_URL": "postgresql://",
        "COWRIE_STAGING_URL": str(folder / "staging"),
        "COWRIE_HOME": str(folder / "home"),
        "DAGSTER_HOME": str(folder),
    }


def test_ctrl_c_at_any_moment_is_one_line_and_leaves_nothing_running(
    source: Path, undisturbed: dict[str, object], pg_url: str, tmp_path: Path
) -> None:
    """As a terminal sends it: to every process of the group."""
    line, environment = command(source, pg_url, tmp_path)
    for seconds in (0, 0.3, 0.7, 1.2, 1.8, 2.5, 3.3, 4, 5, 6, 7.5, 9):
        process = subprocess.Popen(
            [*line, "--force"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell's background jobs ignore SIGINT, and would hand that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )
        while not catches(process.pid, signal.SIGTERM):
            time.sleep(0.02)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 3, seconds
        assert err.strip() == "Interrupted. Start it again: what is complete is kept.", seconds
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    assert subprocess.run(line, env=environment, check=False, capture_output=True).returncode == 0
    assert contents(pg_url) == undisturbed


@pytest.mark.parametrize("moment", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_in_exit_code_3_and_the_next_run_continues(
    moment: signal.Signals, source: Path, undisturbed: dict[str, object], pg_url: str, tmp_path: Path
) -> None:
    line, environment = command(source, pg_url, tmp_path)
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "staging").rglob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(moment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err[-3000:]
    assert err.strip() == "Interrupted. Start it again: what is complete is kept."
    assert subprocess.run(line, env=environment, check=False, capture_output=True).returncode == 0
    assert contents(pg_url) == undisturbed
