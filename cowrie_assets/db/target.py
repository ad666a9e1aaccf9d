"""Where the migration's target is when no URL names it: a database on the embedded server.

Belongs here: from settings to a libpq URL. Not here: the server (`embedded.py`), connecting.
"""

from __future__ import annotations

from ..folders import make_folder, ours
from ..loading.connection import database_url
from ..settings import Settings


def target_url(settings: Settings) -> str:
    """The target's URL; starts the embedded server where none is set, until this process ends.

    On the embedded server each source has a database of its own; without a source the last one used is meant.
    """
    if settings.target:
        return settings.target
    from . import embedded

    folder = make_folder(settings.home / "postgres")
    server = embedded.hold(folder.absolute())
    last = settings.home / "last_database"
    with ours(last):
        if settings.source_label:
            last.write_text(settings.source_label, encoding="utf-8")
        elif not last.exists():
            return server
        return database_url(server, last.read_text(encoding="utf-8"))
