"""A migration that kills itself with SIGKILL in the middle of a stage; run by `test_crash.py` as a process of its own.

Not here: what must hold afterwards.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from cowrie_assets.defs.run import Selection, run_migration
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.settings import Settings


def main(source: str, url: str, folder: str, fatal: str, limit: int) -> None:
    """Run everything; die once that many rows have passed the stage (0: never)."""
    passed = 0

    def note(stage: str, table: str, rows: int, expected: int | None) -> None:
        nonlocal passed
        if stage == fatal:
            passed += rows
            if limit and passed >= limit:
                os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings(
        source=Path(source), target=url or None, staging=f"{folder}/staging", home=Path(folder) / "home"
    )
    line = Pipeline(settings, note)
    with line.locked(wait=5):
        result = run_migration(line, Selection(keys=line.plan.windows.keys))
    sys.exit(0 if result.success else 3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
