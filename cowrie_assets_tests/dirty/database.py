"""Writes a database: its tables, their rows, and the truth about what SQLite took.

Not here: what is in a cell (`scalars.py`, `dates.py`, `documents.py`, `broken.py`).
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

from . import others
from .outcomes import aside_duplicates, settle_known, target_key
from .rows import Maker
from .scalars import integer, text
from .schema import COLUMNS, SINCE, Mode, create
from .truth import Cell, Row, Table, Truth

_SHARES = {
    "raw_events": 0.4,
    "session_summaries": 0.15,
    "dead_letter_events": 0.15,
    "files": 0.1,
    "command_stats": 0.1,
    "ingest_cursors": 0.05,
}
"""The part of all rows that a table has; the rest is in a table that no code knows."""


def make(path: Path, seed: int, *, dirt: float = 0.3, rows: int | None = None) -> Truth:
    """Write a database and say what is in it; the same arguments make the same database.

    Args:
        path: where it is written; nothing may be there.
        seed: of everything: schema version 1 to 6, declarations, content.
        dirt: share of the rows that get dirty cells, 0.0 to 1.0. At 0.0 nothing is repaired or set aside (but the
            schema version where it is below 6), though much looks odd.
        rows: rows in all; 60 to 240 where it is None.

    Returns:
        The truth: every row, what each of its cells must become, and why.
    """
    if path.exists():
        raise FileExistsError(path)
    rng = random.Random(seed)
    version = rng.randint(1, 6)
    count = rng.randint(60, 240) if rows is None else rows
    truth = Truth(seed, version, dirt, {})
    generated = version < 5 or rng.random() < 0.3
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        names = [name for name in COLUMNS if SINCE.get(name, 1) <= version]
        for name in rng.sample(names, k=len(names)):
            truth.tables[name] = _known(db, rng, name, version, dirt, count, generated=generated)
        if rng.random() < 0.5:
            truth.tables[name] = _unknown(db, rng, name := rng.choice(others.NAMES), dirt, max(3, count // 20))
        db.execute("COMMIT")
    return truth


def _known(
    db: sqlite3.Connection, rng: random.Random, name: str, version: int, dirt: float, count: int, *, generated: bool
) -> Table:
    mode = rng.choice(list(Mode)) if dirt and rng.random() < 0.8 else Mode.STRICT
    extra = others.columns(rng, rng.choice([0, 0, 0, 1, 2]), dirt)
    declared, lie = create(name, version, mode, [(c.name, c.declared) for c in extra], generated=generated)
    db.execute(declared)
    if name == "schema_state":
        made = _state_rows(rng, version, mode, dirt)
    else:
        made = Maker(rng, name, version, mode, dirt, generated=generated).rows(max(2, int(count * _SHARES[name])))
    for row in made:
        row.cells |= {column.name: others.cell(rng, column) for column in extra}
    rows = [row for row in made if _insert(db, name, row)]
    if lie:
        _declare(db, name, lie)
    kinds = {spec.name: spec.kind for spec in COLUMNS[name]}
    table = Table(name, kinds, rows)
    for column in extra:
        kinds[column.name], widened = others.settle(rows, column)
        table.widened |= {column.name} if widened else set()
    settle_known(name, version, rows)
    for row in rows:
        row.values |= {column.name: row.cells[column.name].value for column in extra}
    if name == "schema_state" and not any(r.values["key"] == "schema_version" and not r.aside for r in rows):
        table.added.append({"key": "schema_version", "value": "6"} | dict.fromkeys(c.name for c in extra))
    return table


def _state_rows(rng: random.Random, version: int, mode: Mode, dirt: float) -> list[Row]:
    if not dirt:
        return [Row(1, {"key": text("schema_version"), "value": text(str(version))})]
    made = Maker(rng, "schema_state", version, mode, dirt, generated=False).rows(rng.randint(1, 3))
    kind = rng.random()
    said = str(version) if kind < 0.6 else rng.choice(["6", "7", "12", "0"])
    if kind < 0.9:
        rowid = made[0].rowid - 1
        made.append(Row(rowid, {"key": text("schema_version"), "value": text(said)}))
    return made


def _unknown(db: sqlite3.Connection, rng: random.Random, name: str, dirt: float, count: int) -> Table:
    form = rng.choice(["none", "rowid", "text", "pair", "without rowid", "unique"])
    columns = others.columns(rng, rng.randint(1, 4), dirt)
    keys = {
        "rowid": [("id", "INTEGER", "bigint")],
        "text": [("k", "TEXT", "text")],
        "without rowid": [("k", "TEXT", "text")],
        "pair": [("k", "TEXT", "text"), ("n", "INTEGER", "bigint")],
        "unique": [("k", "", "text")],
    }.get(form, [])
    lines = [f"{_quoted(c)} {declared}" for c, declared, _ in keys] + [
        f"{_quoted(c.name)} {c.declared}" for c in columns
    ]
    listed = ", ".join(c for c, _, _ in keys)
    if keys:
        lines.append(f"UNIQUE ({listed})" if form == "unique" else f"PRIMARY KEY ({listed})")
    rowids = form != "without rowid"
    db.execute(f"CREATE TABLE {_quoted(name)} ({', '.join(lines)}){'' if rowids else ' WITHOUT ROWID'}")
    made = []
    for number in range(count):
        row = Row(number + 1, {c.name: others.cell(rng, c) for c in columns})
        for key_name, declared, kind in keys:
            odd = rng.random() < dirt
            if kind == "bigint":
                row.cells[key_name] = integer(number + 1 if form == "rowid" else rng.randint(1, 3))
            elif odd and form != "without rowid" and rng.random() < 0.1:
                row.cells[key_name] = Cell(None, None, "null.key" if form != "unique" else None)
            elif odd and not declared and rng.random() < 0.7:
                row.cells[key_name] = rng.choice(
                    [Cell(number % 3, None), text(str(number % 3)), Cell(1.5, None), text("1.5")]
                )
            else:
                row.cells[key_name] = others.key_cell(rng, number, dirty=odd)
        made.append(row)
    rows = [row for row in made if _insert(db, name, row, rowids=rowids)]
    if not rowids:  # the order of their key: text before blobs
        rows.sort(key=lambda row: (row.cells["k"].label != "text", row.cells["k"].original or b""))
        for place, row in enumerate(rows):
            row.rowid = place + 1
    table = Table(name, {}, rows, rowids=rowids)
    for column in [*(others.Column(c, declared, mixed=True) for c, declared, _ in keys), *columns]:
        table.kinds[column.name], widened = others.settle(rows, column)
        table.widened |= {column.name} if widened else set()
    key = tuple(c for c, _, _ in keys)
    if key:
        aside_duplicates(rows, [key])
    for row in rows:
        row.values = {column_name: found.value for column_name, found in row.cells.items()}
        if form != "unique":
            row.target_key = target_key(row, key)
            row.aside |= {"key.null"} if any(row.cells[c].stored is None for c in key) else set()
    return table


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _insert(db: sqlite3.Connection, table: str, row: Row, *, rowids: bool = True) -> bool:
    """Insert a row; False where the table's own constraints refuse it."""
    names, marks, values = ["rowid"] * rowids, ["?"] * rowids, [row.rowid] * rowids
    parameters: list[object] = [*values]
    for name, cell in row.cells.items():
        names.append(_quoted(name))
        stored = cell.stored if cell.bound is None else bytearray(cell.bound.encode())
        # Text goes in as bytes: it may be no UTF-8.
        marks.append("CAST(? AS TEXT)" if isinstance(stored, bytearray) else "?")
        parameters.append(bytes(stored) if isinstance(stored, bytearray) else stored)
    try:
        db.execute(f"INSERT INTO {_quoted(table)} ({', '.join(names)}) VALUES ({', '.join(marks)})", parameters)
    except sqlite3.IntegrityError:
        return False
    return True


def _declare(db: sqlite3.Connection, name: str, sql: str) -> None:
    """Make sqlite_master say that the table was declared so."""
    db.execute("PRAGMA writable_schema = ON")
    db.execute("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql, name))
    db.execute("PRAGMA writable_schema = OFF")
