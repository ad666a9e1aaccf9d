"""Engines: which database is meant, what its connections are like, and one clear error for each that cannot be used.

Not here: models (`test_models.py`).
"""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import DBAPIError, OperationalError

from cowrie_assets.db import engine as engines
from cowrie_assets.db.connecting import clear_errors, connect_with_retry, connection_error, label
from cowrie_assets.db.engine import create_engine_from_settings, memory_engine, open_database
from cowrie_assets.db.pool import connection_pool
from cowrie_assets.db.settings import EngineSettings, load_engine_settings
from cowrie_assets.errors import (
    AuthenticationError,
    ConnectTimeoutError,
    DatabaseError,
    MissingDatabaseError,
    MissingExtraError,
    ServerBusyError,
    SettingsError,
    TlsError,
    UnknownHostError,
    UnreachableError,
)
from cowrie_assets.loading.connection import LOCK_SECONDS
from cowrie_assets.settings import Settings

from .db_backends import as_url

SECRET = "se:cr@et"
ENCODED = "se%3Acr%40et"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COWRIE_POSTGRES_URL", "COWRIE_DB_URL", "COWRIE_SENSORS_FILE", "COWRIE_SQLITE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def pragma(connection: sa.Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_our_own_file_gets_the_pragmas(tmp_path: Path) -> None:
    settings = EngineSettings(url=f"sqlite:///{tmp_path}/a b?c.sqlite".replace("?", "%3F"), cache_mb=2, busy_timeout=7)
    engine = create_engine_from_settings(settings, create=True)
    with engine.connect() as connection:
        found = [
            pragma(connection, n) for n in ("journal_mode", "busy_timeout", "synchronous", "cache_size", "foreign_keys")
        ]
    engine.dispose()
    assert found == ["wal", 7000, 1, -2048, 1]
    assert (tmp_path / "a b?c.sqlite").exists()


def test_a_file_that_cannot_be_wal_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "locked.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("CREATE TABLE t (x)")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()  # a reader keeps others from changing the mode
        engine = create_engine_from_settings(EngineSettings(url=str(path), busy_timeout=0))
        with engine.connect() as connection:
            assert pragma(connection, "journal_mode") == "delete"
            assert pragma(connection, "foreign_keys") == 1
        engine.dispose()


def test_a_source_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "source.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (x)")
        plain = [
            made.execute(f"PRAGMA {n}").fetchone()[0]
            for n in ("journal_mode", "synchronous", "cache_size", "foreign_keys")
        ]
    before = path.read_bytes()
    engine = open_database(str(path), write=False)
    with engine.connect() as connection:
        assert [pragma(connection, n) for n in ("journal_mode", "synchronous", "cache_size", "foreign_keys")] == plain
        with pytest.raises(OperationalError, match="readonly"):
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    engine.dispose()
    assert path.read_bytes() == before


def test_reading_and_ddl_are_within_the_transaction(database: sa.Engine) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
        connection.rollback()
        assert not sa.inspect(connection).has_table("t")
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
        connection.commit()
    with database.connect() as connection:
        assert sa.inspect(connection).has_table("t")


def test_text_that_is_no_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "odd.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (x)")
        made.execute("INSERT INTO t VALUES (CAST(x'61ff62' AS TEXT)), (CAST(x'610062' AS TEXT)), ('ä'), (x'00ff')")
        made.commit()
    engine = open_database(str(path), write=False)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT x FROM t")).scalars().all() == ["a\\xffb", "a\\x00b", "ä", b"\0\xff"]
    engine.dispose()


@pytest.mark.parametrize("prefix", ["postgresql://", "postgres://", "postgresql+psycopg://", "postgresql+psycopg2://"])
def test_every_spelling_means_psycopg(shared_pg_url: str, prefix: str) -> None:
    engine = open_database(shared_pg_url.replace("postgresql://", prefix), write=True)
    assert engine.dialect.driver == "psycopg"
    with engine.connect() as connection:
        shown = connection.execute(sa.text("SELECT current_setting('TimeZone'), current_setting('lock_timeout')")).one()
    engine.dispose()
    assert tuple(shown) == ("UTC", f"{LOCK_SECONDS}s")


def test_a_reader_cannot_write_on_postgresql(shared_pg_url: str) -> None:
    engine = open_database(shared_pg_url, write=False)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="read-only"):
        connection.execute(sa.text("CREATE TABLE t (x int)"))
    engine.dispose()


def test_no_password_is_shown() -> None:
    url = f"postgresql://me:{ENCODED}@127.0.0.1:1/x?sslpassword={ENCODED}"
    engine = create_engine_from_settings(EngineSettings(url=url))
    with pytest.raises(UnreachableError) as raised:
        connect_with_retry(engine, tries=1)
    for shown in (repr(engine), str(engine.url), label(engine), str(raised.value)):
        assert "127.0.0.1" in shown
        assert "se" + ":cr" not in shown
        assert ENCODED not in shown


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://127.0.0.1:1/x", UnreachableError),
        ("postgresql:///x?host=/nonexistent", UnreachableError),
        ("postgresql://no-such-host.invalid/x", UnknownHostError),
    ],
)
def test_why_nothing_answers(url: str, kind: type[DatabaseError]) -> None:
    engine = create_engine_from_settings(EngineSettings(url=url))
    with pytest.raises(kind) as raised:
        connect_with_retry(engine, tries=1)
    assert len(str(raised.value).splitlines()) == 1
    assert raised.value.hint


def test_a_missing_database_and_role(shared_pg_url: str) -> None:
    with pytest.raises(MissingDatabaseError, match="no_such_database"):
        open_database(shared_pg_url + "&dbname=no_such_database", write=False)
    with pytest.raises(AuthenticationError, match="no_such_role"):
        open_database(shared_pg_url + "&user=no_such_role", write=False)


# What servers say, word by word; those that need a server of another configuration are told here.
SAID = [
    ('FATAL:  password authentication failed for user "me"', AuthenticationError, False),
    ("connection to server failed: fe_sendauth: no password supplied", AuthenticationError, False),
    ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "me", database "x", no encryption', TlsError, False),
    ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "me", database "x", SSL off', TlsError, False),
    (
        'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "me", database "x", SSL encryption',
        AuthenticationError,
        False,
    ),
    ("server does not support SSL, but SSL was required", TlsError, False),
    ("SSL error: certificate verify failed", TlsError, False),
    ("FATAL:  the database system is starting up", ServerBusyError, True),
    ("FATAL:  sorry, too many clients already", ServerBusyError, True),
    ("connection timeout expired", ConnectTimeoutError, True),
    ("FATAL:  etwas Anderes", DatabaseError, False),
]


@pytest.mark.parametrize(("said", "kind", "again"), SAID)
def test_what_a_server_says_becomes_a_typed_error(said: str, kind: type[DatabaseError], again: bool) -> None:
    error, retry = connection_error(psycopg.OperationalError(said), "somewhere")
    assert (type(error), retry) == (kind, again)
    assert "somewhere" in str(error)


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that treats each connection so; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_is_silent_times_out() -> None:
    release = threading.Event()
    with listener(lambda _: (release.wait(10), None)[1]) as port:
        engine = create_engine_from_settings(
            EngineSettings(url=f"postgresql://127.0.0.1:{port}/x?sslmode=disable&connect_timeout=2")
        )
        with pytest.raises(ConnectTimeoutError):
            connect_with_retry(engine, tries=1)
        release.set()


def test_tls_that_is_not_offered() -> None:
    def refuse(client: socket.socket) -> None:
        client.recv(8)
        client.sendall(b"N")

    with listener(refuse) as port:
        engine = create_engine_from_settings(EngineSettings(url=f"postgresql://127.0.0.1:{port}/x?sslmode=require"))
        with pytest.raises(TlsError, match="sslmode"):
            connect_with_retry(engine, tries=1)


def test_a_server_that_comes_up_is_awaited(shared_pg_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_engine_from_settings(EngineSettings(url=shared_pg_url))
    attempts: list[int] = []

    @sa.event.listens_for(engine, "do_connect", insert=True)
    def _refuse(*_: object) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise psycopg.OperationalError("FATAL:  the database system is starting up")

    monkeypatch.setattr("cowrie_assets.db.connecting.time.sleep", lambda _: None)
    with connect_with_retry(engine, tries=3) as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    engine.dispose()
    assert len(attempts) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist"), (b"no database at all", "not a SQLite database"), (b"SQLite format 3\0", "truncated")],
)
@pytest.mark.parametrize("write", [False, True])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes | None, said: str, write: bool) -> None:
    path = tmp_path / "x.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseError, match=said):
        open_database(str(path), write=write)
    assert path.exists() == (content is not None)


def test_a_file_that_is_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")
        monkeypatch.setenv("COWRIE_DB_BUSY_TIMEOUT", "0")
        with pytest.raises(ServerBusyError, match="locked by another process"):
            open_database(str(path), write=False)


def test_errors_of_statements_are_one_line(database: sa.Engine) -> None:
    with database.connect() as connection, pytest.raises(DatabaseError) as raised, clear_errors(database, "Counting"):
        connection.execute(sa.text("SELECT count(*) FROM nothing_there"))
    assert str(raised.value).startswith("Counting failed on ")
    assert "nothing_there" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_wrong_port_is_said_to_be() -> None:
    for port in ("99999999", "abc"):
        with pytest.raises(SettingsError, match=r"^The database postgresql://u@h:\S+: its port is no number from 1 to"):
            open_database(f"postgresql://u@h:{port}/x", write=False)


def test_another_url_is_refused() -> None:
    with pytest.raises(SettingsError, match="mysql"):
        open_database("mysql://me:secret@host/x", write=False)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"cowrie-assets\[postgres\]"):
        open_database("postgresql://127.0.0.1/x", write=False)


def test_which_database_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.sqlite").touch()
    (tmp_path / "two.sqlite").touch()
    (tmp_path / "sensors.toml").write_text('[global]\ndb = "postgresql://h/global"\n[database]\nurl = "two.sqlite"\n')
    assert label(open_database("one.sqlite", write=True)) == "one.sqlite"
    assert label(open_database(None, write=True)) == "two.sqlite"
    monkeypatch.setenv("COWRIE_DB_URL", "one.sqlite")
    assert label(open_database(None, write=True)) == "one.sqlite"
    assert label(create_engine_from_settings(Settings(target="postgresql://h:5/other"))) == "postgresql://h:5/other"
    monkeypatch.delenv("COWRIE_DB_URL")
    (tmp_path / "sensors.toml").write_text('[global]\ndb = "postgresql://h/global"\n')
    assert label(create_engine_from_settings()) == "postgresql://h/global"


def test_without_a_url_the_embedded_server_is_meant(monkeypatch: pytest.MonkeyPatch, shared_pg_url: str) -> None:
    monkeypatch.setattr(engines, "target_url", lambda settings: shared_pg_url if settings.target is None else "")
    engine = open_database(None, write=False)
    assert engine.dialect.name == "postgresql"
    engine.dispose()


def test_the_pool_is_as_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sensors.toml").write_text("[database]\npool_size = 2\nmax_overflow = 0\npool_pre_ping = false\n")
    monkeypatch.setenv("COWRIE_DB_POOL_SIZE", "1")
    monkeypatch.setenv("COWRIE_DB_POOL_TIMEOUT", "1")
    settings = load_engine_settings()
    assert (settings.pool_size, settings.max_overflow, settings.pool_timeout, settings.pool_pre_ping) == (
        1,
        0,
        1,
        False,
    )
    engine = open_database(str(tmp_path / "x.sqlite"), write=True, create=True)
    with engine.connect(), pytest.raises(sa.exc.TimeoutError):
        engine.connect()
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POOL_SIZE", "0"),
        ("POOL_SIZE", "many"),
        ("POOL_PRE_PING", "perhaps"),
        ("SYNCHRONOUS", "sometimes"),
        ("CACHE_MB", "-1"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"COWRIE_DB_{name}='{value}'"):
        load_engine_settings({f"COWRIE_DB_{name}": value})


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text("[database]\npoolsize = 2\n")
    with pytest.raises(SettingsError, match="poolsize"):
        load_engine_settings({})


def test_a_service_gets_a_pool(shared_pg_url: str) -> None:
    with connection_pool(shared_pg_url) as pool, pool.connection() as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
    with (
        connection_pool("postgresql://127.0.0.1:1/x") as pool,
        pytest.raises(PoolTimeout),
        pool.connection(timeout=0.2),
    ):
        pass


def test_a_database_in_memory_has_the_functions() -> None:
    with memory_engine().connect() as connection:
        assert connection.exec_driver_sql("SELECT cowrie_json_text('[1.10]', 0)").scalar_one() == "1.10"


def test_the_urls_of_the_tests_are_libpqs() -> None:
    assert psycopg.conninfo.conninfo_to_dict(as_url("host='/a b' dbname=x")) == {"host": "/a b", "dbname": "x"}
