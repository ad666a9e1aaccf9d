"""Documents stored as `json`, byte for byte, and dead letters taken out of their wrappers.

Not here: jsonb, the default (`test_json_rules.py`, `test_json_differential.py`).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.catalog import TABLES, Type
from cowrie_assets.cleaning.json_column import clean_json
from cowrie_assets.cleaning.json_document import Document, clean_document
from cowrie_assets.cleaning.json_size import MAX_TEXT_BYTES, size_excess
from cowrie_assets.errors import PlanError
from cowrie_assets.planning.scan import make_plan
from cowrie_assets.policies import Treatment
from cowrie_assets.settings import Settings
from cowrie_assets_tests.test_cleaning import clean
from cowrie_assets_tests.test_json_differential import FIELDS, make_cell
from cowrie_assets_tests.test_json_malformed import EVENTS
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import database, opened

AS_JSON = Treatment(json_type=Type.JSON)
UNWRAPPED = Treatment(unwrap=True)
KEPT = {"json.number", "json.negzero", "json.duplicate"}


@pytest.mark.parametrize(
    "document",
    [b'{"a": 1, "a": 2}', b'{"a": -0, "b": [-0.0e5]}', b'{"a": 1e-16384, "b": 0e-99999, "c": 1e131072}', b"-0",
     rb' { "b" : "\u0061" , "\u0062" : null } '],
)  # fmt: skip
def test_what_json_keeps_is_not_touched(document: bytes) -> None:
    result = clean_json(pa.array([document], pa.binary()), jsonb=False)
    assert (result.values.to_pylist(), result.repairs, result.rejects) == ([document.decode()], [], [])


@pytest.mark.parametrize(
    ("document", "text", "rules"),
    [
        (rb'{"a": "\u0000", "a": -0}', r'{"a": "\\x00", "a": -0}', ("json.nul",)),
        (rb'{"\ud800": 1, "x": 1e-16384}', r'{"\\ud800": 1, "x": 1e-16384}', ("json.surrogate",)),
        (b'{"a": NaN, "a": 2}', '{"a": "NaN", "a": 2}', ("json.nonfinite",)),
        (b"{a: -0, a: .5}", '{"a": -0, "a": 0.5}', ("json.json5",)),
        (b'{"a": 1, "a": -0, "b', '{"a": 1, "a": -0, "_migration_note": "json.truncated"}', ("json.truncated",)),
    ],
)
def test_what_the_arrow_operator_fails_on_is_repaired(document: bytes, text: str, rules: tuple[str, ...]) -> None:
    result = clean_json(pa.array([document], pa.binary()), jsonb=False)
    assert [(r.text, r.rules) for r in result.repairs] == [(text, rules)]


def test_only_the_text_itself_can_be_too_large_for_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cowrie_assets.cleaning.json_size.SIZE_SAFE", 10)
    monkeypatch.setattr("cowrie_assets.cleaning.json_size.MAX_MEMBERS", 2)
    assert size_excess("[1, 2, 3, 4]") is not None
    assert size_excess("[1, 2, 3, 4]", jsonb=False) is None
    monkeypatch.setattr("cowrie_assets.cleaning.json_size.MAX_TEXT_BYTES", 11)
    assert size_excess("[1, 2, 3, 4]", jsonb=False) is not None
    assert MAX_TEXT_BYTES == 2**29 - 1


def test_a_number_that_affinity_made_keeps_its_sign() -> None:
    cleaned = clean("raw_events", {"payload": -0.0}, {"payload": float("inf")}, treatment=AS_JSON)
    assert cleaned.columns["payload"].to_pylist() == ["-0.0", '"inf"']


def agreement(url: str, count: int, seed: int) -> int:
    """Clean documents for json and hold them against the server; how many were not touched."""
    random_ = random.Random(seed)
    cells = [make_cell(random_) for _ in range(count)]
    column = clean_json(pa.array(cells, pa.binary()), FIELDS, jsonb=False)
    changed = {r.row: r for r in column.repairs}
    assert not KEPT & {rule for r in column.repairs for rule in r.rules}
    texts = column.values.to_pylist()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS t; CREATE UNLOGGED TABLE t (i int, p json)")
        with cursor.copy("COPY t FROM STDIN") as copy:
            for row, text in enumerate(texts):
                copy.write_row((row, text))
        members = ", ".join(f"p ->> '{name}'" for name in FIELDS)
        cursor.execute(f"SELECT p::text, ARRAY[{members}] FROM t ORDER BY i".encode())
        for row, (text, said) in enumerate(cursor):
            assert text == texts[row]
            assert said == ([column.fields[name][row].as_py() for name in FIELDS]), (cells[row], text)
            assert row in changed or text is None or text.encode() == cells[row]
    return count - len(changed) - len(column.rejects)


def test_the_server_agrees_about_3_000_documents_as_json(pg_url: str) -> None:
    assert agreement(pg_url, 3_000, seed=3) > 600


@pytest.mark.fuzz
def test_the_server_agrees_about_200_000_documents_as_json(pg_url: str) -> None:
    assert sum(agreement(pg_url, 20_000, seed) for seed in range(10, 20)) > 40_000


def kept(source: Path, url: str, table: str, column: str) -> int:
    """How many cells of the target are byte for byte the source's; all others are among the repairs."""
    with opened(source) as connection:
        connection.text_factory = bytes
        stored = dict(connection.execute(f"SELECT id, {column} FROM {table}"))
    repaired = {r for (r,) in query(url, "SELECT source_rowid FROM cowrie_migration.repairs"
                                    " WHERE table_name = %s AND column_name = %s", (table, column))}  # fmt: skip
    count = 0
    for key, text in query(url, f"SELECT id, {column}::text FROM {table}"):
        if key in repaired:
            continue
        count += 1
        assert stored[key] == (None if text is None else text.encode())
    return count


def test_a_whole_migration_keeps_documents_byte_for_byte(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v6, pg_url, tmp_path, treatment=Treatment(json_type=Type.JSON, unwrap=True))
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    types = query(pg_url, "SELECT table_name, column_name, data_type FROM information_schema.columns"
                          " WHERE table_schema = 'public' AND data_type IN ('json', 'jsonb')")  # fmt: skip
    documents = {(t.name, c.name, "json") for t in TABLES.values() for c in t.columns if c.type is Type.JSONB}
    assert set(types) == documents
    assert kept(real_v6, pg_url, "raw_events", "payload") > 1_000
    wrapped = query(pg_url, "SELECT count(*) FROM cowrie_migration.repairs WHERE rule LIKE 'json.wrapped%'")[0][0]
    assert wrapped > 0
    assert kept(real_v6, pg_url, "dead_letter_events", "payload") > 0
    for column, member in (("session_id", "session"), ("event_type", "eventid"), ("event_timestamp", "timestamp")):
        wrong = query(pg_url, f"SELECT count(*) FROM raw_events WHERE {column} IS DISTINCT FROM payload ->> '{member}'")
        assert wrong == [(0,)]
    rules = query(pg_url, "SELECT DISTINCT unnest(string_to_array(rule, '+')) FROM cowrie_migration.repairs")
    assert not KEPT & {rule for (rule,) in rules}


def test_a_target_with_the_other_type_is_refused(pg_url: str, tmp_path: Path) -> None:
    source = database(tmp_path / "s", "CREATE TABLE t (p JSON)", """INSERT INTO t VALUES ('{"a": 1, "a": 2}')""")
    line = pipeline_for(source, pg_url, tmp_path, treatment=AS_JSON)
    migrate(line)
    assert query(pg_url, "SELECT p::text FROM t") == [('{"a": 1, "a": 2}',)]
    other = pipeline_for(source, pg_url, tmp_path / "other")
    with pytest.raises(PlanError, match=r"documents as json, now jsonb.*cowrie-assets reset"):
        other.prepare()


def test_an_unknown_json_column_is_json_unless_it_must_be_ordered(pg_url: str, tmp_path: Path) -> None:
    source = database(
        tmp_path / "s",
        "CREATE TABLE t (a JSON, b JSON, c JSON, UNIQUE (b))",
        "CREATE INDEX ix ON t (c)",
        """INSERT INTO t VALUES ('{"a": -0}', '{"b": 1}', '{ "c": 1}'), ('[NaN', '[]', 'null')""",
        "CREATE TABLE u (a JSON)",
        """INSERT INTO u VALUES ('{"a": -0}')""",
    )
    plan = make_plan(Settings(source=source, treatment=AS_JSON))
    assert plan.tables["t"].types == {"a": Type.TEXT, "b": Type.JSONB, "c": Type.JSONB}
    assert plan.tables["u"].types == {"a": Type.JSON}
    migrate(pipeline_for(source, pg_url, tmp_path, treatment=AS_JSON))
    assert query(pg_url, "SELECT a::text FROM u") == [('{"a": -0}',)]


def unwrapped(text: str) -> tuple[str, tuple[str, ...]]:
    found = clean_document(text.encode(), unwrap=True)
    assert isinstance(found, Document)
    return found.text, found.rules


@pytest.mark.parametrize(
    ("inner", "text", "rules"),
    [
        ('{"a": 1}', '{"a": 1}', ("json.wrapped",)),
        ('"src_ip": "192.0.2.1",', '{"src_ip": "192.0.2.1", "_migration_note": "json.fragment"}',
         ("json.wrapped", "json.fragment")),
        ('{"a": "x\0", "b": -0}', r'{"a": "x\\x00", "b": 0}', ("json.wrapped", "json.nul", "json.negzero")),
        ('{"a": 1} tail', '{"a": 1}', ("json.wrapped", "json.trailing")),
        ('{"malformed": "{}"}', '{"malformed": "{}"}', ("json.wrapped",)),
    ],
)  # fmt: skip
def test_a_wrapper_gives_way_to_the_object_in_it(inner: str, text: str, rules: tuple[str, ...]) -> None:
    for ascii_only in (True, False):
        assert unwrapped(json.dumps({"malformed": inner}, ensure_ascii=ascii_only)) == (text, rules)
    assert unwrapped(f' {{ "malformed"\n:{json.dumps(inner)}}} ') == (text, rules)


@pytest.mark.parametrize("inner", ["{", "}", "", '"just text"', "[1, 2]", "12", '"session": "cut', "{}", "no field"])
def test_a_wrapper_around_nothing_complete_stays(inner: str) -> None:
    wrapper = json.dumps({"malformed": inner})
    assert unwrapped(wrapper) == (wrapper, ())


@pytest.mark.parametrize(
    "document",
    ['{"malformed": "{\\"a\\": 1}", "b": 1}', '{"malformed": {"a": 1}}', '[{"malformed": "{\\"a\\": 1}"}]',
     '{"a": {"malformed": "{\\"a\\": 1}"}}', '{"malformed ": "{\\"a\\": 1}"}'],
)  # fmt: skip
def test_only_the_whole_form_is_a_wrapper(document: str) -> None:
    assert unwrapped(document) == (document, ())


@given(EVENTS)
def test_unwrapping_gives_what_was_wrapped_and_is_off_by_default(event: dict[str, Any]) -> None:
    wrapper = json.dumps({"malformed": json.dumps(event)})
    text, rules = unwrapped(wrapper)
    assert (json.loads(text), rules) == (event, ("json.wrapped",))
    column = clean_json(pa.array([wrapper.encode()], pa.binary()), ["session"], unwrap=True)
    assert column.values.to_pylist() == [text]
    assert clean_document(wrapper.encode()) == Document(wrapper, ())
    assert clean("dead_letter_events", {"payload": wrapper}).repairs == []
    (repair,) = clean("dead_letter_events", {"payload": wrapper}, treatment=UNWRAPPED).repairs
    assert (repair.rule, repair.original, repair.replacement) == ("json.wrapped", wrapper.encode(), text)


@given(
    st.lists(EVENTS.map(json.dumps).flatmap(lambda t: st.sampled_from([t, json.dumps({"malformed": t})])), max_size=5)
)
def test_the_fast_path_unwraps_as_the_slow_one(documents: list[str]) -> None:
    column = clean_json(pa.array([d.encode() for d in documents], pa.binary()), unwrap=True)
    assert column.values.to_pylist() == [unwrapped(d)[0] for d in documents]
