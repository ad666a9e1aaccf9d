"""Settings: where they are read, in which order, and the errors of wrong ones.

Not here: what they do.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cowrie_assets.db.settings import load_engine_settings
from cowrie_assets.db.url import mask, postgres_url, sqlite_path
from cowrie_assets.errors import SettingsError
from cowrie_assets.settings import Grain, Settings, load_settings


def load(folder: Path, **environment: str) -> Settings:
    return load_settings(environment, folder)


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.source, settings.target, settings.grain, settings.append) == (None, None, None, False)
    assert settings.target_label == "embedded PostgreSQL in .cowrie/postgres"
    with pytest.raises(SettingsError, match="COWRIE_SQLITE_PATH"):
        settings.require_source()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text(
        '[global]\ndb = "postgresql://f@h/d"\nsqlite_db = "/data/file.sqlite"\n', encoding="utf-8"
    )
    filed = load(tmp_path)
    assert (filed.source, filed.target) == (Path("/data/file.sqlite"), "postgresql://f@h/d")
    both = load(tmp_path, COWRIE_SQLITE_PATH="/e.sqlite", COWRIE_POSTGRES_URL="postgres://e@h/d")
    assert (both.source, both.target) == (Path("/e.sqlite"), "postgresql://e@h/d")


def test_a_sqlite_db_in_the_file_is_the_source(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[global]\ndb = "sqlite:////data/x.sqlite"\n', encoding="utf-8")
    settings = load(tmp_path, COWRIE_SENSORS_FILE=str(file))
    assert (settings.source, settings.target) == (Path("/data/x.sqlite"), None)


def test_everything_else(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        COWRIE_SOURCE_URL="sqlite:///rel.sqlite",
        COWRIE_PARTITION_GRAIN="Week",
        COWRIE_START_DATE="2026-01-01",
        COWRIE_END_DATE="2026-01-31",
        COWRIE_STAGING_URL="s3://bucket/x",
        COWRIE_HOME="/h",
        COWRIE_APPEND="1",
    )
    assert settings == Settings(
        source=Path("rel.sqlite"),
        staging="s3://bucket/x",
        home=Path("/h"),
        grain=Grain.WEEK,
        start=date(2026, 1, 1),
        end=date(2026, 1, 31),
        append=True,
    )


@pytest.mark.parametrize(
    ("word", "append"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("no", False), ("", False)]
)
def test_append(word: str, append: bool, tmp_path: Path) -> None:
    assert load(tmp_path, COWRIE_APPEND=word).append is append


def test_two_sources_never_share_a_staging_folder(tmp_path: Path) -> None:
    first, second = load(tmp_path, COWRIE_SQLITE_PATH="/a/x.sqlite"), load(tmp_path, COWRIE_SQLITE_PATH="/b/x.sqlite")
    assert first.staging != second.staging
    assert load(tmp_path).with_overrides(source="/a/x.sqlite").staging == first.staging


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"COWRIE_PARTITION_GRAIN": "hour"}, "COWRIE_PARTITION_GRAIN='hour'"),
        ({"COWRIE_START_DATE": "2026-02-30"}, "COWRIE_START_DATE='2026-02-30'"),
        ({"COWRIE_START_DATE": "2026-02-02", "COWRIE_END_DATE": "2026-02-01"}, "lies before"),
        ({"COWRIE_POSTGRES_URL": "mysql://u:secret@h/d"}, "COWRIE_POSTGRES_URL='mysql://u:***@h/d'"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u:secret@h:port/d"}, "COWRIE_POSTGRES_URL"),
        ({"COWRIE_SOURCE_URL": "postgresql://u:secret@h/d"}, "must be a SQLite file"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u:secret#x@h/d"}, "COWRIE_POSTGRES_URL='postgresql://u:***@h/d'"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u:secret/x@h/d"}, "COWRIE_POSTGRES_URL='postgresql://u:***@h/d'"),
        ({"COWRIE_APPEND": "perhaps"}, "COWRIE_APPEND='perhaps'"),
        ({"COWRIE_SQLITE_PATH": "/a", "COWRIE_SOURCE_URL": "/b"}, "Two sources"),
        ({"COWRIE_SENSORS_FILE": "/nowhere/sensors.toml"}, "COWRIE_SENSORS_FILE"),
    ],
)
def test_a_wrong_value_names_setting_value_and_fix(environment: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **environment)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("content", ["[global\n", "global = 1\n"])
def test_a_broken_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"sensors\.toml"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:p%40ss:w@h:5432/d?sslmode=require", "postgresql://u:***@h:5432/d?sslmode=require"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?password=secret&user=u", "postgresql://h/d?password=***&user=u"),
        ("host=h password='se cret' user=u", "host=h password=*** user=u"),
        ("fails on postgresql://u:pw@h/d: refused", "fails on postgresql://u:***@h/d: refused"),
    ],
)
def test_passwords_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize("prefix", ["postgres://", "postgresql://", "postgresql+psycopg://", "POSTGRESQL://"])
def test_spellings_of_the_target(prefix: str) -> None:
    assert postgres_url(f"{prefix}u@h/d?sslmode=require", "X") == "postgresql://u@h/d?sslmode=require"


@pytest.mark.parametrize(
    ("value", "path"),
    [("sqlite:////abs/x", "/abs/x"), ("sqlite:///rel/x", "rel/x"), ("/plain path/x", "/plain path/x"),
     ("sqlite:////with%20blank", "/with blank")],
)  # fmt: skip
def test_spellings_of_the_source(value: str, path: str) -> None:
    assert sqlite_path(value, "X") == Path(path)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"COWRIE_END_DATE": "9999-12-31"}, "COWRIE_END_DATE=9999-12-31 is out of range"),
        ({"COWRIE_START_DATE": "0999-01-01"}, "COWRIE_START_DATE=0999-01-01 is out of range"),
        ({"COWRIE_START_DATE": "20260101"}, "COWRIE_START_DATE='20260101'"),
        ({"COWRIE_START_DATE": "2026-W39-1"}, "COWRIE_START_DATE='2026-W39-1'"),
        ({"COWRIE_SQLITE_PATH": "~nobody-of-that-name/x"}, "COWRIE_SQLITE_PATH='~nobody-of-that-name/x'"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u:pw@secret@h/d"}, "COWRIE_POSTGRES_URL='postgresql://u:***@h/d'"),
        ({"COWRIE_POSTGRES_URL": "postgresql://h:65536/d"}, "its port is no number from 1 to 65535"),
        ({"COWRIE_POSTGRES_URL": "postgresql://h:0/d"}, "its port is no number from 1 to 65535"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u@[::1]:abc/d"}, "its port is no number from 1 to 65535"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u:secret/d@h/d"}, "its port is no number from 1 to 65535"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u@[h/d"}, "its host cannot be read"),
        ({"COWRIE_POSTGRES_URL": "postgresql://u:secret#@h/d"}, "its user or password holds ? or #"),
    ],
)
def test_a_value_out_of_range_is_named(environment: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **environment)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.hint


def test_overrides_are_checked_like_the_environment(tmp_path: Path) -> None:
    settings = load(tmp_path, COWRIE_START_DATE="2026-02-02", COWRIE_SQLITE_PATH="/a/x.sqlite")
    with pytest.raises(SettingsError, match="lies before"):
        settings.with_overrides(end=date(2026, 2, 1))
    moved = settings.with_overrides(home=Path("/elsewhere"))
    assert moved.staging == load(tmp_path, COWRIE_SQLITE_PATH="/a/x.sqlite", COWRIE_HOME="/elsewhere").staging
    assert settings.with_overrides(home=Path("/h"), staging="/s").staging == "/s"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:se cret@h/d",
        "postgresql://u:se/cret@h/d",
        "postgresql://u:a@secret@h/d",
        r"host=h password='a\'secret b' user=u",
        r"host=h password=a\ secret user=u",
        "host=h password=a&secret user=u",
        "password='never closed secret",
        "postgresql://h/d?user=u&password=secret",
        "postgresql://h/d?PASSWORD=secret&sslpassword=secret",
        "host=h sslpassword = secret",
    ],
)
def test_no_odd_password_shows(text: str) -> None:
    assert "cret" not in mask(text)
    assert "***" in mask(text)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss@h1:5432,h2:5433/d",
        "postgresql://u@[::1]:5432/d",
        "postgresql:///d?host=/tmp&port=5432",
        "postgresql://%2Fvar%2Frun/d",
        "postgresql://h?user=u",
        "postgresql://u:p[ss@h/d",
    ],
)
def test_urls_that_libpq_takes_are_taken(url: str) -> None:
    assert postgres_url(url, "X") == url


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("healht", "health"),
        ("Health", "health"),
        ("enrichement", "enrichment"),
        ("databse", "database"),
        ("migrations", "migration"),
        ("globl", "global"),
    ],
)
def test_a_misspelt_table_is_refused(tmp_path: Path, written: str, meant: str) -> None:
    (tmp_path / "sensors.toml").write_text(f"[{written}]\n", encoding="utf-8")
    for read in (load_settings, load_engine_settings):
        with pytest.raises(SettingsError, match=rf"sensors.toml: \[{written}\] .* Did you mean \[{meant}\]\?"):
            read({}, tmp_path)


def test_the_processors_own_tables_are_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "sensors.toml").write_text(
        '[global]\ndb = "sqlite:////x.sqlite"\n[global.cache]\nredis_enabled = true\n[global.performance]\n'
        '[[sensor]]\nname = "a"\n[snowshoe_detector]\nenabled = true\n[snowshoe_detector.enrichment]\nuse_spur = true\n',
        encoding="utf-8",
    )
    assert load(tmp_path).source == Path("/x.sqlite")
