"""`cowrie-assets report NAME`: its forms, each inert, on both backends; its refusals.

Not here: what the reports answer (`test_report_queries.py`), the migration's own report (`test_reporting.py`).
"""

from __future__ import annotations

import csv
import html.parser
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cowrie_assets.cli import report
from cowrie_assets.cli.main import main
from cowrie_assets.db.tables import METADATA, SQL_TABLES
from cowrie_assets.reporting.queries import facts
from cowrie_assets.reporting.queries.catalogue import REPORTS

HOSTILE = '<script>alert(1)</script>"\x1b[31m\u202e'
FORMULA = "=cmd|' /C calc'!A0"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["report", *arguments])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return command


@pytest.fixture
def url(database: sa.Engine, empty_url: str) -> str:
    METADATA.create_all(database)
    events: list[dict[str, Any]] = []
    for number, word in enumerate([HOSTILE, HOSTILE, FORMULA, "id"]):
        stamp = f"2026-10-1{number}T05:00:00.000000Z"
        payload = {"eventid": "cowrie.command.input", "input": word, "timestamp": stamp, "sensor": "x", "src_ip": word}
        row = {"source": "/log", "source_offset": number, "payload": payload, "event_timestamp": stamp}
        events.append(row | {"event_type": "cowrie.command.input", "session_id": f"s{number}"})
    with database.begin() as connection:
        connection.execute(sa.insert(SQL_TABLES["raw_events"]), events)
        connection.execute(
            sa.insert(SQL_TABLES["session_summaries"]).values(
                session_id="s", enrichment={"k": HOSTILE}, vt_flagged=True
            )
        )
    return empty_url


def test_every_report_in_every_form(run: Run, url: str) -> None:
    for name in REPORTS:
        for form in report.FORMS:
            code, out, err = run(name, "--database", url, "--format", form)
            assert (code, err) == (0, ""), (name, form)
            assert out
            assert not {"\x1b", "\u202e"} & set(out), (name, form)


@pytest.mark.parametrize("form", report.FORMS)
def test_a_file_holds_what_the_terminal_shows(run: Run, real_v3: Path, tmp_path: Path, form: str) -> None:
    command = ("sessions", "--database", str(real_v3), "--format", form)
    file = tmp_path / "file"
    assert run(*command, "--output", str(file)) == (0, f"Written: {file}\n", "")
    assert file.read_text(encoding="utf-8") == run(*command)[1]


def test_a_database_is_not_overwritten(run: Run, real_v3: Path, tmp_path: Path) -> None:
    """A slip of the hand: `--output` names the database that is read."""
    file = tmp_path / "kept.sqlite"
    shutil.copy(real_v3, file)
    before = file.read_bytes()
    for form in report.FORMS:
        code, _, err = run("hours", "--database", str(file), "--format", form, "--output", str(file))
        assert (code, f"{file} is a SQLite database: it is not overwritten. Name another file." in err) == (2, True)
    assert file.read_bytes() == before


def test_json_holds_the_words_and_csv_no_formula(run: Run, url: str) -> None:
    content = json.loads(run("commands", "--database", url, "--format", "json", "--limit", "2")[1])
    assert (content["report"], content["limit"], content["from"]) == ("commands", 2, None)
    assert content["rows"] == [
        {"command": HOSTILE, "times": 2, "sessions": 2},
        {"command": FORMULA, "times": 1, "sessions": 1},
    ]
    assert json.loads(run("enriched", "--database", url, "--format", "json")[1])["rows"][0]["enrichment"] == {
        "k": HOSTILE
    }
    rows = list(csv.reader(io.StringIO(run("commands", "--database", url, "--format", "csv")[1])))
    assert rows == [
        ["command", "times", "sessions"],
        ['<script>alert(1)</script>"\\x1b[31m\\u202e', "2", "2"],
        [f"'{FORMULA}", "1", "1"],
        ["id", "1", "1"],
    ]


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")


@pytest.mark.parametrize(("name", "bars"), [("commands", 3), ("days", 4), ("credentials", 0)])
def test_the_page_draws_bars_and_runs_nothing(run: Run, url: str, name: str, bars: int) -> None:
    page = _Page()
    page.feed(run(name, "--database", url, "--format", "html")[1])
    assert page.tags.count("rect") == bars
    assert page.tags.count("svg") == page.tags.count("table") == (1 if bars else 0)
    assert not {"script", "img", "link", "a", "iframe"} & set(page.tags)
    assert not {"href", "src", "style", "onload"} & page.attributes.keys()
    lengths = [float(x) for x in page.attributes.get("height" if name == "days" else "width", [])[-bars:]]
    assert all(length > 0 for length in lengths)


def test_days_sensor_and_limit_restrict(run: Run, url: str) -> None:
    def days(*arguments: str) -> list[str]:
        return [r["day"] for r in json.loads(run("days", "--database", url, "--format", "json", *arguments)[1])["rows"]]

    assert days() == ["2026-10-10", "2026-10-11", "2026-10-12", "2026-10-13"]
    assert days("--from", "2026-10-11", "--to", "2026-10-12") == ["2026-10-11", "2026-10-12"]
    assert days("--limit", "1") == ["2026-10-13"]
    assert days("--sensor", "y") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["days", "--from", "2026-10-12", "--to", "2026-10-11"], "--from 2026-10-12 is after --to 2026-10-11"),
        (["days", "--from", "soon"], "soon"),
        (["days", "--limit", "10001"], "10001"),
        (["days", "--output", "missing/folder"], "missing/folder cannot be written"),
        (["nothing"], "No such command 'nothing'"),
        (["--target", "postgresql://h/d", "days"], "use --database"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str, real_v3: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    at = ["--database", str(real_v3)] if arguments[0] == "days" else []
    code, _, err = run(*arguments, *at)
    assert code == 2
    assert said in err


def test_a_database_without_events_is_named(run: Run, real_other: Path) -> None:
    code, _, err = run("commands", "--database", str(real_other))
    assert (code, "no table raw_events" in err) == (2, True)


def test_help_and_limits_are_the_catalogues() -> None:
    assert report.HELP.keys() == REPORTS.keys()
    assert report.MOST == facts.MOST
