"""JSON questions: the same body on SQLite and PostgreSQL, against Python as oracle, over any document.

Not here: reading whole cells (`test_models.py`), what the cleaning makes of damage (`test_json_*`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cowrie_assets.cleaning.json_text import jsonb_text
from cowrie_assets.db import json_access as ask
from cowrie_assets.db.engine import memory_engine, open_database
from cowrie_assets.db.json_value import document_text
from cowrie_assets.db.types import Json

from .db_backends import BACKENDS

METADATA = sa.MetaData()
DOCUMENTS = sa.Table("documents", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("doc", Json()))
DOC = DOCUMENTS.c.doc


class Number(str):
    """A number as it is spelled."""

    __slots__ = ()


def spelled(value: Any) -> str:
    """The JSON text of a value that may hold `Number`s, and objects as lists of pairs (so that keys may repeat)."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{json.dumps(k)}:{spelled(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + " ,".join(map(spelled, value)) + "]"
    return json.dumps(value)


def walked(value: Any, path: tuple[str | int, ...]) -> Any:
    """What a path leads to, in plain Python; KeyError where nothing is there. Of repeated keys the last counts."""
    for step in path:
        if isinstance(step, str) and isinstance(value, tuple):
            value = dict(value)[step]
        elif isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            raise KeyError(step)
    return value


def printed(value: Any) -> str | None:
    """What `->>` gives for it."""
    return None if value is None else value if type(value) is str else jsonb_text(spelled(value))


@pytest.fixture(scope="module", params=BACKENDS)
def answer(request: pytest.FixtureRequest) -> Iterator[Callable[..., list[Any]]]:
    """Answer(document text, expression, …): the row that a SELECT of these gives; one connection for all cases."""
    if request.param == "sqlite":
        engine = memory_engine()
    else:
        engine = open_database(request.getfixturevalue("shared_pg_url"), write=True)
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    with engine.connect() as connection:
        insert = "INSERT INTO documents VALUES (1, :doc)"
        if request.param == "postgresql":
            insert = "INSERT INTO documents VALUES (1, CAST(:doc AS jsonb))"

        def asked(document: str, *expressions: Any) -> list[Any]:
            connection.execute(sa.text("DELETE FROM documents"))
            connection.execute(sa.text(insert), {"doc": document})
            return list(connection.execute(sa.select(*expressions).select_from(DOCUMENTS)).one())

        asked.connection = connection  # type: ignore[attr-defined]
        yield asked
    engine.dispose()


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
KEYS = st.one_of(
    st.sampled_from(["a", "b", "", "a.b", 'q"', "it's", "[0]", "0", "ä", "%s", ":x", "\\x00", "\\"]), TEXTS
)
NUMBERS = st.builds(
    Number, st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,8})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
).filter(lambda n: not (n.startswith("-") and not n.partition("e")[0].partition("E")[0].strip("-0.")))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(KEYS, inner), max_size=4).map(tuple)),
    max_leaves=8,
)
PATHS = st.lists(st.one_of(KEYS, st.integers(-2, 2)), max_size=3).map(tuple)
PROFILE = settings(
    max_examples=int(os.environ.get("COWRIE_TEST_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def documents_and_paths(draw: st.DrawFn) -> tuple[Any, tuple[str | int, ...]]:
    """A document, and mostly a path that leads somewhere in it."""
    # A bare number is no document here: NUMERIC affinity would make another number of its text before we see it.
    value = document = draw(VALUES.map(lambda v: [v] if isinstance(v, Number) else v))
    if draw(st.integers(0, 4)) == 0:
        return document, draw(PATHS)
    path: list[str | int] = []
    while isinstance(value, (list, tuple)) and value and draw(st.booleans()):
        step = draw(st.sampled_from([k for k, _ in value] if isinstance(value, tuple) else range(len(value))))
        path.append(step)
        value = walked(value, (step,))
    return document, tuple(path)


@PROFILE
@given(documents_and_paths())
@example(((("a", Number("1.10")), ("a", Number("1e5"))), ("a",)))
@example(((("a", (("b", "x"),)),), ("a", 0)))
@example(([(("0", "key"),), "element"], (0, "0")))
@example(([Number("1E-7")], (0,)))
@example((None, (0,)))
@example(((("a", "scalar"),), ("a", -1)))
@example((([["x", "y"], "z"]), (-2, -2)))
@example(((("a -> b", (("->>", "x"),)),), ("a -> b", "->>")))
def test_any_part_of_any_document(answer: Callable[..., list[Any]], case: tuple[Any, tuple[str | int, ...]]) -> None:
    document, path = case
    try:
        part = walked(document, path)
        there = True
    except KeyError:
        part, there = None, False
    kinds = {type(None): "null", bool: "boolean", str: "string", Number: "number", list: "array", tuple: "object"}
    texts = [printed(e) for e in part] if isinstance(part, list) else []
    found = answer(
        spelled(document),
        ask.text_at(DOC, *path),
        ask.type_at(DOC, *path),
        ask.exists(DOC, *path),
        ask.not_empty(DOC, *path),
        sa.select(sa.func.count())
        .select_from(elements := ask.elements(DOC, *path))
        .correlate(DOCUMENTS)
        .scalar_subquery(),
        sa.select(sa.func.count(elements.c.value)).select_from(elements).correlate(DOCUMENTS).scalar_subquery(),
        sa.select(sa.func.max(elements.c.value)).select_from(elements).correlate(DOCUMENTS).scalar_subquery(),
    )
    assert found[:6] == [
        printed(part),
        kinds[type(part)] if there else None,
        there,
        part not in (None, "", [], ()),
        len(texts),
        len([t for t in texts if t is not None]),
    ]
    assert (found[6] is None) == (not any(t is not None for t in texts))
    assert found[6] in (None, *texts)


def plain(value: Any) -> Any:
    """A document as Python compares it: decimals for numbers, tagged booleans, dictionaries."""
    if isinstance(value, Number):
        return Decimal(value)
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, tuple):
        return {k: plain(v) for k, v in value}
    return [plain(v) for v in value] if isinstance(value, list) else value


def loose(value: Any) -> Any:
    """The same document as an ordinary Python value."""
    return json.loads(spelled(value))


@PROFILE
@given(VALUES, VALUES, st.booleans())
@example(Number("1.0"), Number("1"), False)
@example(True, Number("1"), False)
@example((("a", Number("1")), ("b", None)), (("b", None), ("a", Number("1.00"))), False)
@example(["a", "b"], ["a,b"], False)
def test_equal_is_what_jsonb_calls_equal(answer: Callable[..., list[Any]], one: Any, other: Any, same: bool) -> None:
    given_value = loose(one if same else other)
    wanted = plain(json.loads(json.dumps(given_value), parse_int=Number, parse_float=Number, object_pairs_hook=tuple))
    found = answer(spelled((("k", one),)), ask.equals(DOC, given_value, "k"), ask.equals(DOC, given_value, "absent"))
    assert found == [plain(one) == wanted, None]


def as_pattern(pattern: str) -> str:
    """LIKE as a regular expression, written otherwise than the code under test."""
    out, position = "", 0
    while position < len(pattern):
        if pattern[position] == "\\":
            position += 1
            out += re.escape(pattern[position])
        else:
            out += {"%": "(?s:.*)", "_": "(?s:.)"}.get(pattern[position], re.escape(pattern[position]))
        position += 1
    return out


@PROFILE
@given(st.text("aA%_\\\n(ä", max_size=6), st.text("aA%_\\\n(ä", max_size=5))
def test_like_is_postgresqls(answer: Callable[..., list[Any]], text: str, pattern: str) -> None:
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        with pytest.raises(ValueError, match="escape"):
            ask.like(DOC, pattern, "k")
        return
    found = answer(json.dumps({"k": text}), ask.like(DOC, pattern, "k"), ask.like(DOC, "%", "absent"))
    assert found == [re.fullmatch(as_pattern(pattern), text) is not None, None]


@PROFILE
@given(st.one_of(NUMBERS, NUMBERS.map(str), TEXTS, st.text("0123456789.eE+- ", max_size=12), SCALARS))
@example("1e999999999")
@example(Number("1e400"))
@example(Number("1" * 400))
@example("0" * 300 + "1")
@example("1e-400")
@example("0.1\n")
@example("NaN")
@example("١")
@example("-0")
def test_a_number_is_cast(answer: Callable[..., list[Any]], value: Any) -> None:
    wanted = None
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", printed(value) or ""):
        number = Decimal(printed(value) or "")
        if number == 0 or Decimal("1e-307") <= abs(number) <= Decimal("1e308"):
            wanted = float(number) + 0.0
    assert repr(answer(spelled((("k", value),)), ask.number_at(DOC, "k"))[0]) == repr(wanted)


ZONES = st.one_of(st.none(), st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-959, 959)))


@PROFILE
@given(st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)), ZONES, st.sampled_from("T "))  # noqa: DTZ001
@example(datetime(2024, 2, 29, 23, 59, 59, 999999), None, "T")  # noqa: DTZ001
def test_a_time_is_cast(answer: Callable[..., list[Any]], moment: datetime, zone: timezone | None, mark: str) -> None:
    wanted = moment.replace(tzinfo=zone or UTC)
    text = moment.replace(tzinfo=zone).isoformat(mark)
    document = json.dumps(
        {"k": text, "z": moment.isoformat() + "Z", "cut": moment.isoformat(timespec="microseconds") + "999"}
    )
    found = answer(document, ask.time_at(DOC, "k"), ask.time_at(DOC, "z"), ask.time_at(DOC, "cut"))
    assert found == [wanted, moment.replace(tzinfo=UTC), moment.replace(tzinfo=UTC)]


NO_TIMES = (
    "", "now", "today", "infinity", "2025", "2025-09", "2025-02-29", "1900-02-29", "2025-04-31", "0000-01-01", "24:00:00",
    "2025-01-01 24:00:00", "2025-01-01T23:59:60Z", "09/22/2025", "J2460941", "2025-265", "2025-01-01T00:00:00+16:00",
    "2025-01-01T00:00:00,5", "2025-01-01T00:00:00.1234567890", "2025-01-01\n", " 2025-01-01", "0001-01-01T00:00:00+01",
    "9999-12-31T23:59:59-01", "2025-01-01T00", "2025-01-01T1:00:00", "٢025-01-01",
)  # fmt: skip
TIMES = {
    "2025-01-01": (2025, 1, 1),
    "2000-02-29": (2000, 2, 29),
    "2025-01-01T10:30": (2025, 1, 1, 10, 30),
    "2025-01-01 10:30+0230": (2025, 1, 1, 8, 0),
    "2025-01-01T10:30:00.5-02": (2025, 1, 1, 12, 30, 0, 500_000),
}


def test_what_is_no_time_is_null(answer: Callable[..., list[Any]]) -> None:
    for text in NO_TIMES:
        assert answer(json.dumps({"k": text}), ask.time_at(DOC, "k")) == [None], text
    values: list[Any] = [1758542400, None, True, ["2025-01-01"], {}]
    for value in values:
        assert answer(json.dumps({"k": value}), ask.time_at(DOC, "k")) == [None], value
    for text, parts in TIMES.items():
        assert answer(json.dumps({"k": text}), ask.time_at(DOC, "k")) == [datetime(*parts, tzinfo=UTC)], text  # type: ignore[misc, arg-type]


def test_elements_are_rows_in_their_order(answer: Callable[..., list[Any]]) -> None:
    answer('{"k": ["b", null, 1.10, {"y": 1, "x": [2]}, "a"]}', DOC)
    elements = ask.elements(DOC, "k")
    connection: sa.Connection = answer.connection  # type: ignore[attr-defined]
    rows = connection.execute(sa.select(DOCUMENTS.c.id, elements.c.value).select_from(DOCUMENTS, elements)).all()
    assert [tuple(row) for row in rows] == [(1, "b"), (1, None), (1, "1.10"), (1, '{"x": [2], "y": 1}'), (1, "a")]


def test_questions_group_filter_and_sort(answer: Callable[..., list[Any]]) -> None:
    connection: sa.Connection = answer.connection  # type: ignore[attr-defined]
    connection.execute(sa.delete(DOCUMENTS))
    documents = [{"s": "a", "n": 2}, {"s": "b", "n": "10"}, {"s": "a", "n": None}, {"s": 'it"s 100%'}]
    connection.execute(sa.insert(DOCUMENTS), [{"id": i, "doc": d} for i, d in enumerate(documents)])
    text, number = ask.text_at(DOC, "s"), ask.number_at(DOC, "n")
    query = (
        sa.select(text, sa.func.count(), sa.func.sum(number))
        .group_by(text)
        .order_by(sa.func.count().desc(), text.collate("C" if connection.dialect.name == "postgresql" else "BINARY"))
    )
    assert [tuple(row) for row in connection.execute(query)] == [("a", 2, 2.0), ("b", 1, 10.0), ('it"s 100%', 1, None)]
    assert connection.scalar(sa.select(DOCUMENTS.c.id).where(ask.equals(DOC, 'it"s 100%', "s"))) == 3
    assert connection.scalar(sa.select(DOCUMENTS.c.id).where(ask.like(DOC, "%100\\%", "s"))) == 3
    assert connection.scalar(sa.select(DOCUMENTS.c.id).where(text == "b")) == 1


DAMAGED = [
    (r'{"k": "a\u0000b"}', "a\\x00b"),
    (r'{"k\u0000": 1, "k": "\ud800"}', "\\ud800"),
    ('{"k": NaN}', "NaN"),
    ('{"k": 1, "k": 2}', "2"),
    ('{"k": -0}', "0"),
    ('{"k": 1e-16384}', "1e-16384"),
    ('{"k": [1e-16384]}', '["1e-16384"]'),
    ('{"k": 1e400}', "1" + "0" * 400),
    ('{"k": 12345678901234567890123}', "12345678901234567890123"),
    ('{"k": 1}} [root/123]', "1"),
    ("no json", None),
    ("", None),
    ("[" * 2000 + "]" * 2000, None),
    ('{"k": ' + "[" * 2000 + "]" * 2000 + "}", "[" * 2000 + "]" * 2000),
    (123, None),
    (float("inf"), None),
    (b'{"k": "\xff"}', "\\xff"),
    (None, None),
]


@pytest.mark.parametrize(("cell", "wanted"), DAMAGED, ids=[str(d)[:30] for d, _ in DAMAGED])
def test_a_damaged_cell_answers_as_it_would_once_migrated(cell: Any, wanted: str | None) -> None:
    engine = memory_engine()
    METADATA.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO documents VALUES (1, ?)", (cell,))
        everything = [
            f(DOC, "k") for f in (ask.text_at, ask.type_at, ask.exists, ask.not_empty, ask.number_at, ask.time_at)
        ]
        row = connection.execute(sa.select(*everything, ask.equals(DOC, 1, "k"), ask.like(DOC, "a%", "k"))).one()
        assert row[0] == wanted
        assert row[2] == row[3] == (wanted is not None)
        # What the migration stores for the cell, asked by its own kernel.
        found = None if cell is None else document_text(cell)
        value = connection.execute(sa.select(DOC)).scalar_one()
        if found is not None and "[" * 1000 not in found:
            assert value == json.loads(jsonb_text(found))
            part = json.loads(found).get("k") if isinstance(value, dict) else None
            kinds = {type(None): None, bool: "boolean", str: "string", int: "number", float: "number", list: "array"}
            assert row[1] == kinds[type(part)]
    engine.dispose()
