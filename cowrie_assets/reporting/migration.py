"""The report of the whole migration: what it is made from, read in one snapshot, and its two files.

Not here: what it says (`sections.py`), queries (`ledger.py`), escaping and rendering (`text.py`).
"""

from __future__ import annotations

import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..db.url import mask
from ..errors import StagingError, reason
from ..loading.connection import driver
from ..loading.failures import translate
from ..pipeline import Pipeline
from ..validation.totals import check_totals
from ..validation.verdicts import TableTotal, Verdict
from . import ledger
from .ledger import Derivation, Misbuilt, OpenPartition, RuleCount
from .sections import TITLE, Facts, document
from .text import html, markdown

Item = TypeVar("Item", OpenPartition, RuleCount, Derivation, Misbuilt, TableTotal)


@dataclass(frozen=True)
class Written:
    """The report's files, and what it found."""

    markdown: Path
    html: Path
    totals: list[TableTotal]
    verdict: str


def write_report(pipeline: Pipeline) -> Written:
    """Write `report/migration.md` and `.html` in the settings' home folder, each whole or not at all.

    What it says is of the plan that the target is pinned to, read in one snapshot of the target.

    Raises:
        TargetError: where no migration has begun on the target.
        SourceError: where the source cannot be read: the totals are counted in it.
        StagingError: where the files cannot be written.
    """
    facts = _gather(pipeline)
    blocks = list(document(facts))
    folder = pipeline.settings.home / "report"
    written = Written(folder / "migration.md", folder / "migration.html", facts.totals, facts.overall.verdict.value)
    _write(folder, {written.markdown: markdown(blocks), written.html: html(TITLE, blocks)})
    return written


def _gather(pipeline: Pipeline) -> Facts:
    source = pipeline.settings.require_source()
    with pipeline.connect() as connection:
        try:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            state = ledger.target_state(connection)
            totals = check_totals(connection, state.plan, source)
            wrong = {t.table: t.detail for t in totals if t.verdict is Verdict.FAIL}
            sums = [replace(s, total_fault=wrong.get(s.table)) for s in ledger.table_sums(connection)]
            order = {s.table: place for place, s in enumerate(sums)}

            def ordered(items: list[Item]) -> list[Item]:
                return sorted(items, key=lambda item: order.get(item.table, len(order)))

            return Facts(
                target_label=mask(pipeline.settings.target_label),
                state=state,
                sums=sums,
                open=ordered(ledger.open_partitions(connection)),
                repairs=ordered(ledger.repairs(connection)),
                set_aside=ordered(ledger.set_aside(connection)),
                derivations=ordered(ledger.derivations(connection)),
                misbuilt=ordered(ledger.not_as_declared(connection, state.plan)) if state.finished else [],
                totals=ordered(totals),
                quality=ledger.read_quality(state.plan, pipeline.store),
            )
        except driver().Error as error:
            raise translate(error, "Reading the ledger failed") from error


def _write(folder: Path, contents: dict[Path, str]) -> None:
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            parts = {}
            for path, text in contents.items():
                parts[path] = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
                stack.callback(parts[path].unlink, missing_ok=True)
                with parts[path].open("x", encoding="utf-8", newline="\n") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            for path, part in parts.items():
                part.replace(path)
        except OSError as error:
            raise StagingError(
                f"The report cannot be written to {folder}: {reason(error)}.",
                hint="Free space there or set COWRIE_HOME, then run `cowrie-assets report`.",
            ) from error
