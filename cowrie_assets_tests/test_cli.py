"""The commands as a user types them: words, exit codes, no traceback, no password.

Not here: what a stage does (`test_migration.py`).
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import click
import psycopg
import pytest

from cowrie_assets.cli.main import COMMANDS, cli, main
from cowrie_assets.demo import make_demo
from cowrie_assets.reporting.compare import ReportVerdict
from cowrie_assets.validation.verdicts import Verdict

README = Path(__file__).parent.parent / "README.md"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in an empty folder, with nothing set but what the test sets."""
    for name in [n for n in os.environ if n.startswith("COWRIE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")

    def command(*arguments: str) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        shown = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        assert "Traceback" not in shown.err
        return Ended(code, shown.out, shown.err)

    return command


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A demo source of 2,000 events over three days with dirty rows of every kind."""
    path = tmp_path / "small.sqlite"
    make_demo(path, events=2_000, days=3, last_day=date(2026, 10, 31), dirty_per_mille=20)
    return path


@pytest.fixture
def url(pg_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The target as a URL without the password, which libpq takes from the environment."""
    with psycopg.connect(pg_url) as connection:
        info = connection.info
        monkeypatch.setenv("PGPASSWORD", info.password)
        return f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, run: Run) -> None:
    ended = run(name, "--help")
    assert ended.code == 0
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]}"


def test_the_readme_names_every_command_and_no_other() -> None:
    text = README.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"cowrie-assets {name}" in text, name


def test_migrate_then_status_verify_quarantine_report_reset(
    run: Run, small: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("--source", str(small), "--target", url)
    dry = run("migrate", *at[:2], "--dry-run", "--json")
    assert dry.code == 0
    would = json.loads(dry.out)
    part = json.loads(run("migrate", *at[:2], "--dry-run", "--json", "--tables", "raw_events").out)
    assert part == [row for row in would if row["table"] == "raw_events"] != would
    assert run("status", "--target", url).out.startswith(f"{url} holds no migration")

    done = run("migrate", *at)
    assert (done.code, done.err) == (0, "")
    assert "PASS:" in done.out
    status = json.loads(run("status", "--target", url, "--json").out)
    assert (status["verdict"], status["running"]) == ("PASS", False)
    tables = {t["table"]: t for t in status["tables"]}
    assert tables["raw_events"]["source"] == 2_000
    assert sum(t["repaired"] for t in tables.values()) == sum(r["count"] for r in would if r["column"])
    assert sum(t["set_aside"] for t in tables.values()) == sum(r["count"] for r in would if not r["column"])

    again = run("migrate", *at, "--max-quarantine", "0")
    assert again.code == 1
    assert "--max-quarantine 0" in again.err
    proven = json.loads(run("verify", *at, "--json").out)
    assert {r["verdict"] for r in proven["reports"]} == {"PASS"}
    with monkeypatch.context() as patch:
        differing = [ReportVerdict("days", Verdict.FAIL, 3, "row 4")]
        patch.setattr("cowrie_assets.reporting.compare.compare_reports", lambda *_: differing)
        told = run("verify", *at)
    assert (told.code, "Reports differ" in told.err) == (1, True)
    assert "Reports: FAIL, row 4." in told.out
    assert "FAIL: 1 of 1 reports differ (days)" in told.out
    lines = run("quarantine", "--target", url, "--format", "jsonl").out.splitlines()
    assert len(lines) == sum(t["set_aside"] for t in tables.values()) > 0
    assert {"type", "value"} == set(json.loads(lines[0])["original"]["id"])
    rows = list(csv.reader(io.StringIO(run("quarantine", "--target", url, "--format", "csv").out)))
    assert len(rows) == len(lines) + 1
    assert run("report", *at).out.startswith("PASS")

    counted = run("verify", *at, "--counts-only")
    assert counted.code == 0
    assert "compared: row counts; cells: NOT CHECKED\n" in counted.out
    assert re.search(r"^raw_events .*PASS +counts", counted.out, re.MULTILINE)
    assert "compared: row counts, keys and every cell" in run("status", "--target", url).out

    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM raw_events WHERE id = 7")
    bad = run("verify", *at, "--no-reports")
    assert bad.code == 1
    assert "FAIL" in bad.out
    assert "Reports: NOT CHECKED, --no-reports." in bad.out
    assert run("reset", "--target", url, "--yes").code == 0
    assert run("verify", *at).code == 2
    assert run("clean", "--source", str(small), "--yes").code == 0


def test_days_select_whole_partitions_and_finish_waits(run: Run, small: Path, url: str) -> None:
    at = ("--source", str(small), "--target", url)
    part = run("migrate", *at, "--from", "2026-10-30", "--to", "2026-10-30")
    assert part.code == 0
    assert "NOT CHECKED" in part.out
    status = json.loads(run("status", "--target", url, "--json").out)
    assert {t["table"]: t["loaded_partitions"] for t in status["tables"]}["raw_events"] == 1
    assert run("migrate", *at).code == 0
    assert json.loads(run("status", "--target", url, "--json").out)["verdict"] == "PASS"


def test_a_wrong_total_is_exit_1_though_every_partition_passes(run: Run, small: Path, url: str) -> None:
    at = ("migrate", "--source", str(small), "--target", url)
    assert run(*at).code == 0
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO cowrie_migration.partitions (table_name, partition_key, source_rows, loaded_at, verdict)"
            " VALUES ('raw_events', 'doubled', 5, now(), 'PASS')"
        )
    ended = run(*at)
    assert ended.code == 1
    assert "partitions_sum_to_table" in ended.err
    for command in (("migrate", *at[1:]), ("verify", *at[1:], "--no-reports"), ("status", *at[3:])):
        shown = run(*command)
        assert "PASS:" not in shown.out, command
        assert re.search(r"^raw_events\b.*\bFAIL\b", shown.out, re.MULTILINE), command
        assert "FAIL: 1 of 7 tables do not add up (raw_events: partition doubled is not in the plan)" in shown.out
        told = json.loads(run(*command, "--json").out)
        assert (told["verdict"], {t["table"]: t["verdict"] for t in told["tables"]}["raw_events"]) == ("FAIL", "FAIL")
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM cowrie_migration.partitions WHERE partition_key = 'doubled'")
    assert run("verify", *at[1:], "--no-reports").code == 0
    assert "PASS:" in run("status", *at[3:]).out


def test_inspect_and_plan_need_no_target(run: Run, small: Path) -> None:
    shown = run("inspect", "--source", str(small))
    assert shown.code == 0
    assert "3 windows by day" in shown.out
    assert "dead_letter_events_test_backup" in shown.out
    plan = json.loads(run("plan", "--source", str(small), "--json").out)
    assert plan["tables"]["raw_events"]["rows"] == 2_000
    assert sum(s["rows"] for s in plan["tables"]["raw_events"]["slices"].values()) == 2_000


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("inspect",), {}, "COWRIE_SQLITE_PATH"),
        (("inspect", "--source", "missing.sqlite"), {}, "does not exist"),
        (("inspect", "--source", "."), {}, "is a directory"),
        (("inspect", "--source", "dagster.yaml"), {}, "not a SQLite database"),
        (("inspect",), {"COWRIE_PARTITION_GRAIN": "hour"}, "COWRIE_PARTITION_GRAIN='hour'"),
        (("inspect",), {"COWRIE_START_DATE": "yesterday"}, "COWRIE_START_DATE='yesterday'"),
        (("status", "--target", "mysql://u:secret@h/d"), {}, "no PostgreSQL URL"),
        (("status", "--target", "postgresql://u:secret@127.0.0.1:1/d"), {}, "cannot be reached"),
        (("status",), {"COWRIE_POSTGRES_URL": "postgresql://u:secret@h:port/d"}, "COWRIE_POSTGRES_URL"),
        (("migrate", "--from", "2026-13-01"), {}, "--from='2026-13-01'"),
        (("migrate", "--no-such-option"), {}, "No such option"),
        (("nonsense",), {}, "No such command"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = run(*arguments)
    assert ended.code == 2
    assert says in ended.err
    assert "secret" not in ended.err + ended.out


def test_a_url_without_the_driver_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    ended = run("status", "--target", "postgresql://h/d")
    assert ended.code == 2
    assert "pip install 'cowrie-assets[postgres]'" in ended.err


def test_a_reversed_range_or_unknown_table_is_refused(run: Run, small: Path) -> None:
    at = ("migrate", "--source", str(small), "--dry-run")
    assert "reversed" in run(*at, "--from", "2026-10-31", "--to", "2026-10-01").err
    assert "no table nope" in run(*at, "--tables", "nope").err
    assert "No window" in run(*at, "--from", "2030-01-01").err


def test_psql_runs_on_the_embedded_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cowrie_assets.cli.main", "psql", "-At", "-c", "SELECT 'here'"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "here"


def test_the_console_script_is_installed() -> None:
    shown = subprocess.run(
        [Path(sys.executable).with_name("cowrie-assets"), "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("cowrie-assets, version")


def test_a_policy_ends_the_run_and_says_how_to_change_it(
    run: Run, small: Path, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(pg_url) as connection:
        info = connection.info
        url = f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"
    monkeypatch.setenv("COWRIE_RULES", "json.nul@raw_events=fail")
    ended = run("migrate", "--source", str(small), "--target", url, "--tables", "raw_events")
    assert ended.code == 3
    assert re.search(r"Partition .* of raw_events, rowid \d+, payload: json\.nul, whose policy is fail", ended.err)
    assert '"json.nul@raw_events" to repair or quarantine' in ended.err
    monkeypatch.setenv("COWRIE_RULES", "json.nul@raw_events=quarantine")
    ended = run("migrate", "--source", str(small), "--target", url, "--tables", "raw_events")
    assert ended.code == 2
    assert "cowrie-assets plan --replace" in ended.err
    assert run("plan", "--source", str(small), "--replace").code == 0
    assert run("migrate", "--source", str(small), "--target", url, "--tables", "raw_events").code == 0
    with psycopg.connect(pg_url) as connection:
        rules = connection.execute(
            "SELECT count(*) FILTER (WHERE rule = 'json.nul') > 0 FROM cowrie_migration.quarantine"
        ).fetchone()
        assert rules == (True,)
    monkeypatch.setenv("COWRIE_RULES", "json.nul=skip")
    ended = run("migrate", "--source", str(small), "--target", url)
    assert (ended.code, "json.nul allows repair, quarantine, fail" in ended.err) == (2, True)
