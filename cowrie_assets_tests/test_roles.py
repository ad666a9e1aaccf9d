"""Least privilege: what the target's user needs and what each lack is called; a source that is only readable.

Not here: the other failures of a server (`test_failures.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cowrie_assets.catalog import TABLES
from cowrie_assets.cli.main import main
from cowrie_assets.errors import CowrieError, TargetError
from cowrie_assets.loading.ddl import create_table
from cowrie_assets.validation.counts import count_source
from cowrie_assets_tests.conftest import documented_privileges
from cowrie_assets_tests.db_backends import as_url
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, units, verdicts


def user_of(url: str) -> tuple[str, str]:
    """The user and the database of a URL."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    return str(parts["user"]), str(parts["dbname"])


def test_the_user_of_the_tests_is_the_documented_one(pg_url: str) -> None:
    ((name, *rights),) = query(
        pg_url,
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
        " WHERE rolname = current_user",
    )
    assert name == user_of(pg_url)[0]
    assert not any(rights)
    assert query(pg_url, "SELECT roleid FROM pg_auth_members WHERE member = current_user::regrole") == []
    assert query(pg_url, "SELECT 1 FROM pg_database WHERE datdba = current_user::regrole") == []
    assert "SUPERUSER" not in " ".join(documented_privileges("d", "r")).upper()


def test_each_missing_privilege_is_named_with_its_grant(
    real_v3: Path, pg_url: str, admin_url: str, tmp_path: Path
) -> None:
    user, database = user_of(pg_url)
    line = pipeline_for(real_v3, pg_url, tmp_path)
    given = documented_privileges(database, user)[2:]
    for grant in given:
        query(admin_url, grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
    refusals = []
    for missing in (
        f"GRANT CONNECT, CREATE ON DATABASE {database} TO {user}",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {user}",
        f"GRANT CREATE ON DATABASE {database} TO {user}",
    ):
        with pytest.raises(TargetError) as refused:
            line.prepare()
        refusals.append(str(refused.value))
        assert missing in refusals[-1]
        assert "\n" not in refusals[-1]
        query(admin_url, missing.replace("CONNECT, CREATE", "CONNECT"))
    assert line.prepare().created


def test_a_table_or_ledger_of_another_owner_is_named_before_anything_is_done(
    real_v3: Path, pg_url: str, admin_url: str, tmp_path: Path
) -> None:
    user, _ = user_of(pg_url)
    owner = f"owner_{user}"
    query(admin_url, f"CREATE ROLE {owner}")
    try:
        query(admin_url, create_table(TABLES["raw_events"]))
        query(admin_url, f"ALTER TABLE raw_events OWNER TO {owner}; GRANT ALL ON raw_events TO {user}")
        line = pipeline_for(real_v3, pg_url, tmp_path)
        with pytest.raises(TargetError, match=f'ALTER TABLE "raw_events" OWNER TO {user}, or GRANT {owner} TO {user}'):
            line.prepare()
        query(admin_url, f"ALTER TABLE raw_events OWNER TO {user}")
        query(admin_url, f"CREATE SCHEMA cowrie_migration AUTHORIZATION {owner}")
        with pytest.raises(TargetError, match=f"belongs to {owner}.*GRANT {owner} TO {user}"):
            line.prepare()
        query(admin_url, "DROP SCHEMA cowrie_migration")
        migrate(line)
        assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    finally:
        query(admin_url, f"DROP OWNED BY {owner}; DROP ROLE {owner}")


def test_a_privilege_lost_on_the_way_stops_at_once_and_a_rerun_completes(
    real_v3: Path, pg_url: str, admin_url: str, tmp_path: Path
) -> None:
    line = pipeline_for(real_v3, pg_url, tmp_path)
    line.prepare()
    (key, *_) = line.plan.windows.keys
    line.stage("raw_events", [key])
    line.clean("raw_events", key)
    query(admin_url, "ALTER TABLE raw_events OWNER TO CURRENT_USER")
    with pytest.raises(
        CowrieError, match=r"permission denied for table raw_events \[42501\].*README, Privileges"
    ) as lost:
        line.load("raw_events", key, "test")
    assert lost.value.exit_code == 3
    query(admin_url, f"ALTER TABLE raw_events OWNER TO {user_of(pg_url)[0]}")
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}


def test_a_command_says_in_one_line_what_it_may_not_read(
    real_v3: Path, pg_url: str, admin_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline_for(real_v3, pg_url, tmp_path).prepare()
    query(admin_url, "ALTER SCHEMA cowrie_migration OWNER TO CURRENT_USER")
    with pytest.raises(SystemExit) as ended:
        main(["status", "--target", as_url(pg_url)])
    assert ended.value.code == 3
    err = capsys.readouterr().err
    assert re.fullmatch(
        r"Error: .*permission denied for schema cowrie_migration \[42501\].*README, Privileges.*\n", err
    )


@pytest.fixture
def readable(real_v3: Path) -> Iterator[Path]:
    """A source that its user can only read, in a folder that its user can only read; both belong to another."""
    folder = Path(tempfile.mkdtemp(prefix="cowrie-ro-"))
    path = folder / "source.sqlite"
    shutil.copy(real_v3, path)
    path.chmod(0o444)
    folder.chmod(0o555)
    yield path
    folder.chmod(0o755)
    shutil.rmtree(folder)


def _read_as(account: int, readable: Path, home: Path) -> None:
    """Whatever reads the source: planning, staging, the proof's counting."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(account)
        os.setuid(account)
    assert not os.access(readable, os.W_OK)
    assert not os.access(readable.parent, os.W_OK)
    line = pipeline_for(readable, "", home)
    for table, keys in units(line.plan):
        staged = line.stage(table, keys)
        counted = count_source(line.plan, line.checked_source(), table, keys)
        assert {key: manifest.rows for key, (manifest, _) in staged.items()} == dict(counted)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_the_source_needs_only_be_readable(journal: str, readable: Path) -> None:
    account = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.getuid()
    home = Path(tempfile.mkdtemp(prefix="cowrie-home-"))
    os.chown(home, account, -1)
    if journal == "wal":
        readable.parent.chmod(0o755)
        readable.chmod(0o644)
        content = bytearray(readable.read_bytes())
        content[18:20] = b"\x02\x02"  # the header of a database in WAL mode whose WAL was checkpointed and removed
        readable.write_bytes(content)
        readable.chmod(0o444)
        readable.parent.chmod(0o555)
    before = {p.name: p.read_bytes() for p in readable.parent.iterdir()}
    process = multiprocessing.get_context("spawn").Process(target=_read_as, args=(account, readable, home))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert {p.name: p.read_bytes() for p in readable.parent.iterdir()} == before
    shutil.rmtree(home)
