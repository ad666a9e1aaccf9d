"""DShield (SANS Internet Storm Center): what its sensors reported of an address.

Belongs here: its question, answer and limits (isc.sans.edu/api). Not here: HTTP (`http.py`).
"""

from __future__ import annotations

from .answers import Answer, Kind
from .http import Endpoint, Quota
from .shape import kept, mapping, number, text, texts
from .values import checked

BASE_URL = "https://isc.sans.edu/api"
PER_MINUTE = 30.0
"""It states no strict limit and asks for restraint; half a question a second is ours."""
QUOTA = Quota(300.0, "it asks for five minutes without questions")


class DShield:
    """The client; it needs no key but a contact address in the User-Agent. Flagged: somebody reported an attack."""

    name = "dshield"
    kinds = frozenset({Kind.IP})

    def __init__(self, endpoint: Endpoint) -> None:
        """`endpoint` names a contact in its User-Agent: default agents are blocked."""
        self._endpoint = endpoint

    def lookup(self, kind: Kind, value: str) -> Answer:
        """Ask for the summary of an address; see `Client.lookup`. Never reported: not found."""
        value = checked(self.name, kind, value)
        body = self._endpoint.call(f"/ip/{value}?json").body
        report = body.get("ip")
        if not isinstance(report, dict) or "number" not in report:
            raise self._endpoint.unexpected("it is no report of an address")
        reports, targets = number(report.get("count")), number(report.get("attacks"))
        feeds = report.get("threatfeeds")
        # Members as the service names them, below "ip" as there: the processor's own tools read asname and ascountry.
        members = kept(
            count=reports,
            attacks=targets,
            maxrisk=number(report.get("maxrisk")),
            mindate=text(report.get("mindate"), 32),
            maxdate=text(report.get("maxdate"), 32),
            asname=text(report.get("asname")),
            ascountry=text(report.get("ascountry"), 8),
            **{"as": number(report.get("as"))},
            network=text(report.get("network"), 64),
            threatfeeds=texts(list(mapping(feeds))),
        )
        seen = bool(reports or targets)
        return Answer(self.name, kind, value, found=seen or bool(feeds), flagged=seen, data=kept(ip=members))
