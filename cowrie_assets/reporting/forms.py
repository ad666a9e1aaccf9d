"""A report's rows as cells, JSON, CSV and a page: everything inert.

Belongs here: these forms. Not here: the queries (`queries/`), the terminal (`cli/`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from .bars import Bars
from .queries.catalogue import Report
from .queries.facts import Window
from .text import Block, Cell, Code, Heading, Paragraph, Table, html, inert

BARS = 30
"""Bars of a plot without an order of time; the table has all rows."""
CSV_LENGTH = 32_767
"""Characters that a spreadsheet's cell holds."""
_FORMULA = ("=", "+", "-", "@")
"""What makes a spreadsheet take a text for a formula."""


def header(report: Report) -> tuple[str, ...]:
    """The columns' names."""
    return tuple(field.name for field in fields(report.row))


def values(row: Any) -> list[Any]:
    """A row's cells as None, int or text; text of the data as it is."""
    return [_value(getattr(row, field.name)) for field in fields(row)]


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, (int, str)):
        return value
    return _moment(value) if isinstance(value, datetime) else json.dumps(value)


def _moment(value: datetime) -> str:
    return value.isoformat(" ").replace("+00:00", "Z")


def as_json(name: str, window: Window, rows: Sequence[Any]) -> str:
    """For scripts; ASCII only, so that no escape of the data reaches a terminal."""
    content = {
        "report": name,
        "from": window.first,
        "to": window.last,
        "sensor": window.sensor,
        "limit": window.limit,
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(content, indent=2, default=lambda v: _moment(v) if isinstance(v, datetime) else str(v)) + "\n"


def as_csv(report: Report, rows: Sequence[Any]) -> str:
    """For spreadsheets: texts on one line, none a formula."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header(report))
    writer.writerows([_csv_cell(value) for value in values(row)] for row in rows)
    return sink.getvalue()


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = inert(value, CSV_LENGTH)
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_page(report: Report, window: Window, rows: Sequence[Any], database: str) -> str:
    """A page with a plot and the table, which loads and runs nothing."""
    blocks: list[Block] = [Heading(report.title, 1), Paragraph.of(*_scope(window), " ", Code(database))]
    if rows:
        blocks += [_plot(report, rows), Table(header(report), [tuple(map(_cell, values(row))) for row in rows])]
    else:
        blocks.append(Paragraph.of("Nothing was found."))
    return html(report.title, blocks)


def _scope(window: Window) -> tuple[str | Code, ...]:
    days = f"{window.first or 'the first day'} to {window.last or 'the last day'} (UTC)"
    sensor = (", sensor ", Code(window.sensor)) if window.sensor is not None else ()
    return (days, *sensor, f", at most {window.limit:,} rows, of")


def _cell(value: Any) -> Cell:
    return Code(value) if isinstance(value, str) else value


def _plot(report: Report, rows: Sequence[Any]) -> Bars:
    shown = rows if report.series else rows[:BARS]
    labels = [" / ".join(_label(getattr(row, name)) for name in report.labels) for row in shown]
    title = report.title if len(shown) == len(rows) else f"{report.title}: the first {len(shown)}"
    return Bars(title, labels, [getattr(row, report.measure) or 0 for row in shown], report.series)


def _label(value: str | None) -> str:
    return "none" if value is None else value or '""'
