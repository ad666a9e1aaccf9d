"""A connection whose every wait ends: with the server's answer, or once the server gives no sign of life.

Belongs here: the watch over a silent server. Not here: connecting or trying again (`connection.py`, `failures.py`).

An index over a large table is silent for an hour, a dead network path too; no fixed limit tells them apart. So a silent
server is asked over a second connection whether it still works on our statement. TCP's own timers do not suffice: a
proxy, or the kernel of a stopped server, acknowledges for ever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.abc import PQGen

SILENT_SECONDS = 30.0
"""How long a server may be silent before it is asked, and between two questions."""
ANSWER_SECONDS = 10.0
"""How long the second connection may take to connect, and to answer."""

Row = tuple[Any, ...]


class WatchedConnection(psycopg.Connection[Row]):
    """psycopg's connection; a wait in it ends with OperationalError where the server no longer works for us.

    Attributes:
        works: asked at each silence whether the server still works for us; None: a silence is the end.
        silent_seconds: how long a silence may be.
        session: the backend's process number and start, as the server knows them.
    """

    works: Callable[[], bool] | None = None
    silent_seconds = SILENT_SECONDS
    session: Row | None = None

    def wait(self, gen: PQGen[Any], *args: Any, **options: Any) -> Any:
        """Wait for the server; where that is broken off, it does not go on with the statement."""
        try:
            return super().wait(self._watched(gen), *args, **options)
        except (Exception, KeyboardInterrupt, SystemExit):
            raise  # psycopg cancels the statement itself
        except BaseException:
            # Dagster's interrupt, which psycopg does not know.
            with contextlib.suppress(psycopg.Error):
                self.cancel_safe(timeout=ANSWER_SECONDS)
            self.close()
            raise

    def _watched(self, gen: PQGen[Any]) -> PQGen[Any]:
        try:
            state = next(gen)
            silent_since = looked = time.monotonic()
            while True:
                ready = yield state
                now = time.monotonic()
                if ready:
                    silent_since = looked = now
                elif now - looked >= self.silent_seconds:
                    if self.works is None or not self.works():
                        self.close()  # what follows, such as a rollback, must not wait again
                        raise psycopg.OperationalError(f"the server gave no answer for {now - silent_since:.0f} s")
                    looked = time.monotonic()
                state = gen.send(ready)
        except StopIteration as stop:
            return stop.value


def watch(connection: WatchedConnection, ask: Callable[[], WatchedConnection]) -> None:
    """Watch a connection in autocommit; `ask` gives a second one, that its server is asked over."""
    connection.silent_seconds = SILENT_SECONDS
    # Asked of the server, not of libpq: a pooler gives its clients numbers of its own.
    connection.session = session = connection.execute(
        "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    ).fetchone()

    def works() -> bool:
        try:
            with ask() as second:
                second.silent_seconds = ANSWER_SECONDS
                # A server that waits for us to read or to write, while we wait for it, will wait for ever.
                found = second.execute(
                    "SELECT state = 'active' AND coalesce(wait_event, '') NOT IN ('ClientRead', 'ClientWrite')"
                    " FROM pg_stat_activity WHERE (pid, backend_start) = (%s, %s)",
                    session,
                ).fetchone()
        except psycopg.OperationalError:
            return False
        return bool(found and found[0])

    connection.works = works
