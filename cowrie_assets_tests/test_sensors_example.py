"""`sensors.example.toml`: it loads as it is and with every commented line, and no setting of the code lacks in it.

Not here: what the settings do.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from cowrie_assets.db.settings import EngineSettings, load_engine_settings
from cowrie_assets.enrichment.config import CONTACT, SERVICES, service_configs
from cowrie_assets.errors import SettingsError
from cowrie_assets.health.settings import HealthSettings, load_health_settings
from cowrie_assets.settings import Grain, load_settings

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "sensors.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
ENV = {"COWRIE_SENSORS_FILE": str(EXAMPLE)}
ASSIGNMENT = re.compile(r'^# (?=(?:[a-z_]+|"[a-z.]+") = )', re.MULTILINE)


def test_it_loads_as_it_is() -> None:
    settings = load_settings(ENV)
    assert settings.target == "postgresql://cowrie@db.example.org:5432/cowrie?sslmode=verify-full"
    assert settings.source == Path("/srv/cowrie/cowrieprocessor.sqlite")
    assert load_engine_settings(ENV) == EngineSettings()
    assert load_health_settings(None, ENV) == HealthSettings()
    assert len(tomllib.loads(TEXT)["sensor"]) == 2


def test_its_defaults_are_the_codes() -> None:
    given = service_configs({}, tomllib.loads(TEXT)["enrichment"])
    assert given == service_configs({}, {})


@pytest.fixture
def uncommented(tmp_path: Path) -> dict[str, str]:
    """The example with every commented setting switched on, key files included."""
    text = ASSIGNMENT.sub("", TEXT)
    assert text.count("\n# ") < TEXT.count("\n# ")
    for name in SERVICES:
        (tmp_path / name).write_text("key", encoding="utf-8")
        text = text.replace(f"/run/secrets/{name}", str(tmp_path / name))
    (tmp_path / "sensors.toml").write_text(text, encoding="utf-8")
    return {"COWRIE_SENSORS_FILE": str(tmp_path / "sensors.toml")}


def test_every_commented_line_can_be_switched_on(uncommented: dict[str, str]) -> None:
    settings = load_settings(uncommented)
    assert settings.staging == "s3://bucket/cowrie?region=eu-central-1"
    assert (str(settings.start), str(settings.end), settings.grain) == ("2026-10-01", "2026-10-31", None)
    assert settings.treatment != load_settings({}, ROOT).treatment  # the rule that differs
    assert load_engine_settings(uncommented).url == "postgresql://cowrie@db.example.org/cowrie"
    assert load_health_settings(None, uncommented).status_dir == Path("/srv/cowrie/status")
    content = tomllib.loads(Path(uncommented["COWRIE_SENSORS_FILE"]).read_text(encoding="utf-8"))
    configs = service_configs({}, content["enrichment"])
    assert all(config.credential for config in configs.values())
    assert {name: (c.base_url, c.per_minute, c.lifetime) for name, c in configs.items()} == {
        name: (c.base_url, c.per_minute, c.lifetime) for name, c in service_configs({}, {}).items()
    }


def test_no_setting_of_the_code_lacks_in_it() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cowrie_assets").rglob("*.py"))
    names = {name for name in re.findall(r"COWRIE_[A-Z_]*[A-Z]\b", code) if not code.count(f"{name}_{{")}
    names |= {f"COWRIE_DB_{field.name.upper()}" for field in fields(EngineSettings)}
    names |= {f"COWRIE_HEALTH_{field.name.upper()}" for field in fields(HealthSettings) if field.name != "status_dir"}
    for name, default in SERVICES.items():
        key = ["CONTACT"] if name == CONTACT else ["API_KEY", "API_KEY_FILE"]
        names |= {f"COWRIE_{default.prefix}_{end}" for end in (*key, "BASE_URL", "PER_MINUTE")}
    assert names > {"COWRIE_HOME", "COWRIE_POSTGRES_URL", "COWRIE_VT_API_KEY_FILE"}
    assert {name for name in names if not re.search(rf"\b{name}\b", TEXT)} == set()


def test_the_environment_wins_over_the_migrations_table(tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text('[migration]\npartition_grain = "week"\nappend = true\n', encoding="utf-8")
    filed = load_settings({}, tmp_path)
    assert (filed.grain, filed.append) == (Grain.WEEK, True)
    assert load_settings({"COWRIE_PARTITION_GRAIN": "day"}, tmp_path).grain is Grain.DAY


@pytest.mark.parametrize("text", ["migration = 1\n", "[migration]\ngrain = 'day'\n", "[migration]\nappend = 'often'\n"])
def test_a_wrong_migrations_table_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "sensors.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="migration|APPEND"):
        load_settings({}, tmp_path)
