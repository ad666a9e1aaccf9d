"""What a SQLite database declares: tables, columns, keys, unique constraints, indexes.

Belongs here: reading declarations. Not here: what the target makes of them (`planning/shape.py`).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..errors import SourceError

ROWID_NAMES = ("rowid", "_rowid_", "oid")


@dataclass(frozen=True)
class SourceColumn:
    """A declared column; `generated` ones are computed by SQLite and never read."""

    name: str
    declared: str
    not_null: bool
    default: str | None
    key: int
    generated: bool


@dataclass(frozen=True)
class SourceIndex:
    """A declared index; an expression is None in `columns`."""

    name: str
    columns: tuple[str | None, ...]
    unique: bool
    partial: bool
    origin: str

    @property
    def plain(self) -> bool:
        """Whether it covers every row, by columns alone."""
        return not self.partial and None not in self.columns


@dataclass(frozen=True)
class SourceTable:
    """A user's table.

    Attributes:
        rowid: the name under which SQLite's rowid can be read, or None (WITHOUT ROWID).
        rowid_key: the INTEGER PRIMARY KEY column that is the rowid itself, or None.
    """

    name: str
    columns: tuple[SourceColumn, ...]
    indexes: tuple[SourceIndex, ...]
    rowid: str | None
    rowid_key: str | None

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns whose cells are stored, in declared order."""
        return tuple(c.name for c in self.columns if not c.generated)

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key's columns in key order."""
        return tuple(c.name for c in sorted((c for c in self.columns if c.key), key=lambda c: c.key))


@dataclass(frozen=True)
class SourceSchema:
    """All of a database's user tables, and what is in it besides."""

    tables: dict[str, SourceTable]
    not_migrated: tuple[tuple[str, str], ...]


def quoted(identifier: str) -> str:
    """An identifier, quoted for SQL whatever it holds."""
    return '"' + identifier.replace('"', '""') + '"'


def text_of(value: object) -> str:
    """A name or declaration as str; SourceError where it is no UTF-8."""
    if not isinstance(value, bytearray):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"The source declares {bytes(value)[:60]!r}, which is no UTF-8.", hint="Rename it in a copy of the source."
        ) from error


def read_schema(connection: sqlite3.Connection) -> SourceSchema:
    """Read all declarations; raises SourceError where there is no user table."""
    tables: dict[str, SourceTable] = {}
    others: list[tuple[str, str]] = []
    kinds = {
        text_of(r[1]): (text_of(r[2]), bool(r[4]))
        for r in connection.execute("PRAGMA table_list")
        if text_of(r[0]) == "main"
    }
    for kind, name in connection.execute("SELECT type, name FROM sqlite_master ORDER BY rowid").fetchall():
        kind, name = text_of(kind), text_of(name)
        if kind in ("view", "trigger") or (kind == "table" and name.startswith("sqlite_")):
            others.append((kind if kind != "table" else "SQLite's own table", name))
        elif kind == "table":
            table_kind, without_rowid = kinds.get(name, ("table", False))
            if table_kind != "table":
                others.append((f"{table_kind} table", name))
            else:
                tables[name] = table = _read_table(connection, name, without_rowid)
                others += [("partial or expression index", i.name) for i in table.indexes if not i.plain]
    if not tables:
        raise SourceError("The source holds no user table.", hint="Set COWRIE_SQLITE_PATH to the right file.")
    return SourceSchema(tables, tuple(others))


def _read_table(connection: sqlite3.Connection, name: str, without_rowid: bool) -> SourceTable:
    columns = tuple(
        SourceColumn(
            text_of(r[1]), text_of(r[2]), bool(r[3]), None if r[4] is None else text_of(r[4]), int(r[5]), r[6] in (2, 3)
        )
        for r in connection.execute(f"PRAGMA table_xinfo({quoted(name)})")
        if r[6] != 1
    )
    taken = {c.name.lower() for c in columns}
    rowid = None if without_rowid else next((n for n in ROWID_NAMES if n not in taken), None)
    key = [c for c in columns if c.key]
    rowid_key = None
    indexes = []
    for r in connection.execute(f"PRAGMA index_list({quoted(name)})").fetchall():
        parts = connection.execute(f"PRAGMA index_info({quoted(text_of(r[1]))})").fetchall()
        names = tuple(None if p[2] is None else text_of(p[2]) for p in parts)
        indexes.append(SourceIndex(text_of(r[1]), names, bool(r[2]), bool(r[4]), text_of(r[3])))
    # INTEGER PRIMARY KEY DESC is a key with an index of its own, not the rowid (sqlite.org/lang_createtable.html, 5).
    own_index = any(i.origin == "pk" for i in indexes)
    if not without_rowid and not own_index and len(key) == 1 and key[0].declared.upper() == "INTEGER":
        rowid_key = key[0].name
        rowid = rowid or quoted(rowid_key)
    return SourceTable(name, columns, tuple(indexes), rowid, rowid_key)
