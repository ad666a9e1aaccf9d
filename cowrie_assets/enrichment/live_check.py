"""One question to each service: does it answer, with this key, what its documentation says?

Belongs here: the probes and their verdicts. Not here: showing them (`cli/enrichment.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .answers import Kind, LookupFailed, Reason
from .config import ServiceConfig
from .limits import Clock
from .services import client

EICAR = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
"""The antivirus test file: VirusTotal knows it, and asking for it says nothing about this honeypot."""
PUBLIC_RESOLVER = "1.1.1.1"
"""A public DNS resolver: the same of addresses."""
PROBES = {
    "virustotal": (Kind.FILE, EICAR),
    "dshield": (Kind.IP, PUBLIC_RESOLVER),
    "urlhaus": (Kind.IP, PUBLIC_RESOLVER),
    "spur": (Kind.IP, PUBLIC_RESOLVER),
}
OK = "ok"
_CRITICAL = (Reason.REFUSED_KEY, Reason.UNEXPECTED)


@dataclass(frozen=True)
class Verdict:
    """What the probe of one service showed.

    Attributes:
        verdict: `ok`, or the `Reason` why not.
        seconds: how long the answer took; None where nothing was sent.
        severity: 0 ok, 1 warning (no key, rate limited, unreachable), 2 critical (refused key, unexpected answer).
    """

    service: str
    verdict: str
    detail: str
    seconds: float | None
    severity: int


def check(config: ServiceConfig, clock: Clock) -> Verdict:
    """Probe the service once, without a retry; a query of the account is used up."""
    begun = clock.monotonic()
    try:
        answer = client(config, clock, tries=1).lookup(*PROBES[config.name])
    except LookupFailed as error:
        took = None if error.reason is Reason.NO_KEY else clock.monotonic() - begun
        detail = f"{error.detail}. {error.hint}" if error.hint else f"{error.detail}."
        return Verdict(config.name, error.reason.value, detail, took, 2 if error.reason in _CRITICAL else 1)
    known = "known to it" if answer.found else "not known to it"
    return Verdict(config.name, OK, f"{answer.value[:12]} is {known}.", clock.monotonic() - begun, 0)


def exit_code(verdicts: Iterable[Verdict], *, named: bool) -> int:
    """0, 1 or 2 for ok, warning, critical.

    A service without a key is only a warning where it was asked for by name, or where none has one.
    """
    verdicts = list(verdicts)
    used = [v for v in verdicts if named or v.verdict != Reason.NO_KEY.value]
    return max((v.severity for v in used), default=1)
