"""Rows that moved to another partition since that one was loaded: the new partition takes them over.

Belongs here: finding the partition that holds a key, and releasing it. Not here: COPY (`copy.py`).

A live source's session moves to an earlier window when an older log file is read late. Its row is then still in the
target under the window it left; that window's staged content changed too, so its own load follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..catalog import Table
from ..db.names import bound
from .foreign import refuse_acting_keys

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]


def release_keys(connection: Connection, table: Table, partition: str, keys: Sequence[str]) -> int:
    """Delete from the target those rows that another partition of this migration loaded; returns how many.

    The other partition's ledger row loses the keys and its inputs, so that it is loaded and proven again.

    Args:
        connection: in the transaction that loads `partition`.
        table: the target's table; one with a key of a single column.
        partition: the partition that has these rows now.
        keys: the text forms of their keys.
    """
    if len(table.key) != 1:
        return 0
    serial, column = table.serial is not None, bound(table.key[0])
    holds = "p.key_ids @> k::bigint" if serial else "k = ANY (p.keys)"
    owners = connection.execute(
        "SELECT p.partition_key, array_agg(k) FROM cowrie_migration.partitions p, unnest(%s::text[]) k"
        f" WHERE p.table_name = %s AND p.partition_key <> %s AND {holds} GROUP BY 1".encode(),
        (list(keys), table.name, partition),
    ).fetchall()
    if owners:
        refuse_acting_keys(connection, table)
    released = 0
    for owner, theirs in owners:
        deleted = connection.execute(
            f"DELETE FROM {bound(table.name)} WHERE {column} = ANY (%s::{'bigint' if serial else 'text'}[])".encode(),
            (theirs,),
        ).rowcount
        for ledger in ("repairs", "row_digests"):
            connection.execute(
                f"DELETE FROM cowrie_migration.{ledger}"
                " WHERE table_name = %s AND partition_key = %s AND target_key = ANY (%s)".encode(),
                (table.name, owner, theirs),
            )
        connection.execute(
            "UPDATE cowrie_migration.partitions SET inputs = NULL, sealed = NULL, loaded_rows = loaded_rows - %s,"
            " verdict = 'NOT CHECKED', proof = NULL, detail = 'rows moved to another partition',"
            " key_ids = key_ids - (SELECT"
            " coalesce(range_agg(int8range(k::bigint, nullif(k::bigint, 9223372036854775807) + 1)), '{}')"
            " FROM unnest(%s::text[]) k WHERE %s),"
            " keys = (SELECT array_agg(k) FROM unnest(keys) k WHERE NOT k = ANY (%s::text[]))"
            " WHERE table_name = %s AND partition_key = %s",
            (deleted, theirs if serial else [], serial, theirs, table.name, owner),
        )
        released += deleted
    return released
