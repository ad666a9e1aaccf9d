"""Gives space back, gathers statistics and builds indexes anew.

Belongs here: these three, on both backends. Not here: which indexes there should be (`catalog.py`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ..errors import DatabaseError
from .connecting import label
from .engine import use_wal
from .relations import database_bytes, is_postgres, sqlite_file, user_tables

STEPS = ("vacuum", "analyze", "reindex")


@dataclass(frozen=True)
class Optimized:
    """Sizes in bytes, and the statements that were run."""

    before: int
    after: int
    statements: tuple[str, ...]


def optimize(
    engine: sa.Engine, steps: Sequence[str] = STEPS, progress: Callable[[str], None] | None = None
) -> Optimized:
    """Run the steps; each statement commits for itself, so that an interruption loses nothing.

    On SQLite nobody else can write meanwhile. On PostgreSQL readers and writers go on: plain VACUUM, and REINDEX
    CONCURRENTLY.

    Args:
        engine: the database, open for writing.
        steps: of `STEPS`.
        progress: told of each statement before it runs.

    Raises:
        DatabaseError: there is too little disk space for SQLite's VACUUM.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = database_bytes(connection)
        if is_postgres(connection):
            statements = _for_postgres(list(user_tables(connection).values()), steps)
        else:
            if "vacuum" in steps:
                _require_space(sqlite_file(connection), before, label(engine))
            statements = _for_sqlite(steps)
            connection.exec_driver_sql("COMMIT")  # VACUUM takes no transaction, and the engine begins one for reading
            use_wal(engine)
        for statement in statements:
            if progress:
                progress(statement)
            connection.exec_driver_sql(statement)
        return Optimized(before, database_bytes(connection), tuple(statements))


def _for_postgres(tables: list[str], steps: Sequence[str]) -> list[str]:
    found: list[str] = []
    for table in tables:
        if "vacuum" in steps:
            found.append(f"VACUUM (ANALYZE) {table}" if "analyze" in steps else f"VACUUM {table}")
        elif "analyze" in steps:
            found.append(f"ANALYZE {table}")
        if "reindex" in steps:
            found.append(f"REINDEX TABLE CONCURRENTLY {table}")
    return found


def _for_sqlite(steps: Sequence[str]) -> list[str]:
    found = {"reindex": ["REINDEX"], "vacuum": ["VACUUM"], "analyze": ["ANALYZE", "PRAGMA optimize"]}
    # The copy that VACUUM writes goes through the WAL: truncated, the size afterwards is what it seems.
    return [s for step in ("reindex", "vacuum", "analyze") if step in steps for s in found[step]] + [
        "PRAGMA wal_checkpoint(TRUNCATE)"
    ]


def _require_space(path: Path, size: int, name: str) -> None:
    """VACUUM writes a copy to the temporary folder, and that back (sqlite.org/lang_vacuum.html: twice the size)."""
    scratch = Path(os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp")  # noqa: S108 - SQLite's own choice
    if not scratch.is_dir():
        scratch = Path(tempfile.gettempdir())
    folder = path.absolute().parent
    needs = {folder: size, scratch: size}
    if folder.stat().st_dev == scratch.stat().st_dev:
        needs = {folder: 2 * size}
    for place, needed in needs.items():
        free = shutil.disk_usage(place).free
        if free < needed:
            raise DatabaseError(
                f"VACUUM of {name} needs about {needed / 1e6:,.0f} MB in {place}, {free / 1e6:,.0f} MB are free.",
                hint="Free space, set SQLITE_TMPDIR to a larger disk, or leave out --vacuum.",
            )
