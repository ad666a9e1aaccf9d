"""What tells whether two databases of one backend hold the same rows: a count and a digest for each table.

Belongs here: digests of whole tables. Not here: proof across backends (`validation/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..errors import DifferenceError, SourceError
from ..source.reader import read_table
from ..source.schema import read_schema
from ..staging.digest import PartitionDigest
from .relations import user_tables

_AS_TEXT = ("TimeZone = 'UTC'", "DateStyle = 'ISO'", "bytea_output = 'hex'", "extra_float_digits = 1")
"""What a row's text depends on, and a database may set otherwise."""


class TableDigest(NamedTuple):
    """Rows, and a digest of their content."""

    rows: int
    digest: str


def postgres_digests(connection: sa.Connection) -> dict[str, TableDigest]:
    """Each table's digest: the sum of a 64-bit hash of each row's text, so that the rows' order does not count."""
    for setting in _AS_TEXT:
        connection.exec_driver_sql(f"SET LOCAL {setting}")
    found: dict[str, TableDigest] = {}
    for name, table in user_tables(connection).items():
        query = f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {table} t"
        found[name] = TableDigest(*connection.exec_driver_sql(query).one())
    return found


def sqlite_digests(connection: Any) -> dict[str, TableDigest]:
    """Each table's digest over rowids, storage classes and exact bytes, of a connection as `read_only` opens it."""
    try:
        tables = read_schema(connection).tables
    except SourceError:
        return {}  # no table: nothing to tell apart
    found: dict[str, TableDigest] = {}
    for name, table in tables.items():
        digest, rows = PartitionDigest(), 0
        for batch in read_table(connection, table):
            digest.add(batch)
            rows += len(batch)
        found[name] = TableDigest(rows, digest.hex())
    return found


def require_same(original: Mapping[str, TableDigest], copy: Mapping[str, TableDigest], what: str) -> None:
    """DifferenceError that names the first table which differs."""
    for name in sorted(original.keys() | copy.keys()):
        mine, other = original.get(name), copy.get(name)
        if mine == other:
            continue
        said = [f"{digest.rows:,} rows" if digest else "no such table" for digest in (mine, other)]
        if said[0] == said[1]:
            said = ["the same number of rows", "of other content"]
        raise DifferenceError(f"{what} differs in {name}: {said[0]} in the database, {said[1]} in the copy.")
