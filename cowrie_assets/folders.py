"""Folders of what is made here, below COWRIE_HOME.

Belongs here: making one, and the error where that cannot be. Not here: where they lie (`settings.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FULL, SettingsError


@contextmanager
def ours(path: Path, doing: str = "used") -> Iterator[None]:
    """The block does something with a path of ours; SettingsError where the system refuses it."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:  # the folder is well chosen: main says what to do
            raise
        raise SettingsError(
            f"{path} cannot be {doing}: {error.strerror}.", hint="Set COWRIE_HOME to a folder of yours."
        ) from error


def make_folder(folder: Path) -> Path:
    """The folder, which is there now; SettingsError where it cannot be made."""
    with ours(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
