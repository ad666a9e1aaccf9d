"""The HTTP endpoint for a probe: GET /healthz and /readyz.

Belongs here: requests and answers. Not here: looking (`probe.py`).
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .probe import Probe
from .report import Report, Status

FRESH_SECONDS = 1.0
"""An answer this young serves further requests: many probes cost one look."""
CLIENT_SECONDS = 10.0
"""A client that sends nothing for so long is let go."""
READY_CHECKS = ("database", "schema")


class Endpoint(ThreadingHTTPServer):
    """Serves until `shutdown`; a look at a time, whatever the number of clients."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], probe: Probe) -> None:
        """Listen on host and port; OSError where that cannot be had."""
        self._probe = probe
        self._one = threading.Lock()
        self._last: tuple[float, Report] | None = None
        super().__init__(address, _Handler)

    def report(self) -> Report:
        """A look that is at most a second old."""
        with self._one:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_SECONDS:
                report = self._probe.look()
                self._last = (time.monotonic(), report)
            return self._last[1]


class _Handler(BaseHTTPRequestHandler):
    """200 where nothing is critical, else 503; /readyz asks for database and schema alone."""

    server: Endpoint
    server_version = "cowrie-assets"
    sys_version = ""  # the interpreter's version is nobody's business
    timeout = CLIENT_SECONDS
    error_content_type = "application/json"
    error_message_format = '{"error": %(code)d}\n'

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        """Answer a probe."""
        path = self.path.partition("?")[0]
        if path not in ("/healthz", "/readyz"):
            self._answer(404, {"error": "GET /healthz or /readyz"})
            return
        report = self.server.report()
        if path == "/readyz":
            report = report.only(*READY_CHECKS)
        self._answer(503 if report.status is Status.CRITICAL else 200, report.as_json())

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        body = (json.dumps(content) + "\n").encode("ascii")
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """A probe every few seconds is no news."""
