"""`db backfill-files` and `db files`: what a real processor wrote into `files` is what we fill from the same events.

Not here: enrichment of files (test_enrichment_refresh.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cowrie_assets.db import backfill_files as module
from cowrie_assets.db.backfill_files import Backfill, backfill_files
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.migrations.runner import migrate
from cowrie_assets.db.tables import SQL_TABLES

from .db_backends import DbCommand, as_url
from .test_migration import migrate as migrated
from .test_migration import pipeline_for

RAW, FILES = SQL_TABLES["raw_events"], SQL_TABLES["files"]


def events(path: Path) -> Iterator[dict[str, Any]]:
    engine = open_database(str(path), write=False)
    with engine.connect() as connection:
        query = sa.select(RAW.c.id, RAW.c.source, RAW.c.source_offset, RAW.c.source_inode, RAW.c.payload)
        for row in connection.execute(query.order_by(RAW.c.id)).mappings():
            if isinstance(row["payload"], dict) and ".file_" in str(row["payload"].get("eventid")):
                yield dict(row)
    engine.dispose()


def files(engine: sa.Engine, *columns: str) -> set[tuple[Any, ...]]:
    with engine.connect() as connection:
        return {tuple(row) for row in connection.execute(sa.select(*(FILES.c[c] for c in columns)))}


@pytest.fixture
def filled(database: sa.Engine, real_v6: Path) -> sa.Engine:
    """Each backend with the real events of files, session_id and event_type NULL as the processor left them."""
    migrate(database)
    with database.begin() as connection:
        connection.execute(sa.insert(RAW), list(events(real_v6)))
    return database


def test_downloads_are_what_the_processor_itself_wrote(
    filled: sa.Engine, real_v6: Path, empty_url: str, db_command: DbCommand
) -> None:
    code, out, _ = db_command("backfill-files", "--database", empty_url, "--dry-run", "--json")
    planned = json.loads(out)
    assert not files(filled, "id")
    code, out, _ = db_command("backfill-files", "--database", empty_url, "--json")
    done = json.loads(out)
    assert (code, done | {"dry_run": True}) == (0, planned)
    engine = open_database(str(real_v6), write=False)
    processors = files(engine, "session_id", "shasum", "first_seen", "download_url", "enrichment_status")
    engine.dispose()
    ours = files(filled, "session_id", "shasum", "first_seen", "download_url", "enrichment_status")
    assert len(processors) == 133
    # One event says 2025-W39-1, which the processor takes for a date and the migration for none.
    (odd,) = processors - ours
    assert [e["payload"]["timestamp"] for e in events(real_v6) if e["payload"]["session"] == odd[0]] == ["2025-W39-1"]
    # It leaves out uploads; we do not.
    assert {key[:2] for key in ours - processors} - {odd[:2]} == {
        (e["payload"]["session"], e["payload"]["shasum"])
        for e in events(real_v6)
        if e["payload"]["eventid"].endswith("upload")
    }
    assert ("up15.bin",) in files(filled, "filename")
    again = backfill_files(filled)
    assert (again.added, again.completed, again.events) == (0, 0, done["events"])


def test_an_interrupted_run_goes_on(filled: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 20)

    def interrupt(done: Backfill) -> None:
        if done.events >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill_files(filled, progress=interrupt)
    before = files(filled, "id", "session_id", "shasum")
    assert before
    backfill_files(filled)
    whole = files(filled, "session_id", "shasum", "filename", "download_url", "first_seen")
    assert files(filled, "id", "session_id", "shasum") > before
    with filled.begin() as connection:
        connection.execute(sa.delete(FILES))
    monkeypatch.undo()
    backfill_files(filled)
    assert files(filled, "session_id", "shasum", "filename", "download_url", "first_seen") == whole


def test_what_is_there_is_completed_and_never_overwritten(database: sa.Engine) -> None:
    migrate(database)
    payload = {
        "eventid": "cowrie.session.file_download",
        "session": "s",
        "shasum": "a",
        "url": "http://new/",
        "filename": "new",
        "timestamp": "2026-11-24T05:00:00Z",
    }
    enriched = {"vt_malicious": True, "vt_positives": 9, "enrichment_status": "enriched", "vt_description": "worm"}
    with database.begin() as connection:
        connection.execute(sa.insert(FILES), [{"session_id": "s", "shasum": "a", "filename": "old", **enriched}])
        rows = [payload, {**payload, "shasum": None}, {**payload, "eventid": "cowrie.session.file_download.failed"}]
        connection.execute(
            sa.insert(RAW), [{"source": "/l", "source_offset": n, "payload": p} for n, p in enumerate(rows)]
        )
    done = backfill_files(database)
    assert (done.events, done.added, done.completed, done.unusable, done.examples) == (2, 0, 1, 1, [2])
    assert files(database, "filename", "download_url", *enriched) == {("old", "http://new/", *enriched.values())}
    assert {str(row[0]) for row in files(database, "first_seen")} == {"2026-11-24 05:00:00+00:00"}


def test_the_list_and_its_filters(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database)
    rows = [
        {
            "session_id": "s",
            "shasum": "a",
            "vt_malicious": True,
            "enrichment_status": "enriched",
            "filename": "\x1b[2J",
        },
        {"session_id": "s", "shasum": "b", "vt_malicious": False, "enrichment_status": "pending", "filename": None},
        {"session_id": "t", "shasum": "a", "vt_malicious": False, "enrichment_status": "pending", "filename": "x"},
    ]
    with database.begin() as connection:
        connection.execute(sa.insert(FILES), rows)

    def listed(*options: str) -> list[tuple[str, str]]:
        code, out, _ = db_command("files", "--database", empty_url, "--json", *options)
        assert code == 0
        return [(row["session_id"], row["shasum"]) for row in json.loads(out)]

    assert listed() == [("t", "a"), ("s", "b"), ("s", "a")]
    assert listed("--malicious") == [("s", "a")]
    assert listed("--pending") == [("t", "a"), ("s", "b")]
    assert listed("--session", "s", "--limit", "1") == [("s", "b")]
    _, out, _ = db_command("files", "--database", empty_url)
    assert "\x1b" not in out
    assert "[2J" in out


def test_an_older_schema_is_sent_to_migrate(database: sa.Engine, empty_url: str, db_command: DbCommand) -> None:
    migrate(database, to=3)
    for command in ("files", "backfill-files"):
        code, _, err = db_command(command, "--database", empty_url)
        assert (code, "db migrate" in err) == (2, True)


def test_rows_of_a_migration_that_are_completed_are_differences(
    real_v6: Path, pg_url: str, tmp_path: Path, db_command: DbCommand
) -> None:
    """The proof compares with the source alone; the command that makes it differ says so."""
    line = pipeline_for(real_v6, pg_url, tmp_path)
    migrated(line)
    said = "from now on `cowrie-assets verify` names the changed rows as differences"
    code, out, err = db_command("backfill-files", "--database", as_url(pg_url), "--dry-run")
    assert (code, said in err) == (0, False)
    code, out, err = db_command("backfill-files", "--database", as_url(pg_url))
    assert (code, "98 completed" in out, said in err) == (0, True, True)
    keys = list(line.plan.partitions("files"))
    assert sum(proof.different > 0 for proof in line.validate("files", keys)) > 0
    code, out, err = db_command("backfill-files", "--database", as_url(pg_url))
    assert (code, "0 completed" in out, said in err) == (0, True, False)
