"""How much of a document PostgreSQL's `jsonb` can hold.

Belongs here: limits on bytes and members. Not here: the depth, which the tokenizer bounds (`json_scan`), and numbers,
which are repaired (`json_exact`).
"""

from __future__ import annotations

from typing import Final

from .json_scan import BLANK, CLOSE, KEY, NUMBER, OPEN, STRING, tokens, unescape

# `jsonb` keeps lengths in 28 bits: 54000 beyond. While it parses, a container's members lie in one allocation that
# doubles up to 1 GB: XX000 at 2^24 + 1 elements and at 2^23 + 1 pairs (both measured on 15.18 and 18.4).
MAX_JSONB_BYTES: Final = 2**28 - 1
MAX_MEMBERS: Final = 2**24
"""Values in an array; keys and values together in an object."""
# No shorter text can pass one of these: a member takes two characters, and a character at most six bytes (`0,`).
SIZE_SAFE: Final = 2**25
# A field of COPY ends at 1 GB - 1, and CSV may double every byte of the text.
MAX_TEXT_BYTES: Final = 2**29 - 1


def size_excess(text: str, *, jsonb: bool = True) -> str | None:
    """Say which limit of `jsonb`, or of a `json` that is loaded, a repaired document passes, or None.

    Every member is counted with the padding it may need, up to three bytes: a document that close to 256 MB may be
    refused although it would just have fitted.
    """
    if len(text) < SIZE_SAFE:
        return None
    if len(text.encode()) > MAX_TEXT_BYTES:
        return f"The text is longer than {MAX_TEXT_BYTES} bytes."
    if not jsonb:
        return None
    padded = False
    strings = size = 0
    counts = [0]  # a scalar, too, is kept in an array
    for kind, start, end in tokens(text):
        if kind == CLOSE:
            counts.pop()
            continue
        counts[-1] += 1
        if counts[-1] > MAX_MEMBERS:
            return f"A container holds more than {MAX_MEMBERS} members."
        size += 4
        if kind in (STRING, KEY):
            strings += 1
            size += len(unescape(text[start + 1 : end - 1]).encode())
        elif kind == NUMBER:
            padded = True
            length = end - start
            digits = (length + 3) // 4 + (0 if text[start:end].isdigit() else 2)
            size += -(-(6 + 2 * digits + (2 if length > 60 or "e" in text[start:end].lower() else 0)) // 4) * 4
        elif kind == OPEN:
            nested = len(counts) > 1  # the outermost container has a header of 4 bytes, but is no member
            padded = padded or nested
            size += 4 * nested
            counts.append(0)
    size += 4 * (text.lstrip(BLANK)[0] not in "[{") + 3 * strings * padded
    return f"It takes {size} bytes as jsonb, of {MAX_JSONB_BYTES} allowed." if size > MAX_JSONB_BYTES else None
