"""Whether a database is sound: each check with its verdict, and NOT CHECKED for what was not looked at.

Belongs here: the checks and their order. Not here: what the rules say of rows (`data_quality.py`), mending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from .migrations.drift import check_drift
from .soundness import (
    broken_indexes,
    duplicates,
    index_method,
    invalid_objects,
    json_faults,
    orphans,
    sequences_behind,
    sqlite_check,
    summaries,
)


class Verdict(StrEnum):
    """What a check says."""

    OK = "OK"
    WRONG = "WRONG"
    NOT_CHECKED = "NOT CHECKED"


@dataclass(frozen=True)
class Check:
    """A check's name, verdict and what it saw; `denied`: it could not be made for lack of a right."""

    name: str
    verdict: Verdict
    detail: str
    denied: bool = False


@dataclass(frozen=True)
class _Planned:
    name: str
    run: Callable[[sa.Connection], list[str] | None]
    """The faults found; None where it cannot be looked at."""
    good: str | Callable[[sa.Connection], str]
    """What is said where nothing was found."""
    backend: str | None = None


def _schema(connection: sa.Connection) -> list[str]:
    serious = [d for d in check_drift(connection) if d.serious]
    return [f"{d.table}: {d.what} is {d.actual}, should be {d.expected}" for d in serious]


_QUICK = (
    _Planned("storage", lambda c: sqlite_check(c, "quick_check"), "PRAGMA quick_check finds nothing", "sqlite"),
    _Planned("catalog", invalid_objects, "all indexes valid, all constraints validated", "postgresql"),
    _Planned("schema", _schema, "as the catalog says"),
    _Planned("sequences", sequences_behind, "each ahead of the highest id", "postgresql"),
)
_DEEP = (
    _Planned("storage", lambda c: sqlite_check(c, "integrity_check"), "PRAGMA integrity_check finds nothing", "sqlite"),
    _Planned("foreign keys", lambda c: sqlite_check(c, "foreign_key_check"), "each leads somewhere", "sqlite"),
    _Planned("indexes", broken_indexes, index_method, "postgresql"),
    _Planned("orphans", orphans, summaries),
    _Planned("JSON", json_faults, "every document is JSON", "sqlite"),
    _Planned("duplicates", duplicates, "every key is there once"),
)


def check_integrity(engine: sa.Engine, *, deep: bool = False) -> Iterator[Check]:
    """Check a database, quickly, or in depth: then every table and index is read.

    Yields:
        Each check as it ends; without `deep` those of the depth as NOT CHECKED.
    """
    backend = engine.dialect.name
    quick = [p for p in _QUICK if p.backend in (None, backend)]
    thorough = [p for p in _DEEP if p.backend in (None, backend)]
    replaced = {p.name for p in thorough} if deep else set()
    for planned in [p for p in quick if p.name not in replaced] + (thorough if deep else []):
        try:
            with engine.connect() as connection:
                faults = planned.run(connection)
                good = planned.good if isinstance(planned.good, str) else planned.good(connection)
        except DBAPIError as error:
            # What one check stumbles over (a damaged page) must not hide what the others see.
            said = str(error.orig).strip().splitlines()[0]
            denied = getattr(error.orig, "sqlstate", None) == "42501"
            yield Check(planned.name, Verdict.NOT_CHECKED if denied else Verdict.WRONG, said, denied)
            continue
        if faults is None:
            yield Check(planned.name, Verdict.NOT_CHECKED, "its tables are not there")
        elif faults:
            more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
            yield Check(planned.name, Verdict.WRONG, "; ".join(faults[:3]) + more)
        else:
            yield Check(planned.name, Verdict.OK, good)
    if not deep:
        for planned in thorough:
            yield Check(f"{planned.name} (deep)", Verdict.NOT_CHECKED, "add --deep")
