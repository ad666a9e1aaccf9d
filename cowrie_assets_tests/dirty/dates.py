"""Cells of date columns, clean and dirty, each with the instant it means.

Not here: the stated columns that stand in for an unreadable date (`rows.py`).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone

from .truth import Cell, Stored

FIRST, SECONDS = datetime(2025, 8, 20, tzinfo=UTC), 60 * 86_400
"""All plausible dates lie in these 60 days."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UNREADABLE = (
    "not-a-date|now|today|yesterday|epoch|allballs|infinity|-infinity|09/22/2025|J2460941|2025-265|2025-W39-1|2025-09"
    "|0000-00-00|0000-00-00 00:00:00|2025-02-30|2025-02-29 10:00:00|2025-13-01|294277-01-01 00:00:00|12025-01-01"
    "|2025-09-22 24:00:00|2025-09-22T24:00:00Z|2025-09-22 23:59:60|2025-09-22 10:60:00|2025-09-22T10:00:00+16:00"
    "|2025-09-22 10:00:00,5|2025-09-22 10|20250922T100000|Sep 22 2025|2025-9-2|2025-09-22 10:00:00 BC|0000-01-01"
    "|2025-09-22 10:00:00.|2025-09-22 10:00:00 Europe/Berlin|2025-09-22x10:00:00||2025-09-22 10:00:00 AM"
).split("|")
_EDGES = {
    "0001-01-01 00:00:00.000000": "0001-01-01 00:00:00+00",
    "9999-12-31 23:59:59.999999": "9999-12-31 23:59:59.999999+00",
    "1969-12-31 23:59:59.5": "1969-12-31 23:59:59.5+00",
    "2012-02-29T23:59:59Z": "2012-02-29 23:59:59+00",
    "2000-02-29": "2000-02-29 00:00:00+00",
    "2999-01-01 00:00": "2999-01-01 00:00:00+00",
}
"""Readable dates that no window holds, or hardly."""


def printed(moment: datetime) -> str:
    """An instant as PostgreSQL prints it in UTC."""
    moment = moment.astimezone(UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}+00"


def draw(rng: random.Random) -> datetime:
    """A plausible moment, to the microsecond."""
    return FIRST + timedelta(seconds=rng.randrange(SECONDS), microseconds=rng.randrange(1_000_000))


def written(rng: random.Random, moment: datetime, fraction: str | None = None) -> tuple[str, str]:
    """A moment as a log may write it, and what that text means.

    Args:
        rng: the randomness.
        moment: at UTC; its microseconds are replaced.
        fraction: the fraction's digits; random, up to six, where it is None.
    """
    if fraction is None:
        fraction = "".join(rng.choices("0123456789", k=rng.choice([0, 0, 3, 6, 6, 6, rng.randint(1, 5)])))
    meant = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    zone, suffix = UTC, rng.choice(["", "", "", "Z"])
    if rng.random() < 0.15:
        minutes = rng.choice([120, -330, 15 * 60 + 59, -(15 * 60), 0])
        zone = timezone(timedelta(minutes=minutes))
        hours, rest = divmod(abs(minutes), 60)
        suffix = ("-" if minutes < 0 else "+") + rng.choice([f"{hours:02d}:{rest:02d}", f"{hours:02d}{rest:02d}"])
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d}{rng.choice(' T')}{local:%H:%M:%S}{'.' * bool(fraction)}{fraction}{suffix}", printed(meant)


def clean_date(rng: random.Random) -> Cell:
    """A readable date, as text."""
    if rng.random() < 0.05:
        content, meant = rng.choice(list(_EDGES.items()))
        return Cell(bytearray(content.encode()), meant, "decoy.edge_date")
    fraction, defect = None, None
    if rng.random() < 0.05:
        fraction, defect = f"{rng.randrange(10**6):06d}{'0' * rng.randint(1, 3)}", "decoy.zero_nanoseconds"
    content, meant = written(rng, draw(rng), fraction)
    if "+" in content or content.count("-") > 2:
        defect = defect or "decoy.offset"
    return Cell(bytearray(content.encode()), meant, defect)


def _epoch(rng: random.Random) -> Cell:
    moment = draw(rng)
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    unit, name = rng.choice([(1_000_000, "s"), (1_000, "ms"), (1, "us")])
    whole = micros // unit
    if rng.random() < 0.4 and unit > 1:
        digits = rng.randint(1, 6 if unit == 1_000_000 else 3)
        written_as = f"{whole}.{rng.randrange(1, 10**digits):0{digits}d}"
        number = float(written_as)
        if number == int(number) or repr(number) != written_as.rstrip("0"):
            return _epoch(rng)
        whole_part, fraction = written_as.split(".")
        exact = int(whole_part) * unit + int(fraction.ljust(6, "0")) * unit // 1_000_000
        bound = rng.choice([None, written_as])
        return Cell(
            number, printed(EPOCH + timedelta(microseconds=exact)), f"date.epoch_{name}_real", "date.epoch", bound=bound
        )
    bound = rng.choice([None, str(whole), f"{whole}.0"])
    meant = printed(EPOCH + timedelta(microseconds=whole * unit))
    return Cell(whole, meant, f"date.epoch_{name}", "date.epoch", bound=bound)


def dirty_date(rng: random.Random) -> Cell:
    """A date that is repaired (epoch numbers, cut fractions) or has no reading."""
    kind = rng.random()
    if kind < 0.3:
        return _epoch(rng)
    if kind < 0.45:
        digits = rng.choice(["999999", f"{rng.randrange(10**6):06d}"])
        content, meant = written(rng, draw(rng), digits + rng.choice(["1", "9", "999", "05", "789"]))
        return Cell(bytearray(content.encode()), meant, "date.fraction", "date.fraction")
    if kind < 0.85:
        content = rng.choice(_UNREADABLE)
        return Cell(bytearray(content.encode()), None, "date.unreadable_text", refused="date.unreadable")
    unreadable: list[tuple[Stored, str | None, str]] = [
        (2025, "2025", "number"),
        (20250922, "20250922", "number"),
        (-1, None, "number"),
        (10**18, None, "number"),
        (1e20, None, "number"),
        (0.5, "0.5", "number"),
        (float("inf"), "1e400", "number"),
        (b"2025-09-22 10:00:00", None, "blob"),
        (b"", None, "blob"),
        (bytearray(b"2025-09-22 10:00:00\x00"), None, "bytes"),
        (bytearray(b"2025-09-22 10:00:00\xff"), None, "bytes"),
    ]
    stored, bound, name = rng.choice(unreadable)
    return Cell(stored, None, f"date.unreadable_{name}", refused="date.unreadable", bound=bound)
