"""What the processor's loaders say in their status files.

Belongs here: reading them leniently. Not here: what the loaders wrote into the database.

Each loader replaces a file PHASE.json: `phase`, `ingest_id`, `last_updated` (ISO 8601), `metrics`, `checkpoint`,
`dead_letter` with `total`. Whatever lacks in it is done without.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..reporting.text import inert
from .report import Check, Status, duration
from .settings import HealthSettings

MOST_BYTES = 1 << 20
"""A status file has a few hundred bytes; more than this is none."""
MOST_FILES = 100


@dataclass(frozen=True)
class LoaderStatus:
    """What a file says; `error` where it cannot be read."""

    file: str
    phase: str
    updated: datetime | None = None
    dead_letters: int | None = None
    error: str | None = None


def check_status_files(settings: HealthSettings, now: datetime) -> Check:
    """A stale or unreadable file, or none at all, is a warning."""
    folder = settings.status_dir
    if folder is None:
        return Check.skipped("status_files", "no folder is named (--status-dir)")
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        return Check("status_files", Status.WARNING, f"{folder} cannot be read: {error.strerror}")
    if not files:
        return Check("status_files", Status.WARNING, f"{folder} has no status file")
    read = [read_status(path) for path in files[:MOST_FILES]]
    ages = {s.file: (now - s.updated).total_seconds() for s in read if s.updated}
    stale = {file for file, age in ages.items() if age > settings.status_hours * 3600}
    said = [f"{s.phase}: {s.error or _age(ages[s.file], s.file in stale)}" for s in read]
    if len(files) > MOST_FILES:
        said.append(f"{len(files) - MOST_FILES:,} further files NOT CHECKED")
    wrong = stale or any(s.error for s in read) or len(files) > MOST_FILES
    listed = [
        {
            "file": s.file,
            "phase": s.phase,
            "updated": s.updated.isoformat() if s.updated else None,
            "dead_letters": s.dead_letters,
            "error": s.error,
        }
        for s in read
    ]
    return Check("status_files", Status.WARNING if wrong else Status.OK, "; ".join(said), details={"files": listed})


def _age(seconds: float, stale: bool) -> str:
    return f"{duration(max(seconds, 0))} ago{', stale' if stale else ''}"


def read_status(path: Path) -> LoaderStatus:
    """One file; never raises for what is in it."""
    name = inert(path.name)
    try:
        if not path.is_file():
            return LoaderStatus(name, inert(path.stem), error="is no file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        status: Any = json.loads(content) if len(content) <= MOST_BYTES else None
    except OSError as error:
        return LoaderStatus(name, inert(path.stem), error=f"cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return LoaderStatus(name, inert(path.stem), error="is no JSON")
    if not isinstance(status, dict):
        return LoaderStatus(name, inert(path.stem), error="is no JSON object")
    phase = status.get("phase")
    letters = status.get("dead_letter")
    total = letters.get("total") if isinstance(letters, dict) else None
    return LoaderStatus(
        name,
        inert(phase if isinstance(phase, str) and phase else path.stem),
        _date(status.get("last_updated")) or written,
        total if isinstance(total, int) else None,
    )


def _date(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
