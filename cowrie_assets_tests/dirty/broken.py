"""Documents that are no JSON any more: JSON5, garbage behind, escaped, cut off, without braces, or nothing at all.

Not here: documents of which each token stands in its place (`documents.py`). What a step finds is put together here
from the members that were written whole, never by reading the broken text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

from .documents import EXACT, cell_of, document, members, scalar_cell
from .pieces import Member, Piece, joined, plain
from .scalars import token
from .truth import Cell

_BLANK = " \t\r\n"


def _noted(piece: Piece, step: str) -> Piece:
    """An object's piece with the note that a guess leaves."""
    body = piece.target.strip(_BLANK).removesuffix("}").rstrip(_BLANK)
    return Piece(piece.source, f'{body}, "_migration_note": "{step}"}}', piece.rules)


def _whole(made: Sequence[Member]) -> str:
    """Members as they were written, one after another, without braces."""
    return ", ".join(f"{key.target}: {value.target}" for key, value in made)


def _some_members(rng: random.Random) -> list[Member]:
    made = members(rng)
    while not made:
        made = members(rng)
    return made


def trailing(rng: random.Random) -> Cell:
    """An object, then something else."""
    spoils = rng.choice([[], [], ["nul"], ["duplicate"], ["nonfinite", "surrogate"]])
    piece = document(rng, spoils)
    if '"' not in piece.target:
        return trailing(rng)
    body = Piece(piece.source.rstrip(_BLANK.encode()), piece.target.rstrip(_BLANK), piece.rules)
    garbage = rng.choice([b"} [root/123]", b"\x00", b" \x00\x00", b'{"a": 1}', b",", b" xyz", b"\xff", b"]", b"\n{}"])
    return cell_of(Piece(body.source + garbage, body.target, body.rules), "json.trailing", "json.trailing")


_JSON5: list[tuple[str, str]] = [
    ("'a'", '"a"'),
    (r"'it\'s'", '"it\'s"'),
    ("'say \"x\"'", r'"say \"x\""'),
    (r"'\x41'", r'"\u0041"'),
    (r'"\v"', r'"\u000b"'),
    (r"'a\n'", r'"a\n"'),
    ("0x1F", "31"),
    ("-0xff", "-255"),
    (".5", "0.5"),
    ("5.", "5.0"),
    ("+7", "7"),
    ("-.25e1", "-0.25e1"),
    ("'two \\\nlines'", '"two lines"'),
]


def json5(rng: random.Random) -> Cell:
    """An object as JavaScript writes it."""
    parts, rules = [plain("{" + rng.choice(["", " "]))], {"json.json5"}
    session = token(rng, 8)
    chosen = [("session", f"'{session}'", f'"{session}"')]
    chosen += [(f"k{place}", *rng.choice(_JSON5)) for place in range(rng.randint(0, 3))]
    if rng.random() < 0.3:
        word, target = rng.choice([("NaN", '"NaN"'), ("+Infinity", '"Infinity"'), ("-Infinity", '"-Infinity"')])
        chosen.append(("word", word, target))
        rules.add("json.nonfinite")
    if rng.random() < 0.2:
        chosen.append(("nul", r"'\0'", r'"\\x00"'))
        rules.add("json.nul")
    if rng.random() < 0.3:
        chosen.append(("stamp", '"2025-09-22T10:00:00.5Z"', '"2025-09-22T10:00:00.5Z"'))
    for place, (name, source, target) in enumerate(chosen):
        comma = "," if place < len(chosen) - 1 else ""
        key = rng.choice([name, f"'{name}'", f'"{name}"'])
        gap, blank = rng.choice([("", ""), (" ", " "), ("/* c */", " "), ("// c\n", " \n")])
        parts.append(Piece(f"{key}:{gap}{source}{comma}".encode(), f'"{name}":{blank}{target}{comma}'))
    if rng.random() < 0.4:
        parts.append(Piece(b",", ""))
    piece = joined([*parts, plain("}")])
    return cell_of(Piece(piece.source, piece.target, frozenset(rules)), "json.json5")


def escaped(rng: random.Random) -> Cell:
    """A document that was written into a string and lost its outer quotes."""
    spoils = rng.choice([[], [], ["nonfinite"], ["duplicate"], ["number"]])
    piece = document(rng, spoils)
    body = piece.source.decode().strip()
    if '"' not in body:
        return escaped(rng)
    source = json.dumps(body)[1:-1].encode()
    found = _noted(Piece(source, piece.target, piece.rules), "json.escaped")
    return cell_of(found, "json.escaped", "json.escaped")


def fragment(rng: random.Random) -> Cell:
    """Members without the braces around them, or with the last only."""
    made = _some_members(rng)
    tail = rng.choice(["", ",", "}", ",\n", " }"])
    if not tail:
        made = [*made, (plain('"sensor"'), plain('"s1"'))]
    kept = made
    if not tail and rng.random() < 0.5:  # a number at the very end might have been longer
        made = [*made, (plain('"dst_port"'), plain("377"))]
    target = f"{{{_whole(kept)}}}"
    found = _noted(Piece(f"{_whole(made)}{tail}".encode(), target), "json.fragment")
    return cell_of(found, "json.fragment", "json.fragment")


def truncated(rng: random.Random) -> Cell:
    """An object that ends in the middle of a member; the members before it are whole."""
    made = _some_members(rng)
    cut = rng.choice(
        ["", ",", ', "', ', "sess', ', "sensor"', ', "sensor":', ', "sensor": "', ', "sensor": "a b', ', "n": 37', ', "n": tr',
         ', "n": {"a": 1', ', "n": ["x", "y"', ', "n": "a\\', ', "n": "\\u00', ', "n": -', ', "n": 1.', ', "n": {"a": 1, "b": [{']
    )  # fmt: skip
    if not cut:
        made = [*made, (plain('"sensor"'), plain('"s1"'))]
    target = f"{{{_whole(made)}}}"
    found = _noted(Piece(f"{{{_whole(made)}{cut}".encode(), target), "json.truncated")
    if cut == ', "sensor": "a b' and rng.random() < 0.5:
        found = Piece(found.source + rng.choice([b"\xff", b"\xc3", b"\xe2\x82", b"\x00"]), found.target)
    return cell_of(found, "json.truncated", "json.truncated")


_FIELDS = {
    "session": '"abcdef123456"',
    "eventid": '"cowrie.login.failed"',
    "timestamp": '"2025-09-22T10:00:00.123456Z"',
    "src_ip": '"198.51.100.7"',
    "src_port": "40022",
    "username": '"root"',
    "password": '"é\\n"',
    "input": '"cat \\"x\\""',
}


def fields(rng: random.Random) -> Cell:
    """Cowrie's own fields in the middle of something else; one that stands there with two values is not taken."""
    names = rng.sample(list(_FIELDS), k=rng.randint(1, 4))
    written = [f'"{name}": {_FIELDS[name]},' for name in names]
    doubled = [name for name in _FIELDS if name not in names][:1] if rng.random() < 0.3 else []
    for name in doubled:
        written += [f'"{name}": "one",', f'"{name}": "two",']
    rng.shuffle(written)
    found = [part for part in written if not any(f'"{name}":' in part for name in doubled)]
    if rng.random() < 0.5:
        source = f"2025-09-22 [-] {' x '.join(written)} end"
    else:
        source = f'{{"eventid" = 1; {" ".join(written)} oops: [}}'
    members_found = ", ".join(part[:-1] for part in found)
    piece = _noted(Piece(source.encode(), f"{{{members_found}}}"), "json.fields")
    return cell_of(piece, "json.fields", "json.fields")


def unreadable(rng: random.Random) -> Cell:
    """What holds no field at all."""
    if rng.random() < 0.05:
        stored, rule = rng.choice([b"[", b'{"a":']) * 10_050, "json.depth"
        return Cell(bytearray(stored), None, rule, refused=rule)
    content = rng.choice(
        [b"", b" ", b"\n\t", b"\x00", b" \x00\x00", b"not json", b"[root/123]", b"{}}", b"{", b'{"session": "ab', b'{"a":',
         b"\xff\xfe", b"2025-09-22 10:00:00 nothing", b"nul", b"tru", b"{a b}", b'"open', b"undefined", b"[1, 2",
         b'"src_port": 377', b"<html>", b"{} x", b"[] ]", b"1 2", b'{"a" "b"}', b"{:}", b"\\", b"'", b"/* c", b"--1"]
    )  # fmt: skip
    return Cell(bytearray(content), None, "json.unreadable", refused="json.unreadable")


BROKEN: tuple[Callable[[random.Random], Cell], ...] = (
    trailing, json5, escaped, fragment, truncated, fields, unreadable,
)  # fmt: skip


def dirty_json(rng: random.Random, *, numeric: bool = True) -> Cell:
    """A JSON cell that is repaired or refused; `numeric` where NUMERIC affinity makes numbers of some documents."""
    kind = rng.random()
    if kind < 0.08:
        return scalar_cell(rng, numeric=numeric)
    if kind < 0.14:
        spoils = rng.choice([[], [], [rng.choice(EXACT)]])
        return cell_of(document(rng, spoils), ",".join(f"json.{s}" for s in spoils) or None, blob=True)
    if kind < 0.6:
        spoils = rng.sample(EXACT, k=rng.choice([1, 1, 1, 2, 3]))
        return cell_of(document(rng, spoils), ",".join(f"json.{spoil}" for spoil in sorted(spoils)))
    cell = rng.choice(BROKEN)(rng)
    if rng.random() < 0.1 and isinstance(cell.stored, bytearray):
        rule = f"json.blob+{cell.rule}" if cell.rule else None
        return Cell(bytes(cell.stored), cell.value, f"json.blob,{cell.defect}", rule, cell.refused)
    return cell
