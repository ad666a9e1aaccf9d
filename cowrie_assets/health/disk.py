"""Free space where the database, the staged files and the embedded server lie.

Belongs here: this machine's folders. Not here: the disk of a server elsewhere, which it tells nobody.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ..db.url import is_postgres, sqlite_path
from ..settings import Settings
from .report import Check, Status, size
from .settings import HealthSettings


def folders(database: str | None, settings: Settings) -> dict[str, Path]:
    """What is written to on this machine, and where.

    Args:
        database: the URL or path that was named, None for the migration's target.
        settings: whose source, staging and embedded server are meant.
    """
    found = {}
    if database and not is_postgres(database):
        found["database"] = sqlite_path(database, "The database").parent
    if settings.source:
        found["source"] = settings.source.parent
    if "://" not in settings.staging:
        found["staging"] = Path(settings.staging)
    if not database and not settings.target:
        found["embedded server"] = settings.home / "postgres"
    return found


def check_disk(named: Mapping[str, Path], settings: HealthSettings, *, remote: bool) -> Check:
    """The emptiest disk decides.

    Args:
        named: as `folders` gives it; one that does not exist yet counts as its nearest parent.
        settings: thresholds.
        remote: the database lies on a server whose disk cannot be seen from here.
    """
    free: dict[str, float] = {}
    details: dict[str, object] = {}
    said, errors = [], []
    for name, folder in named.items():
        try:
            place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
            usage = shutil.disk_usage(place)
        except OSError as error:
            errors.append(f"{name}: {folder} cannot be read ({error.strerror})")
            continue
        free[name] = 100 * usage.free / usage.total
        said.append(f"{name}: {size(usage.free)} free ({free[name]:.0f} %)")
        details[name] = {"folder": str(folder), "free_bytes": usage.free, "total_bytes": usage.total}
    least = min(free.values(), default=100.0)
    status = Status.WARNING if errors or least < settings.free_percent else Status.OK
    if least < settings.free_critical_percent:
        status = Status.CRITICAL
    said += errors + (["the server's own disk: NOT CHECKED"] if remote else [])
    return Check("disk", status, "; ".join(said), details={"folders": details})
