"""The quarantine's rows, streamed from the target.

Belongs here: reading them. Not here: their form on the terminal or in a file (`cli/show.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

PAGE = 500
"""Rows fetched at a time: each carries the row's original cells."""


@dataclass(frozen=True)
class SetAside:
    """A row that was set aside, as the ledger has it."""

    table: str
    partition: str
    source_rowid: int | None
    rule: str
    detail: str
    target_key: str | None
    original: dict[str, Any]


def quarantined_rows(
    connection: Connection, *, table: str | None = None, rule: str | None = None, limit: int | None = None
) -> Iterator[SetAside]:
    """Stream the quarantine in the order of table and rowid, all of it or of one table or rule."""
    with connection.cursor(name="quarantine") as cursor:
        cursor.itersize = PAGE
        cursor.execute(
            "SELECT table_name, partition_key, source_rowid, rule, detail, target_key, original"
            " FROM cowrie_migration.quarantine WHERE (%(table)s::text IS NULL OR table_name = %(table)s)"
            " AND (%(rule)s::text IS NULL OR rule = %(rule)s) ORDER BY table_name, source_rowid LIMIT %(limit)s",
            {"table": table, "rule": rule, "limit": limit},
        )
        for row in cursor:
            yield SetAside(*row)
