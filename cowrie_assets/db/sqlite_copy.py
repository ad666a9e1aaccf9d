"""Copies of SQLite files, page by page: into a backup, and from one into a new file or one that is there.

Belongs here: copying, and what must hold before a file is touched. Not here: which backend is meant (`backup.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from ..errors import BackupError, DamagedSourceError, DatabaseError, reason
from ..source.sqlite import read_only
from .connecting import as_database, clear_errors, label
from .engine import check_sqlite, open_database
from .relations import user_tables
from .table_digest import TableDigest, require_same, sqlite_digests

_BUSY, _LOCKED = 5, 6
"""SQLite's result codes of a step that met another process's lock."""


def copy_file(path: Path, partial: Path, *, verify: bool) -> dict[str, TableDigest] | None:
    """Copy the pages of one snapshot, which the digests are taken of too; `verify` restores the copy and compares."""
    with as_database(), read_only(path) as source:
        with _plain(partial) as copy:
            pages(source, copy, partial)
        if not verify:
            return None
        digests = sqlite_digests(source)
    with tempfile.TemporaryDirectory(prefix="cowrie-verify-", dir=partial.absolute().parent) as folder:
        restored = Path(folder) / "restored.sqlite"
        with _plain(partial) as source, _plain(restored) as copy:
            pages(source, copy, restored)
        with as_database():
            _verify(restored, digests, "The backup")
    return digests


def restore_file(source: Path, file: Path, *, overwrite: bool) -> dict[str, TableDigest]:
    """Put a backup's pages into a file: verified in a temporary folder beside it, then renamed, or copied into it.

    Raises:
        DatabaseError: the file is not empty, in use, unwritable or the backup itself, or the backup is damaged.
        BackupError: it failed on the way; the file is as it was.
    """
    try:
        there = file.exists()
        if there and file.samefile(source):
            raise DatabaseError(f"{file} is the backup itself.", hint="Name another target.")
        if there:
            check_sqlite(file, write=True)
        else:
            require_alone(file)
        if there and not overwrite and file.stat().st_size:
            engine = open_database(str(file), write=False)
            try:
                with clear_errors(engine, "Restoring"):
                    require_empty(engine)
            finally:
                engine.dispose()
        folder = tempfile.TemporaryDirectory(prefix="cowrie-restore-", dir=file.absolute().parent)
    except OSError as error:
        raise unwritable(file, error) from error
    with folder as name:
        part = Path(name) / "restored.sqlite"
        with as_database("The backup", f"Restore another; `cowrie-assets migrate` takes what can be read of {source}."):
            with read_only(source) as original:
                with _plain(part) as copy:
                    pages(original, copy, part)
                digests = sqlite_digests(original)
            _verify(part, digests, "The restored database")
        if there:
            _replace(part, file)
        else:
            try:
                part.rename(file)
            except OSError as error:
                raise BackupError(f"{file} cannot be written: {reason(error)}.", hint="Name another file.") from error
    return digests


def require_alone(path: Path) -> None:
    """DatabaseError where SQLite would play what a former database of that name left into the new one."""
    for left in (Path(f"{path}{suffix}") for suffix in ("-wal", "-journal")):
        if left.exists():
            raise DatabaseError(f"{left} is left of another database.", hint="Move it away, or name another file.")


def require_empty(engine: sa.Engine) -> None:
    """DatabaseError where the database has tables."""
    with engine.connect() as connection:
        tables = list(user_tables(connection))
    if tables:
        raise DatabaseError(
            f"The database {label(engine)} is not empty: it holds {', '.join(tables[:3])}.",
            hint="Name a new one, or add --overwrite, which replaces what is there.",
        )


def unwritable(path: Path, error: OSError) -> DatabaseError:
    """The error of a place that nothing could be begun in."""
    folder = path.absolute().parent
    try:
        missing = not folder.is_dir()
    except OSError:
        missing = False
    if missing:
        return DatabaseError(f"The folder {folder} does not exist.", hint="Create it.")
    return DatabaseError(f"{path} cannot be written: {reason(error)}.", hint="Name another place, or check its rights.")


def pages(source: Any, copy: Any, path: Path) -> None:
    """Copy every page in one transaction on the copy.

    Raises:
        DatabaseError: others use the copy; nothing was written.
        BackupError: it cannot be written.
    """

    def step(status: int, _: int, __: int) -> None:
        if status & 0xFF in (_BUSY, _LOCKED):  # by itself the driver would try again for ever
            raise _in_use(path)

    try:
        source.backup(copy, progress=step)
    except copy.Error as error:
        raise BackupError(f"{path} cannot be written: {error}.", hint="Check free space and permissions.") from error


def _in_use(path: Path) -> DatabaseError:
    return DatabaseError(f"{path} is in use by another process.", hint="Stop what uses it.")


def _verify(copy: Path, digests: dict[str, TableDigest], what: str) -> None:
    """Every table as it was, and no page that contradicts another, of indexes either."""
    with read_only(copy) as connection:
        require_same(digests, sqlite_digests(connection), what)
        # Rows against constraints are the data's own matter; what is wrong with the pages stands behind this head.
        for (line,) in connection.execute("PRAGMA quick_check"):
            if bytes(line).startswith(b"*** in database"):
                said = bytes(line).decode(errors="replace").splitlines()[1:2]
                raise DamagedSourceError(f"The source is damaged: {''.join(said) or 'its pages'}.")


def _replace(part: Path, file: Path) -> None:
    """Copy a verified file's pages into one that is there; in one transaction, which its other users' locks hinder."""
    with _plain(part) as verified, _plain(file) as target:
        was_wal = _leave_wal(target, file)
        try:
            pages(verified, target, file)
        except BaseException:
            if was_wal:
                target.execute("PRAGMA journal_mode = WAL")
            raise


def _leave_wal(target: Any, file: Path) -> bool:
    """In WAL mode pages of another size could not be taken; and leaving it tells whether somebody has the file open."""
    try:
        was = target.execute("PRAGMA journal_mode").fetchone()[0]
        now = target.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except target.Error as error:
        if "malformed" in str(error):
            return False  # its schema cannot be read: its pages can be replaced all the same
        if "locked" in str(error):
            raise _in_use(file) from error
        raise DatabaseError(f"{file} cannot be replaced: {error}.", hint="Move it away, or name another.") from error
    if now != "delete":
        raise _in_use(file)
    return bool(was == "wal")


@contextmanager
def _plain(path: Path) -> Iterator[Any]:
    """A SQLite file as the driver opens it, without a pragma."""
    engine = sa.create_engine(sa.URL.create("sqlite+pysqlite", database=str(path)), poolclass=NullPool)
    raw = engine.raw_connection()
    try:
        raw.driver_connection.isolation_level = None  # type: ignore[union-attr]
        yield raw.driver_connection
    finally:
        raw.close()
