"""How engines are made: pool, waits, pragmas; from the environment (`COWRIE_DB_…`), then `[database]`, then defaults.

Belongs here: names, ranges and their errors. Not here: connections (`engine.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..settings import sensors_content

_RANGES: dict[str, tuple[int, int]] = {
    "pool_size": (1, 1_000),
    "max_overflow": (0, 1_000),
    "pool_timeout": (1, 3_600),
    "pool_recycle": (-1, 86_400),
    "connect_timeout": (1, 600),
    "connect_tries": (1, 100),
    "busy_timeout": (0, 3_600),
    "cache_mb": (1, 65_536),
}
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is told; durations in seconds.

    Attributes:
        url: PostgreSQL URL, `sqlite:///` URL or path of a SQLite file; None for the target of the migration.
        pool_size, max_overflow: connections kept, and further ones at times of need.
        pool_timeout: wait for a connection of the pool.
        pool_recycle: age at which a connection is replaced, below the idle limit of usual firewalls; -1: never.
        pool_pre_ping: test a connection before it is handed out.
        connect_timeout, connect_tries: wait for a server to answer, and attempts.
        busy_timeout: SQLite's wait for another writer.
        cache_mb: SQLite's page cache, for each connection.
        synchronous: NORMAL loses no consistency in WAL mode, only what was last committed (sqlite.org/wal.html).
    """

    url: str | None = None
    pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: int = 30
    pool_recycle: int = 1_800
    pool_pre_ping: bool = True
    connect_timeout: int = 10
    connect_tries: int = 3
    busy_timeout: int = 30
    cache_mb: int = 64
    synchronous: str = "NORMAL"


def load_engine_settings(env: Mapping[str, str] | None = None, directory: Path | None = None) -> EngineSettings:
    """Read the settings; SettingsError names the setting, its value and what it may be.

    Args:
        env: the environment; `os.environ` by default.
        directory: where `sensors.toml` is looked for; COWRIE_SENSORS_FILE names another file.
    """
    env = os.environ if env is None else env
    file, content = sensors_content(env, directory)
    section = content.get("database", {})
    if not isinstance(section, dict):
        raise SettingsError(f"{file}: [database] is no table.", hint="Write [database] and pool_size = 5 below it.")
    names = [field.name for field in fields(EngineSettings)]
    if unknown := sorted(section.keys() - set(names)):
        raise SettingsError(f"{file} [database] has an unknown {unknown[0]}.", hint=f"Known are {', '.join(names)}.")
    given: dict[str, Any] = {}
    for name in names:
        variable = f"COWRIE_DB_{name.upper()}"
        if env.get(variable, "").strip():
            given[name] = _value(name, env[variable].strip(), variable)
        elif name in section:
            given[name] = _value(name, section[name], f"{file.name} [database] {name}")
    return EngineSettings(**given)


def _value(name: str, value: Any, setting: str) -> Any:
    word = str(value)
    if name == "url":
        return word
    if name == "pool_pre_ping":
        known = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if word.lower() in known:
            return known[word.lower()]
        raise SettingsError(f"{setting}={word!r} is neither yes nor no.", hint="Write 1 or 0.")
    if name == "synchronous":
        if word.upper() in _SYNCHRONOUS:
            return word.upper()
        raise SettingsError(f"{setting}={word!r} is unknown.", hint=f"Write one of {', '.join(_SYNCHRONOUS)}.")
    low, high = _RANGES[name]
    try:
        number = int(word)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise SettingsError(f"{setting}={word!r} is out of range.", hint=f"Write a whole number from {low} to {high}.")
    return number
