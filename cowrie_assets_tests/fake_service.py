"""A local HTTP server that plays a threat-intelligence service, and a clock that only moves when it is told.

Not here: what the answers should become (test_enrichment_*.py).
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cowrie_assets.enrichment.limits import Clock


@dataclass
class Planned:
    """One answer: status, body, headers; or what goes wrong instead."""

    status: int = 200
    body: bytes | Mapping[str, Any] = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    slow: float = 0.0
    drip: float = 0.0
    reset: bool = False

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Asked:
    """One question, as the server saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass
class FakeService:
    """The server's side: `answers` are given in turn, then `answer` decides by path."""

    url: str = ""
    answers: list[Planned] = field(default_factory=list)
    answer: Callable[[Asked], Planned] = lambda asked: Planned()
    asked: list[Asked] = field(default_factory=list)

    def next(self, asked: Asked) -> Planned:
        self.asked.append(asked)
        return self.answers.pop(0) if self.answers else self.answer(asked)


@contextmanager
def fake_service() -> Iterator[FakeService]:
    """The server on a free port of the loopback address."""
    service = FakeService()
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            return

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked = Asked(self.command, self.path, dict(self.headers), self.rfile.read(length).decode())
            planned = service.next(asked)
            if planned.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            closing.wait(planned.slow)
            with suppress(ConnectionError):
                self.send_response(planned.status)
                for name, value in planned.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(planned.content)))
                self.end_headers()
                if not planned.drip:
                    self.wfile.write(planned.content)
                for byte in planned.content if planned.drip else b"":
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if closing.wait(planned.drip):
                        return

        do_GET = do_POST = _serve  # noqa: N815 - the base class's names

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), ConnectionError | ValueError):  # the client hung up, as it should
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class FakeTime:
    """A clock whose `sleep` moves it and keeps what was slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.seconds = 0.0
        self.start = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    @property
    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, monotonic=lambda: self.seconds, sleep=self.sleep)


def wait_until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return when it is so; AssertionError after that many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def vt_file(sha256: str, malicious: int = 5, **attributes: Any) -> dict[str, Any]:
    """A report of a file in the form of docs.virustotal.com/reference/files."""
    given = {
        "last_analysis_stats": {
            "malicious": malicious,
            "suspicious": 0,
            "undetected": 60,
            "harmless": 0,
            "timeout": 1,
            "failure": 0,
            "type-unsupported": 9,
        },
        "first_submission_date": 1_700_000_000,
        "last_analysis_date": 1_750_000_000,
        "type_description": "ELF",
        "popular_threat_classification": {"suggested_threat_label": "trojan.mirai/gafgyt"},
        "tags": ["elf", "elf", "64bits"],
    }
    return {"data": {"id": sha256, "type": "file", "attributes": given | attributes}}


VT_MISSING = {"error": {"code": "NotFoundError", "message": "not found"}}


def dshield_ip(ip: str, count: int | None = 340, attacks: int | None = 120) -> dict[str, Any]:
    """A summary in the form of isc.sans.edu/api."""
    return {
        "ip": {
            "number": ip,
            "count": count,
            "attacks": attacks,
            "maxdate": "2026-11-20" if count else None,
            "mindate": "2026-10-01" if count else None,
            "updated": None,
            "comment": None,
            "maxrisk": 9 if count else None,
            "asabusecontact": "abuse@isp.example",
            "as": 64500,
            "asname": "EXAMPLE-AS",
            "ascountry": "NL",
            "assize": 1024,
            "network": "192.88.99.0/24",
        }
    }
