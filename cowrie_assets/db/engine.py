"""Engines for both backends: pool, pragmas, driver, and never a password in what they show.

Belongs here: making an engine, and which database a command means. Not here: why a connection fails (`connecting.py`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool, StaticPool

from ..errors import DatabaseError, SettingsError, SourceError
from ..loading.connection import LOCK_SECONDS, driver
from ..settings import Settings, load_settings
from ..source.sqlite import check_file, read_only_uri
from .connecting import connect_with_retry
from .settings import EngineSettings, load_engine_settings
from .sqlite_functions import prepare_connection
from .target import target_url
from .url import is_postgres, mask, postgres_url, sqlite_path


def create_engine_from_settings(
    settings: Settings | EngineSettings | None = None, *, write: bool = True, create: bool = False, wal: bool = True
) -> sa.Engine:
    """An engine for the database that the settings name; nothing is connected yet.

    Args:
        settings: EngineSettings, or the migration's Settings, whose target is meant; None: as the environment says.
        write: False opens a SQLite file as a source, read-only and without a pragma, and makes PostgreSQL's sessions
            read-only.
        create: a SQLite file that does not exist is created.
        wal: a SQLite file to write is switched to WAL; False leaves that to `use_wal`, except for a new one.

    Raises:
        SettingsError: for a URL that is none.
        DatabaseError: for a SQLite file that cannot be used.
        MissingExtraError: where PostgreSQL's driver is not installed.
    """
    if isinstance(settings, EngineSettings):
        chosen, url = settings, settings.url
    else:
        chosen = load_engine_settings()
        url = chosen.url if settings is None else None
    url = url or target_url(settings if isinstance(settings, Settings) else load_settings())
    if is_postgres(url):
        return _postgres_engine(postgres_url(url, "The database"), chosen, write=write)
    return _sqlite_engine(sqlite_path(url, "The database"), chosen, write=write, create=create, wal=wal)


def resolve_url(url: str | None) -> str:
    """The URL or path that a command means, with its password; see `open_database` for None."""
    return url or load_engine_settings().url or target_url(load_settings())


def open_database(url: str | None, *, write: bool, create: bool = False) -> sa.Engine:
    """The database that a command means, seen to answer: the one way for commands to get an engine.

    Args:
        url: PostgreSQL URL, `sqlite:///` URL or path of a SQLite file. None: COWRIE_DB_URL or `[database] url`, else
            the migration's target (COWRIE_POSTGRES_URL, `[global] db`), else the embedded PostgreSQL.
        write: whether it may change; a command that does change it calls `use_wal` once nothing refuses any more.
        create: a SQLite file that does not exist is created.

    Raises:
        DatabaseError: says why it cannot be used (see its subclasses).
        SettingsError: for a URL that is none.
        MissingExtraError: where a driver is not installed.
    """
    settings = EngineSettings(**{**load_engine_settings().__dict__, "url": resolve_url(url)})
    engine = create_engine_from_settings(settings, write=write, create=create, wal=False)
    connect_with_retry(engine, tries=settings.connect_tries).close()
    return engine


def use_wal(engine: sa.Engine) -> None:
    """Switch a SQLite file to WAL for good, which lets readers and one writer work at once; nothing on PostgreSQL."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            _switch_to_wal(connection.connection.dbapi_connection)


def _switch_to_wal(raw: Any) -> None:
    # Where it cannot be had (a network file system, another mode that is locked) the mode stays, and serves too.
    with contextlib.suppress(raw.OperationalError):
        raw.execute("PRAGMA journal_mode = WAL")


def memory_engine() -> sa.Engine:
    """A SQLite database in memory, with our functions; one connection for all."""
    engine = sa.create_engine("sqlite+pysqlite://", poolclass=StaticPool, hide_parameters=True)
    _sqlite_events(engine, ":memory:", {}, ())
    return engine


def _pool(settings: EngineSettings) -> dict[str, Any]:
    return {
        "poolclass": QueuePool,
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
        "pool_recycle": settings.pool_recycle,
        "pool_pre_ping": settings.pool_pre_ping,
        # What a statement was given is a honeypot's data, perhaps large: not for messages.
        "hide_parameters": True,
    }


def connection_parameters(url: str, settings: EngineSettings, *, write: bool = True) -> dict[str, Any]:
    """What psycopg is given for a libpq URL: UTC, UTF-8, every wait bounded.

    Raises:
        SettingsError: libpq does not take the URL.
    """
    pg = driver()
    try:
        given: dict[str, Any] = pg.conninfo.conninfo_to_dict(url)
    except pg.ProgrammingError as error:
        raise SettingsError(f"{mask(url)} is no valid URL: {mask(str(error)).strip()}.") from error
    options = f"-c TimeZone=UTC -c DateStyle=ISO -c lock_timeout={LOCK_SECONDS}s -c client_encoding=UTF8"
    if not write:
        options += " -c default_transaction_read_only=on"
    given["options"] = f"{options} {given.get('options', '')}".strip()  # the last of two settings counts: the user's
    return {"connect_timeout": settings.connect_timeout, "application_name": "cowrie-assets", **given}


def _postgres_engine(url: str, settings: EngineSettings, *, write: bool) -> sa.Engine:
    parameters = connection_parameters(url, settings, write=write)
    # The engine's URL is for people: it holds no password, and libpq splits hosts and ports better than SQLAlchemy.
    shown = sa.URL.create(
        "postgresql+psycopg",
        username=parameters.get("user"),
        host=parameters.get("host"),
        port=int(parameters["port"]) if str(parameters.get("port", "")).isdigit() else None,
        database=parameters.get("dbname"),
    )
    engine = sa.create_engine(shown, **_pool(settings))

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_: Any, __: Any, ___: Any, given: MutableMapping[str, Any]) -> None:
        given.update(parameters)

    return engine


def _sqlite_engine(path: Path, settings: EngineSettings, *, write: bool, create: bool, wal: bool) -> sa.Engine:
    new = create and write and file_bytes(path) is None
    if new and not path.absolute().parent.is_dir():
        raise DatabaseError(f"The folder {path.absolute().parent} does not exist.", hint="Create it.")
    if not new:
        check_sqlite(path, write=write)
    engine = sa.create_engine(sa.URL.create("sqlite+pysqlite", database=str(path)), **_pool(settings))
    pragmas = [
        f"PRAGMA busy_timeout = {settings.busy_timeout * 1000:d}",
        f"PRAGMA synchronous = {settings.synchronous}",
        f"PRAGMA cache_size = -{settings.cache_mb * 1024:d}",
        "PRAGMA foreign_keys = ON",
    ]
    target = str(path) if write else read_only_uri(path)
    arguments = {"uri": not write, "timeout": settings.busy_timeout}
    _sqlite_events(engine, target, arguments, pragmas if write else (), wal=write and (wal or new))
    return engine


def file_bytes(path: Path) -> int | None:
    """A file's size, None where there is none; DatabaseError where that cannot be seen."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DatabaseError(f"The database {path} cannot be read: {error}.", hint="Check its path.") from error


def check_sqlite(path: Path, *, write: bool) -> None:
    """DatabaseError for a file that cannot be used; an empty one can be written."""
    try:
        if not (write and path.is_file() and not path.stat().st_size):  # an empty file is an empty database
            check_file(path)
    except SourceError as error:
        raise DatabaseError(
            error.message.replace("The source", "The database", 1), hint="Name a SQLite file or a postgresql:// URL."
        ) from error
    if write and not os.access(path, os.W_OK):
        raise DatabaseError(f"The database {path} may not be written.", hint="Check its permissions.")


def _sqlite_events(
    engine: sa.Engine, target: str, arguments: dict[str, Any], pragmas: Any, *, wal: bool = False
) -> None:
    @sa.event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _: Any, __: Any, given: MutableMapping[str, Any]) -> Any:
        # Without an isolation level sqlite3 begins no transaction by itself: SQLAlchemy's BEGIN below holds for DDL
        # and for reading too.
        connection = dialect.dbapi.connect(target, isolation_level=None, check_same_thread=False, **arguments)
        for pragma in pragmas:
            try:
                connection.execute(pragma)
            except dialect.dbapi.OperationalError:
                connection.close()
                raise
        if wal:
            _switch_to_wal(connection)
        prepare_connection(connection)
        return connection

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("cowrie_begin", "BEGIN"))
