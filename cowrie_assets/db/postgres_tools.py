"""PostgreSQL's own programs: finding the version that fits a server, running them without a password in sight.

Belongs here: pg_dump and pg_restore as processes. Not here: what is dumped, and whether it is sound (`backup.py`).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BackupError, CowrieError, DatabaseError
from ..loading.connection import driver
from .url import mask

PACKAGED = "/usr/lib/postgresql"
"""Where Debian's packages put each version's programs (`N/bin`), beside the wrapper on PATH."""


@dataclass(frozen=True)
class Tools:
    """A folder with pg_dump and pg_restore of one major version."""

    folder: Path
    major: int


def find_tools(server_major: int) -> Tools:
    """The programs nearest to the server's version, never older than it.

    Looked for on PATH, then among the system's packages, then those that the embedded server brings.

    Raises:
        DatabaseError: there are none, or only older ones, which PostgreSQL itself refuses.
    """
    found = [Tools(folder, major) for folder in _folders() if (major := _major(folder / "pg_dump")) is not None]
    fitting = [tools for tools in found if tools.major >= server_major]
    if fitting:
        return min(fitting, key=lambda tools: tools.major)
    hint = f"Install postgresql-client-{server_major}, or put its pg_dump on PATH."
    if not found:
        raise DatabaseError("pg_dump is not installed.", hint=hint)
    newest = max(found, key=lambda tools: tools.major)
    raise DatabaseError(
        f"{newest.folder / 'pg_dump'} is of version {newest.major}, older than the server ({server_major}).", hint=hint
    )


def _folders() -> Iterator[Path]:
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(entry) / "pg_dump"
        # Debian's wrapper chooses a version by rules of its own; what it chooses from is listed below.
        if entry and program.is_file() and program.resolve().name != "pg_wrapper":
            yield program.parent
    yield from sorted(p.parent for p in Path(PACKAGED).glob("*/bin/pg_dump"))
    from . import embedded

    try:
        yield embedded.binary("pg_dump").parent
    except CowrieError:
        return  # the embedded server is not installed


def _major(program: Path) -> int | None:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(match.group(1)) if match else None


def run_tool(tools: Tools, program: str, url: str | None, arguments: Sequence[str]) -> None:
    """Run a program, on a database or none; the password travels in the environment: all can read a command line.

    Raises:
        BackupError: it failed; its first line says why.
        DatabaseError: the URL holds a secret that cannot travel so.
    """
    pg = driver()
    parts = {k: v for k, v in pg.conninfo.conninfo_to_dict(url or "").items() if v is not None}
    if "sslpassword" in parts:
        raise DatabaseError(
            "The URL's sslpassword cannot be handed on without being seen.", hint="Name a key without a password."
        )
    environment = os.environ | {"LC_ALL": "C"}
    if password := parts.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    target = [f"--dbname={pg.conninfo.make_conninfo('', **parts)}"] if url else []
    command = [str(tools.folder / program), *target, *arguments]
    done = subprocess.run(  # noqa: S603 - the program was found above, the arguments are ours
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if "error" in line.lower()]
        first = (lines or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise BackupError(f"{program} {tools.major} failed: {mask(first).rstrip('.')}.")
