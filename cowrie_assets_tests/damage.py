"""Damages copies of SQLite files in seeded ways, and asks SQLite itself which rows are left.

Not here: what the migration makes of them (`test_damage.py`).
"""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path

from cowrie_assets.source.schema import SourceTable, quoted, read_schema
from cowrie_assets.source.sqlite import read_only

KINDS = {0x0D: "leaf", 0x05: "interior", 0x0A: "index", 0x02: "index"}
"""The first byte of a b-tree page (fileformat2, 1.6); other pages of these files are overflow pages."""
WAYS = ("zeros", "flips", "noise", "head")


def pages_by_kind(content: bytes) -> dict[str, list[int]]:
    """Page offsets by kind, without the first page."""
    size = int.from_bytes(content[16:18], "big")
    found: dict[str, list[int]] = defaultdict(list)
    for at in range(size, len(content), size):
        found[KINDS.get(content[at], "overflow")].append(at)
    return found


def damage(content: bytes, seed: int) -> tuple[bytes, str]:
    """A damaged copy of a database's bytes, and what was done to it."""
    dice = random.Random(seed)
    size = int.from_bytes(content[16:18], "big")
    broken, done = bytearray(content), []
    if seed % 10 == 9:
        kept = len(content) // size - dice.choice([1, 2, 5, 20])
        broken = broken[: kept * size]
        broken[28:32] = kept.to_bytes(4, "big")
        done.append(f"cut to {kept} pages")
    kinds = pages_by_kind(bytes(broken))
    wanted = sorted(kinds)[seed % len(kinds)]
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        kind = wanted if not done else dice.choice(sorted(kinds))
        at, way = dice.choice(kinds[kind]), dice.choice(WAYS)
        if way == "zeros":
            broken[at : at + size] = bytes(size)
        elif way == "noise":
            broken[at : at + size] = dice.randbytes(size)
        else:
            # The head of a page is its structure: type, number of cells, pointers.
            for _ in range(dice.choice([1, 3, 10])):
                broken[at + dice.randrange(40 if way == "head" else size)] ^= 1 << dice.randrange(8)
        done.append(f"{way} in {kind} page {at // size + 1}")
    return bytes(broken), "; ".join(done)


def all_rowids(path: Path) -> dict[str, list[int]]:
    """Every rowid of every table of an undamaged file."""
    with read_only(path) as connection:
        return {
            name: [r for (r,) in connection.execute(f"SELECT {table.rowid} FROM {quoted(name)} ORDER BY 1")]
            for name, table in read_schema(connection).tables.items()
            if table.rowid
        }


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.text_factory = bytearray
    # SQLite's own way into a file that ends before an index's root page.
    connection.execute("PRAGMA writable_schema = ON")
    return connection


def schema_of(path: Path) -> list[tuple[object, ...]] | None:
    """All of sqlite_master; None where it cannot be read."""
    with closing(_connected(path)) as connection:
        try:
            return connection.execute("SELECT * FROM sqlite_master ORDER BY rowid").fetchall()
        except sqlite3.DatabaseError:
            return None


def rows_left(path: Path, table: SourceTable, rowids: list[int]) -> dict[int, tuple[object, ...]]:
    """The rows that SQLite finds one by one, all cells read; NULL for columns it computes itself."""
    columns = ", ".join(quoted(n) for n in table.stored)
    sql = f"SELECT {columns} FROM {quoted(table.name)} NOT INDEXED WHERE {table.rowid} = ?"
    left = {}
    with closing(_connected(path)) as connection:
        for rowid in rowids:
            try:
                row = connection.execute(sql, (rowid,)).fetchone()
            except sqlite3.DatabaseError:
                continue
            if row is not None:
                left[rowid] = row
    return left


def passed(path: Path, table: SourceTable, starts: Iterable[int]) -> set[int]:
    """The rowids that plain scans pass from these on, forward and backward, each until its first error."""
    seen: set[int] = set()
    select = f"SELECT {table.rowid} FROM {quoted(table.name)} NOT INDEXED WHERE {table.rowid}"
    with closing(_connected(path)) as connection:
        for start in starts:
            for scan in (f">= ? ORDER BY {table.rowid}", f"<= ? ORDER BY {table.rowid} DESC"):
                try:
                    for (rowid,) in islice(connection.execute(f"{select} {scan}", (start,)), 10_000):
                        seen.add(rowid)
                except sqlite3.DatabaseError:
                    continue
    return seen
