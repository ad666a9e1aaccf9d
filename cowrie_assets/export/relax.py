"""Lifts what would refuse the source's own rows until they are in: virtual columns, NOT NULL, declared types.

Belongs here: changing a table's declaration in sqlite_master and putting it back. Not here: rows (`write.py`).

A source may hold rows from before its declarations: json_extract fails on malformed JSON in a virtual column, and NULLs
lie under NOT NULL, numbers under TEXT. A row stores none of these, so a table that is written without them reads the
same under its true declaration.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import suppress

from ..source.declared import Declared
from ..source.schema import quoted

_TOKEN = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|$)|[()]|NOT\s+NULL\b|\w+",
    re.IGNORECASE | re.DOTALL,
)


_NOW = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"


class Relaxed:
    """The tables of a new file whose declaration is not the true one for now."""

    def __init__(self, connection: sqlite3.Connection, declared: Declared) -> None:
        """Take the virtual columns out of every table; each is still empty."""
        self.connection = connection
        self._typed: dict[str, str] = {}
        self.true = {d.name: d.sql for d in declared.objects if d.kind == "table"}
        self._changed = {name for name in self.true if self._drop_computed(name)}

    def _drop_computed(self, table: str) -> bool:
        rows = self.connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
        computed = [row[1] for row in rows if row[6] == 2]
        for column in reversed(computed):
            with suppress(sqlite3.Error):  # a constraint or unique index needs it: its rows were computable
                self.connection.execute(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(column)}")
        return bool(computed)

    def allow_nulls(self, table: str) -> bool:
        """Take NOT NULL out of a table's declaration; False where there is none left."""
        (now,) = self.connection.execute(_NOW, (table,)).fetchone()
        relaxed = without_not_null(now)
        if relaxed == now:
            return False
        self._changed.add(table)
        self._declare({table: relaxed})
        return True

    def set_types(self, table: str, declared: Mapping[str, str] | None = None) -> None:
        """Take the declared types of these columns away for the next row; without `declared` give them back."""
        if declared is None:
            self._declare({table: self._typed.pop(table)})
            return
        (now,) = self.connection.execute(_NOW, (table,)).fetchone()
        self._typed[table] = now
        for column, kind in declared.items():
            spelled = "|".join(re.escape(f"{a}{column.replace(b, b + b)}{b}") for a, b in ('""', "``", "[]", "''"))
            name = rf"([(,]\s*(?:{spelled}|{re.escape(column)}\b)\s*){re.escape(kind)}"
            now = re.sub(name, r"\g<1>BLOB", now, count=1)
        self._changed.add(table)
        self._declare({table: now})

    def restore(self) -> None:
        """Put the true declarations back."""
        self._declare({name: self.true[name] for name in self._changed})

    def _declare(self, declarations: dict[str, str]) -> None:
        if declarations:
            self.connection.execute("PRAGMA writable_schema = ON")
            for name, sql in declarations.items():
                self.connection.execute(
                    "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql, name)
                )
            # RESET also makes SQLite read the declarations again (pragma.html#pragma_writable_schema).
            self.connection.execute("PRAGMA writable_schema = RESET")


def without_not_null(sql: str) -> str:
    """A CREATE TABLE with NULL for its columns' NOT NULL; within an expression that is an operator, and stays."""
    depth = 0

    def blank(match: re.Match[str]) -> str:
        nonlocal depth
        token = match.group()
        depth += {"(": 1, ")": -1}.get(token, 0)
        return "NULL" if depth == 1 and re.fullmatch(r"NOT\s+NULL", token, re.IGNORECASE) else token

    return _TOKEN.sub(blank, sql)
