"""Fixtures that every test shares: real databases, an empty target.

Not here: what only one file needs.
"""

from __future__ import annotations

import lzma
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cowrie_assets.db import embedded

from .db_backends import database, db_command, empty_url, filled, shared_pg_url

__all__ = ["database", "db_command", "empty_url", "filled", "shared_pg_url"]

DATA = Path(__file__).parent / "data"
README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that tests may create databases on: COWRIE_TEST_POSTGRES_URL, else an embedded one."""
    given = os.environ.get("COWRIE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with embedded.lease(tmp_path_factory.mktemp("server") / "data") as url:
        yield url


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def documented_privileges(database: str, role: str) -> list[str]:
    """The README's statements for a target: the role, the database, grants in the server, grants in the database."""
    section = README.read_text(encoding="utf-8").partition("### Privileges")[2]
    sql = section.partition("```sql\n")[2].partition("```")[0]
    lines = [line.partition("--")[0].strip().rstrip(";") for line in sql.splitlines()]
    named = [re.sub(r"\bcowrie\b", role, line.replace("honeypot", database)) for line in lines if line]
    assert len(named) == 4, "the README's statements changed"
    return named


def new_database(server_url: str, database: str, role: str) -> None:
    """A database that the role may use as the README says, and nobody else."""
    execute(
        server_url,
        documented_privileges(database, role)[1],
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        documented_privileges(database, role)[2],
    )
    execute(
        psycopg.conninfo.make_conninfo(server_url, dbname=database),
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        documented_privileges(database, role)[3],
    )


def empty(connection: psycopg.Connection[Any]) -> None:
    """Drop all that a migration made, as the user that made it."""
    connection.execute(
        "DROP SCHEMA IF EXISTS cowrie_migration CASCADE;"
        " DO $$ DECLARE made regclass; BEGIN"
        " FOR made IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP"
        " EXECUTE format('DROP TABLE %s CASCADE', made); END LOOP; END $$"
    )


@pytest.fixture(scope="session")
def role(server_url: str) -> Iterator[tuple[str, str]]:
    """A user with the privileges that the README states, and its password; it owns nothing but what it makes."""
    name, password = f"t_{os.getpid()}", secrets.token_hex(8)
    execute(server_url, documented_privileges("", name)[0].replace("'secret'", f"'{password}'"))
    yield name, password
    execute(server_url, f"DROP ROLE {name}")


@pytest.fixture
def pg_url(server_url: str, role: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[str]:
    """Libpq URL of a new, empty database for the least privileged user; dropped afterwards."""
    name = f"t_{os.getpid()}_{abs(hash(request.node.nodeid)) % 10**9}"
    new_database(server_url, name, role[0])
    yield psycopg.conninfo.make_conninfo(server_url, dbname=name, user=role[0], password=role[1])
    execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def module_url(server_url: str, role: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[str]:
    """The same for all tests of a module."""
    name = f"m_{os.getpid()}_{abs(hash(request.node.nodeid)) % 10**9}"
    new_database(server_url, name, role[0])
    yield psycopg.conninfo.make_conninfo(server_url, dbname=name, user=role[0], password=role[1])
    execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def admin_url(server_url: str, pg_url: str) -> str:
    """Libpq URL of the same database for the superuser."""
    database = psycopg.conninfo.conninfo_to_dict(pg_url)["dbname"]
    return psycopg.conninfo.make_conninfo(server_url, dbname=database)


@pytest.fixture(scope="session")
def _unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("real")
    found = {}
    for packed in DATA.glob("*.xz"):
        target = folder / packed.stem
        with lzma.open(packed) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        found[packed.name.partition(".")[0]] = target
    return found


@pytest.fixture
def real_v3(_unpacked: dict[str, Path]) -> Path:
    """A real database at schema 3; read only."""
    return _unpacked["cowrie_v3_real"]


@pytest.fixture
def real_v6(_unpacked: dict[str, Path]) -> Path:
    """A real database at schema 6 with damaged events; read only."""
    return _unpacked["cowrie_v6_mixed"]


@pytest.fixture
def real_other(_unpacked: dict[str, Path]) -> Path:
    """A database of Cowrie's own output_sqlite plugin, with no table that the catalog knows; read only."""
    return _unpacked["cowrie_output_sqlite"]


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection that would leave this machine fails the test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
