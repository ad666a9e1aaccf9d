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
    state = source_state(path)
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(HEADER):
        what = "is empty" if not header else "is not a SQLite database, or is encrypted (its header says so)"
        raise SourceError(f"The source {path} {what}.", hint=fix)
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size
    pages = int.from_bytes(header[28:32], "big")
    # The page count is valid only where "version-valid-for" equals the change counter (fileformat2, 1.3.7).
    if header[92:96] == header[24:28] and pages * page_size > state.size:
        raise SourceError(
            f"The source {path} is truncated: its header says {pages * page_size:,} bytes, it has {state.size:,}.",
            hint="Copy it again with `sqlite3 SOURCE '.backup COPY'`.",
        )


def _beside(path: Path, suffix: str) -> Path:
    # SQLite follows links, so its other files lie beside the file itself.
    return Path(f"{path.resolve()}{suffix}")


def _uri(path: Path) -> str:
    uri = f"file:{quote(os.fsencode(path.resolve()))}?mode=ro"
    with path.open("rb") as file:
        in_wal_mode = file.read(20)[18:20] == b"\x02\x02"
    wal = _beside(path, "-wal")
    if in_wal_mode and not os.access(wal.parent, os.W_OK) and not (wal.exists() and wal.stat().st_size):
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
        connection = sqlite3.connect(_uri(path), uri=True, isolation_level=None, timeout=BUSY_SECONDS)
        connection.text_factory = bytearray
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection
    except sqlite3.DatabaseError as error:
        raise _translate(path, error) from error
    finally:
        if connection is not None:
            connection.close()


def _translate(path: Path, error: sqlite3.DatabaseError) -> SourceError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return SourceError(
            f"The source {path} is locked by another process (waited {BUSY_SECONDS:.0f} s).",
            hint="Stop the writer, or read a copy made with `sqlite3 SOURCE '.backup COPY'`.",
        )
    if "not a database" in text:
        return SourceError(f"The source {path} is not a SQLite database, or is encrypted.", hint="Decrypt it first.")
    if "malformed" in text:
        return SourceError(
            f"The source {path} is damaged: {text}.", hint="Run `sqlite3 SOURCE '.recover'` into a new file."
        )
    return SourceError(
        f"The source {path} cannot be read: {text}.", hint="Check the file and its folder's permissions."
    )
