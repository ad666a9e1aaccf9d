"""The single looks behind `integrity.py`: each gives the faults it finds, in words, and changes nothing.

Belongs here: the queries, on both backends. Not here: which are made when, and their verdicts.
"""

from __future__ import annotations

import sqlalchemy as sa

from ..catalog import TABLES, Type
from ..source.schema import quoted
from .json_access import former_generated
from .relations import is_postgres, user_tables
from .tables import SQL_TABLES
from .text_access import visible

EXAMPLES = 3


def sqlite_check(connection: sa.Connection, pragma: str) -> list[str]:
    """What `quick_check`, `integrity_check` or `foreign_key_check` says against the file."""
    rows = connection.exec_driver_sql(f"PRAGMA {pragma}").all()
    if pragma == "foreign_key_check":
        return [f"{row[0]}, row {row[1]}: no such row in {row[2]}" for row in rows]
    return [line for row in rows for line in str(row[0]).splitlines() if line != "ok" and not line.startswith("***")]


def invalid_objects(connection: sa.Connection) -> list[str]:
    """Indexes that are not valid (an interrupted CONCURRENTLY), and constraints that were never validated."""
    indexes = connection.exec_driver_sql(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready) ORDER BY 1"
    )
    constraints = connection.exec_driver_sql(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE NOT convalidated ORDER BY 1, 2"
    )
    return [f"index {name} is not valid" for (name,) in indexes] + [
        f"constraint {name} of {table} is not validated" for table, name in constraints
    ]


def sequences_behind(connection: sa.Connection) -> list[str]:
    """Tables whose next number is taken already."""
    found = []
    existing = set(user_tables(connection))
    for table in TABLES.values():
        if table.serial is None or table.name not in existing:
            continue
        query = sa.text("SELECT pg_get_serial_sequence(:table, :column)")
        sequence = connection.execute(query, {"table": table.name, "column": table.serial}).scalar()
        if sequence is None:
            found.append(f"{table.name}.{table.serial} is not numbered")
            continue
        following, highest = connection.exec_driver_sql(
            f"SELECT last_value + is_called::int, (SELECT coalesce(max({table.serial}), 0) FROM {table.name})"
            f" FROM {sequence}"
        ).one()
        if following <= highest:
            found.append(f"the next {table.name}.{table.serial} would be {following:,}, {highest:,} is there")
    return found


def broken_indexes(connection: sa.Connection) -> list[str]:
    """B-tree indexes that do not hold what their table holds: by amcheck where it is installed, else by counting."""
    if _has_amcheck(connection):
        return _amcheck(connection)
    found = []
    for index, table, query in _scannable(connection)[0]:
        led = connection.exec_driver_sql(query).scalar_one()
        connection.exec_driver_sql("SET LOCAL enable_indexscan = off")
        connection.exec_driver_sql("SET LOCAL enable_indexonlyscan = off")
        rows = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
        _index_scans_only(connection)
        if led != rows:
            found.append(f"{index} leads to {led:,} of {rows:,} rows of {table.replace('%%', '%')}")
    return found


def index_method(connection: sa.Connection) -> str:
    """How `broken_indexes` looks, in words, and what it does not see."""
    if _has_amcheck(connection):
        return "each B-tree holds what its table holds (amcheck); other kinds NOT CHECKED"
    left_out = _scannable(connection)[1]
    named = f"; NOT CHECKED at all: {', '.join(left_out)}" if left_out else ""
    return f"each leads to as many rows as its table has; their order NOT CHECKED (no extension amcheck){named}"


def _index_scans_only(connection: sa.Connection) -> None:
    for name in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
        connection.exec_driver_sql(f"SET LOCAL enable_{name} = off")
    for name in ("indexscan", "indexonlyscan"):
        connection.exec_driver_sql(f"SET LOCAL enable_{name} = on")


def _scannable(connection: sa.Connection) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(index, table, query that counts the rows it leads to), and the indexes that no such query is planned with."""
    indexes = connection.exec_driver_sql(
        "SELECT c.oid::regclass::text, c.relname, i.indrelid::regclass::text,"
        " (SELECT string_agg(pg_get_indexdef(c.oid, k, false), ', ' ORDER BY k)"
        " FROM generate_series(1, i.indnkeyatts) k) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname !~ '^(pg_|information_schema)' AND i.indisvalid ORDER BY 1"
    ).all()
    _index_scans_only(connection)
    chosen, left_out = [], []
    for index, name, table, keys in indexes:
        table, keys = table.replace("%", "%%"), keys.replace("%", "%%")
        # Rows in an index's order are read from it where nothing else may sort; the plan says whether it was this one.
        query = f"SELECT count(*) FROM (SELECT 1 FROM {table} ORDER BY {keys}) ordered"
        plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}").scalar_one()
        if f"'Index Name': {name!r}" in str(plan):
            chosen.append((index, table, query))
        else:
            left_out.append(index)
    return chosen, left_out


def _has_amcheck(connection: sa.Connection) -> bool:
    return bool(
        connection.exec_driver_sql(
            "SELECT EXISTS (SELECT 1 FROM pg_proc WHERE proname = 'bt_index_check' AND pg_function_is_visible(oid)"
            " AND has_function_privilege(oid, 'EXECUTE'))"
        ).scalar_one()
    )


def _amcheck(connection: sa.Connection) -> list[str]:
    indexes = connection.exec_driver_sql(
        "SELECT c.oid, c.oid::regclass::text FROM pg_class c JOIN pg_am m ON m.oid = c.relam"
        " JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE m.amname = 'btree' AND i.indisvalid AND n.nspname !~ '^(pg_|information_schema)' ORDER BY 2"
    ).all()
    found = []
    for oid, name in indexes:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SELECT bt_index_check({oid}::regclass, true)")
        except sa.exc.DBAPIError as error:
            found.append(f"{name}: {str(error.orig).strip().splitlines()[0]}")
    return found


def orphans(connection: sa.Connection) -> list[str] | None:
    """Sessions that command_stats or files name, and that have no summary."""
    existing = set(user_tables(connection))
    tables = [t for t in ("command_stats", "files") if t in existing]
    if "session_summaries" not in existing or not tables:
        return None
    found = []
    for table in tables:
        lost = (
            f"(SELECT DISTINCT session_id FROM {table} t WHERE NOT EXISTS"
            " (SELECT 1 FROM session_summaries s WHERE s.session_id = t.session_id)) lost"
        )
        count = connection.exec_driver_sql(f"SELECT count(*) FROM {lost}").scalar_one()
        if count:
            rows = connection.exec_driver_sql(f"SELECT session_id FROM {lost} ORDER BY 1 LIMIT {EXAMPLES}")
            found.append(f"{table}: {count:,} sessions without a summary ({', '.join(str(r[0]) for r in rows)})")
    return found


def summaries(connection: sa.Connection) -> str:
    """In words: whose sessions have a summary; of events the loader summarises only some, which is no fault."""
    said = "each session of command_stats and files has a summary"
    if "raw_events" not in user_tables(connection):
        return said
    events, known = SQL_TABLES["raw_events"].c, SQL_TABLES["session_summaries"].c.session_id
    session = former_generated(events.session_id, events.payload, "session")
    # EXCEPT sorts or hashes both sides once. NOT IN took PostgreSQL over 8 minutes for 5 million events, this 6 s.
    summarised = sa.select(visible(known)).where(known.is_not(None))
    lost = sa.select(session).where(session.is_not(None)).except_(summarised).subquery()
    count = connection.scalar(sa.select(sa.func.count()).select_from(lost))
    return f"{said}; {count:,} other sessions have events only"


def json_faults(connection: sa.Connection) -> list[str]:
    """JSON cells of a SQLite file that are none, by SQLite's own word; `db analyze` looks closer."""
    found = []
    existing = set(user_tables(connection))
    for table in TABLES.values():
        if table.name not in existing:
            continue
        names = {row[0] for row in connection.exec_driver_sql(f"SELECT name FROM pragma_table_info('{table.name}')")}
        for column in table.columns:
            if column.type is not Type.JSONB or column.name not in names:
                continue
            name = quoted(column.name)
            # Asked apart: older SQLite calls NULL no valid JSON.
            where = f"FROM {table.name} WHERE {name} IS NOT NULL AND NOT json_valid({name})"
            count = connection.exec_driver_sql(f"SELECT count(*) {where}").scalar_one()
            if count:
                rows = connection.exec_driver_sql(f"SELECT rowid {where} ORDER BY rowid LIMIT {EXAMPLES}")
                listed = ", ".join(str(row[0]) for row in rows)
                found.append(f"{table.name}.{column.name}: {count:,} cells are no JSON (rows {listed})")
    return found


def duplicates(connection: sa.Connection) -> list[str] | None:
    """Keys that more than one row has, counted over the tables, not by their indexes; NULLs are never equal."""
    if is_postgres(connection):
        for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
            connection.exec_driver_sql(f"SET LOCAL enable_{scan} = off")
    existing = set(user_tables(connection))
    known = [table for table in TABLES.values() if table.name in existing]
    found = []
    for table in known:
        names = {str(c["name"]) for c in sa.inspect(connection).get_columns(table.name)}
        for columns in table.unique_sets:
            if not set(columns) <= names:
                continue
            keys = ", ".join(quoted(c) for c in columns)
            filled = " AND ".join(f"{quoted(c)} IS NOT NULL" for c in columns)
            # By itself SQLite would read an index that holds these columns.
            rows = table.name if is_postgres(connection) else f"{table.name} NOT INDEXED"
            twice = f"SELECT 1 FROM {rows} WHERE {filled} GROUP BY {keys} HAVING count(*) > 1"
            if count := connection.exec_driver_sql(f"SELECT count(*) FROM ({twice}) twice").scalar_one():
                found.append(f"{table.name}: {count:,} values of ({', '.join(columns)}) more than once")
    return found if known else None
