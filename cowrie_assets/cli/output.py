"""Words on the terminal: tables, JSON, progress bars.

Belongs here: showing. Not here: deciding what is shown.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..reporting.text import inert

LOG_WIDTH = 160
HEARTBEAT_SECONDS = 10.0
"""Without a terminal a line at least this often says that the work goes on."""
RATE_SECONDS = 1.0
"""A stage is at work this long before a rate is shown: rows that are in place are passed over in no time."""


def console(file: IO[str] | None = None) -> Console:
    """Where people read: standard output or a file, no markup, so that data cannot style it."""
    # A pipe or log file has no width: rich would fold names at 80 columns.
    wide = file is None and sys.stdout.isatty()
    return Console(file=file, markup=False, highlight=False, width=None if wide else LOG_WIDTH)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], file: IO[str] | None = None) -> None:
    """A table; text cells are made inert, numbers grouped and right-aligned."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    numeric = [all(isinstance(row[i], int) for row in rows) and bool(rows) for i in range(len(header))]
    for name, right in zip(header, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{v:,}" if isinstance(v, int) else inert(str(v))) for v in row))
    console(file).print(table)


def print_json(content: object) -> None:
    """JSON on standard output; ASCII only, so that no escape of the data reaches a terminal."""
    click.echo(json.dumps(content, indent=2, default=str))


def gigabytes(size: float) -> str:
    """A size for people."""
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = (task.finished_speed or task.speed) if task.fields.get("rated") else None
        return Text(f"{speed:,.0f} rows/s" if speed else "")


class StageBars:
    """A bar a stage: rows, rows/s, time to go."""

    def __init__(self, totals: Mapping[str, int]) -> None:
        """`totals`: stage -> rows expected."""
        self._totals = dict(totals)
        self._done: dict[str, int] = dict.fromkeys(totals, 0)
        self._tasks: dict[str, Any] = {}
        self._started: dict[str, float] = {}
        self._spoken = time.monotonic()
        self._live = console().is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("rows"),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console(),
        )

    def __call__(self, stage: str, table: str, rows: int, expected: int | None) -> None:
        """Rows passed a stage."""
        now = time.monotonic()
        if stage not in self._done:
            self._done[stage] = 0
            self._totals[stage] = expected or 0
        self._started.setdefault(stage, now)
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=self._totals[stage] or None)
        self._done[stage] += rows
        rated = now - self._started[stage] >= RATE_SECONDS
        self._progress.update(self._tasks[stage], advance=rows, rated=rated)
        if not self._live and now - self._spoken > HEARTBEAT_SECONDS:
            self._spoken = now
            self._say(stage, table, now)

    def _say(self, stage: str, table: str, now: float) -> None:
        done, total = self._done[stage], self._totals[stage]
        of = f" of {total:,}" if total else ""
        elapsed = now - self._started[stage]
        rate = ""
        if elapsed >= RATE_SECONDS:
            speed = done / elapsed
            left = f", about {(total - done) / speed:.0f} s to go" if total > done and speed else ""
            rate = f", {speed:,.0f} rows/s{left}"
        click.echo(f"{stage} {inert(table)}: {done:,}{of} rows{rate}")

    @contextmanager
    def shown(self) -> Iterator[StageBars]:
        """Show the bars while the block runs; afterwards, without a terminal, a line a stage."""
        if self._live:
            for stage, total in self._totals.items():
                self._tasks[stage] = self._progress.add_task(stage, total=total or None)
            with self._progress:
                yield self
            return
        yield self
        for stage in self._started:
            click.echo(f"{stage}: {self._done[stage]:,} rows")
