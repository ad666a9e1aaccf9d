"""Policies: how the settings are read, which one holds, and what they make of cells, partitions and plans.

Not here: the rules themselves (`test_rules.py`).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.catalog import Type
from cowrie_assets.errors import PlanError, RuleError, SettingsError
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.planning.scan import make_plan
from cowrie_assets.policies import Policies, Treatment, read_policies
from cowrie_assets.rules import RULES, Policy
from cowrie_assets.settings import Settings
from cowrie_assets_tests.test_cleaning import clean
from cowrie_assets_tests.test_loading import commands
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query
from cowrie_assets_tests.test_settings import load
from cowrie_assets_tests.test_source import database


def treated(rules: str, **options: Any) -> Treatment:
    return Treatment(read_policies({}, rules), **options)


def test_the_file_and_the_environment_which_wins(tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text(
        '[migration]\nunwrap = true\njson_type = "json"\n[migration.rules]\n"json.truncated" = "quarantine"\n'
        '"text.nul@files.filename" = "fail"\n',
        encoding="utf-8",
    )
    treatment = load(tmp_path, COWRIE_RULES="json.truncated=fail, json.nul@raw_events=quarantine").treatment
    assert dict(treatment.policies.overrides) == {
        "json.truncated": "fail",
        "json.nul@raw_events": "quarantine",
        "text.nul@files.filename": "fail",
    }
    assert (treatment.unwrap, treatment.json_type) == (True, Type.JSON)
    treatment = load(tmp_path, COWRIE_UNWRAP="0", COWRIE_JSON_TYPE="jsonb").treatment
    assert (treatment.unwrap, treatment.json_type) == (False, Type.JSONB)
    assert load(tmp_path / "elsewhere").treatment == Treatment()


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("json.nil=fail", "'json.nil'"),
        ("json.nul", "'json.nul'"),
        ("@raw_events=fail", "'@raw_events'"),
        ("json.nul@=fail", "'json.nul@'"),
        ("json.nul@.payload=fail", "'json.nul@.payload'"),
        ("json.nul@raw_events.=fail", "'json.nul@raw_events.'"),
        ("json.nul=skip", "json.nul=skip is not allowed. json.nul allows repair, quarantine, fail"),
        ("json.nul=", "allows repair, quarantine, fail"),
        ("key.duplicate=repair", "key.duplicate allows quarantine, fail"),
        ("schema.version=quarantine", "schema.version allows repair, fail"),
        ("type.widened=fail", "which has no policy"),
        ("postgres.23505=fail", "postgres.*"),
    ],
)
def test_a_wrong_policy_is_named_with_what_is_allowed(rules: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, COWRIE_RULES=rules)
    assert says in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[migration.rules]\njson.truncated = 'quarantine'\n", "in quotes"),
        ("[migration.rules]\n'json.truncated' = 1\n", "json.truncated=1 is not allowed"),
        ("migration = 1\n", "migration.rules"),
        ("[migration]\nrules = 'json.nul=fail'\n", "migration.rules"),
        ("[migration]\nunwarp = true\n", "unwarp"),
        ("[migration]\nunwrap = 'perhaps'\n", "unwrap='perhaps'"),
        ("[migration]\njson_type = 'text'\n", "json_type='text'"),
    ],
)
def test_a_wrong_file_is_named(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize("place", ["raw_event", "raw_events.payloud", "t.b"])
def test_a_place_that_the_source_does_not_have_is_refused_when_it_is_planned(place: str, tmp_path: Path) -> None:
    path = database(tmp_path / "s", "CREATE TABLE t (a)")
    make_plan(Settings(source=path, treatment=treated("text.nul@t.a=fail,text.nul@raw_events.source=fail")))
    with pytest.raises(SettingsError, match=place):
        make_plan(Settings(source=path, treatment=treated(f"text.nul@{place}=fail")))


SCOPES = ("json.nul", "json.nul@raw_events", "json.nul@raw_events.payload")


@given(st.dictionaries(st.sampled_from(SCOPES), st.sampled_from(Policy)))
def test_the_most_specific_policy_holds(given_policies: dict[str, Policy]) -> None:
    policies = Policies(tuple(sorted(given_policies.items())))
    found = [given_policies[scope] for scope in reversed(SCOPES) if scope in given_policies]
    assert policies.of("json.nul", "raw_events", ("payload",)) == (found or [Policy.REPAIR])[0]
    assert policies.of("json.surrogate", "raw_events", ("payload",)) == Policy.REPAIR
    assert policies.of("json.nul", "raw_event", ("payload",)) == given_policies.get("json.nul", Policy.REPAIR)
    asked = Treatment(policies).asked()
    assert Treatment.from_asked(asked) == Treatment(policies)


def test_every_rule_has_its_default_and_postgres_its_family() -> None:
    for code, rule in RULES.items():
        assert Policies().of(code) == rule.default
    assert read_policies({}, "postgres.*@t=fail").of("postgres.23505", "t") is Policy.FAIL
    with pytest.raises(KeyError):
        Policies().of("json.unheard")


@pytest.mark.parametrize("order", list(itertools.permutations(["json.nul", "json.nonfinite", "json.negzero"])))
def test_of_several_rules_the_strictest_counts(order: tuple[str, str, str]) -> None:
    row: dict[str, object] = {"payload": r'{"a": "\u0000", "b": NaN, "c": -0}'}
    first, second, third = order
    (aside,) = clean("raw_events", row, treatment=treated(f"{first}=quarantine")).quarantine
    assert (aside.rule, aside.detail[:9]) == (first, "payload: ")
    cleaned = clean("raw_events", row, treatment=treated(f"{first}=quarantine,{second}=fail,{third}=repair"))
    assert [(f.rowid, f.column, f.rule) for f in cleaned.forbidden] == [(1, "payload", second)]
    assert (len(cleaned.rowids), cleaned.repairs) == (0, [])


@pytest.mark.parametrize(
    ("table", "cells", "rule", "column"),
    [
        ("session_summaries", {"first_event_at": "bad"}, "date.unreadable", "first_event_at"),
        ("session_summaries", {"created_at": "bad", "last_event_at": "2026-11-24"}, "date.unreadable", "created_at"),
        ("session_summaries", {"created_at": "bad", "last_event_at": "2026-11-24"}, "date.fallback", "created_at"),
        ("session_summaries", {"first_event_at": 1758542400}, "date.epoch", "first_event_at"),
        ("raw_events", {"risk_score": "high"}, "integer.none", "risk_score"),
        ("raw_events", {"quarantined": "true"}, "bool.text", "quarantined"),
        ("raw_events", {"source": "a\0b"}, "text.nul", "source"),
        ("raw_events", {"payload": '{"a": 1, "b'}, "json.truncated", "payload"),
    ],
)
def test_what_would_be_repaired_is_set_aside_or_ends_the_run(
    table: str, cells: dict[str, object], rule: str, column: str
) -> None:
    before = clean(table, cells, {})
    assert (len(before.rowids), before.forbidden) == (2, [])
    for scope in (rule, f"{rule}@{table}", f"{rule}@{table}.{column}"):
        cleaned = clean(table, cells, {}, treatment=treated(f"{scope}=quarantine"))
        assert [(q.rowid, q.rule) for q in cleaned.quarantine] == [(1, rule)]
        assert (cleaned.rowids.to_pylist(), cleaned.repairs, cleaned.forbidden) == ([2], [], [])
        cleaned = clean(table, cells, {}, treatment=treated(f"{scope}=fail"))
        assert [(f.rowid, f.column, f.rule) for f in cleaned.forbidden] == [(1, column, rule)]
    for scope in (f"{rule}@files", f"{rule}@{table}.id"):
        assert clean(table, cells, {}, treatment=treated(f"{scope}=fail")) == before


@pytest.mark.parametrize(
    ("table", "cells", "rule", "column"),
    [
        ("raw_events", {"payload": "nothing in it"}, "json.unreadable", "payload"),
        ("raw_events", {"source": None}, "null.required", "source"),
        ("raw_events", {"source_generation": "x"}, "integer.none", "source_generation"),
        ("session_summaries", {"session_id": None}, "key.null", "session_id"),
        ("session_summaries", {"created_at": "bad"}, "date.unreadable", "created_at"),
    ],
)
def test_what_is_set_aside_may_end_the_run(table: str, cells: dict[str, object], rule: str, column: str) -> None:
    cleaned = clean(table, {}, cells, treatment=treated(f"{rule}@{table}.{column}=fail"))
    assert [(f.rowid, f.column, f.rule) for f in cleaned.forbidden] == [(2, column, rule)]


def test_a_row_with_several_reasons_fails_by_each() -> None:
    row: dict[str, object] = {"source": None, "payload": "nothing", "risk_score": "x", "id": 1}
    treatment = treated("json.unreadable=fail,integer.none=fail,null.required=fail,key.duplicate@raw_events.id=fail")
    cleaned = clean("raw_events", row, losers={1: (7, "id")}, treatment=treatment)
    assert [q.rule for q in cleaned.quarantine] == ["key.duplicate"]
    assert {f.rule for f in cleaned.forbidden} == {"key.duplicate", "json.unreadable", "integer.none", "null.required"}


def staged(tmp_path: Path, rules: str = "") -> Pipeline:
    path = tmp_path / "s"
    if not path.exists():
        database(path, "CREATE TABLE t (a TEXT, b TEXT)", "CREATE TABLE u (a TEXT)", "INSERT INTO u VALUES ('x')",
                 "INSERT INTO t VALUES ('a', 'b'), ('c' || char(0), 'd')")  # fmt: skip
    line = Pipeline(Settings(source=path, staging=str(tmp_path / "staging"), treatment=treated(rules)))
    line.make_plan()
    for table in ("t", "u"):
        line.stage(table, ["all"])
    return line


def test_a_forbidden_cell_ends_the_stage_and_leaves_nothing(tmp_path: Path) -> None:
    line = staged(tmp_path, "text.nul@t.a=fail")
    line.analyse("t", "all")
    with pytest.raises(RuleError) as caught:
        line.clean("t", "all")
    assert "Partition all of t, rowid 2, a: text.nul, whose policy is fail." in str(caught.value)
    assert '"text.nul@t" to repair or quarantine' in str(caught.value)
    assert caught.value.exit_code == 3
    assert not line.store.exists("cleaned/t/all/manifest.json")


def test_another_policy_is_another_plan_and_cleans_again_what_it_concerns(tmp_path: Path) -> None:
    line = staged(tmp_path)
    assert [line.clean(table, "all")[1] for table in "tu"] == [True, True]
    changed = Settings(source=line.settings.source, staging=line.settings.staging, treatment=treated("text.nul@t=fail"))
    with pytest.raises(PlanError, match=r"rules: plan default, now .*text\.nul@t.*plan --replace"):
        _ = Pipeline(changed).plan
    line = staged(tmp_path, "text.nul@t=quarantine")
    manifest, made = line.clean("t", "all")
    assert (made, manifest.reasons, line.clean("u", "all")[1]) == (True, {"text.nul": 1}, False)
    assert Pipeline(line.settings).plan.tables["t"].treatment == line.settings.treatment


def test_a_plan_of_before_these_settings_still_holds(tmp_path: Path) -> None:
    line = staged(tmp_path)
    content = line.plan.to_json()
    for name in ("rules", "unwrap", "json_type"):
        del content["asked"][name]
    line.store.write_json("plan.json", content)
    assert Pipeline(line.settings).plan.treatment == Treatment()


def test_what_only_postgresql_refuses_may_end_the_load(pg_url: str, tmp_path: Path) -> None:
    source = commands(tmp_path / "s", "ls", "rm")
    line = pipeline_for(source, pg_url, tmp_path, treatment=treated("postgres.*@command_stats=fail"))
    line.prepare()
    query(pg_url, "ALTER TABLE command_stats ADD CHECK (command_normalized <> 'rm')")
    with pytest.raises(RuleError, match=r"of command_stats, rowid 2: postgres\.23514, whose policy is fail"):
        migrate(line)
    assert query(pg_url, "SELECT count(*) FROM command_stats") == [(0,)]
