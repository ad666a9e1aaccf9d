"""What the contract makes of rows: repaired, filled, set aside.

Belongs here: NULLs, fallbacks, duplicates, derivations, the schema version. Not here: single cells, which know their
own outcome.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from .dates import EPOCH, printed
from .pieces import arrow, loaded
from .schema import COLUMNS, FALLBACKS, GENERATED, key_of, unique_of
from .truth import NULL, Cell, Row


def settle_known(table: str, version: int, rows: list[Row]) -> None:
    """Decide about the rows of one of the processor's tables; columns of other makers are decided already."""
    for row in rows:
        if table == "schema_state":
            _schema_version(row)
        _settle_cells(table, row)
    key = (key_of(table),)
    aside_duplicates(rows, unique_of(table, version))
    for row in rows:
        for spec in COLUMNS[table]:
            cell = row.cells.get(spec.name)
            row.values[spec.name] = cell.value if cell else spec.default
        if table == "raw_events":
            _derive(row)
        row.target_key = target_key(row, key)


def _settle_cells(table: str, row: Row) -> None:
    stored = dict(row.cells)
    for spec in COLUMNS[table]:
        cell = stored.get(spec.name)
        if cell is None:
            continue
        if cell.stored is None and spec.required:
            row.aside.add("key.null" if spec.name == key_of(table) else "null.required")
        if cell.refused is None:
            continue
        if spec.kind == "jsonb":
            row.aside.add(cell.refused)
        elif not spec.required:
            row.cells[spec.name] = replace(cell, rule=cell.refused)
        else:
            instant = _fallback(stored, FALLBACKS.get((table, spec.name), ()))
            if instant is None:
                row.aside.add(cell.refused)
            else:
                row.cells[spec.name] = replace(cell, rule="date.fallback", value=instant)


def _fallback(cells: Mapping[str, Cell], columns: Iterable[str]) -> str | None:
    for name in columns:
        found = _said(cells["payload"]) if name == "payload.timestamp" else cells[name].value
        if found is not None:
            return found
    return None


def _said(payload: Cell) -> str | None:
    """The instant of a payload's timestamp; the generator writes few forms of it."""
    document = None if payload.value is None else loaded(payload.value)
    stamp = document.get("timestamp") if isinstance(document, dict) else None
    if isinstance(stamp, str):
        for form in ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S"):
            try:
                return printed(datetime.strptime(stamp, form).replace(tzinfo=UTC))
            except ValueError:
                continue
        return None
    seconds = None if stamp is None or isinstance(stamp, (bool, dict, list)) else int(stamp)
    if seconds is None or not 946_684_800 <= seconds < 4_102_444_800:
        return None
    return printed(EPOCH + timedelta(seconds=seconds))


def _schema_version(row: Row) -> None:
    if row.cells["key"].original == b"schema_version" and row.cells["key"].label == "text":
        cell = row.cells["value"]
        if cell.value is not None and int(cell.value) < 6:
            row.cells["value"] = replace(cell, value="6", rule="schema.version", defect="schema.version")


def _derive(row: Row) -> None:
    for name, member in GENERATED.items():
        said = arrow(row.cells["payload"].value, member)
        if row.cells.get(name, NULL).stored is None:
            row.values[name] = said
            if said is not None and not row.aside:
                row.derived.add(name)
        elif said is not None and said != row.values[name] and not row.aside:
            row.differs.add(name)


def aside_duplicates(rows: list[Row], sets: Sequence[Sequence[str]]) -> None:
    """Of the rows of one key in the target all but one are set aside: unrepaired first, then the lowest rowid.

    A row that was a duplicate under one of the sets holds its key under the next no more.
    """
    lost: set[int] = set()
    for columns in sets:
        groups: dict[tuple[str, ...], list[tuple[bool, int, int]]] = defaultdict(list)
        for place, row in enumerate(rows):
            cells = [row.cells[c] for c in columns if c in row.cells]
            key = tuple(cell.value for cell in cells if cell.value is not None)
            if place not in lost and len(key) == len(cells):
                groups[key].append((any(cell.rule for cell in cells), row.rowid, place))
        for group in groups.values():
            lost.update(place for _, _, place in sorted(group)[1:])
    for place in lost:
        rows[place].aside.add("key.duplicate")


def target_key(row: Row, key: Sequence[str]) -> str | None:
    """A key's text form: of several columns a JSON array."""
    parts = [row.cells[name].value for name in key]
    if not parts or None in parts:
        return None
    return parts[0] if len(parts) == 1 else json.dumps(parts, ensure_ascii=False)
