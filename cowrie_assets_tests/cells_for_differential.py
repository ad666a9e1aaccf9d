"""Generators of dates, numbers and texts as SQLite may store them, well formed and damaged.

Belongs here: making cells. Not here: what must become of them (`test_cell_differential.py`).
"""

from __future__ import annotations

import random
import struct

ODD_DATES = """now today tomorrow yesterday epoch infinity -infinity allballs 24:00:00 2025-09-22_24:00:00
2025-09-22_23:59:60 2025-09-22_23:59:60.5 09/22/2025 22.09.2025 J2460941 2025-265 2025.265 2025-W39-1 2025 2025-09
0000-00-00 0000-01-01 2025-02-30 294277-01-01 294276-12-31 12025-01-01 20250922 20250922T192450 20250922T192450Z
1758542400 1758542400.5 2025-09-22_19:24:50,5 2025-09-22_19:24:50+16:00 2025-09-22_19:24:50+15:59:59 2025-9-2
2025-09-22_9:24:50 2025-09-22_19:24:50_PM 2025-09-22_07:24_AM Sep_22_2025 22-Sep-2025 2025-Sep-22 Mon_2025-09-22
2025-09-22_BC 0044-03-15_BC 2025-09-22_19:24:50_UTC 2025-09-22_19:24:50_EST 2025-09-22_19:24:50_Europe/Paris
2025-09-22T19:24:50z 2025-09-22t19:24:50Z 2025-09-22__19:24:50 _2025-09-22 2025-09-22_ 2025-09-22T 2025-09-22Z
2025-09-22+02:00 2025-09-22_19 2025-09-22T19Z 2025-09-22_192450 2025-09-22_19:24:50. 2025-09-22_19:24:50.Z
2025-09-22_19:24:50.1234567890 2025-09-22_19:24:50+2 2025-09-22_19:24:50+0200 2025-09-22_19:24:50-00:00
2025-09-22_19:24:50+02:60 2025-09-22_19:24:50--02 2025-09-22_19:24:50_+02:00 2025/09/22 2025-09-22_T19:24:50 T19:24:50
19:24:50 2025-09-22_19:24:50.999999999Z 1970-01-01 1969-12-31_23:59:59.999999 0001-01-01 0001-01-01T00:00:00+01:00
9999-12-31_23:59:59.999999 9999-12-31_23:59:59-01:00 1900-02-29 2000-02-29 2024-02-29_12:00 2100-02-29 null NULL
2025-09-22_19:24:50_J 2025-09-22-19:24:50 x2025-09-22 2025-09-22_19:24:50\\N P1D @1758542400 ４２ 2025-09-22_19:24:50Zulu""".split()
JUNK = b"0123456789-+:., TZzt_/JWe\n\t\r\0\\\"'\xa0\xc2\xe2\x80\x8f\xff"


def dates(dice: random.Random, count: int) -> list[object]:
    """Dates of the grammar and next to it, damaged ones, and the other storage classes; now and then all of one."""
    only_text = dice.random() < 0.5
    return [_date_text(dice) if only_text or dice.random() < 0.7 else _no_date_text(dice) for _ in range(count)]


def _date_text(dice: random.Random) -> bytearray:
    text = dice.choice(ODD_DATES).replace("_", " ") if dice.random() < 0.1 else _grammar(dice)
    cell = bytearray(text.encode())
    for _ in range(dice.choice([0] * 8 + [1, 1, 2, 4])):
        at = dice.randrange(len(cell) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            cell[at:at] = bytes([dice.choice(JUNK)])
        elif kind == 1:
            del cell[at : at + dice.randrange(1, 3)]
        elif kind == 2:
            cell[at : at + 1] = bytes([dice.choice(JUNK) if dice.random() < 0.8 else dice.randrange(256)])
        else:
            cell[at:at] = cell[at - 2 : at]
    return cell


def _grammar(dice: random.Random) -> str:
    year = dice.choice(
        [dice.randrange(1, 10_000), dice.randrange(1990, 2100), dice.randrange(3), 9999, 1970, 2000, 1900, 2024]
    )
    month, day = dice.randrange(1, 13), dice.randrange(1, 29)
    if dice.random() < 0.08:
        month, day = dice.choice([0, 2, 4, 12, 13, 99]), dice.choice([0, 28, 29, 30, 31, 32])
    text = f"{year:04d}-{month:02d}-{day:02d}"
    if dice.random() < 0.08:
        return text
    hour, minute, second = dice.randrange(24), dice.randrange(60), dice.randrange(60)
    if dice.random() < 0.06:
        hour, minute, second = dice.choice([0, 23, 24, 25]), dice.choice([0, 59, 60]), dice.choice([0, 59, 60, 61])
    text += f"{dice.choice(' T')}{hour:02d}:{minute:02d}"
    if dice.random() < 0.95:
        text += f":{second:02d}"
        if dice.random() < 0.7:
            digits = dice.choice([1, 3, 6, 6, 6, 6, 6, 7, 9, 9, 10])
            text += "." + dice.choice([f"{dice.randrange(10**digits):0{digits}d}", "9" * digits, "0" * digits])
    zone = dice.random()
    if zone < 0.4:
        return text
    if zone < 0.7:
        return text + "Z"
    hours, minutes = dice.choice([0, 1, 1, 2, 5, 12, 14, 15, 16]), dice.choice([0, 0, 0, 30, 59, 60])
    return (
        text
        + dice.choice("+-")
        + dice.choice([f"{hours:02d}", f"{hours:02d}:{minutes:02d}", f"{hours:02d}{minutes:02d}"])
    )


def _no_date_text(dice: random.Random) -> object:
    kind = dice.randrange(8)
    if kind == 0:
        return None
    if kind == 1:
        return _grammar(dice).encode()  # a blob
    seconds = dice.choice([dice.randrange(946_684_000, 4_102_445_000), 946_684_800, 946_684_799, 4_102_444_800])
    unit = dice.choice([1, 1_000, 1_000_000])
    if kind < 5:
        return seconds * unit + dice.randrange(unit)
    if kind < 7:
        return dice.choice([seconds + dice.random(), float(seconds), seconds * 1_000 + round(dice.random(), 3)])
    return dice.choice([0, -1, 20250922, 2**63 - 1, -(2**63), 1e308, float("inf"), -float("inf"), -0.0, 5e-324, 1e18])


def numbers(dice: random.Random, count: int) -> list[object]:
    """Integers of every size and reals of every bit pattern; now and then all of one class."""
    share = dice.choice([0.0, 0.5, 1.0])
    return [_integer(dice) if dice.random() < share else _real(dice) for _ in range(count)]


def _integer(dice: random.Random) -> object:
    kind = dice.randrange(10)
    if kind == 0:
        return None
    if kind < 4:
        return dice.choice([0, 1, 2, -1, 2**63 - 1, -(2**63)])
    size = 1 << dice.randrange(63)
    value = dice.choice([size, size - 1, size + 1, dice.randrange(2 * size), 2**53, 2**53 + 1, 2**53 - 1, 10**18])
    return max(-(2**63), min(2**63 - 1, value * dice.choice([1, -1])))


def _real(dice: random.Random) -> object:
    kind = dice.randrange(10)
    if kind == 0:
        value = dice.choice([0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, float("inf"), 1e22, 1e308])
    elif kind < 4:
        value = round(dice.uniform(-1e6, 1e6), dice.randrange(8))
    elif kind == 4:
        value = float(2**53 + dice.randrange(-2, 3)) * 2.0 ** dice.randrange(-60, 60)
    elif kind == 5:
        value = dice.random() * 10.0 ** dice.randrange(-320, 300)
    else:
        (value,) = struct.unpack("<d", dice.randbytes(8))
    if value != value:  # SQLite stores NaN as NULL
        return None
    return value * dice.choice([1, -1])


_PIECES = [
    *'" "" , ; \n \r \r\n \\ \\. \\N \\n \\" \' \t \0 \x01 \x1b \x7f é ß 中 😀 \u202e \u200b \ufeff \ufffe \u2028 \x85 NULL null a z 0'.split(" "),
    *["", " ", "  ", "\n\\.\n", "\\.\n", "\n\n", '"\n"', ",,,", "=cmd|' /C calc'!A0", "\U0010ffff", "\ud7ff", "\ue000"],
]  # fmt: skip
_BROKEN = [
    b"\xff",
    b"\xfe",
    b"\xc3",
    b"\x80",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
]


def texts(dice: random.Random, count: int) -> list[object]:
    """Texts that hurt CSV, Unicode or both; blobs among them now and then; a very long one in some hundreds."""
    mixed = dice.random() < 0.3
    broken = dice.choice([0.0, 0.1])  # also whole columns of good UTF-8: they take another way through the kernel
    return [_text(dice, broken, mixed) for _ in range(count)]


def _text(dice: random.Random, broken: float, mixed: bool) -> object:
    kind = dice.random()
    if kind < 0.03:
        return None
    if kind < 0.06:
        return bytearray(dice.choice([b"", b" ", b"\\.", b"\\N", b"\n", b"\r", b'"', b"\t", b"\\"]))
    if kind < 0.06 + broken:
        raw = b"".join(dice.choices([*_BROKEN, *(p.encode() for p in _PIECES)], k=dice.randrange(1, 6)))
    elif kind < 0.20:
        raw = dice.randbytes(dice.randrange(1, 12)) if broken else bytes(dice.choices(range(128), k=8))
    elif kind < 0.40:
        points = (dice.choice([0x80, 0x800, 0x10000, 0x110000]) for _ in range(dice.randrange(1, 20)))
        raw = "".join(map(chr, (dice.randrange(p) for p in points))).encode("utf-8", "ignore")
    else:
        raw = "".join(dice.choices(_PIECES, k=dice.randrange(8))).encode()
    if dice.random() < 0.002:
        raw *= dice.choice([1_000, 20_000])
    return bytes(raw) if mixed and dice.random() < 0.1 else bytearray(raw)
