"""The seal: no line of the ledger is lost, added or altered unseen, also where no row of the source could prove it.

Not here: lines that contradict source or target (`test_proof.py`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from cowrie_assets.db.seal import LINES
from cowrie_assets.loading.ledger import seal
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.validation.totals import check_totals
from cowrie_assets.validation.verdicts import Verdict
from cowrie_assets_tests.dirty import make
from cowrie_assets_tests.test_dirty import migrate, pipeline
from cowrie_assets_tests.test_proof import differences

ALTERED = {
    "repairs": ("rule = 'nonsense'", "source_rowid = source_rowid + 1"),
    "quarantine": ("rule = 'json.depth'", "rule = 'postgres.nonsense'", "detail = 'lie'", "target_key = 'lie'"),
    "large_cells": ("bytes = 'x'", "part = part + 1"),
    "derivations": ("rule = 'lie'",),
    "storage_classes": ("source_rowids = '{[7,9)}'", "storage = 'lie'"),
    "row_digests": ("digest = 'x'", "source_rowid = 99"),
    "partitions": ("digest = 'x'",),
}
LARGE = (
    "INSERT INTO cowrie_migration.large_cells SELECT table_name, source_rowid, 'c', 0, 'b', partition_key"
    " FROM cowrie_migration.quarantine"
)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory, module_url: str) -> Pipeline:
    """A dirty source, well migrated."""
    folder = tmp_path_factory.mktemp("seal")
    make(folder / "s.sqlite", 3, dirt=0.6)
    with closing(sqlite3.connect(folder / "s.sqlite")) as source, source:
        # A class that the target does not tell, and a repair in a row that its key does not number.
        source.execute("CREATE TABLE odd (k TEXT PRIMARY KEY, v, w TEXT)")
        source.execute("INSERT INTO odd VALUES ('a', 5, 'x'), ('b', 'text', 'nul' || char(0))")
    line = pipeline(folder / "s.sqlite", folder, 3, module_url)
    migrate(line)
    return line


def test_every_line_is_sealed(dirty: Pipeline) -> None:
    with dirty.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(LARGE.encode())  # a cell over a megabyte, which these sources do not have
        for table, key in connection.execute("SELECT table_name, partition_key FROM cowrie_migration.partitions"):
            seal(connection, table, key)
        assert differences(dirty, connection) == ([], [])
        for table in LINES:
            one = f"ctid = (SELECT min(ctid) FROM cowrie_migration.{table})"
            statements = [
                *(f"UPDATE cowrie_migration.{table} SET {change} WHERE {one}" for change in ALTERED[table]),
                f"DELETE FROM cowrie_migration.{table} WHERE {one}",
            ]
            for statement in statements:
                with connection.transaction(force_rollback=True):
                    assert connection.execute(statement.encode()).rowcount == 1, statement
                    _, faults = differences(dirty, connection)
                    assert any("not as the load wrote them" in fault for fault in faults), statement
        for change in ALTERED["partitions"]:
            with connection.transaction(force_rollback=True):
                connection.execute(f"UPDATE cowrie_migration.partitions SET {change} WHERE loaded_rows > 0".encode())
                assert differences(dirty, connection)[1]


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("INSERT INTO cowrie_migration.repairs SELECT 'nosuch', source_rowid, column_name, rule, original, original_type,"
         " replacement, target_key, 'p', run_id FROM cowrie_migration.repairs LIMIT 1", "nosuch"),
        ("UPDATE cowrie_migration.plan SET plan_id = 'x'", "cowrie_migration.plan"),
        ("UPDATE cowrie_migration.plan SET plan = jsonb_set(plan, '{declared,objects}', '[]')", "cowrie_migration.plan"),
        ("UPDATE cowrie_migration.plan SET sealed = NULL", "cowrie_migration.plan"),
    ],
)  # fmt: skip
def test_what_belongs_to_no_partition_is_seen(dirty: Pipeline, change: str, table: str) -> None:
    with dirty.connect() as connection, connection.transaction(force_rollback=True):
        source = dirty.settings.require_source()
        assert {t.verdict for t in check_totals(connection, dirty.plan, source)} == {Verdict.PASS}
        assert connection.execute(change.encode()).rowcount == 1
        failed = [t for t in check_totals(connection, dirty.plan, source) if t.verdict is Verdict.FAIL]
        assert [t.table for t in failed] == [table]
