"""Whether the database answers and is sound at a quick look, and its schema's version.

Belongs here: what costs no scan of a table. Not here: the ledger (`ledger.py`), rows (`events.py`).
"""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from ..catalog import SCHEMA_VERSION, TABLES
from ..db.migrations.runner import current_version, newer_note
from .report import Check, Status, size

MANY_CONNECTIONS = 0.9
OLD_TRANSACTIONS = 1_500_000_000
"""Age of the oldest transaction id at which VACUUM is long overdue: PostgreSQL stops writing at about 2.1 billion
(its manual, "Preventing Transaction ID Wraparound Failures")."""

_SERVER = sa.text(
    "SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS bytes,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,"
    " current_setting('max_connections')::int AS most, pg_is_in_recovery() AS standby,"
    " (SELECT coalesce(checksum_failures, 0) FROM pg_stat_database WHERE datname = current_database()) AS broken,"
    " (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS age,"
    " ARRAY(SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1 LIMIT 5) AS invalid"
)


def check_database(connection: sa.Connection) -> Check:
    """Whether it answers and shows no sign of damage; damage within tables shows only when they are read."""
    started = time.monotonic()
    check = _postgres(connection) if connection.dialect.name == "postgresql" else _sqlite(connection)
    milliseconds = (time.monotonic() - started) * 1000
    return Check(
        check.name, check.status, check.text, details={"milliseconds": round(milliseconds, 1), **check.details}
    )


def _postgres(connection: sa.Connection) -> Check:
    row = connection.execute(_SERVER).mappings().one()
    troubles: list[tuple[Status, str]] = []
    if row["broken"]:
        troubles.append((Status.CRITICAL, f"{row['broken']:,} pages failed their checksum"))
    if row["age"] > OLD_TRANSACTIONS:
        troubles.append((Status.CRITICAL, f"its oldest transaction is {row['age']:,} back: run VACUUM"))
    if row["connections"] > MANY_CONNECTIONS * row["most"]:
        troubles.append((Status.WARNING, f"{row['connections']} of {row['most']} connections are taken"))
    if row["standby"]:
        troubles.append((Status.WARNING, "it is a standby, which takes no rows"))
    if row["invalid"]:
        troubles.append((Status.WARNING, f"invalid indexes: {', '.join(row['invalid'])}"))
    details = {"backend": "postgresql", "version": row["version"], "bytes": row["bytes"]}
    return _check(f"PostgreSQL {row['version'].split()[0]}, {size(row['bytes'])}", troubles, details)


def _sqlite(connection: sa.Connection) -> Check:
    """Its length, which SQLite compares with the header, its journal, and the last row of each table that we know."""
    path = Path(str(connection.exec_driver_sql("SELECT file FROM pragma_database_list WHERE name = 'main'").scalar()))
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    wal, journal = (_size(Path(f"{path}{end}")) for end in ("-wal", "-journal"))
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    for name in tables & TABLES.keys():  # SQLite itself says where the file is cut or damaged there
        connection.exec_driver_sql(f"SELECT rowid FROM {name} ORDER BY rowid DESC LIMIT 1").all()
    bytes_now = _size(path)
    troubles: list[tuple[Status, str]] = []
    if journal and mode != "wal":
        troubles.append((Status.WARNING, "a journal lies beside it: a writer is at work, or was ended"))
    details = {"backend": "sqlite", "bytes": bytes_now, "journal_mode": mode, "wal_bytes": wal}
    return _check(f"SQLite, {size(bytes_now)}, journal mode {mode}", troubles, details)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(text: str, troubles: list[tuple[Status, str]], details: dict[str, object]) -> Check:
    status = max((status for status, _ in troubles), default=Status.OK)
    return Check("database", status, "; ".join([text, *(said for _, said in troubles)]), details=details)


def check_schema(connection: sa.Connection) -> Check:
    """Whether the schema is the one we know."""
    version = current_version(connection)
    details = {"version": version, "known": SCHEMA_VERSION}
    if note := newer_note(connection):
        return Check("schema", Status.WARNING, note.rstrip("."), details=details)
    if not version and not set(sa.inspect(connection).get_table_names()) & TABLES.keys():
        return Check("schema", Status.CRITICAL, "there is no table of a Cowrie processor", details=details)
    if not version:
        text = f"no version is stored, {SCHEMA_VERSION} is known: `cowrie-assets db migrate` makes and stores it"
        return Check("schema", Status.WARNING, text, details=details)
    if version < SCHEMA_VERSION:
        text = f"version {version}, older than {SCHEMA_VERSION}: `cowrie-assets db migrate` brings it up"
        return Check("schema", Status.WARNING, text, details=details)
    return Check("schema", Status.OK, f"version {version}", details=details)
