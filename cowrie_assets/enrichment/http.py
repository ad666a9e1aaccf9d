"""One HTTP conversation with a service: rate limit, retries, timeouts, size limit, JSON.

Belongs here: what every service's transport shares, and how its failures become `LookupFailed`. Not here: what an
answer means (the service's module).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import requests
import urllib3

from .. import __version__
from .answers import LookupFailed, Reason
from .limits import Clock, TokenBucket, backoff, retry_after

TRIES = 4
"""Attempts at a transient failure; the waits between them sum to about 7 s."""
LONGEST_WAIT = 120.0
"""Seconds that a service may make us wait within a run; where it asks for more, it is left for a later run."""
ANSWER_LIMIT = 8 * 2**20
"""Largest answer taken, in bytes: VirusTotal's report of a file that every engine names is below 1 MB."""
CHUNK = 64 * 2**10
_TRANSIENT = (500, 502, 503, 504)
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Secret:
    """A key that no repr, message or log shows."""

    reveal: str = field(repr=False)

    def __str__(self) -> str:
        return "***"


@dataclass(frozen=True)
class Reply:
    """A service's answer: its status (200, or 404 where `Endpoint.call` was told to take it) and JSON object."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Quota:
    """What a 429 means where the service sends no Retry-After.

    Attributes:
        wait: seconds after which one more try may pass; None where the allowance is used up for longer.
        says: what the service's documentation says of it, for people.
        daily: an allowance that is renewed at 00:00 UTC is the likely cause where that wait did not help.
    """

    wait: float | None
    says: str
    daily: bool = False


class Endpoint:
    """A service's base URL with everything that every question to it goes through.

    Attributes:
        sent: requests that went out, with every try of a question; not those that met no server.
    """

    def __init__(
        self,
        service: str,
        base_url: str,
        *,
        bucket: TokenBucket,
        clock: Clock,
        quota: Quota,
        headers: Mapping[str, str | Secret] | None = None,
        timeout: float = 20.0,
        tries: int = TRIES,
    ) -> None:
        """`timeout`: seconds for connecting, for each silence of the server, and for the whole answer; `tries` >= 1."""
        self.service = service
        self.timeout = timeout
        self.sent = 0
        self._base = base_url.rstrip("/")
        self._bucket = bucket
        self._clock = clock
        self._quota = quota
        self._tries = tries
        self._headers: dict[str, str | Secret] = {"User-Agent": f"cowrie-assets/{__version__}", **(headers or {})}
        self._session = requests.Session()
        # A ~/.netrc entry for the host would add credentials of its own: a callable that adds none keeps it out.
        self._session.auth = lambda request: request

    def call(self, path: str, *, form: Mapping[str, str] | None = None, missing: bool = False) -> Reply:
        """Ask: GET, or POST of the form where one is given.

        Args:
            path: below the base URL; its values were checked before.
            form: fields of a POST.
            missing: a 404 is an answer too.

        Raises:
            LookupFailed: refused, rate limited, unreachable after all tries, or no JSON object within the limits.
        """
        attempt = 0
        while True:
            attempt += 1
            self._bucket.take()
            self.sent += 1
            try:
                status, headers, content = self._send(path, form)
            except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
                self.sent -= _met_no_server(error)
                self._again(attempt, _cause(error, self.timeout), error)
                continue
            if status == 429:
                self._wait_for_quota(attempt, headers.get("Retry-After"))
                continue
            if status in _TRANSIENT:
                asked = retry_after(headers.get("Retry-After"), self._clock.now())
                self._again(attempt, f"the server answers {status}", wait=asked)
                continue
            if status in _REFUSED:
                raise LookupFailed(
                    self.service,
                    Reason.REFUSED_KEY,
                    f"the key was refused (HTTP {status})",
                    hint="Check the key, and that its account may use this interface.",
                    final=True,
                )
            if status != 200 and not (missing and status == 404):
                raise self.unexpected(f"HTTP {status}")
            return Reply(status, self._object(content))

    def unexpected(self, what: str) -> LookupFailed:
        """The error of an answer that is not what the service documents."""
        return LookupFailed(self.service, Reason.UNEXPECTED, f"unexpected answer: {what}")

    def _send(self, path: str, form: Mapping[str, str] | None) -> tuple[int, Mapping[str, str], bytes]:
        deadline = time.monotonic() + self.timeout
        headers = {name: v.reveal if isinstance(v, Secret) else v for name, v in self._headers.items()}
        # A redirect would carry the key to another host; compressed, a small answer could unfold without limit.
        with self._session.request(
            "GET" if form is None else "POST",
            f"{self._base}{path}",
            data=form,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"} | headers,
            timeout=self.timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise self.unexpected("it is compressed, which was not asked for")
            content = bytearray()
            # read1 returns with every packet: a server that sends a byte a second is stopped by the deadline.
            while chunk := response.raw.read1(CHUNK):
                content += chunk
                if len(content) > ANSWER_LIMIT:
                    raise self.unexpected(f"it is larger than {ANSWER_LIMIT:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError
            return response.status_code, response.headers, bytes(content)

    def _object(self, content: bytes) -> Mapping[str, Any]:
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise self.unexpected("it is no JSON") from error
        if not isinstance(body, dict):
            raise self.unexpected("its JSON is no object")
        return body

    def _again(self, attempt: int, what: str, error: Exception | None = None, wait: float | None = None) -> None:
        longer = wait is not None and wait > LONGEST_WAIT
        if attempt >= self._tries or longer:
            detail = f"unreachable, {what}" + (f" ({attempt} tries)" if attempt > 1 else "")
            at = self._clock.now() + timedelta(seconds=wait) if longer and wait else None
            raise LookupFailed(self.service, Reason.UNREACHABLE, detail, resume_at=at, final=longer) from error
        self._clock.sleep(max(wait or 0.0, backoff(attempt)))

    def _wait_for_quota(self, attempt: int, header: str | None) -> None:
        asked = retry_after(header, self._clock.now())
        wait = asked if asked is not None else self._quota.wait
        # Without a Retry-After one wait is enough to tell a limit a minute from one a day.
        tries = self._tries if asked is not None else min(2, self._tries)
        if wait is not None and wait <= LONGEST_WAIT and attempt < tries:
            self._clock.sleep(wait)
            return
        resume = self._clock.now() + timedelta(seconds=wait) if wait is not None else None
        if asked is None and attempt > 1 and self._quota.daily:
            resume = _midnight_after(self._clock.now())
        raise LookupFailed(
            self.service,
            Reason.QUOTA,
            f"rate limited (HTTP 429; {self._quota.says})",
            hint=f"Go on after {resume:%Y-%m-%d %H:%M:%S} UTC." if resume else "Go on when the allowance is renewed.",
            final=True,
            resume_at=resume,
        )


def _midnight_after(now: datetime) -> datetime:
    return (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def _met_no_server(error: Exception) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _cause(error: Exception, timeout: float) -> str:
    # The libraries' own words quote addresses of objects and whole URLs: the class says enough.
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate or handshake is not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refuses or does not answer"
    if isinstance(error, requests.ConnectionError | urllib3.exceptions.ProtocolError):
        return "the connection fails or breaks off"
    return type(error).__name__
