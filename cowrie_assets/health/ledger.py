"""How far the migration into this database is, as its ledger says.

Belongs here: sums over partitions. Not here: rows of the ledger (`reporting/`), proving (`validation/`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from ..loading.lock import LOCK_KEY
from ..loading.outdated import OUTDATED, PLANNED
from .report import Check, Status

_PLAN = sa.text(
    "SELECT plan_id, pinned_at::text AS pinned_at, finished_at::text AS finished_at FROM cowrie_migration.plan"
)
_SUMS = sa.text(
    f"{PLANNED} SELECT count(*) AS partitions, count(loaded_at) AS loaded,"
    " coalesce(sum(loaded_rows), 0)::bigint AS rows,"
    " coalesce(sum(quarantined_rows), 0)::bigint AS set_aside, count(*) FILTER (WHERE verdict = 'FAIL') AS failed,"
    f" count(loaded_at) FILTER (WHERE verdict = 'NOT CHECKED') AS not_verified, count(*) FILTER (WHERE {OUTDATED})"
    " AS outdated, (SELECT count(*) FROM cowrie_migration.plan p, jsonb_object_keys(coalesce("
    "nullif(to_jsonb(p) -> 'total_faults', 'null'), '{}'))) AS wrong_totals FROM cowrie_migration.partitions"
)
_RUNNING = sa.text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 |"
    " objid::bigint) = :key AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


def check_migration(connection: sa.Connection, staging: str) -> Check:
    """Partitions loaded, failed and not verified; for a SQLite file whether a plan of it is there.

    Args:
        connection: to either backend.
        staging: folder or URL where the plan of a SQLite source lies.
    """
    if connection.dialect.name == "sqlite":
        return _source(staging)
    if not connection.execute(sa.text("SELECT to_regclass('cowrie_migration.plan') IS NOT NULL")).scalar():
        return Check("migration", Status.OK, "none has begun here", details={"plan": False})
    plan = connection.execute(_PLAN).mappings().first()
    if plan is None:
        return Check("migration", Status.WARNING, "the ledger has no plan: run `cowrie-assets migrate`")
    sums = dict(connection.execute(_SUMS).mappings().one())
    running = bool(connection.execute(_RUNNING, {"key": LOCK_KEY}).scalar())
    waiting = sums["partitions"] - sums["loaded"]
    troubles = []
    if sums["failed"]:
        troubles.append(f"{sums['failed']:,} of {sums['partitions']:,} partitions differ: see `cowrie-assets report`")
    if sums["wrong_totals"]:
        troubles.append(f"{sums['wrong_totals']:,} tables do not add up: see `cowrie-assets report`")
    if waiting:
        troubles.append(f"{waiting:,} of {sums['partitions']:,} partitions are not loaded")
    if sums["outdated"]:
        outdated = f"{sums['outdated']:,} of {sums['partitions']:,} partitions are to be loaded again"
        troubles.append(f"{outdated}, as the plan counts other rows: run `cowrie-assets migrate`")
    if sums["not_verified"]:
        troubles.append(f"{sums['not_verified']:,} loaded partitions are not verified: run `cowrie-assets verify`")
    if not waiting and plan["finished_at"] is None:
        troubles.append("indexes and constraints are not built")
    whole = f"{sums['rows']:,} rows in {sums['loaded']:,} partitions, {sums['set_aside']:,} set aside"
    text = "; ".join([f"{whole}{', one runs now' if running else ''}", *troubles])
    status = Status.CRITICAL if sums["failed"] or sums["wrong_totals"] else Status.WARNING if troubles else Status.OK
    return Check("migration", status, text, details={"plan": True, "running": running, **plan, **sums})


def _source(staging: str) -> Check:
    if "://" in staging:
        return Check.skipped("migration", "a SQLite file has no ledger, and its plan lies in object storage")
    planned = (Path(staging) / "plan.json").exists()
    text = "a SQLite file has no ledger; " + ("its plan is there" if planned else "there is no plan of it")
    return Check("migration", Status.OK, text, details={"plan": planned})
