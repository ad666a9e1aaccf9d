"""What a database holds, as maintenance needs it: its tables, its size, whether it is empty.

Belongs here: looking, on both backends. Not here: what the tables should be (`catalog.py`, `migrations/drift.py`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from ..source.schema import quoted
from .names import bound

_USER_TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
    ORDER BY n.nspname <> 'public', n.nspname, c.relname
"""


def is_postgres(connection: sa.Connection) -> bool:
    """Whether the connection is one to PostgreSQL."""
    return connection.dialect.name == "postgresql"


def user_tables(connection: sa.Connection) -> dict[str, str]:
    """Every table that is no system's or extension's: name for people -> name for SQL, schema and quotes included."""
    if is_postgres(connection):
        rows = connection.exec_driver_sql(_USER_TABLES).all()
        return {
            table if schema == "public" else f"{schema}.{table}": f"{bound(schema)}.{bound(table)}"
            for schema, table in rows
        }
    return {name: quoted(name) for name in sa.inspect(connection).get_table_names()}


def sqlite_file(connection: sa.Connection) -> Path:
    """The file of a SQLite connection."""
    query = "SELECT file FROM pragma_database_list WHERE name = 'main'"
    return Path(str(connection.exec_driver_sql(query).scalar_one()))


def database_bytes(connection: sa.Connection) -> int:
    """What the database takes on disk; for SQLite with its -wal."""
    if is_postgres(connection):
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
    path = sqlite_file(connection)
    return sum(p.stat().st_size for p in (path, Path(f"{path}-wal")) if p.exists())
