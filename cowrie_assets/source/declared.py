"""The source's declarations word for word, and the settings that lie in its file: what rebuilding it needs.

Belongs here: sqlite_master's text and pragmas. Not here: what they mean (`schema.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .damage import is_damage
from .schema import text_of

PRAGMAS = ("encoding", "page_size", "auto_vacuum", "user_version", "application_id", "journal_mode")
"""In the order in which a new file takes them: the first three before its first table, the journal mode last."""


@dataclass(frozen=True)
class Declaration:
    """A row of sqlite_master that was declared: `kind` is table, index, view or trigger."""

    kind: str
    name: str
    table: str
    sql: str


@dataclass(frozen=True)
class Declared:
    """A database's declarations.

    Attributes:
        objects: tables first, then indexes, views and triggers, each in the order of their making.
        pragmas: name -> value, of `PRAGMAS`.
        sequences: AUTOINCREMENT table -> the highest rowid it ever had.
        unreadable: (kind, name) of indexes, views and triggers whose text is no UTF-8: they cannot be kept.
    """

    objects: tuple[Declaration, ...] = ()
    pragmas: dict[str, int | str] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Declared:
        """Read it back from what `dataclasses.asdict` gave."""
        return cls(
            tuple(Declaration(**d) for d in content["objects"]),
            content["pragmas"],
            content["sequences"],
            tuple((kind, name) for kind, name in content["unreadable"]),
        )


def read_declared(connection: sqlite3.Connection, tables: Iterable[str]) -> Declared:
    """Read them: of the tables that are migrated, and of all indexes, views and triggers."""
    wanted = set(tables)
    found: dict[str, list[Declaration]] = {kind: [] for kind in ("table", "index", "view", "trigger")}
    unreadable: list[tuple[str, str]] = []
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    ).fetchall()
    for kind, name, table, sql in rows:
        kind, name, table = text_of(kind), text_of(name), text_of(table)
        # A trigger of a view may stay; one of a table that is not migrated has nothing to hang on.
        views = {d.name for d in found["view"]}
        if (name if kind == "table" else table) not in wanted and kind != "view" and table not in views:
            continue
        try:
            found[kind].append(Declaration(kind, name, table, bytes(sql).decode()))
        except UnicodeDecodeError:
            unreadable.append((kind, name))
    pragmas = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS}
    return Declared(
        tuple(d for kind in found.values() for d in kind),
        {name: value if isinstance(value, int) else text_of(value) for name, value in pragmas.items()},
        _sequences(connection, wanted),
        tuple(unreadable),
    )


def _sequences(connection: sqlite3.Connection, wanted: set[str]) -> dict[str, int]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        return {}
    names = {name.encode(): name for name in wanted}
    try:
        rows = connection.execute("SELECT CAST(name AS BLOB), seq FROM sqlite_sequence").fetchall()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return {}  # as if no row had been deleted: the highest rowid is then the one there is
    return {names[name]: seq for name, seq in rows if isinstance(seq, int) and name in names}
