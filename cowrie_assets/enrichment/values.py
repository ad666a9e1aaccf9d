"""Values from the data, checked before they leave the machine.

Belongs here: which hashes, addresses, hosts and URLs may be sent. Not here: sending.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from .answers import Kind, LookupFailed, Reason

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{1,59})")
_URL_LENGTH = 2_048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Names that never leave a network: RFC 6761, 6762, 7686, 8375 and 9476, and ICANN's choice "internal".
_LOCAL = ("localhost", "local", "internal", "home.arpa", "in-addr.arpa", "ip6.arpa", "test", "example", "invalid")
_LOCAL_BY_HABIT = ("onion", "alt", "lan", "home", "corp")


def public_ip(value: str) -> str | None:
    """The address in its canonical form, or None where it is none or not public (private, reserved, multicast).

    Forms that carry another address inside (mapped, 6to4, Teredo, NAT64) are judged by it or not taken.
    """
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address.scope_id or address.sixtofour or address.teredo or address in _NAT64:
            return None
    return str(address) if address.is_global and not address.is_multicast and not address.is_reserved else None


def _host(value: str) -> str | None:
    name = value.lower().removesuffix(".")
    if public_ip(name):
        return public_ip(name)
    local = any(name == suffix or name.endswith(f".{suffix}") for suffix in _LOCAL + _LOCAL_BY_HABIT)
    return name if _HOST.fullmatch(name) and not local else None


def _url(value: str) -> str | None:
    if len(value) > _URL_LENGTH or not value.isascii() or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    # A user name or password in a URL is somebody's secret.
    if parts.scheme.lower() not in ("http", "https", "ftp") or not host or "@" in parts.netloc:
        return None
    return value if _host(host) else None


def _sha256(value: str) -> str | None:
    return value.lower() if _SHA256.fullmatch(value.lower()) and value.isascii() else None


_CHECKS = {Kind.FILE: _sha256, Kind.IP: public_ip, Kind.HOST: _host, Kind.URL: _url}
_NAMES = {Kind.FILE: "SHA-256", Kind.IP: "public address", Kind.HOST: "public host name", Kind.URL: "public URL"}


def sendable(kind: Kind, value: str) -> str | None:
    """The value's canonical form, or None where it may not be sent."""
    return _CHECKS[kind](value)


def checked(service: str, kind: Kind, value: str) -> str:
    """The value's canonical form; LookupFailed (not sent) where it is malformed, private or reserved."""
    form = sendable(kind, value)
    if form is None:
        raise LookupFailed(service, Reason.NOT_SENT, f"the value is no {_NAMES[kind]}, so it was not sent")
    return form
