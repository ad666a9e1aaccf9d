"""Whether a source is still the one a plan was made of: sampled rows, by rowid.

Belongs here: taking samples and comparing them. Not here: what follows (`scan.py`, `loading/target.py`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence

from ..catalog import TABLES
from ..errors import PlanError
from ..source.cells import Cells, original_bytes
from ..source.damage import is_damage
from ..source.reader import Range
from ..source.schema import SourceSchema, SourceTable, quoted

SAMPLES = 32
"""Rows sampled a table. A VACUUM renumbers every row behind the first gap, so the last row shows it; the others tell
another source from a grown one."""
SMALL = 10_000
"""Rows of a table that is looked through for sampled rows under other rowids."""


def _unique_columns(table: SourceTable) -> tuple[str, ...]:
    unique = {c for i in table.indexes if i.unique for c in i.columns if c} | set(table.key)
    if table.name in TABLES:
        unique |= {c for columns in TABLES[table.name].unique_sets for c in columns}
    return tuple(n for n in table.stored if n in unique and n != table.rowid_key)


def identity_columns(table: SourceTable) -> tuple[str, ...]:
    """Columns whose cells do not change while a row lives: the unique ones, else the NOT NULL ones but flags."""
    chosen = _unique_columns(table)
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
    try:
        row = connection.execute(
            f"{_select(table)} WHERE t.{table.rowid} {compare} ?"
            f" ORDER BY t.{table.rowid}{' DESC' if compare == '<=' else ''} LIMIT 1",
            (rowid,),
        ).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        row = None  # what cannot be read is no sample
    if row is None:
        return None
    return int(row[0]), _digest(row[1:])


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
        if others := _others(connection, table, sampled):
            by, share = ", ".join(identity_columns(table)[:3]), f"{len(others)} of {len(sampled)}"
            raise PlanError(
                f"Table {name}: rowid {others[0]} is not the row that {made} saw ({share} sampled"
                f" rows are others, by {by}): rows were rewritten, rowids were renumbered (VACUUM), or the source was"
                " replaced.",
                hint="Run `cowrie-assets plan --replace`, then `cowrie-assets migrate`: what is loaded stays, what"
                " changed is loaded again. Only where that is refused, `cowrie-assets reset` comes first. Or use the"
                " source as it was.",
            )


def _others(connection: sqlite3.Connection, table: SourceTable, sampled: Mapping[int, str]) -> list[int]:
    """The sampled rowids that show the table to be another or renumbered; none where a few rows were rewritten."""
    if not sampled:
        return []
    found = {r: _row(connection, table, r, "=") for r in sampled}
    present = {r: f[1] for r, f in found.items() if f is not None}
    if not present:
        return sorted(sampled)
    different = sorted(r for r, h in present.items() if h != sampled[r])
    if table.rowid_key:  # cannot be renumbered; a few rows may have been rewritten, most may not
        return different if len(different) > max(2, len(present) // 2) else []
    few = len(different) * 2 <= len(present) or (len(sampled) == 1 and not _unique_columns(table))
    most = [] if few else different
    last = max(sampled)
    if present.get(last) == sampled[last]:  # a VACUUM that renumbers any row renumbers the last one
        return most
    if last not in present:
        # A gap close to the end moves only rows that were not sampled, and the last one: it stands lower now.
        now = _row(connection, table, last, "<=")
        if now is not None and now[1] == sampled[last] and now[0] not in sampled:
            return [*different, last]
    if not different:
        return []
    rows = _small(connection, table)
    if rows is None:
        return different
    sought = {sampled[r] for r in (*different, last)}
    moved = any(digest in sought and sampled.get(rowid) != digest for rowid, digest in rows)
    return different if moved else most


def _small(connection: sqlite3.Connection, table: SourceTable) -> list[tuple[int, str]] | None:
    """Rowid and hash of every row; None where the table has more than SMALL rows, or a row that cannot be read."""
    try:
        # One at a time: their cells may be large.
        rows = [(int(row[0]), _digest(row[1:])) for row in connection.execute(f"{_select(table)} LIMIT {SMALL + 1}")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return None
    return rows if len(rows) <= SMALL else None


def _select(table: SourceTable) -> str:
    columns = ", ".join(f"t.{name}" for name in (table.rowid, *map(quoted, identity_columns(table))))
    return f"SELECT {columns} FROM {quoted(table.name)} AS t NOT INDEXED"


def _digest(cells: Sequence[object]) -> str:
    digest = hashlib.sha256()
    for cell in cells:
        storage, value = Cells.encode([cell]).value(0)
        raw = original_bytes(storage, value) or b""
        digest.update(bytes([storage]) + len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:16]
