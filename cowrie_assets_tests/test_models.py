"""The models: one truth with the catalog, and the same row on both backends.

Not here: JSON access (`test_json_access.py`), upgrades (`test_schema_migrations.py`).
"""

from __future__ import annotations

import shutil
import typing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Mapped, Session

from cowrie_assets.catalog import TABLES, Type
from cowrie_assets.db import models
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.json_value import JSON_NULL, MalformedJson
from cowrie_assets.db.models import Base, DeadLetterEvent, RawEvent, SessionSummary
from cowrie_assets.loading.ddl import create_index, create_table

from .db_backends import as_url

PYTHON = {Type.TEXT: str, Type.BIGINT: int, Type.BOOLEAN: bool, Type.TIMESTAMPTZ: datetime}
CLASSES = {mapper.local_table.name: mapper.class_ for mapper in Base.registry.mappers}  # type: ignore[attr-defined]


def pg_shape(connection: sa.Connection, schema: str) -> list[Any]:
    """Columns, constraints and indexes of a schema as PostgreSQL itself prints them."""
    columns = connection.execute(
        sa.text(
            "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, is_identity,"
            " identity_generation FROM information_schema.columns WHERE table_schema = :s ORDER BY 1, 3"
        ),
        {"s": schema},
    ).all()
    constraints = connection.execute(
        sa.text(
            "SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = CAST(CAST(:s AS text) AS regnamespace) ORDER BY 1, 2"
        ),
        {"s": schema},
    ).all()
    indexes = connection.execute(
        sa.text("SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = :s ORDER BY 1, 2"),
        {"s": schema},
    ).all()
    return [tuple(str(v).replace(f"{schema}.", "") for v in row) for row in (*columns, *constraints, *indexes)]


def test_the_models_make_what_the_migration_makes_on_postgresql(pg_url: str) -> None:
    engine = open_database(as_url(pg_url), write=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA ours")
        Base.metadata.create_all(connection.execution_options(schema_translate_map={None: "ours"}))
        connection.exec_driver_sql("CREATE SCHEMA theirs")
        connection.exec_driver_sql("SET LOCAL search_path = theirs")
        for table in TABLES.values():
            connection.exec_driver_sql(create_table(table))
            for index in table.indexes:
                connection.exec_driver_sql(create_index(table, index))
        ours, theirs = pg_shape(connection, "ours"), pg_shape(connection, "theirs")
    engine.dispose()
    assert ours == theirs
    assert len(ours) > 100


def test_the_tables_are_the_catalogs(database: sa.Engine) -> None:
    Base.metadata.create_all(database)
    inspector = sa.inspect(database)
    assert set(inspector.get_table_names()) == set(TABLES)
    for name, entry in TABLES.items():
        found = inspector.get_columns(name)
        assert [c["name"] for c in found] == [c.name for c in entry.columns]
        assert [c["nullable"] for c in found] == [c.nullable for c in entry.columns]
        for column, actual in zip(entry.columns, found, strict=True):
            default = str(actual["default"]).strip("()").split("::")[0]
            wanted = {"false": "0"} if database.dialect.name == "sqlite" else {"'-1'": "-1"}
            if column.name != entry.serial:
                assert wanted.get(default, default).strip("'") == wanted.get(
                    str(column.default), str(column.default)
                ).strip("'")
        key = inspector.get_pk_constraint(name)
        assert (tuple(key["constrained_columns"]), key["name"]) == (entry.key, entry.key_name)
        unique = {(u["name"], tuple(u["column_names"])) for u in inspector.get_unique_constraints(name)}
        assert unique == {(i.name, i.columns) for i in entry.indexes if i.constraint}
        plain = {
            (i["name"], tuple(i["column_names"]))
            for i in inspector.get_indexes(name)
            if not i.get("duplicates_constraint")
        }
        assert plain == {(i.name, i.columns) for i in entry.indexes if not i.constraint}


@pytest.mark.parametrize("name", TABLES)
def test_the_annotations_say_what_the_catalog_says(name: str) -> None:
    hints = typing.get_type_hints(CLASSES[name])
    for column in TABLES[name].columns:
        assert typing.get_origin(hints[column.name]) is Mapped
        (inner,) = typing.get_args(hints[column.name])
        if column.type is Type.JSONB:
            assert inner is Any
        else:
            wanted = PYTHON[column.type]
            assert inner == (wanted | None if column.nullable else wanted)
    assert {n for n, hint in hints.items() if typing.get_origin(hint) is Mapped} == {
        c.name for c in TABLES[name].columns
    }


def test_defaults_are_the_databases(database: sa.Engine) -> None:
    Base.metadata.create_all(database)
    before = datetime.now(UTC) - timedelta(seconds=5)
    with Session(database) as session:
        session.add(RawEvent(source="a", payload={}))
        session.add(SessionSummary(session_id="s"))
        session.commit()
        event = session.scalars(sa.select(RawEvent)).one()
        assert (event.id, event.source_generation, event.quarantined) == (1, 0, False)
        assert before < event.ingest_at < datetime.now(UTC) + timedelta(seconds=5)
        assert session.scalars(sa.select(SessionSummary)).one().event_count == 0
        assert session.scalar(sa.select(RawEvent.id).where(RawEvent.quarantined == sa.false())) == 1


@pytest.mark.parametrize(
    ("written", "stored", "read"),
    [
        (None, None, None),
        (JSON_NULL, "null", JSON_NULL),
        ({"a": None}, '{"a": null}', {"a": None}),
        ([], "[]", []),
        ("", '""', ""),
        (False, "false", False),
        (1.5, "1.5", 1.5),
        ({"a\0": "b\0\ud800"}, '{"a\\\\x00": "b\\\\x00\\\\ud800"}', {"a\\x00": "b\\x00\\ud800"}),
        ([10**60, 2**64, 2**53 + 1], f"[{10**60}, {2**64}, {2**53 + 1}]", [10**60, 2**64, 2**53 + 1]),
        ([float("nan"), float("-inf")], '["NaN", "-Infinity"]', ["NaN", "-Infinity"]),
    ],
)
def test_a_json_value_is_kept_apart_from_null(database: sa.Engine, written: Any, stored: str | None, read: Any) -> None:
    Base.metadata.create_all(database)
    with Session(database) as session:
        session.add(SessionSummary(session_id="s", enrichment=written))
        session.commit()
        assert session.scalars(sa.select(SessionSummary.enrichment)).one() == read
        session.expire_all()
        found = session.get_one(SessionSummary, "s").enrichment
        assert found == read
        assert type(found) is type(read)
        text = session.execute(sa.text("SELECT CAST(enrichment AS text) FROM session_summaries")).scalar_one()
        assert text == stored


MOMENTS = [
    datetime(2026, 11, 24, 5, 48, 8, tzinfo=UTC),
    datetime(2025, 9, 22, 19, 24, 50, 304226, tzinfo=UTC),
    datetime(2025, 9, 22, 21, 0, tzinfo=timezone(timedelta(hours=2))),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_comes_back_and_compares(database: sa.Engine, moment: datetime) -> None:
    Base.metadata.create_all(database)
    with Session(database) as session:
        session.add(SessionSummary(session_id="s", first_event_at=moment))
        session.commit()
        column = SessionSummary.first_event_at
        assert session.scalars(sa.select(column)).one() == moment
        assert session.scalar(sa.select(sa.func.count()).where(column >= moment, column <= moment)) == 1
        assert session.scalar(sa.select(sa.func.count()).where(column > moment)) == 0


def test_a_moment_without_a_zone_is_refused(database: sa.Engine) -> None:
    Base.metadata.create_all(database)
    with Session(database) as session, pytest.raises(StatementError, match="no time zone"):
        session.add(SessionSummary(session_id="s", first_event_at=datetime(2026, 1, 1)))  # noqa: DTZ001
        session.flush()


EVENTS = [
    ({"session": "a", "eventid": "e", "timestamp": "t"}, ("a", "e", "t")),
    ({"session": 5, "eventid": True, "timestamp": [1, {"b": 2, "a": 1}]}, ("5", "true", '[1, {"a": 1, "b": 2}]')),
    ({"session": None, "eventid": ""}, (None, "", None)),
    ({"session": "a\0b", "timestamp": {}}, ("a\\x00b", None, "{}")),
    ([1], (None, None, None)),
    (JSON_NULL, (None, None, None)),
    ("session", (None, None, None)),
]


@pytest.mark.parametrize(("payload", "wanted"), EVENTS)
def test_former_generated_columns_fall_back_on_the_payload(
    database: sa.Engine, payload: Any, wanted: tuple[str | None, ...]
) -> None:
    Base.metadata.create_all(database)
    with Session(database) as session:
        session.add(RawEvent(source="a", payload=payload))
        session.add(RawEvent(source="b", payload=payload, session_id="kept", event_type="", event_timestamp="x"))
        session.commit()
        computed = (RawEvent.session_id_computed, RawEvent.event_type_computed, RawEvent.event_timestamp_computed)
        rows = session.execute(sa.select(*computed).order_by(RawEvent.id)).all()
        assert [tuple(row) for row in rows] == [wanted, ("kept", "", "x")]
        events = session.scalars(sa.select(RawEvent).order_by(RawEvent.id)).all()
        assert [(e.session_id_computed, e.event_type_computed, e.event_timestamp_computed) for e in events] == [
            wanted,
            ("kept", "", "x"),
        ]
        by_type = sa.select(RawEvent.event_type_computed, sa.func.count()).group_by(RawEvent.event_type_computed)
        assert {row[0]: row[1] for row in session.execute(by_type)} == {wanted[1]: 1, "": 1} | (
            {"": 2} if wanted[1] == "" else {}
        )


def test_a_damaged_sqlite_file_is_read_as_the_migration_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "damaged.sqlite"
    engine = open_database(str(path), write=True, create=True)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO raw_events (source, source_offset, ingest_at, payload, risk_score, quarantined) VALUES"
            " (CAST(x'61ff00' AS TEXT), 1, '2026-11-24T05:48:08+02:00', '{\"session\": \"a', 'high', 2),"
            " ('b', 2, 1758542400, CAST(x'7b2273657373696f6e223a2022ff227d' AS TEXT), 1, 't'),"
            " ('c', 3, 'not-a-date', '{\"session\": \"1\", \"session\": NaN}', 1, 'TRUE'),"
            " ('d', 4, '2026-11-24 05:48:08', '123', 1, 0), ('e', 5, 0, 'no json', 1, 1),"
            " (x'66ff', 6, '', x'7b2273657373696f6e223a20317d', 1, 1)"
        )
    engine.dispose()
    source = open_database(str(path), write=False)
    with Session(source) as session:
        events = session.scalars(sa.select(RawEvent).order_by(RawEvent.id)).all()
        assert [e.source for e in events] == ["a\\xff\\x00", "b", "c", "d", "e", "f\\xff"]
        assert [e.ingest_at for e in events] == [
            datetime(2026, 11, 24, 3, 48, 8, tzinfo=UTC),
            datetime(2025, 9, 22, 12, 0, tzinfo=UTC),
            None,
            datetime(2026, 11, 24, 5, 48, 8, tzinfo=UTC),
            None,
            None,
        ]
        assert [e.risk_score for e in events] == [None, 1, 1, 1, 1, 1]
        assert [e.quarantined for e in events] == [None, None, True, False, True, True]
        assert isinstance(events[0].payload, MalformedJson)
        assert [e.payload for e in events[1:4]] == [{"session": "\\xff"}, {"session": "NaN"}, 123]
        assert isinstance(events[4].payload, MalformedJson)
        computed = session.scalars(sa.select(RawEvent.session_id_computed).order_by(RawEvent.id)).all()
        assert computed[1:] == ["\\xff", "NaN", None, None, "1"]
        assert [e.session_id_computed for e in events][1:] == computed[1:]
    source.dispose()


def test_real_rows_are_read(real_v3: Path, real_v6: Path) -> None:
    for path in (real_v3, real_v6):
        engine = open_database(str(path), write=False)
        with Session(engine) as session:
            for event in session.scalars(sa.select(RawEvent).limit(500)):
                assert event.session_id_computed == event.payload["session"]
                assert event.ingest_at.tzinfo is UTC
            assert session.scalars(sa.select(SessionSummary)).first()
            assert session.scalars(sa.select(DeadLetterEvent)).first() is not None or path == real_v3
        engine.dispose()


def test_generated_columns_answer_as_the_payload_does(real_v3: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite"
    shutil.copy(real_v3, path)
    engine = open_database(str(path), write=True)
    with engine.begin() as connection:
        change = "UPDATE raw_events SET payload = ? WHERE id = (SELECT min(id) FROM raw_events)"
        connection.exec_driver_sql(change, ('{"session": "first", "session": "last", "eventid": true}',))
    with Session(engine) as session:
        first = sa.select(RawEvent.session_id, RawEvent.session_id_computed, RawEvent.event_type_computed)
        assert session.execute(first.order_by(RawEvent.id)).first() == ("first", "last", "true")
    engine.dispose()


def test_every_class_is_exported() -> None:
    assert {CLASSES[name].__name__ for name in TABLES} <= set(vars(models))


def test_numbers_of_any_length_are_read(database: sa.Engine) -> None:
    Base.metadata.create_all(database)
    document = '{"most": 1' + "0" * 5_000 + ', "large": 1e400, "small": 1e-400, "plain": 1e5}'
    with database.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO raw_events (source, payload) VALUES ('a', '{document}')")
    with Session(database) as session:
        payload = session.scalars(sa.select(RawEvent.payload)).one()
    assert payload == {"most": float("inf"), "large": 10**400, "small": 0, "plain": 100_000}
