"""Whether a source is still the one a plan was made of: sampled rows, by rowid.

Belongs here: taking samples and comparing them. Not here: what follows (`scan.py`, `loading/target.py`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping

from ..catalog import TABLES
from ..errors import PlanError
from ..source.cells import Cells, original_bytes
from ..source.damage import is_damage
from ..source.reader import Range
from ..source.schema import SourceSchema, SourceTable, quoted

SAMPLES = 32
"""Rows sampled a table. A VACUUM renumbers every row behind the first gap, so the last row shows it; the others tell
another source from a grown one."""


def identity_columns(table: SourceTable) -> tuple[str, ...]:
    """Columns whose cells do not change while a row lives: the unique ones, else the NOT NULL ones but flags."""
    unique = {c for i in table.indexes if i.unique for c in i.columns if c} | set(table.key)
    if table.name in TABLES:
        unique |= {c for columns in TABLES[table.name].unique_sets for c in columns}
    chosen = tuple(n for n in table.stored if n in unique and n != table.rowid_key)
    if not chosen:
        firm = {c.name for c in table.columns if c.not_null and "BOOL" not in c.declared.upper()}
        chosen = tuple(n for n in table.stored if n in firm and n != table.rowid_key) or table.stored[:3]
    return chosen


def take_samples(connection: sqlite3.Connection, table: SourceTable, bounds: Range | None) -> dict[int, str]:
    """Rowid -> hash of the identity cells, for rows spread over the table; empty for WITHOUT ROWID tables.

    Args:
        connection: the source.
        table: its declaration.
        bounds: its lowest and highest rowid, None where it has no row.
    """
    if table.rowid is None or bounds is None:
        return {}
    low, high = bounds
    step = max(1, (high - low) // (SAMPLES - 1))
    wanted = [*range(low, high, step)][: SAMPLES - 1] + [high]
    samples = {}
    for rowid in wanted:
        found = _row(connection, table, rowid, ">=")
        if found:
            samples[found[0]] = found[1]
    return samples


def _row(connection: sqlite3.Connection, table: SourceTable, rowid: int, compare: str) -> tuple[int, str] | None:
    columns = ", ".join(f"t.{name}" for name in (table.rowid, *map(quoted, identity_columns(table))))
    try:
        row = connection.execute(
            f"SELECT {columns} FROM {quoted(table.name)} AS t NOT INDEXED WHERE t.{table.rowid} {compare} ?"
            f" ORDER BY t.{table.rowid}{' DESC' if compare == '<=' else ''} LIMIT 1",
            (rowid,),
        ).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        row = None  # what cannot be read is no sample
    if row is None:
        return None
    digest = hashlib.sha256()
    for cell in row[1:]:
        storage, value = Cells.encode([cell]).value(0)
        raw = original_bytes(storage, value) or b""
        digest.update(bytes([storage]) + len(raw).to_bytes(8, "big") + raw)
    return int(row[0]), digest.hexdigest()[:16]


def compare_samples(
    connection: sqlite3.Connection, schema: SourceSchema, samples: Mapping[str, Mapping[int, str]], made: str
) -> None:
    """Raise PlanError where sampled rows are not what they were: rowids renumbered, or another source altogether.

    Args:
        connection: the source.
        schema: its declarations now.
        samples: as `take_samples` took them.
        made: what took them, for the message ("the plan", "the target's ledger").
    """
    for name, sampled in samples.items():
        table = schema.tables.get(name)
        if table is None or table.rowid is None:
            raise PlanError(
                f"The source has no table {name}, {made} has.", hint="Set the right source, or plan with --replace."
            )
        found = {r: _row(connection, table, r, "=") for r in sampled}
        present = {r: f[1] for r, f in found.items() if f is not None}
        different = [r for r, h in present.items() if h != sampled[r]]
        # A rowid that is the key cannot be renumbered; there a few rows may have been rewritten, most may not.
        allowed = max(2, len(sampled) // 2) if table.rowid_key else 0
        last = max(sampled, default=0)
        if sampled and last not in present and not table.rowid_key:
            # A gap close to the end moves only rows that were not sampled, and the last one: it stands lower now.
            now = _row(connection, table, last, "<=")
            if now is not None and now[1] == sampled[last] and now[0] not in sampled:
                different.append(last)
        if len(different) > allowed or (sampled and not present):
            raise PlanError(
                f"Table {name}: rowid {different[0] if different else min(sampled)} and others are not the rows"
                f" that {made} saw: the source was replaced, or its rowids were renumbered (VACUUM).",
                hint="Run `cowrie-assets reset`, then `cowrie-assets plan --replace`; or use the source as it was.",
            )
