"""From when on health complains; from options, the environment, `[health]` of sensors.toml, then defaults.

Belongs here: names, ranges and their errors. Not here: looking.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..settings import sensors_content

_RANGES: dict[str, tuple[float, float]] = {
    "status_hours": (0.01, 87_600),
    "event_hours": (0.01, 87_600),
    "event_critical_hours": (0, 87_600),
    "free_percent": (0, 100),
    "free_critical_percent": (0, 100),
    "timeout": (0.1, 600),
}


@dataclass(frozen=True)
class HealthSettings:
    """Thresholds.

    Attributes:
        status_dir: folder of the loaders' status files; None: they are not looked at.
        status_hours, event_hours: age at which a status file, or the newest event, is a warning: a daily load with
            two hours of grace.
        event_critical_hours: age at which the newest event is critical; 0: never, as for an archive.
        free_percent, free_critical_percent: free disk space below which is a warning, or critical.
        timeout: seconds for everything.
    """

    status_dir: Path | None = None
    status_hours: float = 26.0
    event_hours: float = 26.0
    event_critical_hours: float = 0.0
    free_percent: float = 10.0
    free_critical_percent: float = 3.0
    timeout: float = 5.0


def load_health_settings(
    given: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None, directory: Path | None = None
) -> HealthSettings:
    """Read the settings; SettingsError names the setting, its value and what it may be.

    Args:
        given: what was given as options, None for what was not.
        env: the environment; `os.environ` by default.
        directory: where `sensors.toml` is looked for; COWRIE_SENSORS_FILE names another file.
    """
    env = os.environ if env is None else env
    file, content = sensors_content(env, directory)
    section = content.get("health", {})
    names = [field.name for field in fields(HealthSettings)]
    if not isinstance(section, dict) or (section.keys() - set(names)):
        raise SettingsError(f"{file}: [health] is no table of {', '.join(names)}.", hint="Mend that table.")
    values: dict[str, Any] = {}
    for name in names:
        variable = "COWRIE_STATUS_DIR" if name == "status_dir" else f"COWRIE_HEALTH_{name.upper()}"
        if given and given.get(name) is not None:
            values[name] = _value(name, given[name], f"--{name.replace('_', '-')}")
        elif env.get(variable, "").strip():
            values[name] = _value(name, env[variable].strip(), variable)
        elif name in section:
            values[name] = _value(name, section[name], f"{file.name} [health] {name}")
    return HealthSettings(**values)


def _value(name: str, value: Any, setting: str) -> Any:
    if name == "status_dir":
        return Path(str(value)).expanduser()
    low, high = _RANGES[name]
    try:
        number = float(value)
    except ValueError:
        number = low - 1
    if not low <= number <= high:  # NaN too
        raise SettingsError(f"{setting}={value!r} is out of range.", hint=f"Write a number from {low:g} to {high:g}.")
    return number
