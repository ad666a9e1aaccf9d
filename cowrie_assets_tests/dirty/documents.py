"""JSON cells, clean and dirty: documents made of pieces, and the ways in which a log breaks them.

Not here: the pieces (`pieces.py`), documents that are no JSON any more (`broken.py`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

from . import dates
from .pieces import (
    Member,
    Piece,
    array,
    joined,
    negative_zero,
    nonfinite,
    number,
    obj,
    plain,
    rule_names,
    spoiled_string,
    string,
    unholdable,
)
from .scalars import token
from .truth import Cell

EVENTS = ("cowrie.session.connect", "cowrie.login.failed", "cowrie.command.input", "cowrie.session.closed")
EXACT = ("nul", "surrogate", "control", "utf8", "nonfinite", "number", "negzero", "duplicate", "spelled_duplicate")


def cell_of(piece: Piece, defect: str | None, *steps: str, blob: bool = False) -> Cell:
    """A JSON cell of a piece that these steps found."""
    first = ("json.blob",) * blob + steps
    stored = piece.source if blob else bytearray(piece.source)
    defect = ",".join(filter(None, ("json.blob" if blob else None, defect))) or None
    return Cell(stored, piece.target, defect, rule_names(*first, exact=piece.rules))


def value(rng: random.Random, depth: int = 0) -> Piece:
    """A clean value."""
    kind = rng.random()
    if depth < 4 and kind < 0.1:
        return array(rng, [value(rng, depth + 1) for _ in range(rng.randint(0, 3))])
    if depth < 4 and kind < 0.2:
        names = rng.sample(["a", "b", "aa", "é", "key", "", 'q"', "\\"], k=rng.randint(0, 3))
        return obj(rng, [(string(rng, name), value(rng, depth + 1)) for name in names])
    if kind < 0.45:
        return number(rng)
    if kind < 0.55:
        return plain(rng.choice(["true", "false", "null"]))
    odd = [
        r'"\\u0000"',
        r'"\\\\x00"',
        r'"\ud83d\ude00"',
        '"-0, NaN"',
        '"a\\":"',
        '"\\u000A"',
        '"9e9999"',
        '":"',
        '"\x7f"',
    ]
    return plain(rng.choice(odd)) if kind < 0.7 else string(rng, rng.choice([token(rng, 6), "root", "é 漢", "😀", ""]))


def members(rng: random.Random) -> list[Member]:
    """A Cowrie event's members, in its order; some are missing, a timestamp may be an epoch number."""
    moment = dates.draw(rng)
    stamp = plain(f'"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"')
    odd = [plain('"not-a-date"'), plain(str(int(moment.timestamp()))), plain("null"), plain('"9999-12-31 23:59:59"')]
    odd_session = [
        number(rng),
        plain("true"),
        plain("null"),
        plain('{"b": 1, "aa": [1.10, 1e3], "a": "x"}'),
        plain('""'),
    ]
    fields = {
        "eventid": plain(f'"{rng.choice(EVENTS)}"'),
        "src_ip": plain(f'"198.51.100.{rng.randint(1, 254)}"'),
        "src_port": plain(str(rng.randint(1024, 65535))),
        "message": string(
            rng, rng.choice(["login attempt [root/123456] failed", "CMD: cat /proc/cpuinfo | grep é", "x"])
        ),
        "session": rng.choice(odd_session) if rng.random() < 0.06 else plain(f'"{token(rng, 12)}"'),
        "timestamp": rng.choice(odd) if rng.random() < 0.1 else stamp,
    }
    dropped = {name for name in fields if rng.random() < 0.06}
    made: list[Member] = [(plain(f'"{name}"'), piece) for name, piece in fields.items() if name not in dropped]
    for place in range(rng.choice([0, 0, 1, 2])):
        made.insert(rng.randint(0, len(made)), (plain(f'"extra{place}"'), value(rng)))
    return made


def _spoil(rng: random.Random, made: list[Member], kind: str) -> None:
    """Spoil one of an object's members, or put a spoiled one among them."""
    at = rng.randint(0, len(made))
    name = token(rng, 5)
    numbers: dict[str, Callable[[random.Random], Piece]] = {
        "nonfinite": nonfinite,
        "number": unholdable,
        "negzero": negative_zero,
    }
    if kind in numbers:
        piece = numbers[kind](rng)
    elif kind in ("duplicate", "spelled_duplicate"):
        # Of one name twice (or in another spelling), at the top or deep inside; the second stands last.
        first, again = plain(f'"{name}"'), plain(f'"{name}"')
        if kind == "spelled_duplicate":
            again = plain(f'"\\u{ord(name[0]):04x}{name[1:]}"')
        pair = [(first, value(rng)), (again, value(rng))]
        if rng.random() < 0.3:
            made.insert(rng.randint(0, at), pair[0])
            made.append(pair[1])
            return
        if rng.random() < 0.3:
            known = rng.choice(made)[0] if made else first
            made.append((known, plain('"again"')))
            return
        piece = obj(rng, [pair[0], (plain('"between"'), number(rng)), pair[1]])
        piece = array(rng, [number(rng), piece]) if rng.random() < 0.5 else piece
    else:
        piece = spoiled_string(rng, token(rng, 3), [kind] * rng.choice([1, 1, 2]))
        place = rng.random()
        if place < 0.25 and made:  # in a field that Cowrie has
            field = rng.randrange(len(made))
            made[field] = (made[field][0], piece)
            return
        if place < 0.45:
            made.insert(at, (piece, value(rng)))
            return
    if rng.random() < 0.25:
        piece = array(rng, [value(rng), piece])
    made.insert(at, (plain(f'"{name}"'), piece))


def document(rng: random.Random, spoils: Sequence[str] = ()) -> Piece:
    """An event, spoiled so that each rule of `EXACT` that is named is needed."""
    made = members(rng)
    for spoil in spoils:
        _spoil(rng, made, spoil)
    piece = obj(rng, made)
    blank = rng.choice(["", "", "", " ", "\n"])
    return joined([plain(blank), piece, plain(rng.choice(["", "", "", "\n", "\r\n "]))])


_SCALARS = (
    "null",
    "true",
    " false ",
    '""',
    '"text"',
    "{}",
    "[]",
    "[ ]",
    '["a.json", "b.json"]',
    '{"": {}}',
    r'"\\u0000"',
)


def clean_json(rng: random.Random, *, numeric: bool = True) -> Cell:
    """A document that jsonb takes as it is; `numeric` where NUMERIC affinity makes numbers of some."""
    kind = rng.random()
    if kind < 0.75:
        return cell_of(document(rng), None)
    if kind < 0.85:
        line = rng.choice(['"src_ip": "1.2.3.4",', '"session": "abc"', "} [root/123]", '{"eventid": "cowrie.lo'])
        return cell_of(plain(json.dumps({"malformed": line})), "decoy.wrapped")
    if kind < 0.9:
        return cell_of(plain(json.dumps(json.dumps({"session": "x", "n": [1]}))), "decoy.doubly_encoded")
    if kind < 0.96:
        return cell_of(plain(rng.choice(_SCALARS)), "decoy.scalar")
    if kind < 0.97:
        if numeric:
            written, whole = rng.choice([("12345", 12345), (" 12 ", 12), ("1e5", 100_000), ("-0", 0), ("1.0", 1)])
            return Cell(whole, str(whole), "decoy.json_integer", bound=written)
        return cell_of(plain(rng.choice(["123", " 12 ", "1.10", "1e400", "0.0", str(2**64)])), "decoy.json_number")
    if kind < 0.98:
        long = [*members(rng), (plain('"input"'), plain(f'"{token(rng, rng.choice([15_000, 40_000]))}"'))]
        return cell_of(obj(rng, long), "decoy.long_document")
    deep = rng.choice([20, 150])
    return cell_of(plain('{"a": [' * deep + "1e5" + "]}" * deep), "decoy.deep")


def scalar_cell(rng: random.Random, *, numeric: bool) -> Cell:
    """A document without a container that jsonb does not take as it is; `numeric` as above."""
    kind = rng.choice(["string", "word", "number", "number"])
    if kind == "string":
        return cell_of(spoiled_string(rng, "s", [spoil := rng.choice(EXACT[:4])]), f"json.{spoil}")
    if kind == "word":
        return cell_of(nonfinite(rng), "json.nonfinite")
    if not numeric:
        piece, defect = rng.choice([(negative_zero(rng), "json.negzero"), (unholdable(rng), "json.number")])
        return cell_of(piece, defect)
    reals = {
        "1.10": (1.1, "1.1"),
        "0.5": (0.5, "0.5"),
        "-2.50e-7": (-2.5e-07, "-2.5e-07"),
        "9223372036854775808": (9.223372036854775808e18, "9.223372036854776e+18"),
        "1e400": (float("inf"), '"inf"'),
        "-1e999": (float("-inf"), '"-inf"'),
        "1e300": (1e300, "1e+300"),
    }
    written, (real, said) = rng.choice(list(reals.items()))
    return Cell(real, said, "json.real", "json.real", bound=written)
