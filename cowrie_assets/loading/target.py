"""The target before the first row: what must hold, the ledger, the tables.

Belongs here: preflight and CREATE TABLE. Not here: rows (`load.py`), indexes (`finish.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..catalog import TABLES, Table
from ..errors import PlanError, TargetError
from ..planning.plan import Plan
from . import ledger
from .ddl import create_table, kept_name, quoted
from .names import RENAME, check_names

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

MIN_SERVER = 140_000
"""PostgreSQL 14: the first with multiranges."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare_target` found and made."""

    server: str
    created: tuple[str, ...]
    existing: tuple[str, ...]


def target_tables(plan: Plan) -> dict[str, Table]:
    """The tables the target gets: the source's, and for a Cowrie source all of the catalog's."""
    tables = {name: planned.target for name, planned in plan.tables.items()}
    if plan.is_cowrie:
        for name, entry in TABLES.items():
            tables.setdefault(name, entry.with_json(plan.treatment.json_type))
    return tables


def check_server(connection: Connection) -> str:
    """The server's version; TargetError where it is too old, not UTF8, read-only, or the user lacks a privilege."""
    version = connection.info.server_version
    label = f"{version // 10_000}.{version % 10_000}"
    if version < MIN_SERVER:
        raise TargetError(f"The target is PostgreSQL {label}; 14 or newer is needed.", hint="Upgrade the server.")
    encoding = _one(connection, "SHOW server_encoding")
    if encoding != "UTF8":
        raise TargetError(
            f"The target database has the encoding {encoding}; UTF8 is needed.",
            hint="Create it with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0.",
        )
    if _one(connection, "SELECT pg_is_in_recovery()"):
        raise TargetError(
            "The target is a standby, or still recovers: it takes no writes.",
            hint="Name the primary in COWRIE_POSTGRES_URL, or both hosts and target_session_attrs=read-write.",
        )
    user = _one(connection, "SELECT current_user")
    if _one(connection, "SHOW transaction_read_only") == "on":
        raise TargetError(
            "The target is read-only: default_transaction_read_only is on.",
            hint=f"Run ALTER ROLE {user} SET default_transaction_read_only = off (or ALTER DATABASE, as it was set).",
        )
    _check_privileges(connection, user)
    return label


def _check_privileges(connection: Connection, user: str) -> None:
    schema = _one(connection, "SELECT current_schema()")
    if schema is None or not _one(connection, "SELECT has_schema_privilege(current_schema(), 'CREATE')"):
        raise TargetError(
            f"The user {user} may not create tables in schema {schema or 'public'}.",
            hint=f"Run GRANT USAGE, CREATE ON SCHEMA {schema or 'public'} TO {user}.",
        )
    ledger_owner = _one(
        connection, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = %s", ledger.SCHEMA
    )
    if ledger_owner is None:
        if not _one(connection, "SELECT has_database_privilege(current_database(), 'CREATE')"):
            raise TargetError(
                f"The user {user} may not create the schema {ledger.SCHEMA}.",
                hint=f"Run GRANT CREATE ON DATABASE {connection.info.dbname} TO {user}.",
            )
    elif not _one(connection, "SELECT pg_has_role(%s::regrole, 'USAGE')", ledger_owner):
        raise TargetError(
            f"The ledger's schema {ledger.SCHEMA} belongs to {ledger_owner}, who began this migration.",
            hint=f"Go on as {ledger_owner}, or run GRANT {ledger_owner} TO {user}.",
        )


def check_pinned(known: Plan | None, plan: Plan) -> None:
    """Raise PlanError where the target was loaded under another grain, windows or source."""
    if known is None or known.id == plan.id:
        return
    differences = []
    if known.windows.grain != plan.windows.grain:
        differences.append(f"grain {known.windows.grain}, now {plan.windows.grain}")
    elif known.windows != plan.windows:
        was, now = known.windows, plan.windows
        differences.append(f"windows {was.start} to {was.end}, now {now.start} to {now.end}")
    if known.treatment.json_type != plan.treatment.json_type:
        differences.append(f"documents as {known.treatment.json_type}, now {plan.treatment.json_type}")
    if table := _other_table(known, plan):
        moved = known.source_path != plan.source_path
        source = f"source {known.source_path}, now {plan.source_path}" if moved else f"source {plan.source_path}"
        differences.append(f"{source}: the rows of {table} are not there under the same rowids, as after a VACUUM")
    if differences:
        raise PlanError(
            f"The target was loaded under another plan ({'; '.join(differences)}).",
            hint="Run `cowrie-assets reset` to undo that migration, or go back to its settings and source.",
        )


def _other_table(known: Plan, plan: Plan) -> str | None:
    """A table whose rows are others under the same rowids: another source, or a renumbered one."""
    for table, samples in known.samples.items():
        now = plan.samples.get(table)
        if now is None:
            return table
        shared = samples.keys() & now.keys()
        same = sum(samples[r] == now[r] for r in shared)
        if shared and same * 2 < len(shared):
            return table
    return None


def prepare_target(connection: Connection, plan: Plan, *, append: bool) -> Prepared:
    """Check the target, write the ledger's schema and plan, create missing tables; idempotent, one transaction.

    Raises:
        TargetError: for a server or privileges that do not do, a table of another shape, or rows that this migration
            did not load (unless `append`).
        PlanError: where it was loaded under another plan.
        psycopg.Error: where the server fails.
    """
    with connection.transaction():
        label = check_server(connection)
        known = ledger.pinned(connection)
        check_pinned(known, plan)
        tables = target_tables(plan)
        check_names(tables)
        _check_catalog(connection, tables)
        existing = tuple(n for n in tables if _one(connection, "SELECT to_regclass(%s)", quoted(n)) is not None)
        for name in existing:
            _check_owner(connection, name)
            _check_shape(connection, tables[name])
        if not append:
            ours = {*known.tables, *ledger.created_tables(connection)} if known else set()
            _check_foreign_rows(connection, [n for n in existing if n not in ours])
        if known is None or known.id != plan.id:
            connection.execute(ledger.DDL)
            ledger.pin(connection, plan)
        created = tuple(n for n in tables if n not in existing)
        for name in created:
            connection.execute(create_table(tables[name]).encode())
        if created:
            connection.execute("UPDATE cowrie_migration.plan SET created = created || %s::text[]", (list(created),))
    return Prepared(label, created, existing)


def _check_catalog(connection: Connection, tables: dict[str, Table]) -> None:
    """Raise TargetError for a table that PostgreSQL's own of that name would hide."""
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname = ANY(%s)",
        (list(tables),),
    ).fetchall()
    if rows:
        raise TargetError(f"Table {rows[0][0]} has the name of one of PostgreSQL's own.", hint=RENAME)


def _check_owner(connection: Connection, name: str) -> None:
    # Indexes, constraints and the sequence are the owner's alone.
    row = connection.execute(
        "SELECT relowner::regrole::text, current_user FROM pg_class"
        " WHERE oid = to_regclass(%s) AND NOT pg_has_role(relowner, 'USAGE')",
        (quoted(name),),
    ).fetchone()
    if row:
        raise TargetError(
            f"The target's table {name} belongs to {row[0]}, not to {row[1]}.",
            hint=f"Run ALTER TABLE {quoted(name)} OWNER TO {row[1]}, or GRANT {row[0]} TO {row[1]}.",
        )


def _check_shape(connection: Connection, table: Table) -> None:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, NULL), attgenerated FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (quoted(table.name),),
    ).fetchall()
    actual = {name: (kind, generated) for name, kind, generated in rows}
    for column in table.columns:
        kind, generated = actual.get(kept_name(column.name), (None, ""))
        wanted = {"timestamptz": "timestamp with time zone"}.get(column.type.value, column.type.value)
        if kind is None:
            raise TargetError(
                f"The target's table {table.name} has no column {column.name}.",
                hint="Migrate into an empty database, or drop that table.",
            )
        if kind != wanted or generated:
            raise TargetError(
                f"The target's {table.name}.{column.name} is {'generated ' * bool(generated)}{kind}, not {wanted}.",
                hint="Migrate into an empty database: another type would change values.",
            )


def _check_foreign_rows(connection: Connection, names: list[str]) -> None:
    for name in names:
        if _one(connection, f"SELECT EXISTS (SELECT FROM {quoted(name)})"):
            raise TargetError(
                f"The target's table {name} already holds rows that this migration did not load.",
                hint="Use an empty database, or --append to add to them.",
            )


def _one(connection: Connection, query: str, *parameters: object) -> Any:
    row = connection.execute(query.encode(), parameters or None).fetchone()
    return row[0] if row else None
