"""Fixtures that every test shares: real databases, an empty target.

Not here: what only one file needs.
"""

from __future__ import annotations

import lzma
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cowrie_assets.db import embedded

from .db_backends import database, empty_url, shared_pg_url

__all__ = ["database", "empty_url", "shared_pg_url"]

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that tests may create databases on: COWRIE_TEST_POSTGRES_URL, else an embedded one."""
    given = os.environ.get("COWRIE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with embedded.lease(tmp_path_factory.mktemp("server") / "data") as url:
        yield url


@pytest.fixture
def pg_url(server_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Libpq URL of a new, empty database, dropped afterwards."""
    name = f"t_{os.getpid()}_{abs(hash(request.node.nodeid)) % 10**9}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0".encode())
    yield psycopg.conninfo.make_conninfo(server_url, dbname=name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


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
