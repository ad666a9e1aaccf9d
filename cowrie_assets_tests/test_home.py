"""A folder of ours that cannot be made: every command that needs it says so in one line.

Not here: what lies in it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cowrie_assets.cli.main import main
from cowrie_assets.db.target import target_url
from cowrie_assets.errors import SettingsError
from cowrie_assets.folders import ours
from cowrie_assets.settings import Settings

COMMANDS = (
    "report hours",
    "db check",
    "db files",
    "debug session x",
    "enrichment refresh --dry-run",
    "psql",
    "status",
    "quarantine",
    "demo",
)


@pytest.fixture(params=["not writable", "a file is in its place"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that the environment names, which cannot be made."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("COWRIE_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("COWRIE_HOME", str(home))
    if request.param != "not writable":
        home.write_text("not a folder", encoding="utf-8")
        return home
    mkdir = Path.mkdir

    def denied(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        # The tests may run as root, whom no mode of a folder stops.
        if self.is_relative_to(home):
            raise PermissionError(13, "Permission denied", str(self))
        mkdir(self, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", denied)
    return home


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_the_folder_and_the_way_out(
    home: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith(f"Error: {home}")
    assert " cannot be made: " in err
    assert err.endswith("Set COWRIE_HOME to a folder of yours.\n")
    assert err.count("\n") == 1


def test_dagsters_folder_is_named_too(
    home: Path, real_other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["migrate", "--dry-run", "--source", str(real_other), "--staging", str(tmp_path / "staging")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"Error: {home / 'dagster'} cannot be made: ")


def test_a_full_disk_stays_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"), ours(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_the_note_of_the_last_database_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cowrie_assets.db.embedded.hold", lambda folder: "postgresql:///cowrie")
    (tmp_path / "last_database").mkdir()
    for source in (tmp_path / "source.sqlite", None):
        with pytest.raises(SettingsError, match=r"last_database cannot be used: .* Set COWRIE_HOME"):
            target_url(Settings(source=source, home=tmp_path))
