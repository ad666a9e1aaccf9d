"""A database while its schema is changed: what is there, and statements that are kept as they run.

Belongs here: introspection and running SQL within the runner's transaction. Not here: what is changed (`steps.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ...errors import SchemaError


class Database:
    """One connection in a transaction.

    Attributes:
        statements: what was run, in order.
    """

    def __init__(self, connection: sa.Connection) -> None:
        """Take a connection; the transaction is the caller's."""
        self.connection = connection
        self.is_postgres = connection.dialect.name == "postgresql"
        self.statements: list[str] = []

    def run(self, sql: str) -> None:
        """Run a statement and keep it."""
        self.statements.append(sql)
        self.connection.exec_driver_sql(sql)

    def tables(self) -> list[str]:
        """The tables' names."""
        return sa.inspect(self.connection).get_table_names()

    def columns(self, table: str) -> dict[str, bool]:
        """Column names, each with whether it is generated; empty where there is no such table."""
        if self.is_postgres:
            rows = self.rows(
                "SELECT attname, attgenerated <> '' FROM pg_attribute"
                f" WHERE attrelid = to_regclass('{table}') AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            )
        else:
            rows = self.rows(f"SELECT name, hidden IN (2, 3) FROM pragma_table_xinfo('{table}') WHERE hidden <> 1")
        return {str(name): bool(generated) for name, generated in rows}

    def is_empty(self, table: str) -> bool:
        """Whether the table has no rows."""
        return not self.rows(f"SELECT 1 FROM {table} LIMIT 1")

    def indexes(self, table: str) -> dict[str, tuple[str, bool]]:
        """A table's indexes, those of constraints too: name to columns (as `a, b`), and whether it is unique."""
        if self.is_postgres:
            rows = self.rows(
                "SELECT c.relname, string_agg(a.attname, ', ' ORDER BY a.attnum), i.indisunique FROM pg_index i"
                " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = i.indexrelid"
                f" WHERE i.indrelid = to_regclass('{table}') GROUP BY c.relname, i.indisunique"
            )
        else:
            rows = self.rows(
                "SELECT l.name, (SELECT group_concat(name, ', ') FROM"
                ' (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)), l."unique"'
                f" FROM pragma_index_list('{table}') l"
            )
        return {str(name): (str(columns), bool(unique)) for name, columns, unique in rows}

    def uniques(self, table: str) -> dict[str, str]:
        """The unique constraints and indexes: name to columns, as `a, b`."""
        return {name: columns for name, (columns, unique) in self.indexes(table).items() if unique}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return [tuple(row) for row in self.connection.exec_driver_sql(query)]

    def table_sql(self, table: str) -> str:
        """SQLite's CREATE TABLE of a table."""
        query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
        return str(self.connection.exec_driver_sql(query, (table,)).scalar_one())

    def rebuild(self, table: str, sql: str, values: Mapping[str, str] | None = None) -> None:
        """Give a SQLite table another declaration; rows, rowids, indexes, triggers and views stay.

        This is sqlite.org/lang_altertable.html, section 7; foreign keys are off and ALTER is in its legacy mode, so
        that it does not look into views (`runner.py`).

        Args:
            table: its name.
            sql: the new CREATE TABLE, with the same columns.
            values: the expression for a column that is not just copied.
        """
        kept = self.connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL"
            " ORDER BY type, rowid",
            (table,),
        )
        again = [str(row[0]) for row in kept]
        new = f"{table}_rebuilt"
        renamed, count = re.subn(
            rf'^(\s*CREATE TABLE\s+)["`\[]?{table}["`\]]?', rf'\1"{new}"', sql, count=1, flags=re.IGNORECASE
        )
        if not count:
            raise SchemaError(f"The declaration of {table} cannot be read.", hint="Copy its rows into a new database.")
        names = list(self.columns(table))
        self.run(renamed)
        generated = self.columns(new)
        if list(generated) != names or any(generated[name] for name in values or {}):
            raise SchemaError(
                f"A generated column of {table} is declared in a way that is not known.",
                hint="Copy its rows into a new database with `cowrie-assets migrate`.",
            )
        copied = [name for name in names if not generated[name]]
        into = ", ".join(f'"{name}"' for name in copied)
        chosen = ", ".join((values or {}).get(name, f'"{name}"') for name in copied)
        self.run(f'INSERT INTO "{new}" (rowid, {into}) SELECT rowid, {chosen} FROM "{table}" ORDER BY rowid')
        self.run(f'DROP TABLE "{table}"')
        self.run(f'ALTER TABLE "{new}" RENAME TO "{table}"')
        for statement in again:
            self.run(statement)

    def rewrite_defaults(self, table: str, sql: str) -> None:
        """Change the defaults in a SQLite table's declaration, in no time whatever its size.

        The same page allows it for defaults: nothing that is stored depends on them.
        """
        version = int(self.connection.exec_driver_sql("PRAGMA schema_version").scalar_one())
        escaped = sql.replace("'", "''")
        self.run("PRAGMA writable_schema = ON")
        self.run(f"UPDATE sqlite_master SET sql = '{escaped}' WHERE type = 'table' AND name = '{table}'")
        self.run(f"PRAGMA schema_version = {version + 1}")
        self.run("PRAGMA writable_schema = OFF")
