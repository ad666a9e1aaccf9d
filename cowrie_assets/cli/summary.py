"""The short table at the end of a migration, also shown by `status` and `verify`.

Belongs here: its columns. Not here: reading the ledger (`reporting/ledger.py`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..reporting.ledger import Ledger
from .output import print_table


def print_summary(ledger: Ledger) -> None:
    """For each table: rows in the source, loaded, set aside, cells repaired, verified."""
    print_table(
        "",
        ("table", "in source", "loaded", "set aside", "cells repaired", "verified"),
        [(t.table, t.source, t.loaded, t.set_aside, t.repaired, t.verified) for t in ledger.tables],
    )


def ledger_json(ledger: Ledger) -> dict[str, Any]:
    """The same for scripts."""
    return asdict(ledger)
