"""Cells of text, integer and boolean columns, clean and dirty, each with what must become of it.

Not here: dates (`dates.py`), JSON (`documents.py`), what a table makes of a refused cell (`rows.py`).
"""

from __future__ import annotations

import base64
import random
import string

from .truth import Cell, Stored

_WORDS = "root admin login attempt wget http sensor-1 uname é 漢字 😀 ' \" , ; \\x00 \\N \\. NULL {} \t %s $1".split(
    " "
)
_ODD = (
    "",
    " ",
    "trailing  ",
    "a\r\nb",
    "a\x01\x7fb",
    "\ufeffbom",
    "\u202ertl",
    "\\",
    "'",
    '""',
    "<b>&amp;",
    "\x1b[31m",
)
_NO_UTF8 = (b"\xff", b"\x80", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98")


def text(content: str, defect: str | None = None) -> Cell:
    """A text cell that arrives as it is."""
    return Cell(bytearray(content.encode()), content, defect)


def token(rng: random.Random, length: int) -> str:
    """Letters and digits that do not compress and are no number."""
    if length > 64:
        return "g" + base64.urlsafe_b64encode(rng.randbytes(length)).decode()[: length - 1]
    return rng.choice("ghjk") + "".join(rng.choices(string.ascii_letters + string.digits, k=length - 1))


def clean_text(rng: random.Random) -> Cell:
    """Text as PostgreSQL takes it, now and then of a kind that other tools choke on."""
    kind = rng.random()
    if kind < 0.7:
        return text(token(rng, rng.randint(4, 20)))
    if kind < 0.9:
        return text(" ".join(rng.choices(_WORDS, k=rng.randint(1, 5))), "decoy.words")
    if kind < 0.95:
        return text(rng.choice(_ODD), "decoy.odd_text")
    if kind < 0.995:
        return text(token(rng, rng.randint(65, 700)), "decoy.long_text")
    return text(token(rng, rng.choice([2_600, 2_800, 9_000, 20_005])), "decoy.very_long_text")


def spoiled_text(rng: random.Random, spoils: list[str], *, blob: bool = False, start: str | None = None) -> Cell:
    """Text with NULs (`nul`) and bytes that are no UTF-8 (`utf8`), of which each becomes visible."""
    word = token(rng, rng.randint(2, 6)) if start is None else start
    stored, value = word.encode(), word
    for spoil in spoils:
        raw = b"\x00" if spoil == "nul" else rng.choice(_NO_UTF8)
        word = token(rng, rng.randint(1, 4))  # behind each, so that no two bytes join to a character
        stored += raw + word.encode()
        value += "".join(f"\\x{byte:02x}" for byte in raw) + word
    rules = ["text.blob"] * blob + [f"text.{spoil}" for spoil in ("utf8", "nul") if spoil in spoils]
    return Cell(stored if blob else bytearray(stored), value, ",".join(rules), "+".join(rules))


def number_as_text(number: float) -> Cell:
    """A number in a text column that keeps it one."""
    return Cell(number, repr(number), f"text.{'real' if isinstance(number, float) else 'integer'}", "text.number")


def dirty_text(rng: random.Random, *, numbers: bool) -> Cell:
    """Text that PostgreSQL refuses, or what is no text in a text column.

    Args:
        rng: the randomness.
        numbers: the column keeps numbers as numbers (it has no TEXT affinity).
    """
    if numbers and rng.random() < 0.4:
        small, large = rng.randint(-5, 5), rng.randint(-(2**63), 2**63 - 1)
        return number_as_text(rng.choice([small, large, 1.5, -0.25, 1e300, 0.1]))
    spoils = rng.choices(["nul", "utf8"], k=rng.choice([1, 1, 1, 2, 3]))
    kind = rng.random()
    if kind < 0.15:
        word = rng.choice(["", token(rng, 8), "é", "\t"])
        return Cell(word.encode(), word, "text.blob", "text.blob")
    return spoiled_text(rng, spoils, blob=kind < 0.3)


def integer(number: int, defect: str | None = None, bound: str | None = None) -> Cell:
    """An integer that arrives as it is."""
    return Cell(number, str(number), defect, bound=bound)


def clean_integer(rng: random.Random) -> Cell:
    """An integer, now and then one that PostgreSQL's `integer` would not hold, or that was written otherwise."""
    kind = rng.random()
    if kind < 0.8:
        return integer(rng.randint(0, 100_000))
    if kind < 0.95:
        return integer(rng.choice([2**31, 2**40 + 7, -(2**63), 2**63 - 1, -1, 2**53 + 1]), "decoy.big_integer")
    written, number = rng.choice([(" 12 ", 12), ("1e5", 100_000), ("7.0", 7), ("-0", 0), ("007", 7)])
    return integer(number, "decoy.integer_by_affinity", written)


def dirty_integer(rng: random.Random) -> Cell:
    """What is no integer in an integer column."""
    texts = (b"", b"high", b"12abc", b"0x10", b"1_000", b"1\x002", b"\xff", b"NaN")
    choices: list[tuple[Stored, str]] = [(bytearray(raw), "text") for raw in texts]
    choices += [(number, "real") for number in (1.5, -0.5, 1e300, 9.3e18, float("inf"))]
    choices += [(b"", "blob"), (b"12", "blob")]
    stored, kind = rng.choice(choices)
    return Cell(stored, None, f"integer.{kind}", refused="integer.none")


def clean_boolean(rng: random.Random) -> Cell:
    """A boolean as SQLite has it, now and then one that affinity made."""
    flag = rng.randint(0, 1)
    value = "true" if flag else "false"
    if rng.random() < 0.1:
        return Cell(flag, value, "decoy.boolean_by_affinity", bound=rng.choice([f"{flag}", f"{flag}.0", f" {flag}"]))
    return Cell(flag, value)


def dirty_boolean(rng: random.Random) -> Cell:
    """What is no boolean; the two words are repaired, all else is refused."""
    if rng.random() < 0.4:
        word = rng.choice(["true", "false", "True", "FALSE"])
        return Cell(bytearray(word.encode()), word.lower(), "bool.word", "bool.text")
    words = (b"", b"yes", b"t", b"on", b"no", b"tru", b" true", b"true\x00", b"\xff")
    choices: list[Stored] = [2, -1, 10**12, 0.5, 1e300, float("inf"), b"", b"\x01", b"1", *map(bytearray, words)]
    stored = rng.choice(choices)
    return Cell(stored, None, "bool.none", refused="bool.none")
