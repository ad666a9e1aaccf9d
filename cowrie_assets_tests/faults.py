"""Faults put into a migrated target or its ledger, each kind with the places at which it must be found.

Not here: looking for them (`test_proof.py`).
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from cowrie_assets.catalog import Column, Table, Type
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.source.schema import quoted

Connection = psycopg.Connection[tuple[Any, ...]]
Place = tuple[str, str, str]
"""Table, key and column of a fault; no column where a whole row is at fault."""
AT_ONCE = 25
"""Faults of a kind put in at one time."""


@dataclass
class Loaded:
    """A migrated database and a connection to it."""

    line: Pipeline
    connection: Connection
    rng: random.Random

    def cells(self, *kinds: Type) -> list[tuple[Table, Column]]:
        """The columns of these types that are in no key and stored in the source, in tables with a key of one column."""
        found = [
            (t.target, c)
            for t in self.line.plan.tables.values()
            if len(t.target.key) == 1
            for c in t.target.columns
            if c.type in kinds and c.name in t.source.stored
        ]
        return [(t, c) for t, c in found if not any(c.name in s for s in t.unique_sets)]

    def values(self, table: Table, column: Column) -> list[tuple[str, Any]]:
        """(key, value) of every row of ours."""
        key = quoted(table.key[0])
        rows = self.connection.execute(
            f"SELECT {key}::text, {quoted(column.name)}::text FROM {quoted(table.name)} ORDER BY 1".encode()
        )
        return [(k, v) for k, v in rows if not (table.name == "schema_state" and k == "schema_version")]

    def set(self, table: Table, column: Column, key: str, value: Any) -> None:
        """Write a value over a cell."""
        self.connection.execute(
            f"UPDATE {quoted(table.name)} SET {quoted(column.name)} = %s::text::{column.type.value}"
            f" WHERE {quoted(table.key[0])}::text = %s".encode(),
            (value, key),
        )

    def change(self, kinds: tuple[Type, ...], changed: Callable[[Any], Any]) -> list[Place]:
        """Change up to AT_ONCE cells; `changed` gives the new value, or the same where the cell does not do."""
        candidates = [
            (table, column, key, new)
            for table, column in self.cells(*kinds)
            for key, value in self.values(table, column)
            if (new := changed(value)) != value
        ]
        chosen = self.rng.sample(candidates, min(AT_ONCE, len(candidates)))
        for table, column, key, new in chosen:
            self.set(table, column, key, new)
        return [(table.name, key, column.name) for table, column, key, _ in chosen]


def _flipped(rng: random.Random, text: str) -> str:
    at = [i for i, c in enumerate(text) if " " < c < "~"]
    if not at:
        return text
    place = rng.choice(at)
    other = chr(ord(text[place]) ^ 1)
    return text[:place] + other + text[place + 1 :]


def bit_flip(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: v and _flipped(db.rng, v))


def bit_flip_in_json(db: Loaded) -> list[Place]:
    def changed(value: str | None) -> str | None:
        document: Any = None if value is None else json.loads(value)
        texts = [k for k, v in document.items() if isinstance(v, str) and v] if isinstance(document, dict) else []
        if not texts:
            return value
        name = db.rng.choice(texts)
        document[name] = _flipped(db.rng, document[name])
        return json.dumps(document) if document != json.loads(value or "") else value

    return db.change((Type.JSONB,), changed)


def payloads_swapped(db: Loaded) -> list[Place]:
    places: list[Place] = []
    for table, column in db.cells(Type.JSONB):
        rows = db.values(table, column)
        db.rng.shuffle(rows)
        for (a, x), (b, y) in zip(rows[0:10:2], rows[1:10:2], strict=False):
            if x != y and None not in (x, y):
                db.set(table, column, a, y)
                db.set(table, column, b, x)
                places += [(table.name, a, column.name), (table.name, b, column.name)]
    return places


def row_dropped(db: Loaded) -> list[Place]:
    rows = {(t.name, key): t for t, c in db.cells(*Type) for key, _ in db.values(t, c)}
    chosen = db.rng.sample(sorted(rows), min(AT_ONCE, len(rows)))
    for name, key in chosen:
        sql = f"DELETE FROM {quoted(name)} WHERE {quoted(rows[name, key].key[0])}::text = %s"
        db.connection.execute(sql.encode(), (key,))
    return [(name, key, "") for name, key in chosen]


def row_doubled(db: Loaded) -> list[Place]:
    tables = {t.name: t for t, _ in db.cells(*Type)}
    places: list[Place] = []
    for name, table in tables.items():
        for (constraint,) in db.connection.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('p', 'u')", (quoted(name),)
        ).fetchall():
            db.connection.execute(f"ALTER TABLE {quoted(name)} DROP CONSTRAINT {quoted(constraint)}".encode())
        key = quoted(table.key[0])
        for (unique,) in db.connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indisunique",
            (quoted(name),),
        ).fetchall():
            db.connection.execute(f"DROP INDEX {unique}".encode())
        keys = [k for (k,) in db.connection.execute(f"SELECT {key}::text FROM {quoted(name)}".encode()).fetchall()]
        keys = [k for k in keys if (name, k) != ("schema_state", "schema_version")]
        for chosen in db.rng.sample(sorted(keys), min(4, len(keys))):
            sql = f"INSERT INTO {quoted(name)} SELECT * FROM {quoted(name)} WHERE {key}::text = %s LIMIT 1"
            db.connection.execute(sql.encode(), (chosen,))
            places.append((name, chosen, ""))
    return places


def null_for_empty(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: None if v == "" else v) if _nullable(db) else []


def _nullable(db: Loaded) -> bool:
    for table, column in db.cells(Type.TEXT):
        sql = f"ALTER TABLE {quoted(table.name)} ALTER COLUMN {quoted(column.name)} DROP NOT NULL"
        db.connection.execute(sql.encode())
    return True


def empty_for_null(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: "" if v is None else v)


def one_microsecond(db: Loaded) -> list[Place]:
    places = []
    rows = [(t, c, k) for t, c in db.cells(Type.TIMESTAMPTZ) for k, v in db.values(t, c) if v is not None]
    for table, column, key in db.rng.sample(rows, min(AT_ONCE, len(rows))):
        name = quoted(column.name)
        db.connection.execute(
            f"UPDATE {quoted(table.name)} SET {name} = {name} - interval '1 microsecond'"
            f" WHERE {quoted(table.key[0])}::text = %s".encode(),
            (key,),
        )
        places.append((table.name, key, column.name))
    return places


def trailing_space(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: v if v is None else v + " ")


def letter_case(db: Loaded) -> list[Place]:
    return db.change((Type.TEXT,), lambda v: v if v is None else v[:1].swapcase() + v[1:])


def sign_of_zero(db: Loaded) -> list[Place]:
    return db.change((Type.DOUBLE,), lambda v: "-0" if v == "0" else v)


def integer_off_by_one(db: Loaded) -> list[Place]:
    return db.change((Type.BIGINT,), lambda v: v if v is None or abs(int(v)) > 2**62 else str(int(v) + 1))


def boolean_turned(db: Loaded) -> list[Place]:
    return db.change((Type.BOOLEAN,), lambda v: {"true": "false", "false": "true"}.get(v, v))


def _lines(db: Loaded, name: str, columns: str) -> list[tuple[Any, ...]]:
    rows = db.connection.execute(
        f"SELECT ctid::text, table_name, source_rowid, target_key, {columns} FROM cowrie_migration.{name}"
        " WHERE source_rowid IS NOT NULL".encode()
    ).fetchall()
    keyed = {t.name for t, _ in db.cells(*Type)}
    db.rng.shuffle(rows)
    # One line a row: a row whose key is not found has no cells to compare.
    rows = list({(r[1], r[2]): r for r in rows if r[1] in keyed}.values())
    return db.rng.sample(sorted(rows, key=str), min(AT_ONCE, len(rows)))


def repair_removed(db: Loaded) -> list[Place]:
    rows = _lines(db, "repairs", "column_name")
    for line, *_ in rows:
        db.connection.execute("DELETE FROM cowrie_migration.repairs WHERE ctid = %s::tid", (line,))
    return [(table, f"row {rowid}", column) for _, table, rowid, _, column in rows]


def repair_altered(db: Loaded) -> list[Place]:
    rows = _lines(db, "repairs", "column_name")
    for line, *_ in rows:
        what = db.rng.choice(
            ["original = coalesce(original, '') || '\\x41'::bytea", "original_type = 'odd'", "rule = rule || 'x'"]
        )
        db.connection.execute(f"UPDATE cowrie_migration.repairs SET {what} WHERE ctid = %s::tid".encode(), (line,))
    return [(table, f"row {rowid}", column) for _, table, rowid, _, column in rows]


def quarantine_byte(db: Loaded) -> list[Place]:
    places = []
    for line, table, rowid, _, original in _lines(db, "quarantine", "original"):
        cells = [n for n, c in original.items() if c["type"] in ("text", "blob") and c["value"]]
        if cells:
            name = db.rng.choice(cells)
            raw = bytearray(base64.b64decode(original[name]["value"]))
            raw[db.rng.randrange(len(raw))] ^= 1 << db.rng.randrange(8)
            original[name]["value"] = base64.b64encode(raw).decode()
            db.connection.execute(
                "UPDATE cowrie_migration.quarantine SET original = %s WHERE ctid = %s::tid",
                (json.dumps(original), line),
            )
            places.append((table, f"row {rowid}", name))
    return places


KINDS = (
    bit_flip, bit_flip_in_json, payloads_swapped, row_dropped, row_doubled, null_for_empty, empty_for_null,
    one_microsecond, trailing_space, letter_case, sign_of_zero, integer_off_by_one, boolean_turned, repair_removed,
    repair_altered, quarantine_byte,
)  # fmt: skip
