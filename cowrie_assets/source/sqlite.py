"""Opening a SQLite file for reading, and the errors of files that cannot be read.

Belongs here: connections, the file's identity. Not here: what its tables hold.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

from ..errors import SourceError

HEADER = b"SQLite format 3\x00"
BUSY_SECONDS = 5.0
"""How long a locked file is waited for before the error."""
_KINDS = (b"table", b"index", b"view", b"trigger")
_BACKUP = "a copy with `sqlite3 SOURCE '.backup COPY'`"


@dataclass(frozen=True)
class SourceState:
    """What tells that a database file changed, without reading it.

    Size, header counter and WAL salt are the format's own signs (sqlite.org/fileformat2.html, sections 1.3 and 4.1),
    and they do not suffice: in WAL mode a commit need not raise the counter, a checkpoint may leave the size, and a
    WAL that was reset is overwritten within its old size. The times of both files show these; a time that moved
    without a change only costs reading again.
    """

    size: int
    change_counter: int
    modified_ns: int
    wal_size: int = 0
    wal_salt: str = ""
    wal_modified_ns: int = 0

    def as_dict(self) -> dict[str, object]:
        """As JSON takes it."""
        return asdict(self)


def source_state(path: Path) -> SourceState:
    """The file's state now; raises SourceError where it cannot be read."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
            main = os.fstat(file.fileno())
        state = SourceState(main.st_size, int.from_bytes(header[24:28], "big"), main.st_mtime_ns)
        with contextlib.suppress(FileNotFoundError), _beside(path, "-wal").open("rb") as file:
            salt, wal = file.read(32)[16:24], os.fstat(file.fileno())
            # Reading makes an empty WAL appear: that is no change.
            if wal.st_size:
                state = replace(state, wal_size=wal.st_size, wal_salt=salt.hex(), wal_modified_ns=wal.st_mtime_ns)
    except OSError as error:
        raise SourceError(
            f"The source {path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    return state


def check_file(path: Path) -> None:
    """Raise the one clear SourceError of a file that is no readable SQLite database."""
    fix = "Set COWRIE_SQLITE_PATH to the Cowrie processor's SQLite file."
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"The source {path} does not exist.", hint=fix) from error
    except (OSError, ValueError) as error:
        raise SourceError(f"The source {path} cannot be read: {error}.", hint=fix) from error
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "a device or pipe"
        raise SourceError(f"The source {path} is {what}, not a SQLite file.", hint=fix)
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise SourceError(f"The source {path} cannot be read: {error.strerror}.", hint=fix) from error
    if not header.startswith(HEADER):
        what = "is empty" if not header else "is not a SQLite database, or is encrypted (its header says so)"
        raise SourceError(f"The source {path} {what}.", hint=fix)
    if len(header) < 100:
        raise SourceError(f"The source {path} is truncated: it ends within its header.", hint=f"Make {_BACKUP}.")


def _missing_bytes(path: Path) -> str:
    """How much too short a file is that SQLite calls malformed; empty where it is not.

    Asked only after SQLite has looked: during a checkpoint the header of a healthy file is ahead of its size.
    """
    with path.open("rb") as file:
        header = file.read(100)
        size = os.fstat(file.fileno()).st_size
    page_size = int.from_bytes(header[16:18], "big")
    whole = int.from_bytes(header[28:32], "big") * (65536 if page_size == 1 else page_size)
    # The page count is valid only where "version-valid-for" equals the change counter (fileformat2, 1.3.7).
    valid = header[92:96] == header[24:28]
    return f"its header says {whole:,} bytes, it has {size:,}" if valid and whole > size else ""


def _beside(path: Path, suffix: str) -> Path:
    # SQLite follows links, so its other files lie beside the file itself.
    return Path(f"{path.resolve()}{suffix}")


def read_only_uri(path: Path) -> str:
    """The URI that opens an existing database for reading only; immutable only where its content cannot change."""
    uri = f"file:{quote(os.fsencode(path.resolve()))}?mode=ro"
    with path.open("rb") as file:
        in_wal_mode = file.read(20)[18:20] == b"\x02\x02"
    wal, shm = _beside(path, "-wal"), _beside(path, "-shm")
    # With both files there, even empty, a writer may be at work, and SQLite can share them read-only (wal.html, 5).
    in_use = wal.exists() and (wal.stat().st_size > 0 or shm.exists())
    if in_wal_mode and not os.access(wal.parent, os.W_OK) and not in_use:
        # A WAL database in a folder that cannot be written has no -shm to share: without WAL content the main file is
        # all there is, and immutable reads it as it stands. In the other modes immutable would only switch off the
        # locks and the check for a journal that must be rolled back.
        uri += "&immutable=1"
    return uri


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """One read transaction on the file: text comes as bytearray, blobs as bytes, nothing is ever written.

    Raises:
        SourceError: for a file that is missing, a directory, no database, encrypted, truncated, empty or locked, and
            for what SQLite finds malformed while it is read.
    """
    check_file(path)
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(read_only_uri(path), uri=True, isolation_level=None, timeout=BUSY_SECONDS)
        connection.text_factory = bytearray
        connection.execute("BEGIN")
        _open_schema(connection)
        yield connection
    except sqlite3.DatabaseError as error:
        raise _translate(path, error) from error
    finally:
        if connection is not None:
            connection.close()


def _open_schema(connection: sqlite3.Connection) -> None:
    """Have SQLite read its schema, also where the file ends before the root page of a table or index.

    SQLite refuses every table then. Its own way round is `writable_schema`, which nothing can be written through here;
    it would pass over a table whose declaration is damaged, too, and so it is taken only where all of them are there.
    """
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        connection.execute("PRAGMA writable_schema = ON")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        entries = connection.execute("SELECT CAST(type AS BLOB), name, rootpage FROM sqlite_master").fetchall()
        there = {bytes(name) for schema, name, *_ in connection.execute("PRAGMA table_list") if schema == b"main"}
        sound = all(kind in _KINDS and (kind != b"table" or bytes(name) in there) for kind, name, _ in entries)
        if not sound or not any(isinstance(root, int) and root > pages for _, _, root in entries):
            raise


def _translate(path: Path, error: sqlite3.DatabaseError) -> SourceError:
    text = str(error)
    what, hint = f"cannot be read: {text}", "Check the file and its folder's permissions."
    if "locked" in text or "busy" in text:
        what = f"is locked by another process (waited {BUSY_SECONDS:.0f} s)"
        hint = f"Stop the writer, or make and read {_BACKUP}."
    elif "not a database" in text:
        what, hint = "is not a SQLite database, or is encrypted", "Decrypt it first."
    elif "malformed" in text:
        missing = _missing_bytes(path)
        what = f"is truncated: {missing}" if missing else f"is damaged: {text}"
        hint = f"Make {_BACKUP}." if missing else "Run `sqlite3 SOURCE '.recover'` into a new file."
    elif "readonly database" in text:
        # A hot journal: the main file holds half a transaction until it is rolled back, which is its writer's to do.
        what = "was left in the middle of a write: its -journal is not rolled back"
        hint = "Let its writer open it, or copy both files and open the copy once with `sqlite3 COPY .tables`."
    elif "disk is full" in text:
        hint = "Its temporary files need room: free space in /tmp, or set SQLITE_TMPDIR."
    elif "no such" in text:
        hint = "If its tables were changed since the plan, run `cowrie-assets plan --replace`."
    elif "unable to open" in text:
        hint = "Check its permissions; where a -wal lies beside it, copy both into a folder that can be written."
    return SourceError(f"The source {path} {what}.", hint=hint)
