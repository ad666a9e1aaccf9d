"""The catalogue of rules is closed, true and printed: every code, every kernel, every example, docs/rules.md.

Not here: what the settings make of the policies (`test_policies.py`).
"""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest

from cowrie_assets.catalog import TABLES
from cowrie_assets.cleaning.scalars import postgres_text
from cowrie_assets.cleaning.table import TableCleaner
from cowrie_assets.cli.main import main
from cowrie_assets.planning.scan import make_plan
from cowrie_assets.policies import Treatment
from cowrie_assets.rules import NULL, RULES, SET_ASIDE, Policy, Rule
from cowrie_assets.settings import Settings
from cowrie_assets.source.reader import EVERYTHING, read_table
from cowrie_assets.source.sqlite import read_only
from cowrie_assets_tests.test_source import database

ROOT = Path(__file__).parent.parent
FILLED = {
    "raw_events": {"id": "NULL", "source": "'s'", "payload": "'{}'", "ingest_at": "'2026-11-24'", "source_offset": "1"},
    "session_summaries": {"session_id": "'a'", "created_at": "'2026-11-24'"},
    "ingest_cursors": {"source": "'s'"},
    "schema_state": {"key": "'k'", "value": "'v'"},
    "other": {"id": "NULL"},
}


def codes_in(text: str) -> set[str]:
    """The codes in a module's strings: what is spelled like one, but for the catalog's members of documents."""
    prefixes = "|".join({code.partition(".")[0] for code in RULES})
    members = {m for t in TABLES.values() for c in t.columns for m in (*c.fallback, *t.dated_by)}
    found = set(re.findall(rf"[\"']((?:{prefixes})\.[a-z0-9_]+)[\"']", text)) - members
    return found | ({"postgres.*"} if '"postgres.{' in text else set())


def test_every_code_that_the_package_uses_is_in_the_catalogue_and_no_other() -> None:
    modules = [p for p in (ROOT / "cowrie_assets").rglob("*.py") if p.name not in ("rules.py", "policies.py")]
    used = {code for path in modules for code in codes_in(path.read_text(encoding="utf-8"))}
    assert used == set(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=attrgetter("code"))
def test_a_rules_kernel_exists_and_its_policies_fit(rule: Rule) -> None:
    parts = rule.kernel.split(".")
    at = (
        next(i for i, part in enumerate(parts) if i and part[0].isupper()) if parts[-2][0].isupper() else len(parts) - 1
    )
    assert callable(attrgetter(".".join(parts[at:]))(importlib.import_module(".".join(parts[:at]))))
    assert (rule.default in rule.allowed) if rule.allowed else rule.default is None
    assert rule.default is not Policy.FAIL
    assert bool(rule.loses) or rule.default is not Policy.QUARANTINE


# The one for json.size takes 256 MB of text, and 11 s.
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(r, id=r.code, marks=[pytest.mark.slow] if r.code == "json.size" else [])
        for r in RULES.values()
        if r.example
    ],
)
def test_an_example_gives_its_result(rule: Rule, tmp_path: Path) -> None:
    example = rule.example
    assert example is not None
    table, column = example.place
    row = FILLED[table] | example.beside | {column: example.given}
    computed = " AS " in example.declared
    declared = {"id": "INTEGER PRIMARY KEY"} | {column: example.declared}
    names = ", ".join(f"{name} {declared.get(name, '')}" for name in row)
    rows = [row] if example.before is None else [row | {column: example.before}, row]
    stored = [name for name in row if not (computed and name == column)]
    values = ", ".join("({})".format(", ".join(r[name] for name in stored)) for r in rows)
    inserted = f"INSERT INTO {table} ({', '.join(stored)}) VALUES {values}"
    path = database(tmp_path / "s", f"CREATE TABLE {table} ({names})", inserted)

    plan = make_plan(Settings(source=path, treatment=Treatment(unwrap=rule.code == "json.wrapped")))
    planned = plan.tables[table]
    if table not in TABLES and rule.applies:  # as where the source changed since its columns were looked at
        planned = replace(planned, types=planned.types | {column: rule.applies[0]})
    with read_only(path) as connection:
        (batch,) = read_table(connection, planned.source, [EVERYTHING], planned.source.stored)
    cleaned = TableCleaner(planned).clean(batch)
    aside = {q.rowid: q.rule for q in cleaned.quarantine}
    codes = {code for r in cleaned.repairs for code in r.rule.split("+")} | {f.code for f in plan.findings}
    codes |= {"payload.member"} if len(cleaned.derived.get(column, ())) else set()
    codes |= {"derived.differs"} if len(cleaned.differing.get(column, ())) else set()
    if len(rows) in aside:
        assert (example.result, rule.code) == (SET_ASIDE, aside[len(rows)])
        return
    assert rule.code in codes
    if computed:
        assert column not in cleaned.columns
        assert column not in {c.name for c in planned.target.columns}
        return
    value = postgres_text(cleaned.columns[column][-1].as_py())
    assert (NULL if value is None else value) == example.result


def test_only_what_needs_a_server_has_no_example() -> None:
    # `test_loading.py` has its test.
    assert [rule.code for rule in RULES.values() if rule.example is None] == ["postgres.*"]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["rules", *arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_docs_are_made_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--markdown") == (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")


def test_the_command_shows_the_policies_that_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COWRIE_RULES", "json.truncated=quarantine, json.nul@raw_events.payload=fail")
    listed = json.loads(printed(capsys, "--json"))
    policies = {rule["code"]: rule["policy"] for rule in listed["rules"]}
    assert policies == {c: r.default and r.default.value for c, r in RULES.items()} | {"json.truncated": "quarantine"}
    assert [r["overrides"] for r in listed["rules"] if r["overrides"]] == [{"json.nul@raw_events.payload": "fail"}]
    shown = printed(capsys)
    assert all(code in shown for code in RULES)
    assert "json.nul@raw_events.payload: fail" in shown
