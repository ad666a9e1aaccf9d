"""The fixtures that give a test body both backends: an empty SQLite file and an empty PostgreSQL database.

Belongs here: these, and one small content for backups. Not here: what other tests put in. `conftest.py` makes them known to all tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
import sqlalchemy as sa

from cowrie_assets.cli.main import main
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.migrations.runner import migrate

BACKENDS = ("sqlite", "postgresql")
SQLITE = pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
"""For the tests of what only one backend has."""


def as_url(conninfo: str) -> str:
    """A URL, which commands take, for what libpq takes (such as the fixture `pg_url`)."""
    return f"postgresql:///?{urlencode(psycopg.conninfo.conninfo_to_dict(conninfo), quote_via=quote)}"


@pytest.fixture(scope="session")
def shared_pg_url(server_url: str) -> Iterator[str]:
    """One database for all tests of this process: to make one takes a second, to empty one some milliseconds."""
    name = f"t_{os.getpid()}_shared"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0".encode())
    yield as_url(psycopg.conninfo.make_conninfo(server_url, dbname=name))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """For `open_database(…, write=True, create=True)`: each backend in turn, with nothing in it."""
    if request.param == "sqlite":
        return str(tmp_path / "database.sqlite")
    url: str = request.getfixturevalue("shared_pg_url")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS cowrie_migration CASCADE")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


@pytest.fixture
def database(empty_url: str) -> Iterator[sa.Engine]:
    """An engine on an empty database of each backend in turn."""
    engine = open_database(empty_url, write=True, create=True)
    yield engine
    engine.dispose()


PAYLOAD = '{"session": "s%d", "n": 1.10, "text": "\\u00e9\\n"}'


@pytest.fixture
def filled(database: sa.Engine) -> sa.Engine:
    """A database of each backend with rows, a gap in the ids, and a table that the catalog does not know."""
    migrate(database)
    with database.begin() as connection:
        for number in (1, 2, 7):
            connection.execute(
                sa.text("INSERT INTO raw_events (id, source, source_offset, payload) VALUES (:id, '/l', :id, :payload)")
                if database.dialect.name == "sqlite"
                else sa.text(
                    "INSERT INTO raw_events (id, source, source_offset, payload)"
                    " VALUES (:id, '/l', :id, CAST(:payload AS jsonb))"
                ),
                {"id": number, "payload": PAYLOAD % number},
            )
        connection.execute(sa.text('CREATE TABLE "odd 100% name" (a text, b double precision)'))
        connection.execute(sa.text("INSERT INTO \"odd 100% name\" VALUES ('x', 0.1), (NULL, 1e300)"))
    return database


def content(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return [
            sorted(tuple(map(repr, row)) for row in connection.execute(sa.text(f"SELECT * FROM {table}")))
            for table in ("raw_events", '"odd 100% name"', "schema_state")
        ]


def emptied(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for table in sa.inspect(connection).get_table_names():
            connection.execute(sa.text(f'DROP TABLE "{table}"'))


DbCommand = Callable[..., tuple[int, str, str]]


@pytest.fixture
def db_command(capfd: pytest.CaptureFixture[str]) -> DbCommand:
    """`cowrie-assets db …` in this process: exit code, standard output, standard error."""

    def called(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["db", *arguments])
        return int(str(ended.value.code)), *capfd.readouterr()

    return called
