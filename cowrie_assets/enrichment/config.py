"""How the services are set up: keys, base URLs, pace, lifetimes; from the environment, then `sensors.toml`.

Belongs here: reading and checking these settings. Not here: the settings of databases (`settings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import SettingsError
from . import dshield, spur, urlhaus, virustotal
from .http import Secret

KEY_LENGTH = 512


@dataclass(frozen=True)
class Defaults:
    """What a service has without settings; `prefix` is its name in the environment."""

    prefix: str
    base_url: str
    per_minute: float
    cache_days: float


# Lifetimes: a file's report settles, an address changes hands, a malware URL lives for days.
SERVICES: dict[str, Defaults] = {
    "dshield": Defaults("DSHIELD", dshield.BASE_URL, dshield.PER_MINUTE, 7),
    "urlhaus": Defaults("URLHAUS", urlhaus.BASE_URL, urlhaus.PER_MINUTE, 3),
    "spur": Defaults("SPUR", spur.BASE_URL, spur.PER_MINUTE, 7),
    "virustotal": Defaults("VT", virustotal.BASE_URL, virustotal.PER_MINUTE, 30),
}
"""The services in the order they are asked: the slowest comes last."""
CONTACT = "dshield"
"""The service that wants a contact address instead of a key."""


@dataclass(frozen=True)
class ServiceConfig:
    """One service's settings.

    Attributes:
        credential: the key, or the contact of the service that wants one; None where neither is set.
        setting: where the credential is set, for people.
        per_minute: questions a minute.
        lifetime: how long an answer is good for.
        timeout: seconds.
    """

    name: str
    credential: Secret | None
    setting: str
    base_url: str
    per_minute: float
    lifetime: timedelta
    timeout: float


def service_configs(env: Mapping[str, str], table: Mapping[str, Any]) -> dict[str, ServiceConfig]:
    """The settings of all services.

    Args:
        env: the environment: COWRIE_VT_API_KEY, COWRIE_VT_API_KEY_FILE, COWRIE_VT_BASE_URL and so on.
        table: the table [enrichment] of `sensors.toml`.

    Raises:
        SettingsError: names the setting and the fix, never a key.
    """
    _known(table, {"timeout_seconds", *SERVICES}, "[enrichment]")
    timeout = _positive(table.get("timeout_seconds", 20), "[enrichment] timeout_seconds")
    return {name: _service(name, default, env, table.get(name, {}), timeout) for name, default in SERVICES.items()}


def _service(
    name: str, default: Defaults, env: Mapping[str, str], table: Mapping[str, Any], timeout: float
) -> ServiceConfig:
    where = f"[enrichment.{name}]"
    if not isinstance(table, dict):
        raise SettingsError(f"{where} is no table.", hint=f"Write {where} on a line of its own.")
    own = {"contact"} if name == CONTACT else {"key_file"}
    for plain in {"key", "api_key", "token"} & table.keys():
        raise SettingsError(
            f"{where} {plain}: a key does not belong into sensors.toml.",
            hint=f"Put it into a file, name that as key_file, or set COWRIE_{default.prefix}_API_KEY.",
        )
    _known(table, {"base_url", "per_minute", "cache_days", *own}, where)
    credential, setting = (_contact if name == CONTACT else _key)(default.prefix, env, table, where)
    prefix = f"COWRIE_{default.prefix}"
    url = env.get(f"{prefix}_BASE_URL", "").strip() or table.get("base_url", default.base_url)
    pace = env.get(f"{prefix}_PER_MINUTE", "").strip() or table.get("per_minute", default.per_minute)
    return ServiceConfig(
        name=name,
        credential=credential,
        setting=setting,
        base_url=_base_url(url, f"{where} base_url"),
        per_minute=_positive(pace, f"{where} per_minute"),
        lifetime=timedelta(days=_positive(table.get("cache_days", default.cache_days), f"{where} cache_days")),
        timeout=timeout,
    )


def _key(prefix: str, env: Mapping[str, str], table: Mapping[str, Any], where: str) -> tuple[Secret | None, str]:
    variable = f"COWRIE_{prefix}_API_KEY"
    if value := env.get(variable, "").strip():
        return _secret(value, variable), variable
    for setting, file in (
        (f"{variable}_FILE", env.get(f"{variable}_FILE", "").strip()),
        (where, table.get("key_file")),
    ):
        if file:
            try:
                with Path(str(file)).expanduser().open(encoding="utf-8") as stream:
                    return _secret(stream.read(KEY_LENGTH + 3).strip(), f"{setting}: {file}"), setting
            except (OSError, RuntimeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise SettingsError(f"{setting}: {file} cannot be read: {reason}.", hint="Check the path.") from error
            except UnicodeDecodeError:
                raise SettingsError(f"{setting}: {file} is no text.", hint="Put nothing but the key into it.") from None
    return None, variable


def _contact(prefix: str, env: Mapping[str, str], table: Mapping[str, Any], where: str) -> tuple[Secret | None, str]:
    variable = f"COWRIE_{prefix}_CONTACT"
    value = env.get(variable, "").strip() or str(table.get("contact", "")).strip()
    return (_secret(value, f"{variable} or {where} contact") if value else None), variable


def _secret(value: str, setting: str) -> Secret:
    # Anything else would break the header apart, and the library's message would quote it.
    if not value or len(value) > KEY_LENGTH or not value.isascii() or not value.isprintable() or " " in value:
        raise SettingsError(
            f"{setting} is no key: it is empty, has blanks or several lines, or is longer than {KEY_LENGTH}.",
            hint="Put nothing but the key there.",
        )
    return Secret(value)


def _base_url(value: object, setting: str) -> str:
    try:
        parts = urlsplit(str(value))
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
    if not safe or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError(
            f"{setting} is no usable URL: it must be https (http only on this machine), without user or query.",
            hint="Remove it to use the service's own.",
        )
    return str(value)


def _positive(value: object, setting: str) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else 0.0
    except ValueError:
        number = 0.0
    if not 0 < number <= 100_000:
        raise SettingsError(f"{setting}={value!r} is no positive number.", hint="Write one up to 100000.")
    return number


def _known(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in sorted(table.keys() - known):
        raise SettingsError(f"{where} {name} is unknown.", hint=f"Known are: {', '.join(sorted(known))}.")
