"""The documentation is true: every command of its pages runs and prints what is shown, the reference is the code's.

Not here: README.md (`test_cli.py`), docs/rules.md (`test_rules.py`), docs/promises.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import click
import pytest

from cowrie_assets import errors
from cowrie_assets.cli.main import cli
from cowrie_assets.cli.reference import pages
from cowrie_assets.db import embedded
from cowrie_assets.demo import make_demo

from .db_backends import as_url
from .fake_service import VT_MISSING, Planned, fake_service, vt_file
from .transcripts import Step, Terminal, masked, same, steps

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDE = DOCS / "postgresql-migration-guide.md"
KEPT = ("rules.md", "measurements.md", "promises.md", "postgresql-migration-guide.md")


@pytest.fixture
def terminal(tmp_path: Path, pg_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """The pages' source, server and service: a demo over three days, an empty database, a local VirusTotal."""
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "cowrie.sqlite"
    make_demo(source, events=2_000, days=3, last_day=date(2026, 10, 31), dirty_per_mille=20)
    programs = embedded.binary("pg_dump").parent  # of the newest version: it dumps every older one
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    stand_ins = {
        "postgresql://cowrie@db.example/cowrie": as_url(pg_url),
        "/data/": f"{source.parent}/",
        "/backup": str(tmp_path / "backup"),
        "/run/secrets/": f"{tmp_path}/",
    }
    (tmp_path / "virustotal").write_text("a-key", encoding="utf-8")
    running = Terminal(tmp_path, monkeypatch, stand_ins)
    with fake_service() as service:
        service.answer = lambda asked: _report_of(asked.path.rpartition("/")[2])
        monkeypatch.setenv("COWRIE_VT_BASE_URL", service.url)
        monkeypatch.setenv("COWRIE_VT_PER_MINUTE", "6000")
        yield running


def _report_of(sha256: str) -> Planned:
    """What the local VirusTotal says: files whose digest begins with a letter are unknown to it."""
    return Planned(body=vt_file(sha256)) if sha256[0].isdigit() else Planned(404, VT_MISSING)


@pytest.mark.slow
def test_every_command_of_the_guide_prints_what_it_shows(terminal: Terminal) -> None:
    found = steps(GUIDE.read_text(encoding="utf-8"))
    assert len(found) > 60
    for step in found:
        terminal.run(step)


def test_the_guide_up_to_the_migration(terminal: Terminal) -> None:
    """The shorter sibling, which always runs."""
    found = steps(GUIDE.read_text(encoding="utf-8").partition("## During")[0])
    assert len(found) > 8
    for step in found:
        if "--dry-run" not in step.command:  # half of the time
            terminal.run(step)


@pytest.mark.parametrize("page", sorted((DOCS / "how-to").glob("*.md")), ids=lambda p: p.name)
def test_every_command_of_a_how_to(terminal: Terminal, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for step in steps(text):
        terminal.run(step)
    assert len(re.findall(r"^\$ ", text, re.MULTILINE)) == len(steps(text))


@pytest.mark.slow
def test_every_command_of_the_tutorial(terminal: Terminal) -> None:
    found = steps((DOCS / "tutorial" / "first-migration.md").read_text(encoding="utf-8"))
    assert len(found) > 6
    for step in found:
        terminal.run(step)


def test_the_guide_shows_every_command() -> None:
    def leaves(command: click.Command, path: str) -> Iterator[str]:
        if not isinstance(command, click.Group):
            yield path
            return
        for name in command.list_commands(click.Context(command)):
            child = command.get_command(click.Context(command), name)
            assert child is not None
            yield from leaves(child, f"{path} {name}")

    commands = set(leaves(cli, "cowrie-assets"))
    assert len(commands) > 35
    shown = [re.sub(r"^env \S+ (\S+ )?", "", step.command) for step in steps(GUIDE.read_text(encoding="utf-8"))]
    lacking = {path for path in commands if not any(f"{line} ".startswith(f"{path} ") for line in shown)}
    # The tutorial begins with the demo; the guide shows a report in each form, README.md names all of them.
    reports = {f"cowrie-assets report {n}" for n in ("days", "downloads", "enriched", "sensors", "sessions")}
    assert lacking == {"cowrie-assets demo"} | reports


def test_the_guide_covers_every_kind_of_error() -> None:
    text = GUIDE.read_text(encoding="utf-8").partition("## Troubleshooting")[2]
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.CowrieError)]
    assert len(kinds) > 15
    assert [k.__name__ for k in kinds if k is not errors.CowrieError and k.__name__ not in text] == []


def test_what_is_shown_and_differs_is_seen() -> None:
    shown = "rows  2,000\n…\nTook 5 s.\n"
    assert same(shown, "rows      2,000\na\nb\nTook 17 min.\n")
    assert same(shown, "quality raw_events: 5 of 9 rows, 7 rows/s, about 3 s to go\nrows 2,000\nTook 5 s.\n")
    assert same(shown, "quality raw_events: 5 of 9 rows\nrows 2,000\nTook 5 s.\n")
    assert not same(shown, "rows 2,001\nTook 5 s.\n")
    assert not same(shown, "rows 2,000\nTook 5 s.\nmore\n")
    assert masked("3,695 rows at 2026-10-31 23:07:58 UTC, 1.5 GB") == ["3,695 rows at TIME, SIZE"]


def test_a_page_is_read_in_order() -> None:
    text = "```console\n$ a\nout\n$ b # exit code 2\n```\n```sql\n$ c\n```\n"
    assert steps(text) == [Step(2, "a", 0, "out\n"), Step(4, "b # exit code 2", 2, "")]


@pytest.mark.parametrize("name", ["commands.md", "settings.md", "errors.md"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    made = pages((ROOT / "sensors.example.toml").read_text(encoding="utf-8"))[name]
    assert made == (DOCS / "reference" / name).read_text(encoding="utf-8"), "run make docs"


def test_pages_others_link_to_stay_where_they_are() -> None:
    assert [name for name in KEPT if not (DOCS / name).is_file()] == []
    folders = {path.name for path in DOCS.iterdir() if path.is_dir()}
    assert folders == {"tutorial", "how-to", "reference", "explanation"}


def test_every_page_has_its_place_in_the_navigation() -> None:
    nav = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert nav == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "postgresql-migration-guide" / "index.html").is_file()
    assert (tmp_path / "site" / "reference" / "commands" / "index.html").is_file()
