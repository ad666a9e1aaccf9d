"""The ways to ask for health: the command, the HTTP endpoint, Dagster's asset check.

Not here: what is found (`test_health.py`).
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.cli.main import main
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.defs.build import build_defs
from cowrie_assets.defs.target import FINISH
from cowrie_assets.health import serve
from cowrie_assets.health.connections import service_connections
from cowrie_assets.health.probe import NAMES, Probe
from cowrie_assets.health.serve import Endpoint
from cowrie_assets.health.settings import HealthSettings
from cowrie_assets.settings import Settings

from .test_health import events, run

ROOMY = ("--free-percent", "0", "--free-critical-percent", "0")


@pytest.fixture
def ready(empty_url: str, database: sa.Engine) -> str:
    """A database at the newest schema with an event of a minute ago."""
    migrate(database)
    events(database, (datetime.now(UTC) - timedelta(minutes=1)).isoformat())
    return empty_url


def health(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["health", *ROOMY, *arguments])
    return int(ended.value.code or 0)


def test_text_json_and_exit_codes(ready: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert health("--database", ready) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["ok", name] for name in NAMES]
    assert lines[-1].startswith("ok: 6 checks in ")
    assert health("--database", ready, "--event-hours", "0.01", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["status"], report["checks"]["events"]["status"]) == ("warning", "warning")
    assert health("--database", ready, "--event-critical-hours", "0.01") == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("critical: 6 checks")


def test_without_any_database_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("COWRIE_")]:
        monkeypatch.delenv(name)
    assert health() == 2
    assert "No database is named, and .cowrie has none yet." in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--serve", "8080"), ("--serve", "host:http"), ("--timeout", "0")])
def test_wrong_options_are_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert health(*arguments) == 2
    assert capsys.readouterr().err


def test_an_address_in_use_is_named(ready: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert health("--database", ready, "--serve", f"127.0.0.1:{taken.getsockname()[1]}") == 2
    assert "cannot be listened on" in capsys.readouterr().err


def test_it_imports_nothing_heavy(ready: str) -> None:
    code = (
        "import sys\nfrom cowrie_assets.cli.main import main\ntry:\n    main()\nfinally:\n"
        "    print({m.split('.')[0] for m in sys.modules} & {'pyarrow', 'dagster', 'numpy', 'pandas', 'rich'})\n"
    )
    command = [sys.executable, "-c", code, "health", *ROOMY, "--database", ready]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "set()"), ended.stderr


@contextmanager
def served(url: str) -> Iterator[Endpoint]:
    limits = HealthSettings(free_percent=0, free_critical_percent=0, timeout=3)
    settings = Settings(target=url if "://" in url else None)
    with service_connections(url, limits.timeout) as connect, Endpoint(("127.0.0.1", 0), Probe(connect, url, settings, limits)) as endpoint:  # fmt: skip
        thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield endpoint
        finally:
            endpoint.shutdown()
            thread.join()


def ask(endpoint: Endpoint, path: str, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.server_address[1], timeout=20)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert "Python" not in str(answer.headers)
    return answer.status, json.loads(body) if body else None


def test_the_endpoint(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FRESH_SECONDS", 0.0)
    with served(ready) as endpoint:
        code, report = ask(endpoint, "/healthz")
        assert (code, report["status"], list(report["checks"])) == (200, "ok", list(NAMES))
        code, report = ask(endpoint, "/readyz?verbose")
        assert (code, list(report["checks"])) == (200, ["database", "schema"])
        assert ask(endpoint, "/healthz", "HEAD") == (200, None)
        assert ask(endpoint, "/")[0] == 404
        assert ask(endpoint, "/healthz", "POST") == (501, {"error": 501})
        if "://" in ready:
            with psycopg.connect(ready, autocommit=True) as connection:
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                connection.execute(f"{ended} AND pid <> pg_backend_pid()".encode())
            assert ask(endpoint, "/healthz")[0] == 200  # the pool mends itself
        run(ready, "DELETE FROM raw_events")
        code, report = ask(endpoint, "/healthz")
        assert (code, report["checks"]["events"]["text"]) == (200, "there are none")
        run(ready, "UPDATE schema_state SET value = 'x' WHERE key = 'schema_version'")
        assert [ask(endpoint, path)[0] for path in ("/healthz", "/readyz")] == [503, 503]


def test_many_probes_cost_one_look(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FRESH_SECONDS", 60.0)
    looks: list[int] = []
    look = Probe.look
    monkeypatch.setattr(Probe, "look", lambda self: looks.append(1) or look(self))  # type: ignore[func-returns-value]
    with served(ready) as endpoint:
        codes: list[int] = []
        threads = [threading.Thread(target=lambda: codes.append(ask(endpoint, "/healthz")[0])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (codes, len(looks)) == ([200] * 8, 1)


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGINT])
def test_the_service_ends_when_told(real_v3: Path, way: signal.Signals) -> None:
    command = [sys.executable, "-m", "cowrie_assets.cli.main", "health", "--database", str(real_v3)]
    process = subprocess.Popen(
        [*command, "--serve", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and would hand that down to the service.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    assert process.stdout
    assert process.stdout.readline().startswith("Serving http://127.0.0.1:")
    time.sleep(0.1)
    process.send_signal(way)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "Stopped.\n", "")


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("break_it", "severity"),
    [
        ("UPDATE schema_state SET value = '3'", dg.AssetCheckSeverity.WARN),
        ("DROP SCHEMA public CASCADE; CREATE SCHEMA public", dg.AssetCheckSeverity.ERROR),
    ],
)
def test_the_asset_check(ready: str, tmp_path: Path, break_it: str, severity: dg.AssetCheckSeverity) -> None:
    run(ready, break_it)
    settings = Settings(target=ready, staging=str(tmp_path / "staging"), home=tmp_path)
    defs = build_defs(settings)
    checks = defs.resolve_asset_graph().asset_check_keys
    assert dg.AssetCheckKey(FINISH, "health") in checks
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        result = dg.materialize(
            list(defs.asset_checks or ()),
            selection=dg.AssetSelection.checks(dg.AssetCheckKey(FINISH, "health")),
            instance=instance,
        )
    [evaluation] = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity) == (False, severity)
    assert str(evaluation.metadata["schema"].value).startswith(("warning: version 3", "critical: there is no table"))
