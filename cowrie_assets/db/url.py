"""Database URLs: the spellings we take, as libpq wants them, and masked for people.

Belongs here: parsing and masking. Not here: connecting.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from ..errors import SettingsError

_POSTGRES = re.compile(r"^(postgres|postgresql)(\+[a-z0-9]+)?://", re.IGNORECASE)
# A password that was not percent-encoded may hold anything: hiding too much, up to the last "@", is the safe side.
_PASSWORD_IN_AUTHORITY = re.compile(r"(?<=://)([^:/@\s]*):.*@")
# Without an "@" the password stands where a port would.
_PASSWORD_AS_PORT = re.compile(r"(?<=://)([^:/@?\s\[\]]+):(?![0-9]*(?:[/?,'\"]|\s|\Z))[^@\s'\"]*")
# Only these are shown: a name may be misspelled or percent-encoded, and `options` may hold anything. In a URL "&" ends
# the value; in a conninfo string only a blank or the closing quote does, unless escaped.
_PLAIN = "host|hostaddr|port|user|dbname|service|connect_timeout|sslmode|region|scheme|endpoint_override"
_VALUE_IN_QUERY = re.compile(rf"([?&](?!(?:{_PLAIN})=)[^=&\s]+=)[^&\s]*", re.IGNORECASE)
_PASSWORD_IN_CONNINFO = re.compile(
    r"((?<![?&\w])(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*(?:'|\Z)|(?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*)", re.IGNORECASE
)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:@]*)(?::([0-9]*))?")


def mask(text: str) -> str:
    """The text with every password of a URL or conninfo string replaced by `***`, and what may be one."""
    text = _PASSWORD_IN_AUTHORITY.sub(r"\1:***@", text)
    text = _PASSWORD_AS_PORT.sub(r"\1:***", text)
    return _PASSWORD_IN_CONNINFO.sub(r"\1***", _VALUE_IN_QUERY.sub(r"\1***", text))


def is_postgres(value: str) -> bool:
    """Whether a URL means PostgreSQL, not a SQLite file."""
    return _POSTGRES.match(value) is not None


def postgres_url(value: str, setting: str) -> str:
    """The URL as libpq takes it; SettingsError where it is none of `postgresql://`, `postgres://`, `postgresql+psycopg://`."""
    match = _POSTGRES.match(value)
    if match is None or match.group(2) not in (None, "+psycopg", "+psycopg2"):
        # What is no URL at all is not shown: nothing says where in it a password stands.
        shown = _named(setting, value) if "://" in value else f"The value of {setting}"
        raise SettingsError(f"{shown} is no PostgreSQL URL.", hint="Write postgresql://user@host:5432/database.")
    rest = value[match.end() :]
    # As libpq splits it: hosts, each with or without a port, follow the first "@" before the first "/".
    authority = rest.partition("/")[0]
    user, _, hosts = authority.partition("@") if "@" in authority else ("", "", authority.partition("?")[0])
    wrong = "its user or password holds ? or #" if re.search("[?#]", user) else None
    for host in hosts.partition("?")[0].split(","):
        found = _HOST.fullmatch(host)
        if not found or not 1 <= int(found.group(1) or 1) <= 65535:
            behind = host.rpartition("]")[2]
            wrong = wrong or ("its port is no number from 1 to 65535" if ":" in behind else "its host cannot be read")
    if wrong:
        raise SettingsError(
            f"{_named(setting, value)}: {wrong}.",
            hint="Write postgresql://user@host:5432/database, and / # ? @ in a password as %2F %23 %3F %40.",
        )
    return "postgresql://" + rest


def _named(setting: str, value: str) -> str:
    return f"{setting} {mask(value)}" if setting.startswith("The ") else f"{setting}={mask(value)!r}"


def sqlite_path(value: str, setting: str) -> Path:
    """The file of a `sqlite:///` URL or a plain path; SettingsError for any other URL."""
    match = re.match(r"sqlite(\+pysqlite)?:///", value, re.IGNORECASE)
    path = unquote(value[match.end() :].partition("?")[0]) if match else value
    if "://" in value and not match:
        raise SettingsError(
            f"{_named(setting, value)}: the source must be a SQLite file.", hint="Write a path or sqlite:///path."
        )
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SettingsError(f"{setting}={value!r}: {error}", hint="Write the path in full.") from error
