"""The report: what it says of a migration, and that text from the data is harmless in it.

Not here: the verdicts' own tests (`test_migration.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cowrie_assets.pipeline import Pipeline
from cowrie_assets.reporting.migration import write_report
from cowrie_assets.reporting.text import inert
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import database


@pytest.mark.parametrize(
    "text", ["\x1b[31mred\x1b[0m", "a\r\nb", "tab\t", "nul\x00", "\u202eevil", "\u2066x", "\x9b31m", "\x7f", "\ud800"]
)
def test_what_could_steer_a_terminal_is_visible_instead(text: str) -> None:
    shown = inert(text)
    assert shown.isprintable()
    assert "\\" in shown


def test_a_long_text_is_cut() -> None:
    assert len(inert("x" * 10_000, 100)) <= 110


def test_it_says_pass_and_the_sums(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v6, pg_url, tmp_path)
    migrate(line)
    verdicts(line)
    written = write_report(line)
    assert written.verdict == "PASS"
    for text in (written.markdown.read_text(encoding="utf-8"), written.html.read_text(encoding="utf-8")):
        for expected in ("14,080", "1,525", "json.surrogate", "text.nul", "week"):
            assert expected in text
    assert not list(written.html.parent.glob("*.part"))


def test_it_says_fail_and_not_checked(real_v3: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v3, pg_url, tmp_path)
    line.prepare()
    assert write_report(line).verdict == "NOT CHECKED"
    migrate(line)
    assert write_report(line).verdict == "NOT CHECKED"
    query(pg_url, "DELETE FROM dead_letter_events WHERE id = 3")
    verdicts(line)
    written = write_report(line)
    assert written.verdict == "FAIL"
    assert "FAIL" in written.markdown.read_text(encoding="utf-8")


def test_hostile_names_and_cells_are_inert(pg_url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    name = "<script>alert(1)</script>|`\x1b[31m"
    database(
        path,
        f'CREATE TABLE "{name}" (k TEXT PRIMARY KEY, flag BOOLEAN)',
        f"INSERT INTO \"{name}\" VALUES (NULL, 1), ('<img src=x>', 0), ('x' || char(0), 1)",
        f'CREATE VIEW "<b>view</b>" AS SELECT 1 FROM "{name}"',
    )
    line: Pipeline = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    written = write_report(line)
    html = written.html.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<b>view" not in html
    markdown = written.markdown.read_text(encoding="utf-8")
    assert "\x1b" not in html + markdown
    # In a code span Markdown takes every character as it is.
    assert "<script>" not in re.sub(r"(`+).*?\1", "", markdown)
