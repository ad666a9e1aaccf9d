"""Writes a SQLite file that appears whole: declarations, rows, settings.

Belongs here: SQL for SQLite. Not here: what a cell was (`restore.py`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..errors import ExportError, SettingsError
from ..source.affinity import alters
from ..source.declared import Declaration, Declared
from ..source.ranges import Rowids
from ..source.schema import SourceTable, quoted
from .read import Large
from .relax import Relaxed
from .restore import Cell, Raw, Row

CHUNK_ROWS = 500
"""Rows a savepoint; one that a unique constraint refuses is done again row by row."""


class Target:
    """The SQLite file while it is written."""

    def __init__(self, connection: sqlite3.Connection, declared: Declared) -> None:
        """Set what a file takes before its first table, and create the tables and unique indexes."""
        self.connection, self.declared = connection, declared
        self.problems: list[str] = []
        for name in ("encoding", "page_size", "auto_vacuum"):
            self._pragma(name)
        # A source may hold rows from before its constraints; they were not invented on the way.
        for setting in ("ignore_check_constraints = ON", "foreign_keys = OFF", "synchronous = OFF"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("PRAGMA journal_mode = MEMORY")
        unique = [d for d in declared.objects if d.kind == "index" and d.sql.upper().startswith("CREATE UNIQUE")]
        self._create([d for d in declared.objects if d.kind == "table"])
        # Before the rows: what they refuse is then known row by row.
        self._create(unique)
        self.relaxed = Relaxed(connection, declared)
        self._later = [d for d in declared.objects if d.kind != "table" and d not in unique]

    def _pragma(self, name: str) -> None:
        value = self.declared.pragmas.get(name)
        if value is not None:
            self.connection.execute(f"PRAGMA {name} = {value if isinstance(value, int) else quoted(value)}")

    def _create(self, declarations: Iterable[Declaration]) -> None:
        for declaration in declarations:
            try:
                self.connection.execute(declaration.sql)
            except sqlite3.Error as error:
                if declaration.kind == "table":
                    raise ExportError(f"Table {declaration.name} cannot be created: {error}.") from error
                self.problems.append(f"{declaration.kind} {declaration.name} is not rebuilt: {error}")

    def insert(self, table: SourceTable, rows: Iterable[Row], writing: Writing) -> int:
        """Insert rows in one transaction; returns how many of others were refused for a key that we have."""
        writer = _TableWriter(self, table, writing)
        self.connection.execute("BEGIN")
        writer.insert(rows)
        self.connection.execute("COMMIT")
        return writer.clashes

    def finish(self) -> None:
        """Indexes, views, triggers, AUTOINCREMENT's marks and the file's settings."""
        self.relaxed.restore()
        self._create(self._later)
        for table, mark in self.declared.sequences.items():
            high = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
            self.connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            mark = max(mark, high[0] if high else mark)
            self.connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, mark))
        for name in ("user_version", "application_id", "journal_mode"):
            self._pragma(name)


@contextmanager
def new_file(path: Path, declared: Declared, *, overwrite: bool) -> Iterator[Target]:
    """A file that takes its name when the block ends well; until then it lies beside it.

    Raises:
        SettingsError: where the name is taken (unless `overwrite`) or a database there is in use.
        ExportError: where SQLite cannot write.
    """
    check_free(path, overwrite=overwrite)
    part = path.with_name(f".{path.name}.part")
    connection = None
    try:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{part}{suffix}").unlink(missing_ok=True)
        connection = sqlite3.connect(part, isolation_level=None)
        target = Target(connection, declared)
        yield target
        target.finish()
        connection.close()
        with part.open("rb") as file:
            os.fsync(file.fileno())
        check_free(path, overwrite=overwrite)
        part.replace(path)
    except sqlite3.Error as error:
        hint = "Free space there, then export again." if "full" in str(error) else None
        raise ExportError(f"{path} cannot be written: {error}.", hint=hint) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        if connection is not None:
            connection.close()
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_free(path: Path, *, overwrite: bool) -> None:
    """SettingsError where a file of that name must not be replaced, or the folder is missing."""
    if not path.parent.is_dir():
        raise SettingsError(f"The folder {path.parent} does not exist.", hint="Create it, or name another.")
    if path.exists() and not (overwrite and path.is_file()):
        raise SettingsError(f"{path} exists.", hint="Name another file, or use --overwrite.")
    for suffix in ("-wal", "-journal"):
        # SQLite would play it into the new file.
        if Path(f"{path}{suffix}").exists():
            raise SettingsError(f"{path}{suffix} exists: a database there is in use.", hint="Name another file.")


class Writing:
    """How a table's rows are to be written.

    Attributes:
        fetch: gives a large cell when its row is written.
        respellable: positions of cells that are equal by value (dates, jsonb): their spelling may vary where a unique
            constraint already holds a set-aside row of that very spelling.
        dates: those of them that are dates.
        reserved: ascending rowids that the ledger knows, for tables whose rowid is not a column; the others take the
            free ones in between, in their order. None where rowids are not written.
    """

    def __init__(
        self,
        fetch: Callable[[Large], Cell],
        respellable: list[int],
        dates: list[int],
        reserved: Rowids | None,
    ) -> None:
        """Keep them."""
        self.fetch, self.respellable, self.dates = fetch, respellable, set(dates)
        self.reserved = reserved


class _TableWriter:
    def __init__(self, target: Target, table: SourceTable, writing: Writing) -> None:
        self.connection, self.table, self.writing = target.connection, table, writing
        self.relaxed = target.relaxed
        declared = {c.name: c.declared for c in table.columns}
        self.declared = [declared[name] for name in table.stored]
        self.encoding = str(target.declared.pragmas.get("encoding", "UTF-8"))
        self.rowid = table.rowid if writing.reserved is not None else None
        self.columns = ", ".join([*([self.rowid] if self.rowid else []), *map(quoted, table.stored)])
        self.plain = self._sql(range(0))
        self.clashes = 0
        self._next, self._at = 1, int(np.searchsorted(writing.reserved, 1)) if writing.reserved is not None else 0

    def _sql(self, raw: Iterable[int]) -> str:
        marks = ["?"] * len(self.table.stored)
        for i in raw:
            marks[i] = "CAST(? AS TEXT)"
        values = ", ".join([*(["?"] if self.rowid else []), *marks])
        return f"INSERT INTO {quoted(self.table.name)} ({self.columns}) VALUES ({values})"

    def insert(self, rows: Iterable[Row]) -> None:
        chunk: list[Row] = []
        for row in rows:
            if self.rowid and row.rowid is None:
                row.rowid = self._free()
            # Only the ledger gives such cells, and few rows have one.
            if row.exact and (any(isinstance(cell, Raw | Large) for cell in row.cells) or self._altered(row)):
                self._flush(chunk)
                self._one(row)
                chunk = []
                continue
            chunk.append(row)
            if len(chunk) >= CHUNK_ROWS:
                self._flush(chunk)
                chunk = []
        self._flush(chunk)

    def _altered(self, row: Row) -> list[str]:
        """The columns whose declaration would store the cell in another class."""
        return [self.table.stored[i] for i in row.exact if alters(self.declared[i], row.cells[i])]

    def _free(self) -> int:
        """The next rowid that no other row is known to have."""
        reserved = self.writing.reserved
        assert reserved is not None  # noqa: S101 - narrows the type
        while self._at < len(reserved) and reserved[self._at] == self._next:
            self._at += 1
            self._next += 1
        self._next += 1
        return self._next - 1

    def _parameters(self, row: Row) -> list[Cell]:
        return [row.rowid, *row.cells] if self.rowid else row.cells

    def _flush(self, rows: list[Row]) -> None:
        self.connection.execute("SAVEPOINT chunk")
        try:
            self.connection.executemany(self.plain, map(self._parameters, rows))
        except sqlite3.IntegrityError:
            self.connection.execute("ROLLBACK TO chunk")
            for row in rows:
                self._one(row)
        self.connection.execute("RELEASE chunk")

    def _one(self, row: Row) -> None:
        cells = [self.writing.fetch(cell) if isinstance(cell, Large) else cell for cell in row.cells]
        raw = [i for i, cell in enumerate(cells) if isinstance(cell, Raw)]
        bound: list[Cell] = [self._bytes(cell) if isinstance(cell, Raw) else cell for cell in cells]
        sql = self._sql(raw) if raw else self.plain
        refused: sqlite3.IntegrityError | None = None
        if altered := self._altered(row):
            self.relaxed.set_types(self.table.name, {c: self.declared[self.table.stored.index(c)] for c in altered})
        for spelled in self._spellings(bound, row.exact):
            refused = self._try(sql, [row.rowid, *spelled] if self.rowid else spelled)
            if refused is None:
                break
        if altered:
            self.relaxed.set_types(self.table.name)
        if refused is None:
            return
        if row.ours:
            where = f"rowid {row.rowid}" if row.rowid is not None else "a row"
            raise ExportError(f"Table {self.table.name}: {where} cannot be written: {refused}.") from refused
        self.clashes += 1

    def _try(self, sql: str, bound: list[Cell]) -> sqlite3.IntegrityError | None:
        try:
            self.connection.execute(sql, bound)
        except sqlite3.IntegrityError as error:
            if "NOT NULL" in str(error) and self.relaxed.allow_nulls(self.table.name):
                return self._try(sql, bound)
            return error
        return None

    def _bytes(self, raw: Raw) -> bytes:
        """Bytes that CAST reads as this text in the file's encoding."""
        if self.encoding == "UTF-8":
            return raw.content
        return raw.content.decode("utf-8", "surrogatepass").encode(self.encoding.replace("-", "_"), "surrogatepass")

    def _spellings(self, cells: list[Cell], exact: frozenset[int]) -> Iterator[list[Cell]]:
        yield cells
        free = [i for i in self.writing.respellable if i not in exact and isinstance(cells[i], str)]
        for number in range(_SPELLINGS if free else 0):
            yield [
                (_respelled(str(cell), number, i in self.writing.dates) if i in free else cell)
                for i, cell in enumerate(cells)
            ]


_ZONES = ("", "Z", "+00:00")
_SPELLINGS = 30


def _respelled(text: str, number: int, is_date: bool) -> str:
    """Another spelling of the same instant or document: T, zones and up to five noughts; blanks behind JSON."""
    if not is_date:
        return text + " " * (number + 1)
    number, zone = divmod(number, 3)
    noughts, blank = divmod(number, 2)
    if blank == 0:
        text = text.replace(" ", "T", 1)
    if noughts:
        text += ("." if "." not in text else "") + "0" * noughts
    return text + _ZONES[zone]
