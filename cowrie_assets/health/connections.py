"""The connection that a look goes through: opened for one look, or of a pool that lives as long as a service.

Belongs here: which database is meant, every wait bounded. Not here: what is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from ..db.connecting import connect_with_retry
from ..db.embedded_supervisor import CLUSTER
from ..db.engine import create_engine_from_settings
from ..db.settings import load_engine_settings
from ..db.target import target_url
from ..db.url import is_postgres, mask
from ..errors import DatabaseError, UnreachableError
from ..settings import Settings

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

Connect = Callable[[], AbstractContextManager[sa.Connection]]


def database_url(database: str | None, settings: Settings) -> str:
    """The URL or path of the database that is meant; an embedded server that exists is started, none is created.

    Raises:
        DatabaseError: none is named and nothing was migrated yet.
    """
    if database:
        return database
    if not settings.target and not _has_server(settings):
        raise DatabaseError(
            f"No database is named, and {settings.home} has none yet.",
            hint="Name one with --database, COWRIE_DB_URL or COWRIE_POSTGRES_URL, or run `cowrie-assets migrate`.",
        )
    return target_url(settings)


def _has_server(settings: Settings) -> bool:
    try:
        return (settings.home / "postgres" / CLUSTER / "PG_VERSION").exists()
    except PermissionError:
        return True  # the server's own error says whose it is


@contextmanager
def connect_once(url: str, seconds: float) -> Iterator[sa.Connection]:
    """A connection of its own; no statement runs longer than `seconds`."""
    chosen = load_engine_settings()
    limited = replace(
        chosen,
        url=url,
        connect_tries=1,
        connect_timeout=max(2, min(chosen.connect_timeout, ceil(seconds))),  # libpq takes less than 2 as 2
        busy_timeout=min(chosen.busy_timeout, ceil(seconds)),
    )
    engine = create_engine_from_settings(limited, write=False)
    try:
        with connect_with_retry(engine, tries=1) as connection:
            _limit(connection, seconds)
            yield connection
    finally:
        engine.dispose()


def _limit(connection: sa.Connection, seconds: float) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET statement_timeout = {ceil(seconds * 1000)}")


@contextmanager
def service_connections(url: str, seconds: float) -> Iterator[Connect]:
    """What a service connects by: for PostgreSQL through a pool, for SQLite anew, which takes no server."""
    if not is_postgres(url):
        yield lambda: connect_once(url, seconds)
        return
    from ..db.pool import connection_pool

    with connection_pool(url) as pool:
        yield lambda: _pooled(pool, url, seconds)


@contextmanager
def _pooled(pool: ConnectionPool[Any], url: str, seconds: float) -> Iterator[sa.Connection]:
    from psycopg_pool import PoolTimeout

    try:
        with pool.connection(timeout=seconds) as raw:
            # The engine takes this one connection and never closes it: it is the pool's.
            engine = sa.create_engine("postgresql+psycopg://", creator=lambda: raw, poolclass=StaticPool)
            with engine.connect() as connection:
                _limit(connection, seconds)
                yield connection
    except PoolTimeout as error:
        raise UnreachableError(
            f"The database {mask(url)} gave no connection within {seconds:g} s.", hint="See that its server runs."
        ) from error
