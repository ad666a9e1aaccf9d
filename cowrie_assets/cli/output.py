"""Words on the terminal: tables, JSON, progress bars.

Belongs here: showing. Not here: deciding what is shown.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..errors import SettingsError
from ..reporting.text import inert
from ..source.sqlite import HEADER

LOG_WIDTH = 160
SHORT, FOLDED = 24, 20
"""Characters of a cell that is never folded (an id, a time, an address), and to which a longer one may be."""
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
    """A table; text cells are made inert, numbers grouped and right-aligned.

    Long texts wrap to fit a terminal. Where that is not enough, each row is shown as lines of `name  cell`: a narrow
    column would break ids apart.
    """
    cells = [[f"{v:,}" if isinstance(v, int) else inert(str(v)) for v in row] for row in rows]
    numeric = [all(isinstance(row[i], int) for row in rows) and bool(rows) for i in range(len(header))]
    shown = console(file)
    if file is None and shown.is_terminal and _least(header, cells) > shown.width:
        _print_records(header, cells)
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name, right in zip(header, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    shown.print(table)


def _least(header: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """The least width of a table whose words and short cells stay whole."""
    words = [max((cell_len(word) for word in name.split()), default=0) for name in header]
    longest = [max((cell_len(row[i]) for row in cells), default=0) for i in range(len(header))]
    least = (max(w, c if c <= SHORT else FOLDED) for w, c in zip(words, longest, strict=True))
    return sum(least) + 2 * (len(header) - 1)


def _print_records(header: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    width = max(map(cell_len, header))
    for row in cells:
        for name, cell in zip(header, row, strict=True):
            click.echo(f"{name}{' ' * (width - cell_len(name))}  {cell}")
        click.echo("")


@contextmanager
def written(path: Path | None) -> Iterator[IO[str]]:
    """What a command writes its result to: a file, and says so; else standard output.

    Raises:
        SettingsError: it cannot be written, or is a SQLite database: such a slip would cost the data.
    """
    try:
        if path is None:
            yield sys.stdout
            return
        if path.is_file() and _begins(path) == HEADER:
            raise SettingsError(f"{path} is a SQLite database: it is not overwritten.", hint="Name another file.")
        with path.open("w", encoding="utf-8", newline="") as sink:
            yield sink
    except OSError as error:
        raise SettingsError(f"{path or 'The output'} cannot be written: {error.strerror}.") from error
    click.echo(f"Written: {path}")


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(HEADER))


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
        """`totals`: stage -> rows expected; another stage's are the sum of its tables', as each begins."""
        self._totals = dict(totals)
        self._fixed = frozenset(totals)
        self._begun: set[tuple[str, str]] = set()
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
        if stage not in self._fixed and (stage, table) not in self._begun:
            self._begun.add((stage, table))
            self._totals[stage] = self._totals.get(stage, 0) + (expected or 0)
        self._started.setdefault(stage, now)
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=None)
        self._done[stage] = self._done.get(stage, 0) + rows
        rated = now - self._started[stage] >= RATE_SECONDS
        self._progress.update(self._tasks[stage], advance=rows, total=self._totals[stage] or None, rated=rated)
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
