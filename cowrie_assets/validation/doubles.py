"""A double as PostgreSQL prints it, worked out anew: the proof names keys by what the server says of them.

Belongs here: that text form. Not here: how the loader spells keys.
"""

from __future__ import annotations

import math
from fractions import Fraction


def float8_text(value: float) -> str:
    """The text of a double: the fewest digits that lie between its neighbours' halfways, both of which are excluded."""
    if math.isnan(value):
        return "NaN"
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    size = abs(value)
    if math.isinf(size):
        return f"{sign}Infinity"
    if not size:
        return f"{sign}0"
    digits, point = _digits(size)
    if not -4 <= point < 15:
        return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{'-' if point < 0 else '+'}{abs(point):02d}"
    if point < 0:
        return f"{sign}0.{'0' * (-point - 1)}{digits}"
    whole, rest = digits[: point + 1].ljust(point + 1, "0"), digits[point + 1 :]
    return f"{sign}{whole}{'.' if rest else ''}{rest}"


def _digits(size: float) -> tuple[str, int]:
    """The digits, and the power of ten of the first."""
    exact = Fraction(size)
    low = (exact + Fraction(math.nextafter(size, 0.0))) / 2
    high = exact + Fraction(math.ulp(size)) / 2
    text = repr(size).partition("e")[0].replace(".", "").strip("0")  # never more digits than needed
    for count in range(len(text), 18):
        mantissa, _, power = f"{size:.{count - 1}e}".partition("e")
        nearest = Fraction(f"{mantissa}e{power}")
        step = Fraction(10) ** (int(power) - count + 1)
        inside = [n for n in (nearest, nearest + step, nearest - step) if low < n < high]
        if inside:
            chosen = min(inside, key=lambda n: abs(n - exact))
            number = str(int(chosen / step))
            return number.rstrip("0"), int(power) + len(number) - count
    raise AssertionError("17 digits tell every double")  # pragma: no cover
