"""The process that owns one embedded PostgreSQL server: it initialises, starts, watches and stops it.

Belongs here: what runs in that process, and the file and lock names that it shares with its clients. Only the
standard library is imported and the file is run by its path, to start fast. Not here: what clients call.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# All locks are flock(2): they belong to the open file, so the kernel frees them however a process ends.
LEASE_LOCK = "lease.lock"  # shared: every client; exclusive, for a moment: a supervisor without clients
SUPERVISOR_LOCK = "supervisor.lock"  # exclusive: the supervisor, from birth until it begins to stop
SERVER_LOCK = "server.lock"  # exclusive: inherited by initdb, postmaster, backends: free when all are gone
CLUSTER = "cluster"
LOG = "server.log"
SUPERUSER = "postgres"
DATABASE = "cowrie"
PORT = 5432  # only part of the socket's file name
READY = "ready"

GRACE_SECONDS = 2.0  # between the last lease's end and the stop: a shell loop of commands shares one server
POLL_SECONDS = 0.1
INIT_SECONDS = 120.0  # initdb takes 0.4 s on an SSD
START_SECONDS = 300.0  # after a crash up to max_wal_size (2 GB) is replayed first
STOP_SECONDS = 120.0  # the last checkpoint may have gigabytes of dirty pages to fsync
CRASH_SECONDS = 30.0  # then an immediate shutdown, which kills its backends after 5 s

# Measured on 4 million 550-byte rows of jsonb with a primary key, 2 cores.
SETTINGS = {
    "listen_addresses": "",  # the private socket is the only way in
    "port": str(PORT),
    "shared_buffers": "256MB",  # more would take the page cache from sorts on a machine of 2 to 4 GB
    "maintenance_work_mem": "256MB",  # for one index build at a time; the default of 64MB spills early
    "max_wal_size": "2GB",  # COPY logs 150 MB/s: with 1GB, the default, a checkpoint each 4 s
    "min_wal_size": "256MB",  # what stays on disk when idle
    "checkpoint_timeout": "15min",  # between checkpoints an index page is logged as a whole only once
    "wal_level": "minimal",  # no replicas: CREATE INDEX is fsynced and not logged
    "max_wal_senders": "0",  # required by wal_level=minimal
    "fsync": "on",  # the rows may be the only copy left: a power cut must not cost them
    "synchronous_commit": "on",  # what the ledger calls loaded is on disk; commits are few
    "timezone": "UTC",  # the source's dates are UTC
    "log_timezone": "UTC",
    "logging_collector": "off",  # the log is this process's stderr
}

# sun_path holds 104 bytes on macOS (108 on Linux), with the closing NUL.
_SOCKET_DIR_BYTES = 103 - len(f"/.s.PGSQL.{PORT}.lock")
# Nothing of the client's environment (PGOPTIONS, passwords) reaches the server.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}

_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2  # linux/prctl.h
_SECBIT_NO_SETUID_FIXUP = 1 << 2  # linux/securebits.h
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2  # linux/capability.h
_CAPABILITY_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process


class FailedError(Exception):
    """The server cannot be started; the text goes to the client that asked for it."""


def try_lock(fd: int, mode: int) -> bool:
    """Take a flock of mode LOCK_SH or LOCK_EX without waiting; False when others hold it."""
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def listening_dir(cluster: Path) -> Path | None:
    """Socket directory of the server on cluster; None unless it says it is ready and takes connections.

    postmaster.pid outlives a killed server, so a connection is tried; one without a byte is not logged.
    """
    try:
        lines = (cluster / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 8 or lines[7].strip() != "ready":  # line 5: first socket directory, line 8: status
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(f"{lines[4]}/.s.PGSQL.{PORT}")
        except OSError:
            return None
    return Path(lines[4])


def service_account() -> pwd.struct_passwd:
    """The account that serves for root: postgres where it exists, else nobody."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise FailedError("There is neither a user postgres nor nobody, and PostgreSQL refuses to run as root.")


def _prctl(*arguments: int) -> None:
    ctypes.CDLL(None).prctl(*(ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0)[:5]))


def _permitted() -> int:
    """The capabilities that this process may use, as bits (those numbered below 32); 0 outside Linux."""
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; the same for 32 and above
    if sys.platform == "linux":
        ctypes.CDLL(None).capget(_CAPABILITY_HEADER, sets)
    return int(struct.unpack_from("=6I", sets)[1])


def _use(effective: int, permitted: int) -> None:
    if sys.platform == "linux":
        sets = struct.pack("=6I", effective, permitted, effective, 0, 0, 0)
        if ctypes.CDLL(None).capset(_CAPABILITY_HEADER, sets) != 0:
            raise FailedError("The capabilities of root cannot be given up; run as an ordinary user.")


def act_as(account: pwd.struct_passwd, data_dir: Path, postgres: Path) -> None:
    """Give up root for account, which may be unable to enter a folder above a path (a home of mode 0700).

    People's folders stay as they are. Where entering fails, the weakest sufficient capability is kept, also
    over exec (Linux). Where it succeeds none is: others of that account could reach the files too.

    Raises:
        FailedError: The account cannot be taken, or a path stays out of reach.
    """
    if sys.platform == "linux":
        # Capabilities survive setuid, and access(2), by which initdb looks for postgres, respects them.
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    try:
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    except OSError as error:
        raise FailedError(f"Cannot run PostgreSQL as user {account.pw_name}: {error.strerror}.") from error
    permitted = _permitted()
    for needed in (0, 1 << _CAP_DAC_READ_SEARCH, 1 << _CAP_DAC_OVERRIDE):
        if needed & ~permitted:
            continue
        _use(needed, permitted)
        if os.access(data_dir, os.R_OK | os.W_OK | os.X_OK) and os.access(postgres, os.R_OK | os.X_OK):
            _use(needed, needed)
            if needed:
                _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, needed.bit_length() - 1)
            return
    raise FailedError(
        f"PostgreSQL refuses to run as root, and user {account.pw_name} cannot enter {data_dir} or {postgres}"
        ": choose a data directory and a Python environment outside private folders, or be an ordinary user."
    )


class _Supervisor:
    """One server's life: the public methods run in the order in which they stand."""

    def __init__(self, data_dir: Path, install: Path) -> None:
        self.data_dir = data_dir
        self.cluster = data_dir / CLUSTER
        self.bin = install / "bin"
        self.users = {0, os.geteuid()}  # who may connect
        self.lease = os.open(data_dir / LEASE_LOCK, os.O_RDWR)
        self.postgres: subprocess.Popen[bytes] | None = None

    def give_up_root(self) -> None:
        """Become the owner of the data directory where root started us."""
        owner = self.data_dir.stat().st_uid
        if os.geteuid() == 0:
            if owner != service_account().pw_uid:
                self.users.add(owner)
            act_as(pwd.getpwuid(owner), self.data_dir, self.bin / "postgres")
        self.server = os.open(self.data_dir / SERVER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)

    def await_predecessor(self) -> None:
        """Wait until no process of an earlier server is left: one that stops, or that lost its supervisor."""
        deadline = time.monotonic() + STOP_SECONDS + CRASH_SECONDS
        asked = False
        while not try_lock(self.server, fcntl.LOCK_EX):
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended by itself
                if not asked:  # the held lock shows that the recorded process number is not a stale one
                    os.kill(int((self.cluster / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
            asked = True
            if time.monotonic() > deadline:
                raise FailedError("The previous server does not stop.")
            time.sleep(0.02)
        if listening_dir(self.cluster):
            raise FailedError(f"A server started by other means runs on {self.cluster}: stop it.")
        # Process numbers are reused, in containers at once: a leftover file may name a living stranger.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def initialise(self) -> None:
        """Create the cluster and its database, whole or not at all; nothing is done when they exist."""
        if self.cluster.exists():
            return
        new = self.cluster.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        postgres, initdb = str(self.bin / "postgres"), str(self.bin / "initdb")
        options = [f"--username={SUPERUSER}", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        options += ["--auth-local=peer", "--auth-host=reject"]
        # With checksums the first scan after a load logs every page once more: CREATE INDEX on 4 million rows
        # took 4.9 s and 2,024 MB of log instead of 1.8 s and 63 kB. The migration proves its rows itself.
        if self.bin.parent.name != "pginstall":  # PostgreSQL 16 has none by default, and not this option
            options.append("--no-data-checksums")
        # Without fsync up to here; one pass over everything makes it durable before the rename.
        self._run(initdb, f"--pgdata={new}", *options, "--no-sync")
        single = (postgres, "--single", "-F", "-c", "exit_on_error=on", "-D", str(new), "template1")
        self._run(*single, stdin=f"CREATE DATABASE {DATABASE}\n")
        self._run(initdb, f"--pgdata={new}", "--sync-only")
        new.rename(self.cluster)
        folder = os.open(self.data_dir, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _run(self, *command: str, stdin: str = "") -> None:
        process = self._spawn(*command, stdin=subprocess.PIPE)
        try:
            process.communicate(stdin.encode(), timeout=INIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise FailedError(f"{Path(command[0]).name} took more than {INIT_SECONDS:.0f} s.") from None
        if process.returncode:
            raise FailedError(f"{Path(command[0]).name} failed.")

    def _spawn(self, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """A child that logs to our stderr, carries the server lock and is interrupted when we die."""
        supervisor = os.getpid()

        def end_with_supervisor() -> None:
            if sys.platform == "linux":  # elsewhere the next supervisor interrupts what it finds
                _prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
                if os.getppid() != supervisor:
                    os._exit(1)

        return subprocess.Popen(  # noqa: S603 - the shipped binaries, no shell
            command,
            stdin=stdin,
            stdout=sys.stderr,
            env=_ENVIRONMENT,
            pass_fds=(self.server,),
            preexec_fn=end_with_supervisor,
        )

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        # Peer instead of trust: other processes of a shared account such as nobody stay out.
        names = [pwd.getpwuid(uid).pw_name for uid in sorted(self.users)]
        (self.cluster / "pg_hba.conf").write_text("local all all peer map=cowrie\n")
        (self.cluster / "pg_ident.conf").write_text("".join(f'cowrie "{name}" all\n' for name in names))
        sockets = str(self._socket_dir()).replace('"', '""')
        settings = SETTINGS | {"unix_socket_directories": f'"{sockets}"'}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.postgres = self._spawn(str(self.bin / "postgres"), "-D", str(self.cluster), *options)
        deadline = time.monotonic() + START_SECONDS
        while not listening_dir(self.cluster):
            if self.postgres.poll() is not None:
                raise FailedError("The server ended while starting.")
            if time.monotonic() > deadline:
                raise FailedError(f"The server was not ready after {START_SECONDS:.0f} s.")
            time.sleep(0.01)

    def _socket_dir(self) -> Path:
        """A new private directory with a path that fits: in the data directory, or temporary and linked."""
        here = self.data_dir / "socket"
        self._remove_sockets()  # a killed server's; there too a lock file names a process number
        if len(os.fsencode(here)) <= _SOCKET_DIR_BYTES and "," not in str(here):  # libpq splits at commas
            here.mkdir(mode=0o700)
            return here
        temporary = tempfile.gettempdir()
        if len(os.fsencode(temporary)) + len("/cowrie-12345678") > _SOCKET_DIR_BYTES:
            raise FailedError(f"The paths {here} and {temporary} are too long for a socket: set TMPDIR.")
        here.symlink_to(tempfile.mkdtemp(prefix="cowrie-"))
        return here.readlink()

    def _remove_sockets(self) -> None:
        here = self.data_dir / "socket"
        if here.is_symlink():
            there = here.readlink()
            with contextlib.suppress(FileNotFoundError):
                found = there.lstat()  # after a reboot the name may be someone else's
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                    shutil.rmtree(there)
            here.unlink()
        elif here.exists():
            shutil.rmtree(here)

    def watch(self) -> None:
        """Return when the server has ended or has been without a client for the grace time."""
        idle_since = time.monotonic()
        while self.postgres and self.postgres.poll() is None:
            if try_lock(self.lease, fcntl.LOCK_EX):
                if time.monotonic() - idle_since >= GRACE_SECONDS:
                    return
                fcntl.flock(self.lease, fcntl.LOCK_UN)
            else:
                idle_since = time.monotonic()
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Fast shutdown, then an immediate one (the log is replayed at the next start)."""
        os.close(self.lease)
        if self.postgres is None:
            return
        for how, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, CRASH_SECONDS)):
            self.postgres.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.postgres.wait(seconds)
                self._remove_sockets()
                return


def main(data_dir: Path, install: Path, supervisor_lock: int) -> None:
    """Serve data_dir with the binaries below install; supervisor_lock is the held lock's file descriptor.

    Writes "ready", or what went wrong, to stdout and closes it.
    """
    if os.fork():  # the client reaps this half at once and need not wait for the other
        os._exit(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.signal(signal.SIGINT, lambda *_: sys.exit())
    os.ftruncate(supervisor_lock, 0)
    os.write(supervisor_lock, f"{os.getpid()}\n".encode())  # for people who look for the process
    supervisor = _Supervisor(data_dir, install)
    try:
        supervisor.give_up_root()
        supervisor.await_predecessor()
        supervisor.initialise()
        supervisor.start()
        _answer(READY)
        supervisor.watch()
    except (FailedError, OSError, KeyError) as error:  # KeyError: PostgreSQL needs a user who has a name
        _answer(str(error))
    finally:
        # From here on a new client starts a supervisor of its own, which awaits this one's server.
        os.close(supervisor_lock)
        supervisor.stop()


def _answer(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the client was killed meanwhile
        os.write(1, text.encode(errors="surrogateescape"))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
