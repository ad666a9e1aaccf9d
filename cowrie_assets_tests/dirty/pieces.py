"""Parts of JSON documents that know both their stored bytes and the text that `jsonb` must be given.

Belongs here: strings, numbers, words and how containers are put together. Not here: whole documents (`documents.py`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

ORDER = (
    "json.json5", "json.utf8", "json.nul", "json.control", "json.surrogate", "json.nonfinite", "json.number",
    "json.negzero", "json.duplicate",
)  # fmt: skip
"""The exact rules, in the order in which a repair names them."""


@dataclass(frozen=True)
class Piece:
    """Stored bytes, JSON text for `jsonb`, and the exact rules between them."""

    source: bytes
    target: str
    rules: frozenset[str] = frozenset()


def plain(source: str) -> Piece:
    """JSON text that stays as it is."""
    return Piece(source.encode(), source)


def joined(pieces: Sequence[Piece]) -> Piece:
    """Pieces one after another."""
    return Piece(
        b"".join(p.source for p in pieces),
        "".join(p.target for p in pieces),
        frozenset[str]().union(*(p.rules for p in pieces)),
    )


def string(rng: random.Random, content: str) -> Piece:
    """A string; characters beyond ASCII as they are or escaped."""
    return plain(json.dumps(content, ensure_ascii=rng.random() < 0.5))


SPOILS = {
    "nul": [(rb"\u0000", r"\\x00"), (b"\x00", r"\\x00")],
    "surrogate": [
        (rb"\ud800", r"\\ud800"),
        (rb"\uDFFF", r"\\uDFFF"),
        (rb"\ude00\ud83d", r"\\ude00\\ud83d"),
        (rb"\uD83D\u0041", r"\\uD83D\u0041"),
    ],
    "control": [(b"\n", r"\u000a"), (b"\t", r"\u0009"), (b"\x1b", r"\u001b"), (b"\r\n", r"\u000d\u000a")],
    "utf8": [
        (b"\xff", r"\\xff"),
        (b"\xc3", r"\\xc3"),
        (b"\xe2\x82", r"\\xe2\\x82"),
        (b"\xed\xa0\x80", r"\\xed\\xa0\\x80"),
    ],
}
"""What may stand in a string, and what stands there afterwards; the rule is the name behind `json.`."""


def spoiled_string(rng: random.Random, start: str, spoils: Sequence[str]) -> Piece:
    """A string in which things stand that `jsonb` refuses, with a letter behind each."""
    parts = [plain(f'"{start}')]
    for spoil in spoils:
        source, target = rng.choice(SPOILS[spoil])
        parts += [Piece(source, target, frozenset({f"json.{spoil}"})), plain(rng.choice(["g", "-", "é", r"\n", r"\\"]))]
    return joined([*parts, plain('"')])


def number(rng: random.Random) -> Piece:
    """A number that jsonb keeps, some that other parsers do not."""
    usual = str(rng.randint(0, 99_999))
    odd = ["1.10", "0.1e1", str(2**53 + 1), str(2**64), "1e5", "1e400", "-1.5E-7", "0.0", "1e-16383", "9" * 60]
    return plain(usual if rng.random() < 0.8 else rng.choice(odd))


def nonfinite(rng: random.Random) -> Piece:
    """A word that Python and JavaScript write for a number that is none."""
    word = rng.choice(["NaN", "Infinity", "-Infinity"])
    return Piece(word.encode(), f'"{word}"', frozenset({"json.nonfinite"}))


def unholdable(rng: random.Random) -> Piece:
    """A number that jsonb cannot hold."""
    digits = rng.choice(["1e-16384", "0e-99999", "1e131072", "-2.5e+200000", "1E99999999999", "-0e-20000"])
    if rng.random() < 0.02:
        digits = "7" * 131_073
    return Piece(digits.encode(), f'"{digits}"', frozenset({"json.number"}))


def negative_zero(rng: random.Random) -> Piece:
    """A zero whose sign jsonb drops."""
    digits = rng.choice(["0", "0.0", "0.00", "0e0", "0E-3"])
    return Piece(f"-{digits}".encode(), digits, frozenset({"json.negzero"}))


Member = tuple[Piece, Piece]


def name_of(key: Piece) -> str:
    """A key's name, as jsonb sees it."""
    found: str = json.loads(key.target)
    return found


def array(rng: random.Random, items: Sequence[Piece]) -> Piece:
    """An array."""
    return _container(rng, items, "[]")


def obj(rng: random.Random, members: Sequence[Member]) -> Piece:
    """An object; of members of one name the last is kept."""
    colon = plain(":" + rng.choice(["", " ", " "]))
    names = [name_of(key) for key, _ in members]
    dropped = [name in names[place + 1 :] for place, name in enumerate(names)]
    return _container(rng, [joined([key, colon, value]) for key, value in members], "{}", dropped)


def _container(rng: random.Random, items: Sequence[Piece], brackets: str, dropped: Sequence[bool] = ()) -> Piece:
    pad = rng.choice(["", " ", " ", "\n\t"])
    comma = plain("," + rng.choice(["", pad, " "]))
    parts = [*(joined([item, comma]) for item in items[:-1]), *items[-1:]]
    for place, gone in enumerate(dropped):
        if gone:
            parts[place] = Piece(parts[place].source, "", frozenset({"json.duplicate"}))
    return joined([plain(brackets[0] + pad), *parts, plain(pad + brackets[1])])


def rule_names(*first: str, exact: frozenset[str]) -> str | None:
    """The rules as a repair names them: the step, then the exact rules in their order."""
    return "+".join(dict.fromkeys([*first, *(rule for rule in ORDER if rule in exact)])) or None


def loaded(text: str) -> Any:
    """JSON with its numbers as decimals."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def arrow(text: str | None, name: str) -> str | None:
    """What `jsonb ->> name` gives."""
    document = None if text is None else loaded(text)
    value = document.get(name) if isinstance(document, dict) else None
    return value if value is None or isinstance(value, str) else printed(value)


def printed(value: Any) -> str:
    """A value as jsonb prints it: keys by length, then by bytes."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{printed(key)}: {printed(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(printed, value)) + "]"
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
