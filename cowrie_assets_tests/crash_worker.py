"""A migration in process, stage by stage, that counts its moments and dies, or has its backend killed, at one of them.

Not here: what must hold afterwards (`test_crash_points.py`).

A moment is a step that the outside can see: rows passed, a staged file written, before it gets its name, after; a
request to the server, its answer. A delay in milliseconds behind it falls into whatever runs then.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cowrie_assets.errors import CowrieError
from cowrie_assets.loading import load, watched
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.settings import Settings
from cowrie_assets.staging import stage, store
from cowrie_assets_tests.test_migration import units

Kill = Callable[[int], None]
"""Called with the process number of the backend at hand, 0 before there is one."""

CHUNK = 300_000
"""Bytes of a chunk, so that a small source has several for each table."""


@dataclass(frozen=True)
class Moment:
    """When and what: `worker` (SIGKILL), `backend` (SIGKILL), `terminate` (pg_terminate_backend)."""

    kind: str
    step: int
    delay: float = 0.0


class Steps:
    """Counts moments, and strikes once at the one that was chosen."""

    def __init__(self, moment: Moment | None, admin: str) -> None:
        self.moment, self.admin, self.count, self.backend, self.struck = moment, admin, 0, 0, False
        self.timer: threading.Timer | None = None

    def __call__(self) -> None:
        self.count += 1
        # A moment of a backend is the first one at which there is a backend.
        due = self.moment is not None and self.count >= self.moment.step
        if self.moment and due and not self.struck and (self.backend or self.moment.kind == "worker"):
            self.struck = True
            if self.moment.delay:
                self.timer = threading.Timer(self.moment.delay, self.strike)
                self.timer.start()
            else:
                self.strike()

    def strike(self) -> None:
        """Kill."""
        if self.moment is None or self.moment.kind == "worker":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.moment.kind == "backend":
            try:
                os.kill(self.backend, signal.SIGKILL)
            except ProcessLookupError:  # its connection was closed within the delay: the next one is hit
                self.backend, self.struck = 0, False
        else:
            with psycopg.connect(self.admin) as connection:
                row = connection.execute("SELECT pg_terminate_backend(%s)", (self.backend,)).fetchone()
            if row != (True,):
                self.backend, self.struck = 0, False


def _instrument(steps: Steps) -> None:
    """Have every moment counted."""
    wait, writing, sync = watched.WatchedConnection.wait, store.Store.writing, store._sync

    def counted_wait(self: Any, *args: Any, **options: Any) -> Any:
        steps.backend = self.pgconn.backend_pid
        steps()
        result = wait(self, *args, **options)
        steps()
        return result

    @contextlib.contextmanager
    def counted_writing(self: Any, path: str) -> Iterator[Any]:
        steps()
        with writing(self, path) as stream:
            yield stream
        steps()

    def counted_sync(path: str) -> None:
        sync(path)
        steps()

    watched.WatchedConnection.wait = counted_wait  # type: ignore[method-assign]
    store.Store.writing = counted_writing  # type: ignore[method-assign]
    store._sync = counted_sync


def migrate(source: Path, url: str, folder: Path, run_id: str, moment: Moment | None, admin: str, report: Path) -> None:
    """Every stage over everything, as the command does; the steps and the loads that were begun go to `report`."""
    steps = Steps(moment, admin)
    _instrument(steps)
    stage.CHUNK_BYTES = CHUNK
    tried = [0]
    run = load._Load.run

    def counted(self: Any, *args: Any) -> Any:
        tried[0] += 1
        return run(self, *args)

    load._Load.run = counted  # type: ignore[method-assign, assignment]
    settings = Settings(source=source, target=url, staging=str(folder / "staging"), home=folder / "home")
    line = Pipeline(settings, lambda *_: steps())
    journal = (folder / "journal").open("a", encoding="utf-8", buffering=1)

    def noted(stage_name: str, table: str, key: str, work: Callable[[], Any]) -> None:
        journal.write(f"{run_id}\tbegin\t{stage_name}\t{table}\t{key}\n")
        made = work()
        journal.write(f"{run_id}\t{'made' if made else 'kept'}\t{stage_name}\t{table}\t{key}\n")

    try:
        todo = units(line.plan)
        with line.locked(wait=5):
            line.prepare()
            for table, keys in todo:
                line.stage(table, keys)
            for table, keys in todo:
                for key in keys:
                    noted("quality", table, key, lambda t=table, k=key: line.analyse(t, k)[1])  # type: ignore[misc]
                    noted("cleaned", table, key, lambda t=table, k=key: line.clean(t, k)[1])  # type: ignore[misc]
            for table, keys in todo:
                for key in keys:
                    noted("postgres", table, key, lambda t=table, k=key: line.load(t, k, run_id).made)  # type: ignore[misc]
            verdicts = {c.verdict.value for table, keys in todo for c in line.validate(table, keys)}
            line.finish()
            verdicts |= {t.verdict.value for t in line.totals()}
            said, code = ",".join(sorted(verdicts)), 0
    except CowrieError as error:
        said, code = str(error), error.exit_code
    if steps.timer:
        steps.timer.join()
    report.write_text(f"{steps.count}\t{tried[0]}\t{steps.struck}\t{said}", encoding="utf-8")
    sys.exit(code)


def start(*arguments: Any) -> multiprocessing.process.BaseProcess:
    """Run `migrate` in a process of its own, forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cowrie_assets_tests.crash_worker"])
    process = context.Process(target=migrate, args=arguments)
    process.start()
    return process
