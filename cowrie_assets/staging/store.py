"""Files under the staging URL: a local folder or any filesystem that pyarrow.fs opens.

Belongs here: paths, whole-or-not-at-all writing. Not here: what the files hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

from ..db.url import mask
from ..errors import FULL, StagingError

_DEVICE = re.compile("con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)
MAX_PART = 150
"""Longest component that is kept as it is: file systems take 255 bytes, and suffixes follow."""


def part(name: str) -> str:
    """A table or partition name as one path component that cannot leave its folder; no two names share one."""
    # Windows drops a dot at the end, and takes no device's name, whatever follows its first dot.
    safe = quote(name, safe="").replace(".", "%2E")
    if _DEVICE.fullmatch(name.partition(".")[0].rstrip()):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if len(safe) > MAX_PART:
        return f"{safe[: MAX_PART - 64]}%{hashlib.sha256(name.encode()).hexdigest()}"
    return safe or "%"


class Store:
    """The staging folder. Every file appears under its name whole, or not at all."""

    def __init__(self, url: str) -> None:
        """Open the URL; a plain path is a local folder. Raises StagingError where it cannot be opened."""
        self.url = url
        try:
            if "://" in url:
                self.fs, self.root = pafs.FileSystem.from_uri(url)
            else:
                self.fs, self.root = pafs.LocalFileSystem(), str(Path(url).expanduser().absolute())
        except (pa.ArrowException, OSError, ValueError, RuntimeError) as error:
            raise StagingError(
                f"Staging {mask(url)!r} cannot be opened: {mask(str(error))}.",
                hint="Set COWRIE_STAGING_URL to a folder or s3:// URL.",
            ) from error
        self.root = self.root.rstrip("/")
        if not self.root and not self.is_local:
            raise StagingError(f"Staging {mask(url)!r} names no bucket.", hint="Write s3://bucket/folder.")

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    def _info(self, what: Any) -> Any:
        try:
            return self.fs.get_file_info(what)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StagingError:
        return StagingError(
            f"Staging {mask(self.url)!r} cannot be used: {mask(str(error))}.",
            hint="Check that it is reachable and writable, then start again: what is staged is kept.",
        )

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return bool(self._info(self._full(path)).type == pafs.FileType.File)

    def list(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; empty where there is no such folder."""
        infos = self._info(pafs.FileSelector(self._full(folder), allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type == pafs.FileType.File)

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for random access; StagingError where it is missing."""
        try:
            return self.fs.open_input_file(self._full(path))
        except OSError as error:
            raise StagingError(
                f"The staged file {path} is missing or unreadable.", hint="Materialise the stage before this one again."
            ) from error

    @contextmanager
    def writing(self, path: str) -> Iterator[pa.NativeFile]:
        """An output stream whose content appears at `path` when the block ends without an error."""
        temporary = f"{self._full(path)}.{uuid.uuid4().hex[:8]}.part"
        folder = temporary.rpartition("/")[0]
        try:
            self.fs.create_dir(folder, recursive=True)
            with self.fs.open_output_stream(temporary) as stream:
                yield stream
            if self.is_local:
                _sync(temporary)
            self.fs.move(temporary, self._full(path))
        except BaseException as error:
            if self.fs.get_file_info(temporary).type == pafs.FileType.File:
                self.fs.delete_file(temporary)
            if isinstance(error, OSError):
                what = "Staging's disk is full: " if error.errno in FULL else ""
                raise StagingError(
                    f"{what}Writing {path} to {mask(self.url)!r} failed: {error.strerror or error}.",
                    hint="Free space there or set COWRIE_STAGING_URL, then start again: what is staged is kept.",
                ) from error
            raise

    def read_json(self, path: str) -> dict[str, Any] | None:
        """A JSON object, or None where the file is missing."""
        if not self.exists(path):
            return None
        with self.open(path) as file:
            try:
                content = json.loads(file.read())
            except ValueError:
                content = None
        if not isinstance(content, dict):
            raise StagingError(f"The staged file {path} is damaged.", hint="Delete it, then start again.")
        return content

    def write_json(self, path: str, content: dict[str, Any]) -> None:
        """Write a JSON object."""
        with self.writing(path) as stream:
            stream.write(json.dumps(content).encode())

    def delete(self, path: str) -> None:
        """Delete a file or a folder with all in it; nothing happens where it is missing."""
        full = self._full(path) if path else self.root
        kind = self._info(full).type
        try:
            if kind == pafs.FileType.Directory:
                self.fs.delete_dir(full)
            elif kind == pafs.FileType.File:
                self.fs.delete_file(full)
        except OSError as error:
            raise self._failed(error) from error

    def size(self) -> int:
        """Bytes of all files."""
        infos = self._info(pafs.FileSelector(self.root, recursive=True, allow_not_found=True))
        return sum(i.size for i in infos if i.type == pafs.FileType.File)


def _sync(path: str) -> None:
    # Without this a power cut can leave an empty file under the final name.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
