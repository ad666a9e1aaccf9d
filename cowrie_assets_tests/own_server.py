"""A PostgreSQL server of a test's own, that it may kill, stop and fill; and a TCP proxy that cuts or goes silent.

Not here: what a migration must do then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from cowrie_assets.db import embedded
from cowrie_assets.db.embedded_supervisor import service_account

READY_SECONDS = 60.0
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
SETTINGS = {
    # The processes are killed, not the machine: what they wrote is in the kernel.
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "20",
    "log_min_messages": "panic",
}


def programs() -> Path:
    """The folder of initdb and postgres: the system's newest, else the embedded server's."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    return installed[-1].parent if installed else embedded.binary("initdb").parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class OwnServer:
    """A server in a folder; for root it runs as the service account."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Create the cluster in the folder, which that account can reach; nothing runs yet."""
        self.folder, self.settings, self.port = folder, {**SETTINGS, **settings}, free_port()
        self.data = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self.account = service_account() if os.geteuid() == 0 else None
        if self.account:
            os.chown(folder, self.account.pw_uid, self.account.pw_gid)
        self._popen("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync").wait(60)
        (self.data / "pg_hba.conf").write_text(HBA, encoding="ascii")

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        user, group = (self.account.pw_uid, self.account.pw_gid) if self.account else (None, None)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(programs() / program), *arguments],
                stdout=log,
                stderr=log,
                cwd="/",
                user=user,
                group=group,
                extra_groups=[] if self.account else None,
            )

    def url(self, database: str = "postgres", **parts: str) -> str:
        """The superuser's, through the Unix socket; `host` and others replace its parts."""
        given = {"host": str(self.folder), "port": str(self.port), "user": "postgres", "dbname": database}
        return psycopg.conninfo.make_conninfo(**{**given, **parts})

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        at = ["-D", str(self.data), "-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"]
        self.process = self._popen("postgres", *at, *options)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT fast, SIGQUIT immediately, without a checkpoint."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def own_server(folder: Path | None = None, **settings: str) -> Iterator[OwnServer]:
    """A running server of its own, by default in a new folder; stopped and deleted at the end."""
    made = folder or Path(tempfile.mkdtemp(prefix="cowrie-pg-"))
    server = OwnServer(made, **settings)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        if folder is None:
            shutil.rmtree(made)


class Proxy:
    """Forwards TCP to a server; `cut_after` bytes from the client it cuts, or with `silent` keeps both sides waiting."""

    def __init__(self, port: int, cut_after: int | None = None, silent: bool = False, times: int = 1) -> None:
        """Listen; `times` connections are cut, later ones pass."""
        self.target, self.cut_after, self.silent, self.times = port, cut_after, silent, times
        self.cuts = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.target))
                self._open += [client, server]
                for here, there, counted in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._forward, args=(here, there, counted), daemon=True).start()

    def _forward(self, here: socket.socket, there: socket.socket, counted: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):  # the other direction closed both
            while content := here.recv(65_536):
                passed += len(content)
                if counted and self.cut_after is not None and passed > self.cut_after and self.cuts < self.times:
                    self.cuts += 1
                    if self.silent:
                        return  # neither read nor answered any more
                    there.sendall(content[: len(content) // 2])
                    break
                there.sendall(content)
        for side in (here, there):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def close(self) -> None:
        """Close everything."""
        for each in (self._listener, *self._open):
            each.close()
