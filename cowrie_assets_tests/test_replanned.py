"""A migration whose source changed, was planned again, or is proven again to another extent.

Not here: what one run over an unchanged source does (`test_migration.py`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cowrie_assets.cli.summary import read_summary
from cowrie_assets.health.connections import connect_once
from cowrie_assets.health.probe import Probe
from cowrie_assets.health.report import Status
from cowrie_assets.health.settings import load_health_settings
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.reporting.migration import write_report
from cowrie_assets.validation.verdicts import Verdict
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.test_migration import migrate, pipeline_for, verdicts
from cowrie_assets_tests.test_source import opened


def test_what_a_new_plan_counts_otherwise_is_not_checked_until_it_is_loaded_again(
    real_v6: Path, pg_url: str, tmp_path: Path
) -> None:
    source = tmp_path / "copy.sqlite"
    shutil.copy(real_v6, source)
    line = pipeline_for(source, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict for v in verdicts(line)} == {Verdict.PASS}
    with opened(source) as sqlite:
        (day,) = sqlite.execute("SELECT max(first_seen) FROM files").fetchone()
        sqlite.executemany(
            "INSERT INTO files (session_id, shasum, first_seen) VALUES (?, 'x', ?)",
            [(f"late {i}", day) for i in range(9)],
        )
    again = Pipeline(line.settings)
    again.make_plan()
    again.prepare()  # and killed before the first row

    def said() -> tuple[str, str, Verdict, Verdict]:
        with again.connect() as connection:
            summary = read_summary(connection)
        [files] = [t for t in summary.tables if t.table == "files"]
        [total] = [t for t in again.totals() if t.table == "files"]
        return summary.overall.verdict, summary.overall.reason, files.verdict, total.verdict

    no = Verdict.NOT_CHECKED
    assert said() == (no, "1 of 317 partitions are to be loaded again, as the plan counts other rows", no, no)
    assert write_report(again).verdict == "NOT CHECKED"
    assert "Load the partitions again" in write_report(again).markdown.read_text(encoding="utf-8")
    health = Probe(lambda: connect_once(as_url(pg_url), 10), None, again.settings, load_health_settings({})).look()
    [check] = [c for c in health.checks if c.name == "migration"]
    assert check.status is Status.WARNING
    assert "1 of 317 partitions are to be loaded again, as the plan counts other rows" in check.text
    assert migrate(again)["postgres"] == 1
    assert said()[0] is no  # loaded, not verified
    assert {v.verdict for v in verdicts(again)} == {Verdict.PASS}
    assert said()[0] is Verdict.PASS
