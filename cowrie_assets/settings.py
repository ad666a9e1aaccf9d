"""The settings, read once: environment, then `sensors.toml`, then defaults.

Belongs here: names, parsing and the errors of wrong values. Not here: anything that opens a file they name.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from .db.url import mask, postgres_url, sqlite_path
from .errors import SettingsError
from .policies import Treatment, read_json_type, read_policies


class Grain(StrEnum):
    """The size of a partition."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True)
class Settings:
    """What a migration is told.

    Attributes:
        source: the SQLite file, or None where it is not set.
        target: libpq URL of the target, or None for the embedded server.
        staging: URL or path that pyarrow.fs opens.
        home: folder of what we make ourselves (staging, embedded server, reports); `.cowrie` by default.
        grain: None means `auto`: the finest that gives at most 120 windows.
        start, end: first and last day of the windows (inclusive); None means as the data say.
        append: a target that already holds other rows is accepted.
        treatment: the rules' policies, unwrapping, the type of documents.
        today: the day the plan is made on; injected in tests.
    """

    source: Path | None = None
    target: str | None = None
    staging: str = ".cowrie/staging"
    home: Path = Path(".cowrie")
    grain: Grain | None = None
    start: date | None = None
    end: date | None = None
    append: bool = False
    treatment: Treatment = Treatment()
    today: date | None = None

    def __post_init__(self) -> None:
        """Raise SettingsError where the bounds are reversed, or no keys can be made of them."""
        for name, day in (("COWRIE_START_DATE", self.start), ("COWRIE_END_DATE", self.end)):
            if day and not 1970 <= day.year <= 9998:  # a key has four digits of a year, a window a day behind it
                raise SettingsError(f"{name}={day} is out of range.", hint="Set a day from 1970 to 9998, or none.")
        if self.start and self.end and self.end < self.start:
            raise SettingsError(
                f"COWRIE_END_DATE={self.end} lies before COWRIE_START_DATE={self.start}.", hint="Swap them."
            )

    @property
    def target_label(self) -> str:
        """The target for people: password masked."""
        return mask(self.target) if self.target else f"embedded PostgreSQL in {self.home / 'postgres'}"

    @property
    def source_label(self) -> str | None:
        """A short name of the source for folders and databases of its own, or None where no source is set."""
        if self.source is None:
            return None
        digest = hashlib.sha256(str(self.source.resolve()).encode()).hexdigest()[:8]
        return f"{re.sub(r'[^A-Za-z0-9_-]', '_', self.source.stem)[:40]}-{digest}"

    def require_source(self) -> Path:
        """The source's path; SettingsError where none is set."""
        if self.source is None:
            raise SettingsError("No source is set.", hint="Set COWRIE_SQLITE_PATH to the processor's SQLite file.")
        return self.source

    def with_overrides(self, **changes: Any) -> Settings:
        """A copy with the given fields that are not None."""
        given = {k: v for k, v in changes.items() if v is not None}
        if "source" in given:
            given["source"] = sqlite_path(str(given["source"]), "--source")
        if "target" in given:
            given["target"] = postgres_url(given["target"], "--target")
        changed = replace(self, **given)
        if given.keys() & {"source", "home"} and "staging" not in given and self.staging == _default_staging(self):
            changed = replace(changed, staging=_default_staging(changed))
        return changed


def _default_staging(settings: Settings) -> str:
    # One folder a source, so that two sources never share staged files.
    return str(settings.home / "staging" / (settings.source_label or ""))


def load_settings(env: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Read the settings; SettingsError names the setting, its value (password masked) and the fix.

    Args:
        env: the environment; `os.environ` by default.
        directory: where `sensors.toml` is looked for; COWRIE_SENSORS_FILE names another file.
    """
    env = os.environ if env is None else env
    values = {name: value.strip() for name, value in env.items() if name.startswith("COWRIE_") and value.strip()}
    file, content = sensors_content(values, directory)
    common, migration = _sections(file, content)
    # What the table and the environment name alike: the environment wins.
    values = {f"COWRIE_{name.upper()}": str(migration[name]) for name in _RUN if name in migration} | values
    home = Path(values.get("COWRIE_HOME", ".cowrie"))
    source = _source(values, common, file)
    target = None
    if "COWRIE_POSTGRES_URL" in values:
        target = postgres_url(values["COWRIE_POSTGRES_URL"], "COWRIE_POSTGRES_URL")
    elif str(common.get("db", "")).lower().startswith("postgres"):
        target = postgres_url(str(common["db"]), f"{file.name} [global] db")
    start = _day(values, "COWRIE_START_DATE")
    end = _day(values, "COWRIE_END_DATE")
    settings = Settings(
        source=source,
        target=target,
        home=home,
        grain=_grain(values.get("COWRIE_PARTITION_GRAIN", "auto")),
        start=start,
        end=end,
        append=_flag(values, "COWRIE_APPEND"),
        treatment=_treatment(values, migration, file),
        today=_day(values, "COWRIE_TODAY"),
    )
    return replace(settings, staging=values.get("COWRIE_STAGING_URL") or _default_staging(settings))


def sensors_content(env: Mapping[str, str], directory: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """`sensors.toml` (or the file that COWRIE_SENSORS_FILE names) and what it says; {} where there is none."""
    named = env.get("COWRIE_SENSORS_FILE", "").strip()
    file = Path(named) if named else (directory or Path()) / "sensors.toml"
    if not file.exists() and not named:
        return file, {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}.", hint="Check COWRIE_SENSORS_FILE.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is no valid TOML: {error}.", hint="Mend that line.") from error
    # The processor has tables of its own in this file, now and later: only what looks like one of ours is a mistake.
    for name in sorted(content.keys() - set(_TABLES)):
        if meant := get_close_matches(name.lower(), _TABLES, n=1, cutoff=0.8):
            raise SettingsError(f"{file}: [{name}] is unknown.", hint=f"Did you mean [{meant[0]}]?")
    return file, content


_TABLES = ("global", "migration", "database", "health", "enrichment")
"""What these tools read of `sensors.toml`."""

_RUN = ("home", "staging_url", "partition_grain", "start_date", "end_date", "append")
"""Members of [migration] that the environment has under the same names in capitals, after COWRIE_."""


def _sections(file: Path, content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables [global] and [migration]."""
    common = content.get("global", {})
    if not isinstance(common, dict):
        raise SettingsError(f"{file}: [global] is no table.", hint='Write [global] and db = "postgresql://…" below it.')
    migration = content.get("migration", {})
    if not isinstance(migration, dict) or not isinstance(migration.get("rules", {}), dict):
        raise SettingsError(
            f"{file}: [migration] or [migration.rules] is no table.",
            hint='Write [migration.rules] and "json.truncated" = "quarantine" below it.',
        )
    known = ("rules", "unwrap", "json_type", *_RUN)
    unknown = sorted(migration.keys() - set(known))
    if unknown:
        raise SettingsError(f"{file}: [migration] has no {unknown[0]}.", hint=f"It has {', '.join(known)}.")
    return common, migration


def _treatment(values: Mapping[str, str], migration: Mapping[str, Any], file: Path) -> Treatment:
    unwrap, stored = f"{file.name} [migration] unwrap", f"{file.name} [migration] json_type"
    if "COWRIE_UNWRAP" in values or "unwrap" not in migration:
        unwrapped = _flag(values, "COWRIE_UNWRAP")
    else:
        unwrapped = _flag({unwrap: str(migration["unwrap"])}, unwrap)
    setting = "COWRIE_JSON_TYPE" if "COWRIE_JSON_TYPE" in values else stored
    return Treatment(
        read_policies(migration.get("rules", {}), values.get("COWRIE_RULES", "")),
        unwrapped,
        read_json_type(values.get("COWRIE_JSON_TYPE", str(migration.get("json_type", "jsonb"))), setting),
    )


def _source(values: Mapping[str, str], common: Mapping[str, Any], file: Path) -> Path | None:
    paths = {
        name: sqlite_path(values[name], name) for name in ("COWRIE_SQLITE_PATH", "COWRIE_SOURCE_URL") if name in values
    }
    if len(set(paths.values())) > 1:
        both = ", ".join(f"{name}={path}" for name, path in paths.items())
        raise SettingsError(f"Two sources are set: {both}.", hint="Unset one of them.")
    if paths:
        return next(iter(paths.values()))
    if common.get("sqlite_db"):
        return sqlite_path(str(common["sqlite_db"]), f"{file.name} [global] sqlite_db")
    if str(common.get("db", "")).lower().startswith("sqlite"):
        return sqlite_path(str(common["db"]), f"{file.name} [global] db")
    return None


def _grain(value: str) -> Grain | None:
    if value.lower() == "auto":
        return None
    try:
        return Grain(value.lower())
    except ValueError as error:
        raise SettingsError(
            f"COWRIE_PARTITION_GRAIN={value!r} is unknown.", hint="Write auto, day, week or month."
        ) from error


def _flag(values: Mapping[str, str], name: str) -> bool:
    word = values.get(name, "0").lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{name}={values[name]!r} is neither yes nor no.", hint="Write 1 or 0.")


def _day(values: Mapping[str, str], name: str) -> date | None:
    return parse_day(values[name], name) if name in values else None


def parse_day(value: str, name: str) -> date:
    """A day as `YYYY-MM-DD`; SettingsError names the setting."""
    try:
        day = date.fromisoformat(value)
        if day.isoformat() != value:  # Python reads weeks and unpunctuated days too
            raise ValueError(value)
        return day
    except ValueError as error:
        raise SettingsError(f"{name}={value!r} is no day.", hint="Write it as 2026-11-24.") from error
