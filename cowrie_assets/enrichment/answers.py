"""The one interface of all services: what is asked, what is answered, and how a lookup fails.

Belongs here: these types. Not here: any service's own form (its module) or where answers are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from ..errors import CowrieError


class Kind(StrEnum):
    """What a value is."""

    FILE = "file"
    IP = "ip"
    HOST = "host"
    URL = "url"


class Reason(StrEnum):
    """Why there is no answer."""

    NO_KEY = "no key"
    REFUSED_KEY = "refused key"
    QUOTA = "rate limited"
    UNREACHABLE = "unreachable"
    UNEXPECTED = "unexpected answer"
    NOT_SENT = "not sent"


@dataclass(frozen=True)
class Answer:
    """What a service says of one value.

    Attributes:
        value: in its canonical form (hashes and hosts in lower case).
        found: whether the service knows the value at all.
        flagged: whether it calls the value malicious; each client says what that means.
        data: the few members that are kept, cut and free of control characters, so that any database takes them.
        asked_at: when the service was asked (UTC), also where the answer comes from the cache.
    """

    service: str
    kind: Kind
    value: str
    found: bool
    flagged: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    asked_at: datetime = datetime.min.replace(tzinfo=UTC)
    cached: bool = False

    def at(self, now: datetime) -> Answer:
        """The same answer, asked at that time."""
        return replace(self, asked_at=now)


class LookupFailed(CowrieError):  # noqa: N818 - read as "raise LookupFailed"
    """A service gave no usable answer; names service and reason, never a key.

    Attributes:
        reason: one of `Reason`.
        final: no further question to this service makes sense in this run.
        resume_at: when the service may be asked again (UTC), where that is known.
    """

    exit_code = 3

    def __init__(
        self,
        service: str,
        reason: Reason,
        detail: str,
        *,
        hint: str | None = None,
        final: bool = False,
        resume_at: datetime | None = None,
    ) -> None:
        """Take what happened, as one line without the service's name, and what to do next."""
        super().__init__(f"{service}: {detail}.", hint=hint)
        self.service = service
        self.reason = reason
        self.detail = detail
        self.final = final
        self.resume_at = resume_at


class Client(Protocol):
    """A service that answers questions about values."""

    @property
    def name(self) -> str:
        """The service's name, as options and stored answers have it."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """What it can be asked about."""

    def lookup(self, kind: Kind, value: str) -> Answer:
        """Ask the service, with its rate limit and retries; the value is checked before anything is sent.

        Raises:
            LookupFailed: there is no usable answer, or the value must not be sent.
        """
