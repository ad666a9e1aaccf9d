r"""The exact repairs: what PostgreSQL's `jsonb` refuses or silently alters, one token at a time.

Belongs here: rules whose outcome is certain. Not here: guesses about malformed documents
(`json_heuristics`). What no rule names stays byte for byte.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .json_scan import BLANK, BLANK5, CLOSE, GAP5, KEY, NUMBER, OPEN, STRING, WORD, tokens, unescape

RULES: Final = (
    "json.json5",
    "json.utf8",
    "json.nul",
    "json.control",
    "json.surrogate",
    "json.nonfinite",
    "json.number",
    "json.negzero",
    "json.duplicate",
)
"""The exact rules in the order in which they are named where several touch one document."""

# `numeric` keeps scale in 14 bits and weight as an int16 of base 10,000 digits; measured on 15.18 and 18.4: 1e-16383
# and 1e131071 pass, 1e-16384 and 1e131072 do not. Its exponent must stay below INT_MAX / 2 even for a zero.
MAX_SCALE: Final = 16_383
MAX_WEIGHT: Final = 131_071
MAX_EXPONENT: Final = 1_073_741_822

# No shorter number passes a limit unless its exponent has four digits: 15,000 + 999 < 16,383.
PLAIN_LENGTH: Final = 15_000

_STRICT_HIT: Final = re.compile(
    r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<nul>u0000)|(?P<surrogate>u[dD][89a-fA-F]..)|.)"
    r"|(?P<control>[\x00-\x1f])|(?P<byte>[\ud800-\udfff])",
    re.DOTALL,
)
_JSON5_HIT: Final = re.compile(
    r"""\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<nul>u0000|x00|0)|(?P<surrogate>u[dD][89a-fA-F]..)"""
    r"""|(?P<hex>x..)|(?P<tab>v)|(?P<line>\r\n|[\n\r\u2028\u2029])|(?P<single>')|.)"""
    r"""|(?P<double>")|(?P<control>[\x00-\x1f])|(?P<byte>[\ud800-\udfff])""",
    re.DOTALL,
)
_RULE_OF_HIT: Final = {
    "surrogate": "json.surrogate",
    "control": "json.control",
    "byte": "json.utf8",
    **dict.fromkeys(("hex", "tab", "line", "single", "double"), "json.json5"),
}
_SUSPECT: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[\x00-\x1f\ud800-\udfff]")
_NUMBER: Final = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")
_ODD_EXPONENT: Final = re.compile(r"[eE][+-]?[0-9]{4}")


class Edit(NamedTuple):
    """Replace the text from `start` to `end`, by these rules."""

    start: int
    end: int
    text: str
    rules: tuple[str, ...]


class Repaired(NamedTuple):
    """A document as `jsonb` takes it.

    Attributes:
        text: the one value that the text began with, repaired, with the blanks around it.
        rules: the rules that were applied, in the order of `RULES`.
        rest: what followed the value, if it was more than blanks; `text` does not hold it.
    """

    text: str
    rules: tuple[str, ...]
    rest: str


def number_rule(number: str) -> str | None:
    """Name the rule that a JSON number needs: `json.number`, `json.negzero` or none."""
    negative = number[0] == "-"
    if len(number) < PLAIN_LENGTH and not (negative and number[1] == "0") and not _ODD_EXPONENT.search(number):
        return None
    match = _NUMBER.fullmatch(number)
    if match is None:
        raise ValueError("not a JSON number")
    whole, fraction, sign, digits = match.groups(default="")
    digits = digits.lstrip("0")
    if len(digits) > 10 or int(digits or 0) > MAX_EXPONENT:
        return "json.number"
    exponent = int(f"{sign}{digits or 0}")
    if len(fraction) - exponent > MAX_SCALE:
        return "json.number"
    significant = (whole + fraction).lstrip("0")
    if not significant:
        return "json.negzero" if negative else None
    weight = len(significant) - len(fraction) + exponent - 1
    return "json.number" if weight > MAX_WEIGHT else None


def _string_edit(text: str, start: int, end: int, *, json5: bool) -> Edit | None:
    """Say what a string token or a bare key needs, its quotes included; None where that is nothing."""
    rules = set()
    quote = text[start] if text[start] in "\"'" else ""

    def repaired(match: re.Match[str]) -> str:
        name, found = match.lastgroup, match[0]
        if name is None:
            return found
        if name == "nul" or found == "\0":
            rules.add("json.nul")
            return r"\\x00"
        rules.add(_RULE_OF_HIT[name])
        if name == "surrogate":
            return f"\\{found}"
        if name == "control":
            return f"\\u{ord(found):04x}"
        if name == "byte":  # `surrogateescape` keeps the byte 0x80 as U+DC80
            return rf"\\x{ord(found) - 0xDC00:02x}"
        if name == "hex":
            return rf"\u00{found[2:]}"
        return {"tab": r"\u000b", "line": "", "single": "'", "double": r"\""}[name]

    body = (_JSON5_HIT if json5 else _STRICT_HIT).sub(repaired, text[start + len(quote) : end - len(quote)])
    if quote != '"':
        rules.add("json.json5")
    return Edit(start, end, f'"{body}"', tuple(rules)) if rules else None


def _scalar_edit(text: str, kind: int, start: int, end: int, *, json5: bool, jsonb: bool) -> Edit | None:
    """Say what a number or a word needs; None where that is nothing."""
    token = text[start:end]
    if kind == WORD:
        return Edit(start, end, f'"{token.removeprefix("+")}"', ("json.nonfinite",))
    plain = _plain_number(token) if json5 else token
    rule = number_rule(plain) if jsonb else None
    if rule == "json.number":
        return Edit(start, end, f'"{plain}"', (rule,))
    if rule == "json.negzero":
        return Edit(start, end, plain.removeprefix("-"), (rule,))
    return Edit(start, end, plain, ("json.json5",)) if plain != token else None


def _plain_number(token: str) -> str:
    """Write a JSON5 number as JSON does, with the same value."""
    sign = "-" if token[0] == "-" else ""
    digits = token.lstrip("+-")
    if digits[:2] in ("0x", "0X"):
        return f"{sign}{int(digits, 16):d}"
    whole, point, rest = digits.partition(".")
    if not point:
        return sign + digits
    return f"{sign}{whole or 0}.{rest if rest[:1].isdigit() else '0' + rest}"


def _gap_edit(text: str, start: int, end: int, *, closes: bool) -> Edit | None:
    """Say what is to be done to that which JSON5 has between two tokens; before a `CLOSE` it may have a comma."""
    gap = GAP5.sub(" ", text[start:end])
    if closes:
        gap = gap.replace(",", "")
    return Edit(start, end, gap, ("json.json5",)) if gap != text[start:end] else None


def _applied(text: str, end: int, edits: list[Edit]) -> tuple[str, set[str]]:
    """Apply edits to the text up to `end`; one that lies inside another's span falls away with it."""
    parts: list[str] = []
    rules: set[str] = set()
    position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if edit.start >= position:
            parts += text[position : edit.start], edit.text
            position = edit.end
            rules.update(edit.rules)
    parts.append(text[position:end])
    return "".join(parts), rules


def repair(text: str, *, json5: bool = False, jsonb: bool = True) -> Repaired:
    """Repair the value that the text begins with, by the exact rules alone.

    Args:
        text: the document. Bytes that were no UTF-8 stand in it as `surrogateescape` leaves them.
        json5: read JSON5 and write it as JSON (rule `json.json5`).
        jsonb: it goes into jsonb; False where it goes into json, which keeps every key and number as it is spelled.

    Raises:
        json_scan.JsonSyntaxError: the text begins with no value.
        json_scan.JsonDepthError: the value is nested too deeply.
    """
    suspect = json5 or _SUSPECT.search(text) is not None
    edits: list[Edit] = []
    # For each open container: the place of each of its members, and the latest member under each name.
    stack: list[tuple[list[int], dict[str, int]]] = []
    position = 0
    for kind, start, end in tokens(text, json5=json5):
        edit = None
        if json5 and (gap := _gap_edit(text, position, start, closes=kind == CLOSE)):
            edits.append(gap)
        position = end
        if kind in (STRING, KEY):
            if suspect:
                edit = _string_edit(text, start, end, json5=json5)
        elif kind in (NUMBER, WORD):
            edit = _scalar_edit(text, kind, start, end, json5=json5, jsonb=jsonb)
        elif kind == OPEN:
            stack.append(([], {}))
        elif kind == CLOSE:
            stack.pop()
        if edit:
            edits.append(edit)
        if kind == KEY and jsonb:
            # Compared as `jsonb` will see them: after the repair, and without regard to how they are spelled.
            name = unescape((edit.text if edit else text[start:end])[1:-1])
            starts, members = stack[-1]
            starts.append(start)
            if name in members:
                earlier = members[name]
                edits.append(Edit(starts[earlier], starts[earlier + 1], "", ("json.duplicate",)))
            members[name] = len(starts) - 1
    rest = text[position:]
    blank = BLANK5.match(rest) if json5 else None
    if blank is not None and blank.end() == len(rest):
        if gap := _gap_edit(text, position, len(text), closes=False):
            edits.append(gap)
        rest = ""
    if not rest.strip(BLANK):
        position, rest = len(text), ""
    if not edits:
        return Repaired(text[:position], (), rest)
    repaired, rules = _applied(text, position, edits)
    return Repaired(repaired, tuple(rule for rule in RULES if rule in rules), rest)
