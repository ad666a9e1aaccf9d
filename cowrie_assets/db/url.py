"""Database URLs: the spellings we take, as libpq wants them, and masked for people.

Belongs here: parsing and masking. Not here: connecting.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import SettingsError

_POSTGRES = re.compile(r"^(postgres|postgresql)(\+[a-z0-9]+)?://", re.IGNORECASE)
_PASSWORD_IN_AUTHORITY = re.compile(r"(?<=://)([^:/@\s]*):(\S*)@")
_PASSWORD_IN_QUERY = re.compile(r"((?:password|sslpassword)\s*=\s*)('[^']*'|[^&\s]+)", re.IGNORECASE)


def mask(text: str) -> str:
    """The text with every password of a URL or conninfo string replaced by `***`."""
    return _PASSWORD_IN_QUERY.sub(r"\1***", _PASSWORD_IN_AUTHORITY.sub(r"\1:***@", text))


def postgres_url(value: str, setting: str) -> str:
    """The URL as libpq takes it; SettingsError where it is none of `postgresql://`, `postgres://`, `postgresql+psycopg://`."""
    match = _POSTGRES.match(value)
    if match is None or match.group(2) not in (None, "+psycopg", "+psycopg2"):
        raise SettingsError(
            f"{setting}={mask(value)!r} is no PostgreSQL URL.", hint="Write postgresql://user@host:5432/database."
        )
    rest = value[match.end() :]
    try:
        _ = urlsplit("postgresql://" + rest.partition("?")[0]).port
    except ValueError:
        # The cause is not shown: it quotes what stands behind the colon, and that can be a password.
        raise SettingsError(
            f"{setting}={mask(value)!r}: the port is none.",
            hint="Write a port from 1 to 65535, and / # ? @ in a password as %2F %23 %3F %40.",
        ) from None
    return "postgresql://" + rest


def sqlite_path(value: str, setting: str) -> Path:
    """The file of a `sqlite:///` URL or a plain path; SettingsError for any other URL."""
    for prefix in ("sqlite+pysqlite:///", "sqlite:///"):
        if value.lower().startswith(prefix):
            return Path(unquote(value[len(prefix) :].partition("?")[0])).expanduser()
    if "://" in value:
        raise SettingsError(
            f"{setting}={mask(value)!r}: the source must be a SQLite file.", hint="Write a path or sqlite:///path."
        )
    return Path(value).expanduser()
