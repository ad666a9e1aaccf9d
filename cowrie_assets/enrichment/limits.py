"""How fast a service is asked, and how long it is waited for: token bucket, backoff, Retry-After.

Belongs here: time and pace, with the clock injected. Not here: HTTP.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BACKOFF_SECONDS = 1.0
"""The wait before the second try; it doubles with each further one."""
BACKOFF_LIMIT = 30.0


@dataclass(frozen=True)
class Clock:
    """Time, so that tests need not wait: `now` is the wall clock in UTC, `monotonic` and `sleep` count seconds."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class TokenBucket:
    """At most `burst` questions at once, then `per_minute`.

    With a burst of 1, the default, questions are evenly spaced: VirusTotal counts per minute, and a full bucket that
    refills while it is emptied would pass its limit in the first one.
    """

    def __init__(self, per_minute: float, clock: Clock, burst: int = 1) -> None:
        """`per_minute` > 0."""
        self._per_second = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._seen = clock.monotonic()

    def take(self) -> float:
        """Wait until a question may be asked; seconds waited."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._per_second)
        self._seen = now
        wait = max(0.0, (1 - self._tokens) / self._per_second)
        if wait:
            self._clock.sleep(wait)
            self._seen = now + wait
        self._tokens += wait * self._per_second - 1
        return wait


def backoff(attempt: int, spread: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait after the failed attempt of that number (from 1), with jitter of a quarter either way."""
    return min(BACKOFF_LIMIT, BACKOFF_SECONDS * 2.0 ** (attempt - 1)) * spread(0.75, 1.25)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3: a number or a date); None where it says nothing."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())
