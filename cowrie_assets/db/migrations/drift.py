"""What a database's schema is against what the catalog says it should be.

Belongs here: comparing. Not here: mending (`runner.py` for versions; a difference within a version is for people).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ...catalog import SCHEMA_VERSION, TABLES, Column, Table, Type
from .database import Database
from .runner import MIGRATIONS, current_version

_SQLITE_TYPES = {
    Type.TEXT: r"TEXT|(VAR)?CHAR(\(\d+\))?",
    Type.BIGINT: r"(BIG)?INT(EGER)?",
    Type.DOUBLE: r"REAL|DOUBLE( PRECISION)?",
    Type.BOOLEAN: r"BOOLEAN",
    Type.TIMESTAMPTZ: r"DATETIME|TIMESTAMP",
    Type.JSONB: r"JSON",
    Type.JSON: r"JSON",
    Type.BYTEA: r"BLOB",
}
"""The declared types of a SQLite file that hold the catalog's; their lengths do not bind SQLite."""


@dataclass(frozen=True)
class Difference:
    """What differs.

    Attributes:
        serious: programs that rely on the catalog fail; else it only costs time or is another way to the same.
    """

    table: str
    what: str
    expected: str
    actual: str
    serious: bool = True


def check_drift(connection: sa.Connection) -> list[Difference]:
    """Every difference between the database and the catalog at its version; further tables, columns, indexes are none.

    Raises:
        SchemaError: the version is no number.
    """
    database = Database(connection)
    version = current_version(connection)
    found: list[Difference] = []
    if version < SCHEMA_VERSION:
        found.append(Difference("schema_state", "schema_version", str(SCHEMA_VERSION), str(version or "none")))
    existing = set(database.tables())
    for table in TABLES.values():
        if table.name in existing:
            found += [*_columns(database, table), *_indexes(database, table)]
        else:
            found.append(Difference(table.name, "table", "present", "missing"))
    if "schema_state" in existing:
        found += _checksums(connection)
    return found


def _columns(database: Database, table: Table) -> list[Difference]:
    actual = {row[0]: row for row in _read_columns(database, table.name)}
    found: list[Difference] = []
    for column in table.columns:
        what = f"column {column.name}"
        if column.name not in actual:
            found.append(Difference(table.name, what, column.type.value, "missing"))
            continue
        _, kind, nullable, default, generated, numbered = actual[column.name]
        if not _same_type(database, column, kind):
            found.append(Difference(table.name, f"type of {what}", column.type.value, kind))
        if generated:
            # Schemas 1 to 4 have them, and databases that the processor itself upgraded keep them.
            found.append(Difference(table.name, what, "plain", "generated", serious=database.is_postgres))
        if nullable != column.nullable:
            words = ("NOT NULL", "nullable")
            # NULLs where none are expected are serious; what is stricter than needed is too, for whoever inserts.
            found.append(Difference(table.name, what, words[column.nullable], words[nullable]))
        if column.name == table.serial:
            if not numbered:
                found.append(Difference(table.name, what, "numbered on insert", "not numbered"))
        elif not generated and _plain_default(default, column) != _plain_default(column.default, column):
            found.append(
                Difference(table.name, f"default of {what}", column.default or "none", default or "none", serious=False)
            )
    return found


def _read_columns(database: Database, table: str) -> list[tuple[Any, ...]]:
    """Name, type, nullable, default, generated, numbered by the database."""
    if database.is_postgres:
        return database.rows(
            "SELECT a.attname, format_type(a.atttypid, NULL), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid),"
            " a.attgenerated <> '', a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid), '') ~ '^nextval'"
            " FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
            f" WHERE a.attrelid = to_regclass('{table}') AND a.attnum > 0 AND NOT a.attisdropped"
        )
    return database.rows(
        "SELECT name, type, NOT \"notnull\", dflt_value, hidden IN (2, 3), pk = 1 AND upper(type) = 'INTEGER'"
        f" FROM pragma_table_xinfo('{table}') WHERE hidden <> 1"
    )


def _same_type(database: Database, column: Column, kind: str) -> bool:
    if database.is_postgres:
        if column.type is Type.JSONB and kind == "json":
            return True  # COWRIE_JSON_TYPE=json: chosen, and what reads it casts
        return kind == {"timestamptz": "timestamp with time zone"}.get(column.type.value, column.type.value)
    # SQLite appends the words to the type of a generated column.
    declared = re.sub(r"\s+GENERATED ALWAYS$", "", kind, flags=re.IGNORECASE)
    return re.fullmatch(_SQLITE_TYPES[column.type], declared, re.IGNORECASE) is not None


def _plain_default(default: str | None, column: Column) -> str | None:
    """A default without the ways to spell it: quotes, casts, parentheses, 0 for false."""
    if default is None:
        return None
    plain = re.sub(r"::[\w ]+$", "", default.strip("()")).strip("()'").lower()
    if column.type is Type.BOOLEAN:
        return {"0": "false", "1": "true"}.get(plain, plain)
    return {"now()": "current_timestamp", "now": "current_timestamp"}.get(plain, plain)


def _indexes(database: Database, table: Table) -> list[Difference]:
    actual = database.indexes(table.name)
    found: list[Difference] = []
    key = [columns for columns, unique in actual.values() if unique]
    if table.key and ", ".join(table.key) not in key and not _is_rowid(database, table):
        found.append(Difference(table.name, "primary key", ", ".join(table.key), "missing"))
    for index in table.indexes:
        columns = ", ".join(index.columns)
        fits = [name for name, (over, unique) in actual.items() if over == columns and unique >= index.unique]
        # Under its own name it may be built over md5 of the text, where values are too long for a btree.
        if not fits and index.name not in actual:
            found.append(Difference(table.name, f"index {index.name}", columns, "missing", serious=index.unique))
        elif not fits and index.unique and not actual[index.name][1]:
            found.append(Difference(table.name, f"index {index.name}", "unique", "not unique"))
    return found


def _is_rowid(database: Database, table: Table) -> bool:
    """Whether SQLite's rowid is the key: then there is no index for it."""
    if database.is_postgres or len(table.key) != 1:
        return False
    return any(name == table.key[0] and numbered for name, *_, numbered in _read_columns(database, table.name))


def _checksums(connection: sa.Connection) -> list[Difference]:
    rows = connection.execute(sa.text("SELECT key, value FROM schema_state WHERE key LIKE 'migration:%'"))
    known = {f"migration:{m.version}": m.checksum for m in MIGRATIONS}
    found = []
    for key, value in rows:
        try:
            checksum = str(json.loads(value)["checksum"])
        except (ValueError, KeyError, TypeError):
            checksum = "unreadable"
        if key in known and checksum != known[key]:
            found.append(Difference("schema_state", f"checksum of {key}", known[key], checksum, serious=False))
    return found
