"""Bars as inline SVG: no script, no style of their own, no text that was not escaped.

Belongs here: the drawing. Not here: the page around it (`text.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

LABEL_LENGTH = 40
"""Characters of a label beside a bar; in the font's widest usual letters they fill `_LABEL`."""
_WIDTH, _LABEL, _VALUE, _ROW, _HEIGHT = 1_000, 330, 90, 24, 220


@dataclass(frozen=True)
class Bars:
    """A plot: a bar a label, lying below each other, or (`series`) standing beside each other in order of time."""

    title: str
    labels: Sequence[str]
    values: Sequence[int]
    series: bool = False


def svg(bars: Bars, escape: Callable[[str, int], str]) -> str:
    """The plot; `escape` makes a text inert and cuts it. Lengths are relative to the largest value."""
    most = max([1, *bars.values])
    pairs = list(zip(bars.labels, bars.values, strict=True))
    height = _HEIGHT + _ROW if bars.series else _ROW * len(pairs)
    drawn = _standing(pairs, most, escape) if bars.series else _lying(pairs, most, escape)
    return (
        f'<svg class="bars" role="img" viewBox="0 0 {_WIDTH} {height}" width="100%">'
        f"<title>{escape(bars.title, 200)}</title>{''.join(drawn)}</svg>"
    )


def _lying(pairs: list[tuple[str, int]], most: int, escape: Callable[[str, int], str]) -> list[str]:
    room = _WIDTH - _LABEL - _VALUE
    drawn = []
    for row, (label, value) in enumerate(pairs):
        middle, length = row * _ROW + 16, round(room * max(value, 0) / most, 1)
        drawn.append(
            f'<text x="{_LABEL - 8}" y="{middle}" text-anchor="end">{escape(label, LABEL_LENGTH)}</text>'
            f'<rect x="{_LABEL}" y="{row * _ROW + 3}" width="{length}" height="{_ROW - 6}"/>'
            f'<text x="{_LABEL + length + 6}" y="{middle}">{value:,}</text>'
        )
    return drawn


def _standing(pairs: list[tuple[str, int]], most: int, escape: Callable[[str, int], str]) -> list[str]:
    width = _WIDTH / max(len(pairs), 1)
    drawn = []
    for place, (label, value) in enumerate(pairs):
        length = round(_HEIGHT * max(value, 0) / most, 1)
        drawn.append(
            f'<rect x="{place * width:.2f}" y="{_HEIGHT - length:.1f}" width="{max(width * 0.85, 0.5):.2f}"'
            f' height="{length}"><title>{escape(label, LABEL_LENGTH)}: {value:,}</title></rect>'
        )
    if pairs:
        ends = ((0, "start", pairs[0][0]), (_WIDTH, "end", pairs[-1][0]))
        drawn += [
            f'<text x="{x}" y="{_HEIGHT + 18}" text-anchor="{anchor}">{escape(label, LABEL_LENGTH)}</text>'
            for x, anchor, label in ends[: 1 if len(pairs) == 1 else 2]
        ]
    return drawn
