"""Text for people: data made harmless, and a small document that is written as Markdown or as one HTML page.

Belongs here: escaping and rendering; every text of a document passes `inert` here, so no caller can forget it. Not
here: what a report says (`sections.py`).
"""

from __future__ import annotations

import html as _html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .bars import Bars, svg

DATA_LENGTH = 200
"""Characters of a text from the data that are shown."""
LINE_LENGTH = 1_000
"""Characters of a text of our own that are shown."""
UNBROKEN = 40
"""Characters of a name up to which a page keeps it on one line."""
CUT = "…"

_MARKUP = re.compile(r"[\\`*_\[\]<>|~&$@#]|:(?=//)|(?<=[wW]{3})\.|^[-+=]")
"""Markdown's own characters; also what begins a bare link, and at a line's start a list or an underline."""
_HIDDEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0") | frozenset(
    map(chr, (*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)))
)
"""Printable by Unicode's categories, but they show nothing: the empty Braille pattern, and Default_Ignorable_Code_Point
outside category C without the two variation selectors that emoji are written with."""


ERROR_LENGTH = 2_000
"""Characters of an error that are shown."""


def inert(text: str, limit: int = DATA_LENGTH) -> str:
    r"""The text on one line that steers neither terminal nor page: what is not visible becomes `\xNN` or `\uNNNN`.

    Escaped are control characters (and with them ANSI sequences and newlines), format characters (bidi overrides,
    zero widths), separators but the space, lone surrogates, private and unassigned code points. Backslashes stay as
    they are: the form is for reading, not for reading back. Markup is not touched, that is the renderer's part.

    Args:
        text: anything, of any length; not more than `limit` characters of it are read.
        limit: longest result in characters; a longer one ends in an ellipsis, never within an escape.
    """
    parts: list[str] = []
    room = limit
    for character in text[: limit + 1]:
        shown = _visible(character)
        room -= len(shown)
        parts.append(shown)
    if room >= 0:
        return "".join(parts)
    while parts and room < len(CUT):
        room += len(parts.pop())
    return "".join(parts) + CUT


def _visible(character: str) -> str:
    if character.isprintable() and character not in _HIDDEN:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass(frozen=True)
class Code:
    """A name, command or text from the data: fixed width, and never read as markup."""

    text: str


@dataclass(frozen=True)
class Badge:
    """A word that stands out."""

    text: str
    tone: Literal["good", "bad", "open"]


Inline = str | Code | Badge
Cell = Inline | int | None | tuple[Inline, ...]
"""A table's cell; integers are right-aligned, None is empty."""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of inline parts."""

    parts: tuple[Inline, ...]

    @classmethod
    def of(cls, *parts: Inline) -> Paragraph:
        """The paragraph of these parts."""
        return cls(parts)


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    lines: tuple[tuple[Inline, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table; `fold` is the line under which the page hides it until it is asked for."""

    header: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    fold: str | None = None

    def numeric(self, column: int) -> bool:
        """Whether the column holds numbers."""
        return any(isinstance(row[column], int) for row in self.rows)


Block = Heading | Paragraph | Bullets | Table | Bars


def _parts(cell: Cell) -> tuple[Inline, ...]:
    if cell is None:
        return ()
    if isinstance(cell, tuple):
        return cell
    return (f"{cell:,}",) if isinstance(cell, int) else (cell,)


def markdown(blocks: Sequence[Block]) -> str:
    """The document as GitHub's Markdown."""
    return "\n\n".join(_markdown_block(block) for block in blocks) + "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_markdown_parts((text,))}"
        case Paragraph(parts):
            return _markdown_parts(parts)
        case Bullets(lines):
            return "\n".join(f"- {_markdown_parts(line)}" for line in lines)
        case Table(header, rows):
            rule = ["---:" if block.numeric(i) else "---" for i in range(len(header))]
            cells = [[_markdown_parts((title,)) for title in header], rule]
            cells += [[_markdown_parts(_parts(cell), in_table=True) for cell in row] for row in rows]
            return "\n".join(f"| {' | '.join(line)} |" for line in cells)
        case Bars(title):
            return _markdown_parts((title,))  # Markdown draws nothing


def _markdown_parts(parts: Sequence[Inline], *, in_table: bool = False) -> str:
    return "".join(_markdown_inline(part, in_table) for part in parts).strip()


def _markdown_inline(part: Inline, in_table: bool) -> str:
    if isinstance(part, Code):
        return _markdown_code(inert(part.text), in_table)
    if isinstance(part, Badge):
        return f"**{_markdown_text(part.text)}**" if part.text else ""
    return _markdown_text(part)


def _markdown_text(text: str) -> str:
    escaped = _MARKUP.sub(r"\\\g<0>", inert(text, LINE_LENGTH))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", escaped)


def _markdown_code(text: str, in_table: bool) -> str:
    if not text:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    # Markdown takes one space off each end, but not where there is nothing else.
    pad = " " if text.strip(" ") and (text[0] in "` " or text[-1] in "` ") else ""
    # A table is split at its bars before code is looked for: there, and only there, `\|` is a bar within code.
    return fence + pad + (text.replace("|", "\\|") if in_table else text) + pad + fence


STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60656c; --page: #fff; --line: #d9dce0; --band: #f5f6f8;
  --good: #116b3a; --bad: #b3261e; --open: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --dim: #9aa1a9; --page: #15181c; --line: #343a41;
  --band: #1d2126; --good: #5fd08f; --bad: #ff8a80; --open: #f0c060; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .75rem; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p { margin: .5rem 0; max-width: 60rem; }
ul { margin: .5rem 0; padding-left: 1.2rem; }
code { font: .9em/1.4 ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; unicode-bidi: isolate;
  white-space: pre; }
code.long { white-space: pre-wrap; overflow-wrap: anywhere; }
strong { white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
p > strong { font-size: 1.15rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; min-width: 40rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; font-size: .85em; border-bottom-width: 2px; vertical-align: bottom; }
tbody tr:nth-child(even) { background: var(--band); }
.number { text-align: right; }
td.number { white-space: nowrap; }
figure { margin: 1rem 0; }
.bars text { fill: var(--ink); font: 12px ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; }
.bars rect { fill: var(--good); }
summary { cursor: pointer; color: var(--dim); }
@media print { body { max-width: none; padding: 0; } .scroll { overflow: visible; } tr { break-inside: avoid; } }
"""


def html(title: str, blocks: Sequence[Block]) -> str:
    """The document as one page that holds all it needs and loads or runs nothing."""
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # Should a text ever get past the escaping, the browser still runs and fetches nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(_html_block(block) for block in blocks) + "\n</body>\n</html>\n"


def _html_block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_escaped(text)}</h{level}>"
        case Paragraph(parts):
            return f"<p>{_html_parts(parts)}</p>"
        case Bullets(lines):
            return "<ul>\n" + "\n".join(f"<li>{_html_parts(line)}</li>" for line in lines) + "\n</ul>"
        case Table(_, _, fold):
            table = f'<div class="scroll">{_html_table(block)}</div>'
            return f"<details><summary>{_escaped(fold)}</summary>{table}</details>" if fold else table
        case Bars():
            return f"<figure>{svg(block, _escaped)}</figure>"


def _html_table(table: Table) -> str:
    kinds = [' class="number"' if table.numeric(i) else "" for i in range(len(table.header))]
    head = "".join(f"<th{kind}>{_escaped(t)}</th>" for t, kind in zip(table.header, kinds, strict=True))
    rows = (
        "".join(f"<td{kind}>{_html_parts(_parts(cell))}</td>" for cell, kind in zip(row, kinds, strict=True))
        for row in table.rows
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _html_parts(parts: Sequence[Inline]) -> str:
    return "".join(_html_inline(part) for part in parts)


def _html_inline(part: Inline) -> str:
    if isinstance(part, Code):
        kind = ' class="long"' if len(part.text) > UNBROKEN else ""
        return f"<code{kind}>{_escaped(part.text, DATA_LENGTH)}</code>" if part.text else ""
    if isinstance(part, Badge):
        return f'<strong class="{part.tone}">{_escaped(part.text)}</strong>'
    return _escaped(part)


def _escaped(text: str, limit: int = LINE_LENGTH) -> str:
    return _html.escape(inert(text, limit))
