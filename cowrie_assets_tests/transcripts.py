"""Runs the console transcripts of a page and compares what is shown there with what is printed.

A line that begins with `$ ` is a command, what follows it up to the next is its output; `…` alone stands for any lines,
and where no output is shown none is compared. `# exit code N` behind a command says how it ends, else it is 0. What
varies is masked, in the page and in the output: see `MASKS`. Not here: which pages there are (`test_docs.py`).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from cowrie_assets.cli.main import main
from cowrie_assets.db.url import mask

ROOT = Path(__file__).parent.parent
MASKS = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC|\+00(:00)?)?", "TIME"),
    (r"\b[0-9a-f]{32}\b|repair-\d{8}T\d{6}-[0-9a-f]{6}", "ID"),
    (r"(?<=cowrie-)[0-9a-f]{8}\b", "ID"),  # a folder's name says the source's path
    (r"\d[\d,]*(\.\d+)? (B|KB|MB|GB)\b", "SIZE"),
    (r"\d[\d,]*(\.\d+)? (s|ms|min|h|days|seconds|minutes)\b", "DURATION"),
    (r"\(\d+ %\)", "(SHARE)"),
    (r"PostgreSQL \d+(\.\d+)?", "PostgreSQL VERSION"),
)
"""Times, ids of plans and runs, sizes, durations, shares of a disk, the server's version; never a number of rows."""
PROGRESS = re.compile(r"^\w+ \w+: [\d,]+ of [\d,]+ rows(, [\d,]+ rows/s|$)")
"""A line that a slow machine prints while it works."""


@dataclass(frozen=True)
class Step:
    line: int
    command: str
    code: int
    shown: str


def steps(text: str) -> list[Step]:
    """The commands of a page's ```console blocks in order."""
    found: list[Step] = []
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fence = line[3:].strip() if fence is None else None
        elif fence == "console" and line.startswith("$ "):
            code = re.search(r"# exit code (\d)$", line)
            found.append(Step(number, line[2:], int(code.group(1)) if code else 0, ""))
        elif fence == "console":
            last = found.pop()
            found.append(Step(last.line, last.command, last.code, f"{last.shown}{line}\n"))
    return found


def masked(text: str) -> list[str]:
    """The lines to compare: what varies masked, blanks joined, progress left out."""
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    lines = (" ".join(line.split()) for line in text.splitlines() if not PROGRESS.match(line))
    return [line for line in lines if line]


def same(shown: str, printed: str) -> bool:
    """Whether the output is what the page shows."""
    parts = ["(?:.*\n)*" if line == "…" else re.escape(f"{line}\n") for line in masked(shown)]
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in masked(printed))) is not None


class Terminal:
    """A folder in which commands run one after the other, `cowrie-assets` within this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: Mapping[str, str]) -> None:
        """`stand_ins`: what the page names (a file, a server) -> what is there in the test."""
        self._stand_ins = stand_ins
        self._monkeypatch = monkeypatch
        for name in [n for n in os.environ if n.startswith("COWRIE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("DAGSTER_HOME", "")  # what a command sets is taken back in the end
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.chdir(folder)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "cowrie-assets").write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m cowrie_assets.cli.main "$@"\n', encoding="utf-8"
        )
        (programs / "cowrie-assets").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def run(self, step: Step) -> None:
        """Run a step; AssertionError where it ends or prints otherwise than shown."""
        command = step.command.partition("# exit code")[0].strip()
        for name, real in self._stand_ins.items():
            command = command.replace(name, real)
        code, out = self._ended(command)
        for name, real in self._stand_ins.items():
            out = out.replace(real, name).replace(mask(real), name)
        assert code == step.code, f"line {step.line}: {step.command}\n{out}"
        if step.shown:
            expected, printed = "\n".join(masked(step.shown)), "\n".join(masked(out))
            assert same(step.shown, out), (
                f"line {step.line}: {step.command}\n--- shown\n{expected}\n--- printed\n{printed}"
            )

    def _ended(self, command: str) -> tuple[int, str]:
        words = shlex.split(command)
        if words[0] == "export":
            for assignment in words[1:]:
                self._monkeypatch.setenv(*assignment.split("=", 1))
            return 0, ""
        if (
            words[:2] == ["cowrie-assets", "psql"]
            or words[0] != "cowrie-assets"
            or re.search(r"[|><;&$]", re.sub("'[^']*'", "", command))
        ):
            done = subprocess.run(
                ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            return done.returncode, done.stdout
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as ended:
            main(words[1:])
        return int(ended.value.code or 0), out.getvalue()
