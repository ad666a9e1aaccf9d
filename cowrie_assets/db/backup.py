"""Backups of a database into one file, and back; a backup counts as verified once it was restored and compared.

Belongs here: order, checks, PostgreSQL's archives. Not here: SQLite's files (`sqlite_copy.py`), PostgreSQL's programs
(`postgres_tools.py`), digests (`table_digest.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import sqlalchemy as sa

from ..errors import BackupError, DatabaseError, SourceError, reason
from ..loading.connection import driver
from ..source.sqlite import check_file
from .connecting import clear_errors
from .engine import open_database, resolve_url
from .postgres_tools import Tools, find_tools, run_tool
from .relations import user_tables
from .sqlite_copy import copy_file, require_alone, require_empty, restore_file, unwritable
from .table_digest import TableDigest, postgres_digests, require_same
from .url import is_postgres, sqlite_path

_ARCHIVE = b"PGDMP"
"""How a file of pg_dump -Fc begins."""


@dataclass(frozen=True)
class Backup:
    """A backup that was made, or a restored database.

    Attributes:
        rows: rows by table; None where they were not counted.
        verified: whether a restored copy was compared with the original, every table by count and digest.
    """

    file: Path
    size: int
    rows: dict[str, int] | None
    verified: bool


def backup(url: str | None, to: Path, *, verify: bool = True) -> Backup:
    """Write a database as it is at one moment into a new file, readable by its owner only.

    Args:
        url: as `open_database` takes it.
        to: a file that does not exist yet; it appears when it is complete and verified.
        verify: restore it into a temporary place and compare counts and digests of all tables.

    Raises:
        DatabaseError: the file is there already, the database cannot be used, or no fitting pg_dump is there.
        BackupError: it failed on the way; nothing is left behind.
        DifferenceError: what was restored is not what was backed up.
    """
    partial = to.with_name(f"{to.name}.partial")
    try:
        if to.exists():
            raise DatabaseError(f"{to} exists already.", hint="Name a new file, or move that one away.")
        require_alone(to)
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    except OSError as error:
        raise unwritable(to, error) from error
    try:
        url = resolve_url(url)
        if is_postgres(url):
            made = _dump(url, partial, verify)
        else:
            made = copy_file(sqlite_path(url, "The database"), partial, verify=verify)
        size = partial.stat().st_size
        partial.rename(to)
    except OSError as error:
        raise BackupError(f"{to} cannot be written: {reason(error)}.", hint="Check folder and free space.") from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{partial}{suffix}").unlink(missing_ok=True)
    return Backup(to, size, None if made is None else {t: d.rows for t, d in made.items()}, verify)


def restore(source: Path, to: str, *, overwrite: bool = False) -> Backup:
    """Bring a backup into a database of the same backend.

    Args:
        source: a file that `backup` wrote.
        to: PostgreSQL URL, or SQLite file (which need not exist).
        overwrite: replace what is there; a SQLite file as a whole, of PostgreSQL the tables that the backup has.

    Raises:
        DatabaseError: the target is not empty, in use or cannot be written, the backup is damaged, or they are not of
            one backend; nothing was done.
        BackupError: it failed; the target is as it was.
    """
    archive = _is_archive(source)
    if archive != is_postgres(to):
        kinds = ("a PostgreSQL archive", "a SQLite file") if archive else ("a SQLite database", "PostgreSQL")
        raise DatabaseError(
            f"{source} is {kinds[0]} and cannot go into {kinds[1]}.",
            hint="Name a target of the same kind." if archive else "Run `cowrie-assets db to-postgres --source` on it.",
        )
    if archive:
        return Backup(source, source.stat().st_size, _into_server(source, to, overwrite), verified=False)
    digests = restore_file(source, sqlite_path(to, "The target"), overwrite=overwrite)
    return Backup(source, source.stat().st_size, {t: d.rows for t, d in digests.items()}, verified=True)


def _is_archive(source: Path) -> bool:
    try:
        with source.open("rb") as file:
            if file.read(len(_ARCHIVE)) == _ARCHIVE:
                return True
        check_file(source)
    except OSError as error:
        raise DatabaseError(f"The backup {source} cannot be read: {error.strerror}.", hint="Check its path.") from error
    except SourceError as error:
        raise DatabaseError(
            f"The backup {source} is neither a SQLite database nor an archive of pg_dump -Fc.",
            hint="Name a file that `cowrie-assets db backup` wrote.",
        ) from error
    return False


def _into_server(source: Path, to: str, overwrite: bool) -> dict[str, int]:
    engine = open_database(to, write=True)
    try:
        with clear_errors(engine, "Restoring"):
            if not overwrite:
                require_empty(engine)
            with engine.connect() as connection:
                tools = find_tools(_major(connection))
            try:
                run_tool(tools, "pg_restore", None, [f"--file={os.devnull}", str(source)])
            except BackupError as error:
                raise DatabaseError(
                    f"The backup {source} cannot be read: {error.message}", hint="Restore another one."
                ) from error
            _load(tools, source, to, overwrite=overwrite)
            with engine.connect() as connection:
                return _counts(connection)
    finally:
        engine.dispose()


def _dump(url: str, partial: Path, verify: bool) -> dict[str, TableDigest] | None:
    """PostgreSQL: pg_dump of a snapshot, which the digests are taken of too."""
    engine = open_database(url, write=False)
    try:
        with (
            clear_errors(engine, "Backing up"),
            engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        ):
            tools = find_tools(_major(connection))
            if (
                verify
                and not connection.exec_driver_sql(
                    "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
                ).scalar_one()
            ):
                raise DatabaseError(
                    "This user may not create the temporary database that a backup is verified in.",
                    hint="Grant CREATEDB, or add --no-verify.",
                )
            snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
            arguments = ["--format=custom", f"--snapshot={snapshot}", f"--file={partial}", "--no-password"]
            run_tool(tools, "pg_dump", url, arguments)
            if not verify:
                return None
            digests = postgres_digests(connection)
    finally:
        engine.dispose()
    with _temporary_database(url) as copy:
        _load(tools, partial, copy, overwrite=False)
        restored = open_database(copy, write=False)
        try:
            with clear_errors(restored, "Comparing the backup"), restored.connect() as connection:
                require_same(digests, postgres_digests(connection), "The backup")
        finally:
            restored.dispose()
    return digests


def _load(tools: Tools, source: Path, url: str, *, overwrite: bool) -> None:
    # One transaction: a failure leaves the target as it was. Owners and grants name roles that may not be there.
    arguments = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"]
    arguments += ["--clean", "--if-exists"] if overwrite else []
    run_tool(tools, "pg_restore", url, [*arguments, str(source)])


@contextmanager
def _temporary_database(url: str) -> Iterator[str]:
    """The URL of a new database on the same server, dropped afterwards."""
    pg = driver()
    name = f"cowrie_verify_{uuid4().hex[:12]}"
    engine = open_database(url, write=True)
    admin = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        with clear_errors(engine, "Verifying the backup"):
            admin.exec_driver_sql(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
            try:
                yield _with_database(pg.conninfo.conninfo_to_dict(url), name)
            finally:
                admin.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        admin.close()
        engine.dispose()


def _with_database(parts: dict[str, Any], name: str) -> str:
    rest = {k: str(v) for k, v in parts.items() if v is not None and k != "dbname"}
    return f"postgresql:///{name}?{urlencode(rest, quote_via=quote)}"


def _major(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000


def _counts(connection: sa.Connection) -> dict[str, int]:
    return {
        name: int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())
        for name, table in user_tables(connection).items()
    }
