"""A password is in no output, no file and no table, however it was given and whatever fails.

Not here: a password that a person types as a cell of the source; that is data.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from cowrie_assets.cli.main import main
from cowrie_assets.defs.build import build_defs
from cowrie_assets.demo import make_demo
from cowrie_assets.settings import load_settings
from cowrie_assets.staging.store import Store
from cowrie_assets_tests.test_inert import url_of
from cowrie_assets_tests.test_migration import contents

MARK = "cr3tM4rk"
"""In every password of this file, and nowhere else; no character of it needs percent-encoding."""
UNREACHABLE = [
    f"postgresql://u:{MARK}@127.0.0.1:1/d",
    f"postgres://u:%53%33{MARK}@127.0.0.1:1/d",
    f"postgresql+psycopg://u:{MARK}@127.0.0.1:1/d",
    f"postgresql://u:{MARK}@[::1]:1/d?connect_timeout=2",
    f"postgresql://u@127.0.0.1:1/d?password={MARK}",
    f"postgresql://u@127.0.0.1:1/d?sslpassword={MARK}&connect_timeout=2",
    f"postgresql://127.0.0.1:1/d?user=u&pass%77ord={MARK}",
    f"postgresql://u:{MARK}@127.0.0.1:1,127.0.0.2:1/d",
    f"postgresql://u:a:{MARK}@127.0.0.1:1/d",
    f"postgresql://u:{MARK}@127.0.0.1:1/d?connect_timeout=x",
    f"postgresql://u:{MARK}@127.0.0.1/d?port=x",
    f"postgresql://u:a%0A{MARK}@127.0.0.1:1/d",
    f"postgresql://u:%22{MARK}%27@127.0.0.1:1/d",
    f"postgresql://:{MARK}@127.0.0.1:1/d",
    f"postgresql://u@127.0.0.1:1/d?options=-cx.password%3D{MARK}",
    "postgresql:///?service=marked",
]
INVALID = [
    f"postgresql://u:a {MARK}@127.0.0.1:1/d",
    f"postgresql://u:{MARK}%zz@127.0.0.1:1/d",
    f"postgresql://u:%00{MARK}@127.0.0.1:1/d",
    f"postgresql://u:x@{MARK}@127.0.0.1:1/d",
    f"postgresql://u:{MARK}/x@127.0.0.1:1/d",
    f"postgresql://u:x/{MARK}@127.0.0.1:1/d",
    f"postgresql://u:x#{MARK}@127.0.0.1:1/d",
    f"postgresql://u:x?{MARK}@127.0.0.1:1/d",
    f"postgresql://u:{MARK}@127.0.0.1:port/d",
    f"postgresql://u:{MARK}@127.0.0.1:99999/d",
    f"postgresql://u:{MARK}",
    f"postgresql://u@127.0.0.1:1/d?password={MARK}%zz",
    f"postgresql://u@127.0.0.1:1/d?nonsense=1&password={MARK}",
    f"postgresql://u@127.0.0.1:1/d?password={MARK}=x",
    f"postgresql://u@127.0.0.1:1/d?passwort={MARK}",
    f"mysql://u:{MARK}@127.0.0.1/d",
    f"host=127.0.0.1 port=1 user=u password={MARK}",
    f"host=127.0.0.1 port=1 user=u password = 'a {MARK}' dbname=d",
    f"host=127.0.0.1 port=1 PASSWORD='a\\' {MARK}",
    f"u:{MARK}@127.0.0.1/d",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with Dagster's home and a service file that holds a password."""
    for name in [n for n in os.environ if n.startswith("COWRIE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    (tmp_path / "services").write_text(f"[marked]\nhost=127.0.0.1\nport=1\nuser=u\npassword={MARK}\n", encoding="utf-8")
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    return tmp_path


def shown_by(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """Run a command line; its exit code and all that it shows, which holds no password."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = "".join(capfd.readouterr())
    assert MARK not in shown, (arguments, shown)
    return ended.value.code, shown


@pytest.mark.parametrize("url", UNREACHABLE + INVALID)
def test_a_target_that_cannot_be_used_is_named_without_its_password(
    url: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, shown = shown_by(capfd, "status", "--target", url)
    assert code == 2
    assert shown.startswith("Error: ")
    assert shown.count("\n") == 1
    assert ("cannot be reached" in shown) == (url in UNREACHABLE)
    monkeypatch.setenv("COWRIE_POSTGRES_URL", url)
    assert shown_by(capfd, "psql" if url in INVALID else "reset", *[] if url in INVALID else ["--yes"])[0] == 2
    monkeypatch.delenv("COWRIE_POSTGRES_URL")
    (home / "sensors.toml").write_text(f"[global]\ndb = '''postgresql{url.removeprefix('postgresql')}'''\n")
    assert shown_by(capfd, "status")[0] == 2
    (home / "sensors.toml").write_text(f'[global]\ndb = "{url}\n')
    assert shown_by(capfd, "status")[0] == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COWRIE_SQLITE_PATH", f"postgresql://u:{MARK}@127.0.0.1:1/d"),
        ("COWRIE_SOURCE_URL", f"mysql://u:{MARK}@127.0.0.1:1/d"),
        ("COWRIE_STAGING_URL", f"nowhere://key:{MARK}@bucket/x"),
        ("COWRIE_STAGING_URL", f"s3://key:{MARK}@"),
        ("COWRIE_STAGING_URL", f"s3://key:{MARK}@bucket/x?nonsense=1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_without_its_password(
    name: str, value: str, home: Path, real_v3: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COWRIE_SQLITE_PATH", str(real_v3))
    monkeypatch.setenv(name, value)
    assert shown_by(capfd, "plan")[0] in (2, 3)
    assert shown_by(capfd, "clean", "--yes")[0] in (2, 3)


def test_the_staging_url_is_shown_without_its_password(
    home: Path, real_v3: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Local(Store):
        def __init__(self, url: str) -> None:
            super().__init__(str(home / "staging"))
            self.url = url

    monkeypatch.setattr("cowrie_assets.pipeline.Store", Local)
    at = ("--source", str(real_v3), "--staging", f"s3://key:{MARK}@bucket/x")
    for command in ("plan", "inspect", "clean --yes"):
        code, shown = shown_by(capfd, *command.split(), *at)
        assert code == 0
        assert ("s3://key:***@bucket/x" in shown) == (command != "inspect")


def test_no_file_and_no_table_holds_a_password(
    home: Path, pg_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_demo(home / "s.sqlite", events=500, days=2, last_day=date(2026, 10, 31), dirty_per_mille=20)
    given = url_of(pg_url)
    user = given.partition("//")[2].partition("@")[0]
    url = given.replace(f"//{user}@", f"//{user}:%53{MARK}@") + f"&sslpassword={MARK}&password={MARK}"
    monkeypatch.setenv("COWRIE_SQLITE_PATH", str(home / "s.sqlite"))
    monkeypatch.setenv("COWRIE_POSTGRES_URL", url)
    for command in (
        "inspect",
        "plan --json",
        "migrate",
        "status",
        "status --json",
        "verify",
        "verify --json",
        "report",
    ):
        assert shown_by(capfd, *command.split())[0] == 0, command
    for command in (
        "quarantine",
        "quarantine --format csv",
        "quarantine --format jsonl",
        "psql -c SELECT",
        "export --to again.sqlite",
    ):
        assert shown_by(capfd, *command.split())[0] == 0, command
    defs = build_defs(load_settings(os.environ | {"COWRIE_POSTGRES_URL": UNREACHABLE[0]}))
    with dg.DagsterInstance.get() as instance:
        dg.materialize(list(defs.assets or ()), selection="key:target/schema", instance=instance, raise_on_error=False)  # type: ignore[arg-type]
    shown = "".join(capfd.readouterr())
    assert "cannot be reached" in shown
    assert MARK not in shown
    assert MARK not in str(contents(pg_url))
    written = [path for path in home.rglob("*") if path.is_file() and path.name != "services"]
    assert {path.suffix for path in written} > {".json", ".parquet", ".md", ".html", ".db"}
    assert [path for path in written if MARK.encode() in path.read_bytes()] == []
    assert shown_by(capfd, "reset", "--yes")[0] == 0
