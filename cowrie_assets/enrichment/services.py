"""The services ready to be asked: built from their settings, with the cache in front.

Belongs here: putting clients together. Not here: what is asked (`refresh.py`, `live_check.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from .answers import Answer, Client, Kind, LookupFailed, Reason
from .cache import Cache
from .config import ServiceConfig
from .dshield import QUOTA as DSHIELD_QUOTA
from .dshield import DShield
from .http import TRIES, Endpoint, Quota, Secret
from .limits import Clock, TokenBucket
from .spur import KEY_HEADER as SPUR_HEADER
from .spur import QUOTA as SPUR_QUOTA
from .spur import Spur
from .urlhaus import KEY_HEADER as URLHAUS_HEADER
from .urlhaus import QUOTA as URLHAUS_QUOTA
from .urlhaus import UrlHaus
from .values import checked
from .virustotal import KEY_HEADER as VT_HEADER
from .virustotal import QUOTA as VT_QUOTA
from .virustotal import VirusTotal

_CLIENTS: dict[str, tuple[Callable[[Endpoint], Client], str, Quota]] = {
    "virustotal": (VirusTotal, VT_HEADER, VT_QUOTA),
    "dshield": (DShield, "User-Agent", DSHIELD_QUOTA),
    "urlhaus": (UrlHaus, URLHAUS_HEADER, URLHAUS_QUOTA),
    "spur": (Spur, SPUR_HEADER, SPUR_QUOTA),
}
"""Name -> (client, header of the key or contact, meaning of a 429)."""


def client(config: ServiceConfig, clock: Clock, *, tries: int = TRIES) -> Client:
    """The service's client; LookupFailed (no key) where its settings lack one."""
    return _CLIENTS[config.name][0](_endpoint(config, clock, tries))


def _endpoint(config: ServiceConfig, clock: Clock, tries: int = TRIES) -> Endpoint:
    _, header, quota = _CLIENTS[config.name]
    if config.credential is None:
        raise LookupFailed(
            config.name, Reason.NO_KEY, "no key is set", hint=f"Set {config.setting} (see README).", final=True
        )
    credential = config.credential
    if header == "User-Agent":
        credential = Secret(f"cowrie-assets (contact: {credential.reveal})")
    return Endpoint(
        config.name,
        config.base_url,
        bucket=TokenBucket(config.per_minute, clock),
        clock=clock,
        quota=quota,
        headers={header: credential},
        timeout=config.timeout,
        tries=tries,
    )


class CachedService:
    """A client with the cache in front of it; the connection is made when it is first needed."""

    def __init__(self, config: ServiceConfig, cache: Cache, clock: Clock) -> None:
        """Take the settings; whether they hold a key matters only once the service is asked."""
        self.name = config.name
        self.lifetime = config.lifetime
        self.per_minute = config.per_minute
        self._config = config
        self._endpoint: Endpoint | None = None
        self._cache = cache
        self.clock = clock

    @property
    def sent(self) -> int:
        """Requests sent to the service so far, retries included: what its allowance was charged."""
        return self._endpoint.sent if self._endpoint else 0

    def known(self, kind: Kind, value: str, *, lifetime: timedelta | None = None) -> Answer | None:
        """The answer in the cache that is not older than `lifetime` and the service's own; never asks."""
        longest = self.lifetime if lifetime is None else min(lifetime, self.lifetime)
        value = checked(self.name, kind, value)
        return self._cache.get(self.name, kind, value, now=self.clock.now(), lifetime=longest)

    def ask(self, kind: Kind, value: str, *, lifetime: timedelta | None = None) -> Answer:
        """The answer: a known one, else asked for and kept.

        Raises:
            LookupFailed: there is none.
        """
        known = self.known(kind, value, lifetime=lifetime)
        if known is not None:
            return known
        self._endpoint = self._endpoint or _endpoint(self._config, self.clock)
        answer = _CLIENTS[self.name][0](self._endpoint).lookup(kind, value).at(self.clock.now())
        self._cache.put(answer)
        return answer
