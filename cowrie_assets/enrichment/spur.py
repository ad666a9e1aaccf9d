"""SPUR, Context API v2: whether an address is a VPN, proxy or hosting exit.

Belongs here: its question, answer and limits (docs.spur.us/context-api). Not here: HTTP (`http.py`).
"""

from __future__ import annotations

from .answers import Answer, Kind
from .http import Endpoint, Quota
from .shape import LIST_LIMIT, kept, mapping, number, text, texts
from .values import checked

BASE_URL = "https://api.spur.us/v2"
KEY_HEADER = "Token"
PER_MINUTE = 60.0
"""It sells queries and states no rate; a question a second is ours."""
QUOTA = Quota(None, "the account's queries of this billing cycle are used up")


class Spur:
    """The client; context is no verdict, so nothing is flagged."""

    name = "spur"
    kinds = frozenset({Kind.IP})

    def __init__(self, endpoint: Endpoint) -> None:
        """`endpoint` sends the key in `KEY_HEADER`."""
        self._endpoint = endpoint

    def lookup(self, kind: Kind, value: str) -> Answer:
        """Ask for the context; see `Client.lookup`. An address of which it knows nothing but itself: not found."""
        value = checked(self.name, kind, value)
        body = self._endpoint.call(f"/context/{value}").body
        if not isinstance(body.get("ip"), str):
            raise self._endpoint.unexpected("it is no context of an address")
        system, client, location = (mapping(body.get(name)) for name in ("as", "client", "location"))
        tunnels = body.get("tunnels")
        data = kept(
            infrastructure=text(body.get("infrastructure"), 64),
            organization=text(body.get("organization")),
            **{"as": kept(number=number(system.get("number")), organization=text(system.get("organization")))},
            country=text(location.get("country"), 8),
            client_types=texts(client.get("types")),
            behaviors=texts(client.get("behaviors")),
            risks=texts(body.get("risks")),
            services=texts(body.get("services")),
            tunnels=[
                kept(type=text(t.get("type"), 32), operator=text(t.get("operator"), 64), anonymous=t.get("anonymous"))
                for t in map(mapping, tunnels[:LIST_LIMIT] if isinstance(tunnels, list) else [])
                if isinstance(t.get("anonymous"), bool | None)
            ],
        )
        return Answer(self.name, kind, value, found=bool(data), data=data)
