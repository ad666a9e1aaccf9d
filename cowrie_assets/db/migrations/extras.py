"""Indexes that only PostgreSQL can have, as an option: no schema version asks for them, the processor ignores them.

Belongs here: which, and their measured effect. Not here: the indexes that every database has (`catalog.py`).

Measured on 200,000 events (150 MB; PostgreSQL 15, one process, best of five, busy machine):

| question | without | with |
|---|---|---|
| `payload @> '{"src_ip": …}'`, as for any other member | 107 ms | 0.04 ms |
| `payload ->> 'src_ip' = …` (`text_at`) | 218 ms | 0.04 ms |

Also measured, without effect and so not offered: (event_type, event_timestamp), (payload ->> 'sensor',
event_timestamp), a partial index over downloads' shasum. Within a window ix_raw_events_event_timestamp serves (a day of
commands 3.1 ms before, 3.0 ms after), and groups over all events read the table anyhow (sources: 240 ms).
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ...errors import SchemaError
from ..connecting import label


@dataclass(frozen=True)
class Extra:
    """An index over raw_events: its name, what it is for, and its definition behind ON."""

    name: str
    use: str
    definition: str


EXTRAS = (
    # jsonb_path_ops holds only what @> asks for: 22 MB, made in 4.6 s.
    Extra(
        "ix_raw_events_payload",
        "events that contain given members (@>)",
        "raw_events USING gin (payload jsonb_path_ops)",
    ),
    # Hash, not btree: an entry has one size whatever the text's length, where btree refuses texts over 2,704 bytes
    # (7 MB, made in 0.6 s; btree 2 MB).
    Extra("ix_raw_events_src_ip", "events of one source address", "raw_events USING hash ((payload ->> 'src_ip'))"),
)


def add_extras(engine: sa.Engine, *, dry_run: bool = False) -> list[str]:
    """Create those that are missing, beside running writers; return the SQL. Nothing to do on SQLite.

    Raises:
        SchemaError: the server refuses; what was made before stays.
    """
    if engine.dialect.name != "postgresql":
        return []
    done: list[str] = []
    try:
        # CONCURRENTLY takes no transaction.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for extra in EXTRAS:
                valid = connection.execute(
                    sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"),
                    {"name": extra.name},
                ).scalar()
                statements = [f"CREATE INDEX CONCURRENTLY {extra.name} ON {extra.definition}"]
                if valid is False:  # an earlier attempt was interrupted
                    statements.insert(0, f"DROP INDEX CONCURRENTLY {extra.name}")
                for statement in [] if valid else statements:
                    if not dry_run:
                        connection.exec_driver_sql(statement)
                    done.append(statement)
            if done and not dry_run:
                connection.exec_driver_sql("ANALYZE raw_events")  # gathers statistics of the expressions
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise SchemaError(
            f"An extra index could not be made on {label(engine)}: {said}.", hint="Mend that and run it again."
        ) from error
    return done
