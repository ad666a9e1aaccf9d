"""`enrichment refresh` and `enrichment live-check` as they are called: options, output, exit codes, kills.

Not here: what is written (test_enrichment_refresh.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cowrie_assets.cli.enrichment import SERVICE_NAMES
from cowrie_assets.cli.main import main
from cowrie_assets.db.engine import open_database
from cowrie_assets.db.tables import METADATA, SQL_TABLES
from cowrie_assets.enrichment.config import SERVICES

from .fake_service import VT_MISSING, Asked, FakeService, Planned, dshield_ip, fake_service, vt_file, wait_until

pytestmark = pytest.mark.usefixtures("loopback_only")

KEY = "k3y-that-nobody-may-see"
SESSIONS, EVENTS, FILES = (SQL_TABLES[name] for name in ("session_summaries", "raw_events", "files"))
PREFIXES = ("VT", "DSHIELD", "URLHAUS", "SPUR")


def answers(asked: Asked) -> Planned:
    value = asked.path.split("/")[-1].removesuffix("?json")
    if asked.path.startswith("/ip/"):
        return Planned(body=dshield_ip(value))
    if asked.path == "/host/":
        return Planned(body={"query_status": "no_results"})
    if asked.path.startswith("/context/"):
        return Planned(body={"ip": value, "infrastructure": "DATACENTER"})
    return Planned(body=vt_file(value)) if value != "f" * 64 else Planned(404, VT_MISSING)


@pytest.fixture
def server() -> Iterator[FakeService]:
    with fake_service() as service:
        service.answer = answers
        yield service


@pytest.fixture
def database(tmp_path: Path, server: FakeService, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of two sessions and a file; the environment knows keys and the local server."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("COWRIE_")]:
        monkeypatch.delenv(name)
    for prefix in PREFIXES:
        monkeypatch.setenv(f"COWRIE_{prefix}_BASE_URL", server.url)
        monkeypatch.setenv(f"COWRIE_{prefix}_PER_MINUTE", "60000")
        monkeypatch.setenv(f"COWRIE_{prefix}_{'CONTACT' if prefix == 'DSHIELD' else 'API_KEY'}", KEY)
    path = tmp_path / "database.sqlite"
    engine = open_database(str(path), write=True, create=True)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(SESSIONS), [{"session_id": s} for s in ("a", "b")])
        connection.execute(
            sa.insert(EVENTS),
            [
                {
                    "source": "/l",
                    "source_offset": n,
                    "session_id": s,
                    "event_type": "cowrie.session.connect",
                    "payload": {"session": s, "src_ip": ip},
                }
                for n, (s, ip) in enumerate((("a", "8.8.4.4"), ("b", "8.8.8.8")))
            ],
        )
        connection.execute(sa.insert(FILES), {"session_id": "a", "shasum": "a" * 64})
    engine.dispose()
    return path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def called(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["enrichment", *arguments])
        out, err = capfd.readouterr()
        assert KEY not in out + err
        return int(str(ended.value.code)), out, err

    return called


Run = Callable[..., tuple[int, str, str]]


def rows(database: Path, query: sa.Select[Any]) -> list[Any]:
    engine = open_database(str(database), write=False)
    with engine.connect() as connection:
        found = list(connection.execute(query).all())
    engine.dispose()
    return found


def test_refresh_fills_sessions_and_files(run: Run, database: Path) -> None:
    code, out, _ = run("refresh", "--database", str(database), "--json")
    content = json.loads(out)
    assert code == 0
    assert [(t["service"], t["table"], t["asked"], t["written"]) for t in content["refreshed"]] == [
        ("dshield", "session_summaries", 2, 2),
        ("urlhaus", "session_summaries", 2, 2),
        ("spur", "session_summaries", 2, 2),
        ("virustotal", "session_summaries", 2, 2),
        ("virustotal", "files", 1, 1),
    ]
    [(enrichment, vt, dshield)] = rows(
        database,
        sa.select(SESSIONS.c.enrichment, SESSIONS.c.vt_flagged, SESSIONS.c.dshield_flagged).where(
            SESSIONS.c.session_id == "a"
        ),
    )
    assert list(enrichment) == ["dshield", "urlhaus", "spur", "virustotal"]
    assert (vt, dshield) == (True, True)
    assert KEY.encode() not in (database.parent / ".cowrie" / "enrichment-cache.sqlite").read_bytes()
    again = json.loads(run("refresh", "--database", str(database), "--json")[1])
    assert {t["asked"] + t["cached"] for t in again["refreshed"]} == {0}


def test_the_option_offers_every_service() -> None:
    assert tuple(SERVICES) == SERVICE_NAMES


def test_the_table_and_its_notes(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COWRIE_SPUR_API_KEY")
    code, out, _ = run("refresh", "--database", str(database), "--limit", "1")
    assert code == 0
    assert "spur: NOT ASKED, COWRIE_SPUR_API_KEY is not set" in out
    assert [line.split()[:3] for line in out.splitlines() if line.startswith("virustotal")] == [
        ["virustotal", "session_summaries", "1"],
        ["virustotal", "files", "1"],
    ]


def test_options_choose_service_and_table(run: Run, database: Path, server: FakeService) -> None:
    assert run("refresh", "--database", str(database), "--service", "virustotal", "--files")[0] == 0
    assert [asked.path for asked in server.asked] == [f"/files/{'a' * 64}"]
    assert run("refresh", "--database", str(database), "--service", "dshield", "--sessions", "--dry-run")[0] == 0
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("planned", "code", "words"),
    [
        (Planned(body=b"x"), 1, "2 failed: unexpected answer"),
        (Planned(401), 3, "dshield stopped before the end. dshield: the key was refused"),
        (Planned(429, headers={"Retry-After": "7200"}), 3, "Go on after "),
    ],
)
def test_failures_have_codes_and_words(
    run: Run, database: Path, server: FakeService, planned: Planned, code: int, words: str
) -> None:
    server.answer = lambda asked: planned
    got, out, err = run("refresh", "--database", str(database), "--service", "dshield")
    assert (got, err) == (code, "")
    assert words in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--service", "spur"), "COWRIE_SPUR_API_KEY"),
        (("--service", "shodan"), "shodan"),
        (("--limit", "0"), "limit"),
        (("--database", "missing.sqlite"), "does not exist"),
    ],
)
def test_usage_ends_in_2(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.delenv("COWRIE_SPUR_API_KEY")
    code, _, err = run("refresh", "--database", str(database), *arguments)
    assert (code, words in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--files",), "Files are asked about at virustotal, and COWRIE_VT_API_KEY is not set. Set it (see README)."),
        (("--files", "--service", "dshield"), "Files are asked about at virustotal alone"),
        (("--files", "--service", "dshield", "--dry-run"), "Files are asked about at virustotal alone"),
    ],
)
def test_files_without_a_service_for_them_end_in_2(
    run: Run,
    database: Path,
    server: FakeService,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.delenv("COWRIE_VT_API_KEY")
    code, out, err = run("refresh", "--database", str(database), *arguments)
    assert (code, out, words in err, server.asked) == (2, "", True, [])


def test_an_old_database_is_sent_to_its_migration(run: Run, database: Path, tmp_path: Path) -> None:
    engine = open_database(str(database), write=True)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE session_summaries DROP COLUMN enrichment"))
        connection.execute(sa.text("DROP TABLE files"))
    engine.dispose()
    code, _, err = run("refresh", "--database", str(database))
    assert (code, "cowrie-assets db migrate" in err) == (2, True)


def test_a_database_without_files_says_so(run: Run, database: Path) -> None:
    engine = open_database(str(database), write=True)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE files"))
    engine.dispose()
    code, out, _ = run("refresh", "--database", str(database), "--service", "virustotal")
    assert (code, "files: NOT CHECKED" in out) == (0, True)
    assert run("refresh", "--database", str(database), "--files")[0] == 2


@pytest.mark.crash
def test_a_kill_in_the_middle_is_taken_up(run: Run, database: Path, server: FakeService) -> None:
    server.answer = lambda asked: Planned(body=dshield_ip("8.8.8.8"), slow=0 if "8.8.4.4" in asked.path else 30)
    command = [sys.executable, "-m", "cowrie_assets.cli.main", "enrichment", "refresh"]
    options = ["--database", str(database), "--service", "dshield"]
    root = Path(__file__).parent.parent
    process = subprocess.Popen([*command, *options], cwd=database.parent, env=os.environ | {"PYTHONPATH": str(root)})
    wait_until(lambda: len(server.asked) == 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.answer = answers
    content = json.loads(run("refresh", *options, "--json")[1])
    assert [(t["asked"], t["cached"], t["written"]) for t in content["refreshed"]] == [(1, 1, 2)]


def test_a_dry_run_says_what_a_run_would_leave_out(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch, server: FakeService
) -> None:
    monkeypatch.delenv("COWRIE_SPUR_API_KEY")
    code, out, _ = run("refresh", "--database", str(database), "--dry-run")
    assert (code, server.asked) == (0, [])
    assert not (database.parent / ".cowrie").exists()
    assert [line for line in out.splitlines() if "not set" in line] == [
        "spur: would not be asked, COWRIE_SPUR_API_KEY is not set"
    ]


def test_live_check_gives_a_verdict_each(
    run: Run, database: Path, server: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("live-check")[0] == 0
    paths = [
        "/ip/1.1.1.1?json",
        "/host/",
        "/context/1.1.1.1",
        "/files/275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f",
    ]
    assert [asked.path for asked in server.asked] == paths
    monkeypatch.delenv("COWRIE_URLHAUS_API_KEY")
    server.answers = [Planned(429), Planned(403), Planned(body=b"x")]
    code, out, _ = run("live-check", "--json")
    content = json.loads(out)
    assert (code, content["exit_code"]) == (2, 2)
    assert {s["service"]: s["verdict"] for s in content["services"]} == {
        "dshield": "rate limited",
        "urlhaus": "no key",
        "spur": "refused key",
        "virustotal": "unexpected answer",
    }
    assert len(server.asked) == 7


@pytest.mark.parametrize(
    ("arguments", "planned", "code"),
    [
        (("--service", "spur"), Planned(503), 1),
        (("--service", "spur"), Planned(body={"ip": "1.1.1.1"}), 0),
        (("--service", "urlhaus"), Planned(), 1),
        ((), Planned(body={"ip": "1.1.1.1"}), 0),
    ],
    ids=["down", "ok", "no key by name", "no key"],
)
def test_live_checks_exit_code(
    run: Run,
    database: Path,
    server: FakeService,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    planned: Planned,
    code: int,
) -> None:
    for name in ("COWRIE_URLHAUS_API_KEY", "COWRIE_VT_API_KEY", "COWRIE_DSHIELD_CONTACT"):
        monkeypatch.delenv(name)
    server.answer = lambda asked: planned
    assert run("live-check", *arguments)[0] == code


def test_keys_from_the_file_are_used(
    run: Run, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeService
) -> None:
    (tmp_path / "vt.key").write_text("from-the-file\n", encoding="utf-8")
    (tmp_path / "sensors.toml").write_text('[enrichment.virustotal]\nkey_file = "vt.key"\n', encoding="utf-8")
    monkeypatch.delenv("COWRIE_VT_API_KEY")
    assert run("live-check", "--service", "virustotal")[0] == 0
    assert server.asked[0].headers["x-apikey"] == "from-the-file"


def test_a_long_refresh_says_where_it_is(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cowrie_assets.cli.enrichment.HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setenv("COWRIE_DSHIELD_PER_MINUTE", "600")
    options = ("refresh", "--database", str(database), "--service", "dshield")
    assert (
        "dshield session_summaries: 1 to ask, 0 from the cache, at most 1 rows to go\n" in run(*options, "--dry-run")[2]
    )
    assert "1 asked, 0 from the cache, at most 1 rows to go: 0 min at 600 a minute" in run(*options)[2]
