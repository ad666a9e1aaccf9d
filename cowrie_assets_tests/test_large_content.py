"""Content of a size or depth that nobody expects: it arrives whole, or is set aside with a rule, in bounded memory.

Not here: cells of the wrong kind (`test_hostile.py`), terminal escapes and markup (`test_inert.py`).
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cowrie_assets.catalog import TABLES
from cowrie_assets_tests.test_hostile import DECLARED
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, verdicts
from cowrie_assets_tests.test_source import database, opened

MEASURED = """
import resource, sys
from pathlib import Path
from cowrie_assets_tests.test_migration import migrate, pipeline_for, verdicts
line = pipeline_for(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
migrate(line)
assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_megabytes(path: Path, url: str, folder: Path) -> float:
    """Migrate in a process of its own; by how much its resident memory grew at most."""
    command = [sys.executable, "-c", MEASURED, str(path), url, str(folder)]
    before, after = map(int, subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split())
    return (after - before) / 1024


def event(**members: str) -> str:
    """A document of the catalog's event, with further members given as JSON text."""
    start = '{"session": "s1", "eventid": "e", "timestamp": "2026-10-01T00:00:00Z"'
    return start + "".join(f', "{name}": {text}' for name, text in members.items()) + "}"


def nested(depth: int) -> str:
    """An event that is nested so deep in all."""
    return event(deep='{"a":' * (depth - 2) + "[]" + "}" * (depth - 2))


def source(path: Path, payloads: list[object]) -> Path:
    """raw_events with these payloads."""
    database(
        path,
        "CREATE TABLE raw_events (id INTEGER PRIMARY KEY, source TEXT, source_inode TEXT, source_offset INTEGER,"
        " source_generation INTEGER, ingest_at DATETIME, payload JSON)",
    )
    with opened(path) as connection:
        for number, payload in enumerate(payloads, 1):
            connection.execute(
                "INSERT INTO raw_events (id, source, source_inode, source_offset, source_generation, ingest_at, payload)"
                " VALUES (?, 's', 'i', ?, 0, '2026-10-01 00:00:00', ?)",
                (number, number, payload),
            )
    return path
