"""An exact tokenizer of JSON text: iterative, so that neither depth nor length of a document can break it.

Belongs here: the grammar of JSON (RFC 8259) and of JSON5 as SQLite >= 3.42 reads it. Not here: what PostgreSQL's
`jsonb` can hold (`json_exact`), or what to do with a text that is no JSON (`json_heuristics`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..errors import CowrieError

if TYPE_CHECKING:
    from collections.abc import Iterator

# PostgreSQL 15.18 / 18.4 at the default max_stack_depth of 2 MB take 13,099 / 14,532 nested objects and 14,554 /
# 16,348 nested arrays, beyond which they stop with 54001. 10,000 leaves a quarter of the stack to the caller.
MAX_DEPTH: Final = 10_000

STRING: Final = 1
NUMBER: Final = 2
OPEN: Final = 3
CLOSE: Final = 4
LITERAL: Final = 5
"""`true`, `false`, `null`."""
WORD: Final = 6
"""`NaN` and the infinities, which are no JSON; Python's and JavaScript's writers emit them."""
KEY: Final = 7

Token = tuple[int, int, int]
"""Kind, start, end: positions in the text. Strings and keys include their quotes."""

BLANK: Final = " \t\n\r"
_SPACE = r"[ \t\n\r]*+"
_HEX = "[0-9A-Fa-f]"
# A raw control character is let through: its value is certain, `json_exact` writes the escape it lacks.
_STRING = rf'"[^"\\]*+(?:\\(?:["\\/bfnrt]|u{_HEX}{{4}})[^"\\]*+)*+"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
# SQLite's jsonWhitespace: the ASCII six, and Unicode's space separators.
_ODD_SPACE = "\\v\\f\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
_COMMENT = r"//[^\n\r\u2028\u2029]*+|/\*(?s:.*?)\*/"
_SPACE5 = rf"(?:[ \t\n\r{_ODD_SPACE}]|{_COMMENT})*+"
_ESCAPE5 = rf"\\(?:[\"'\\/bfnrtv\n\u2028\u2029]|\r\n?|0(?![0-9])|x{_HEX}{{2}}|u{_HEX}{{4}})"
_STRING5 = rf"\"[^\"\\]*+(?:{_ESCAPE5}[^\"\\]*+)*+\"|'[^'\\]*+(?:{_ESCAPE5}[^'\\]*+)*+'"
_DECIMAL5 = r"(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+"
# 3,500 hexadecimal digits stay within the 4,300 decimal ones that Python's int prints.
_NUMBER5 = rf"[+-]?(?:0[xX]{_HEX}{{1,3500}}+|{_DECIMAL5})(?![\w$.])"
_LETTER5 = rf"[A-Za-z_$]|(?![{_ODD_SPACE}])[^\x00-\x7f\ud800-\udfff]|\\u{_HEX}{{4}}"
_NAME5 = rf"(?:{_LETTER5})(?:{_LETTER5}|[0-9])*+"
_WORD5 = r"[+-]?(?i:infinity|inf|nan|qnan|snan)\b"


class JsonSyntaxError(CowrieError):
    """The text is no JSON.

    Attributes:
        position: the character where the grammar was left.
        cut: True where the text merely ends too early: whatever stands there could have gone on validly.
    """

    def __init__(self, text: str, position: int, expected: str) -> None:
        """Take the whole text, the position where it left the grammar and what could have stood there."""
        super().__init__(f"{expected} expected at character {position} of {len(text)}.")
        self.position = position
        self.cut = _CUT.match(text, position) is not None


class JsonDepthError(CowrieError):
    """The document is nested deeper than `MAX_DEPTH`."""


def _value(space: str, string: str, number: str, word: str) -> re.Pattern[str]:
    return re.compile(rf"{space}(?:({string})|({number})|([{{\[])|(\])|(true|false|null)|({word}))")


def _key(space: str, string: str) -> re.Pattern[str]:
    return re.compile(rf"{space}(?:(\}})|({string}){space}:)")


# What an early end leaves behind, from the place where the next token was due: nothing, or a token's beginning.
_CUT: Final = re.compile(
    rf'{_SPACE}(?:"[^"\\]*+(?:\\(?:["\\/bfnrt]|u{_HEX}{{4}})[^"\\]*+)*+(?:\\(?:u{_HEX}{{0,3}}+)?|"{_SPACE})?'
    r"|-?(?:I(?:n(?:f(?:i(?:n(?:i(?:t)?)?)?)?)?)?)?|N(?:a)?|t(?:r(?:u)?)?|f(?:a(?:l(?:s)?)?)?|n(?:u(?:l)?)?"
    r"|\.[0-9]*+(?:[eE][+-]?)?|[eE][+-]?)\Z"
)
_STRICT: Final = (
    _value(_SPACE, _STRING, _NUMBER, "NaN|-?Infinity"),
    _key(_SPACE, _STRING),
    re.compile(rf"{_SPACE}([,}}\]])"),
)
_JSON5: Final = (
    _value(_SPACE5, _STRING5, _NUMBER5, _WORD5),
    _key(_SPACE5, f"{_STRING5}|{_NAME5}"),
    re.compile(rf"{_SPACE5}([,}}\]])"),
)
IS_STRING: Final = re.compile(_STRING)
SCALAR: Final = rf"(?:{_STRING}|{_NUMBER}|true|false|null)"
"""Pattern of one complete scalar."""
GAP5: Final = re.compile(rf"{_COMMENT}|[{_ODD_SPACE}]")
"""What JSON5 allows between tokens and JSON does not."""
BLANK5: Final = re.compile(_SPACE5)


def tokens(text: str, *, json5: bool = False) -> Iterator[Token]:
    """Yield the tokens of the one value that the text begins with, in order; colons and commas are left out.

    What follows that value is not read: the caller looks behind the last token's end.

    Args:
        text: the document. Bytes that were no UTF-8 stand in it as `surrogateescape` leaves them.
        json5: read JSON5; a trailing comma then shows as a comma between the last value and the `CLOSE`.

    Raises:
        JsonSyntaxError: the grammar was left. The tokens before that place have been yielded.
        JsonDepthError: the value is nested deeper than `MAX_DEPTH`.
    """
    values, keys, separators = _JSON5 if json5 else _STRICT
    closers: list[str] = []
    position = 0
    may_close = False
    while True:
        match, kind = None, CLOSE
        if closers[-1:] == ["}"]:
            match = keys.match(text, position)
            if match is None or (match.lastindex == 1 and not may_close):
                raise JsonSyntaxError(text, position, "a key")
            if match.lastindex == 2:
                start, end = match.span(2)
                yield KEY, start, end
                position, match = match.end(), None
        if match is None:
            match = values.match(text, position)
            kind = (match and match.lastindex) or 0
            if match is None or (kind == CLOSE and not (may_close and closers[-1:] == ["]"])):
                raise JsonSyntaxError(text, position, "a value")
            start, position = match.span(kind)
            if kind != CLOSE:
                yield kind, start, position
            if kind == OPEN:
                closers.append("}" if text[start] == "{" else "]")
                if len(closers) > MAX_DEPTH:
                    raise JsonDepthError(f"Nested deeper than {MAX_DEPTH} levels.")
                may_close = True
                continue
        if kind == CLOSE:
            position = match.end()
            closers.pop()
            yield CLOSE, position - 1, position
        while closers:
            match = separators.match(text, position)
            if match is None or match[1] not in (",", closers[-1]):
                raise JsonSyntaxError(text, position, f"a comma or {closers[-1]}")
            position = match.end()
            if match[1] == ",":
                may_close = json5
                break
            closers.pop()
            yield CLOSE, position - 1, position
        else:
            return


_ESCAPE: Final = re.compile(
    rf"\\(?:u([dD][89abAB]{_HEX}{{2}})\\u([dD][c-fC-F]{_HEX}{{2}})|u({_HEX}{{4}})|(.))", re.DOTALL
)
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescaped(match: re.Match[str]) -> str:
    high, low, unit, short = match.groups()
    if short is not None:
        return _SHORT.get(short, short)
    if unit is not None:
        return match[0] if unit[0] in "dD" and unit[1] in "89abcdefABCDEF" else chr(int(unit, 16))
    return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00)


def unescape(body: str) -> str:
    r"""Return the value of what stands between a string's quotes; a lone surrogate stays the escape it is."""
    return _ESCAPE.sub(_unescaped, body) if "\\" in body else body
