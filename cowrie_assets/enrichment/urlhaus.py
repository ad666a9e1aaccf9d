"""URLhaus (abuse.ch): hosts and URLs that served malware, and payloads by SHA-256.

Belongs here: its questions, answers and limits (urlhaus-api.abuse.ch). Not here: HTTP (`http.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import Answer, Kind, LookupFailed, Reason
from .http import Endpoint, Quota
from .shape import kept, mapping, number, text, texts
from .values import checked

BASE_URL = "https://urlhaus-api.abuse.ch/v1"
KEY_HEADER = "Auth-Key"
PER_MINUTE = 60.0
"""It states fair use and no number; a question a second is ours."""
QUOTA = Quota(60.0, "fair use")
_FORMS = {
    Kind.IP: ("host", "host"),
    Kind.HOST: ("host", "host"),
    Kind.URL: ("url", "url"),
    Kind.FILE: ("payload", "sha256_hash"),
}
"""Kind -> (path, field of the form)."""
_AUTH = "auth"  # unknown_auth_key, wrong_auth_key, no_auth_key: all of them name it


class UrlHaus:
    """The client; whatever it knows served malware, so found is flagged."""

    name = "urlhaus"
    kinds = frozenset(_FORMS)

    def __init__(self, endpoint: Endpoint) -> None:
        """`endpoint` sends the key in `KEY_HEADER`."""
        self._endpoint = endpoint

    def lookup(self, kind: Kind, value: str) -> Answer:
        """Ask for the entry; see `Client.lookup`."""
        value = checked(self.name, kind, value)
        path, name = _FORMS[kind]
        body = self._endpoint.call(f"/{path}/", form={name: value}).body
        status = text(body.get("query_status"), 64) or ""
        if status == "no_results":
            return Answer(self.name, kind, value, found=False)
        if _AUTH in status:
            raise LookupFailed(
                self.name,
                Reason.REFUSED_KEY,
                f"the key was refused ({status})",
                hint="Check the key at https://auth.abuse.ch.",
                final=True,
            )
        if status != "ok":
            raise self._endpoint.unexpected(f"query_status {status!r}")
        return Answer(self.name, kind, value, found=True, flagged=True, data=_members(body))


def _members(body: Mapping[str, Any]) -> dict[str, Any]:
    listed = body.get("urls")
    urls = [mapping(entry) for entry in listed] if isinstance(listed, list) else []
    tags = [tag for entry in (body, *urls) for tag in _list(entry.get("tags"))]
    threats = [entry.get("threat") for entry in (body, *urls)]
    return kept(
        reference=text(body.get("urlhaus_reference")),
        url_count=number(body.get("url_count")),
        online=sum(entry.get("url_status") == "online" for entry in (body, *urls)) or None,
        first_seen=text(body.get("firstseen") or body.get("date_added"), 32),
        last_seen=text(body.get("lastseen"), 32),
        signature=text(body.get("signature")),
        file_type=text(body.get("file_type"), 32),
        file_size=number(body.get("file_size")),
        threats=texts(threats),
        tags=texts(tags),
        blacklists=kept(**{k: text(v, 64) for k, v in mapping(body.get("blacklists")).items() if k in _BLACKLISTS}),
    )


_BLACKLISTS = ("spamhaus_dbl", "surbl")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
