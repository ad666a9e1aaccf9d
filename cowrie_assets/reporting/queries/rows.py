"""What the reports answer: a class a report, a field a column.

Belongs here: names and types of the answers. Not here: how they are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class SensorSessions:
    """Sums over the sessions of a sensor (None: sessions without one).

    Attributes:
        events, commands, downloads, logins: sums of the sessions' own counts.
        highest_risk: the highest risk score, None where no session has one.
    """

    sensor: str | None
    sessions: int
    events: int
    commands: int
    downloads: int
    logins: int
    vt_flagged: int
    dshield_flagged: int
    highest_risk: int | None


@dataclass(frozen=True)
class EnrichedSession:
    """A session of which a service said something; `enrichment` is the stored document as Python."""

    session_id: str
    sensor: str | None
    first_event_at: datetime | None
    events: int
    vt_flagged: bool
    dshield_flagged: bool
    risk_score: int | None
    enrichment: Any


@dataclass(frozen=True)
class Command:
    """A command line as the loader stored it (None where it stored none); how often, and in how many sessions."""

    command: str | None
    times: int
    sessions: int


@dataclass(frozen=True)
class Download:
    """A downloaded file by hash and URL (either None where the event has none)."""

    shasum: str | None
    url: str | None
    times: int
    sessions: int


@dataclass(frozen=True)
class Credential:
    """A pair that was tried, how often, and how often it let in."""

    username: str | None
    password: str | None
    tries: int
    successes: int


@dataclass(frozen=True)
class Source:
    """A source address; `events` that name it, and their sessions."""

    src_ip: str
    events: int
    sessions: int


@dataclass(frozen=True)
class Sensor:
    """A sensor (None: events without one) and the hours of its first and last event (`2026-11-24 05`, UTC)."""

    sensor: str | None
    events: int
    logins: int
    commands: int
    downloads: int
    first_hour: str | None
    last_hour: str | None


@dataclass(frozen=True)
class Hour:
    """An hour in UTC, `2026-11-24 05`; None for events whose time is no date."""

    hour: str | None
    events: int
    logins: int
    commands: int
    downloads: int


@dataclass(frozen=True)
class Day:
    """A day in UTC, `2026-11-24`; None for events whose time is no date."""

    day: str | None
    events: int
    logins: int
    commands: int
    downloads: int
