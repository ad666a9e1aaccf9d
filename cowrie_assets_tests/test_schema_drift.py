"""What a database's schema is against the catalog, and the indexes that are an option.

Not here: upgrades (`test_schema_migrations.py`).
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from cowrie_assets.catalog import TABLES, Type
from cowrie_assets.db.json_access import text_at
from cowrie_assets.db.migrations.drift import check_drift
from cowrie_assets.db.migrations.extras import EXTRAS, add_extras
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.db.migrations.steps import without_expression
from cowrie_assets.db.models import RawEvent
from cowrie_assets.errors import SchemaError
from cowrie_assets.loading.ddl import create_index, create_table

from .db_backends import POSTGRES, SQLITE

CHANGES = [
    ("ALTER TABLE files RENAME TO filed", ("files", "table", True)),
    ("ALTER TABLE raw_events DROP COLUMN payload_hash", ("raw_events", "column payload_hash", True)),
    ("DROP INDEX ix_files_shasum", ("files", "index ix_files_shasum", False)),
    (
        "UPDATE schema_state SET value = '{}' WHERE key = 'migration:4'",
        ("schema_state", "checksum of migration:4", False),
    ),
]
POSTGRES_CHANGES = [
    ("ALTER TABLE files ALTER COLUMN filename TYPE varchar(512)", ("files", "type of column filename", True)),
    ("ALTER TABLE files ALTER COLUMN shasum DROP NOT NULL", ("files", "column shasum", True)),
    (
        "ALTER TABLE files ALTER COLUMN vt_malicious SET DEFAULT true",
        ("files", "default of column vt_malicious", False),
    ),
    ("ALTER TABLE files ALTER COLUMN id DROP IDENTITY", ("files", "column id", True)),
    ("ALTER TABLE files DROP CONSTRAINT pk_files", ("files", "primary key", True)),
    ("ALTER TABLE files DROP CONSTRAINT uq_files_session_hash", ("files", "index uq_files_session_hash", True)),
]


def drift_after(database: sa.Engine, change: str) -> list[tuple[str, str, bool]]:
    migrate(database)
    with database.begin() as connection:
        connection.exec_driver_sql(change)
        return [(d.table, d.what, d.serious) for d in check_drift(connection)]


@pytest.mark.parametrize(("change", "wanted"), CHANGES)
def test_each_drift_is_told(database: sa.Engine, change: str, wanted: tuple[str, str, bool]) -> None:
    assert drift_after(database, change) == [wanted]


@POSTGRES
@pytest.mark.parametrize(("change", "wanted"), POSTGRES_CHANGES)
def test_each_drift_of_postgresql_is_told(database: sa.Engine, change: str, wanted: tuple[str, str, bool]) -> None:
    assert drift_after(database, change) == [wanted]


DECLARED = [
    ("a TEXT GENERATED ALWAYS AS (json_extract(p, '$.a')) VIRTUAL, b", "a TEXT, b"),
    ("a VARCHAR(64) generated always as (json_extract(p, '$.a')) stored, b", "a VARCHAR(64), b"),
    ('"a" TEXT AS (trim((p))), b', '"a" TEXT, b'),
    ("a AS (p), b", "a, b"),
    ("a TEXT, b TEXT AS (p)", "a TEXT, b TEXT AS (p)"),
]


@pytest.mark.parametrize(("before", "after"), DECLARED)
def test_an_expression_is_taken_out(before: str, after: str) -> None:
    assert without_expression(f"CREATE TABLE t (p JSON, {before})", "a") == f"CREATE TABLE t (p JSON, {after})"


@POSTGRES
def test_documents_stored_as_json_are_read_alike(database: sa.Engine) -> None:
    with database.begin() as connection:
        for table in TABLES.values():
            connection.exec_driver_sql(create_table(table.with_json(Type.JSON)))
            for index in table.indexes:
                connection.exec_driver_sql(create_index(table, index))
        connection.exec_driver_sql("INSERT INTO schema_state VALUES ('schema_version', '6')")
        assert check_drift(connection) == []
        connection.exec_driver_sql(
            """INSERT INTO raw_events (source, payload) VALUES ('a', '{"session": 1.10, "a": ["x", "y"], "session": 2e1}')"""
        )
    with Session(database) as session:
        session.add(RawEvent(source="b", payload={"session": "s"}))
        session.flush()
        asked = sa.select(RawEvent.session_id_computed, text_at(RawEvent.payload, "a", -1), RawEvent.payload)
        assert [tuple(row) for row in session.execute(asked.order_by(RawEvent.id))] == [
            ("20", "y", {"session": 20, "a": ["x", "y"]}),
            ("s", None, {"session": "s"}),
        ]


@POSTGRES
def test_extras_are_made_once_and_used(database: sa.Engine) -> None:
    migrate(database)
    planned = add_extras(database, dry_run=True)
    assert add_extras(database) == planned
    assert len(planned) == len(EXTRAS)
    assert add_extras(database) == []
    with Session(database) as session:
        session.add(RawEvent(source="long", payload={"src_ip": "x" * 20_000}))
        session.flush()
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        for question in (
            text_at(RawEvent.payload, "src_ip") == "198.18.0.1",
            RawEvent.payload.op("@>")(sa.text("""'{"src_ip": "198.18.0.1"}'""")),
        ):
            query = sa.select(RawEvent.id).where(question).compile(database, compile_kwargs={"literal_binds": True})
            plan = session.connection().exec_driver_sql(f"EXPLAIN {query}").scalars().all()
            assert any(extra.name in line for extra in EXTRAS for line in plan)
        assert check_drift(session.connection()) == []


@POSTGRES
def test_an_interrupted_extra_is_made_again(database: sa.Engine) -> None:
    migrate(database)
    add_extras(database)
    with database.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_raw_events_src_ip'::regclass"
        )
    assert [sql.split()[0] for sql in add_extras(database)] == ["DROP", "CREATE"]


@POSTGRES
def test_an_extra_that_cannot_be_made_is_named(database: sa.Engine) -> None:
    with pytest.raises(SchemaError, match="raw_events"):
        add_extras(database)


@SQLITE
def test_sqlite_needs_no_extras(database: sa.Engine) -> None:
    migrate(database)
    assert add_extras(database) == []
