"""The JSON kernel against a real server: what it passes is taken, and reads back as it says.

Belongs here: generated and damaged documents, compared with what PostgreSQL makes of them. Not here: single rules.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from cowrie_assets.cleaning.json_column import JsonColumn, clean_json
from cowrie_assets.cleaning.json_text import jsonb_text

FIELDS = ("session", "eventid", "timestamp", "a")
LOSSLESS = {"json.duplicate", "json.negzero"}
"""The rules whose documents `jsonb` takes as they are, and alters."""
GUESSES = {"json.escaped", "json.fragment", "json.truncated", "json.fields"}
BATCH = 3_000

Connection = psycopg.Connection[tuple[object, ...]]


def _words(text: str) -> list[str]:
    return text.split()


_KEYS = _words(r"a b session eventid timestamp src_port \u0061 a\u0000 a\\x00 é ключ \ud800 \\ud800 a\\ a\" zz aaa B")
_KEYS += ["", r"\ud83d\ude00", "_migration_note", "x:", "b\t"]
_PIECES = _words(r"abc \\ \\\\ \ \u0000 \u0001 \ud800 \uDFFF \ud83d\ude00 \n \u00e9 é / \/ u0000 \ufffe ' { } [ // x")
_PIECES += [" ", "😀", "\x00", "\x01", "\t", "\n", "\x7f", "\u2028", "\udcff", "\udcc3", '":', '\\":', '\\"']
_PIECES += [" -0", "1e9999", ", 1e-99999"]
_NUMBERS = _words("0 -0 -0.0 -0e5 1 -1 1.10 1e5 1E+5 1.5e-3 100e-2 0e-5 0.000 12345678")
_NUMBERS += _words("9007199254740993 18446744073709551616 1e400 1e131071 1e131072 -1e131072 1e-16383 1e-16384")
_NUMBERS += _words("0e99999 0e-99999 1e00005 -0.5 -0e-3 0e1073741824 1e99999999999 123.456e2 1e-7 123e-5 0.1e1")
_NUMBERS += _words("10.00e1 10.00e3 -00 01 1. .5 +1 0x1F -.5 5.e3")
_NUMBERS += _words("NaN Infinity -Infinity nan true false null tru None")
_JUNK = [word.encode() for word in _words(r"""\ , } ] " ' { [ : x - 0 \u0000 \ud800 e1234 NaN /*c*/ "session":"s1" """)]
_JUNK += [b"\0", b"\0\0", b" ", b"\n", b"\xff", b"\xef\xbb\xbf", b"\xc2\xa0", b"// c\n", b"log line"]


def _string(random_: random.Random) -> str:
    kind = random_.random()
    if kind < 0.4:
        return f'"{random_.choice(["s1", "cowrie.login.failed", "2025-09-22T19:26:35.304226Z", "root", ""])}"'
    body = "".join(random_.choices(_PIECES, k=random_.randrange(1, 6)))
    return f'"{body}"'


def _value(random_: random.Random, depth: int) -> str:
    kind = random_.random()
    if depth and kind < 0.25:
        return _object(random_, depth - 1)
    if depth and kind < 0.35:
        return "[" + _blank(random_) + ",".join(_value(random_, depth - 1) for _ in range(random_.randrange(4))) + "]"
    return _string(random_) if kind < 0.65 else random_.choice(_NUMBERS[: 14 if random_.random() < 0.7 else None])


def _blank(random_: random.Random) -> str:
    return random_.choice(["", "", "", " ", "\n", "\t ", "\r\n"])


def _object(random_: random.Random, depth: int) -> str:
    keys = _KEYS if random_.random() < 0.4 else _KEYS[:6]
    members = [
        f'{_blank(random_)}"{random_.choice(keys)}"{_blank(random_)}:{_blank(random_)}{_value(random_, depth)}'
        for _ in range(random_.randrange(6))
    ]
    return "{" + f"{_blank(random_)},".join(members) + _blank(random_) + "}"


def _flat(random_: random.Random) -> str:
    """Write a payload as Cowrie does."""
    event = {
        "session": f"{random_.getrandbits(48):012x}",
        "src_port": random_.randrange(65536),
        "eventid": random_.choice(["cowrie.login.failed", "cowrie.command.input"]),
        "shasum": f"{random_.getrandbits(256):064x}",
        "timestamp": "2025-09-22T19:26:35.304226Z",
        "duration": random_.choice([0, 1.5, 2.25e-05, -0.0, 1e22, None, True]),
        "input": "".join(
            random_.choices(["echo ", "\0", "\ud83d", "é", '"', "\\", "\\u0000", "-0 ", '":', "\x1b"], k=4)
        ),
    }
    return json.dumps(event, ensure_ascii=random_.random() < 0.9)


def _damaged(random_: random.Random, cell: bytes) -> bytes:
    at = random_.randrange(len(cell) + 1)
    kind = random_.randrange(10)
    if kind == 0:
        return cell[:at]
    if kind == 1:
        return cell[at:]
    if kind == 2:
        return cell + random_.choice(_JUNK)
    if kind == 3:
        return cell[:at] + random_.choice(_JUNK) + cell[at:]
    if kind == 4:
        return cell[:at] + cell[at + random_.randrange(1, 4) :]
    if kind == 5:
        return cell[:at] + bytes([random_.randrange(256)]) + cell[at + 1 :]
    if kind == 6:
        return cell.replace(b'"', b"'")
    if kind == 7:
        return cell.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    if kind == 8:
        return cell.strip(b"{}")
    return cell.replace(b"}", b",}")


def make_cell(random_: random.Random) -> bytes:
    text = _flat(random_) if random_.random() < 0.3 else _value(random_, random_.choice([1, 3, 3, 6]))
    cell = text.encode("utf-8", "surrogateescape" if "\ud83d" not in text else "replace")
    for _ in range(random_.choice([0, 0, 0, 0, 1, 1, 2, 3])):
        cell = _damaged(random_, cell)
    return cell


def _alters(cell: bytes) -> bool | None:
    """Tell by Python's own parser whether `jsonb` would drop a member or a sign; None where it cannot parse it."""
    found = False

    def pairs(members: list[tuple[str, object]]) -> None:
        nonlocal found
        found |= len({key for key, _ in members}) != len(members)

    def number(text: str) -> None:
        nonlocal found
        found |= text.startswith("-") and not text.lower().partition("e")[0].strip("-0.")

    try:
        json.loads(cell.decode(), object_pairs_hook=pairs, parse_int=number, parse_float=number)
    except (ValueError, RecursionError):
        return None
    return found


def _sendable(cell: bytes) -> str | None:
    """Return the text of a cell that PostgreSQL can be sent, else None."""
    try:
        return None if b"\0" in cell else cell.decode()
    except UnicodeDecodeError:
        return None


_TABLE = "CREATE UNLOGGED TABLE t (i int, original text, cleaned text, printed text, fields text[], lossless bool)"
_COMPARE = """
SELECT i, t.original, t.cleaned, t.printed,
       CASE WHEN t.cleaned IS NOT NULL AND c.p IS NULL THEN 'refused'
            WHEN c.p::text IS DISTINCT FROM t.printed THEN 'printed otherwise: ' || coalesce(c.p::text, 'NULL')
            WHEN ARRAY[{members}] IS DISTINCT FROM t.fields THEN 'other fields: ' || t.fields::text
            WHEN o.p IS NOT NULL AND c.p IS NULL THEN 'rejected, but taken as it is'
            WHEN o.p::text <> c.p::text THEN 'another value than the original: ' || o.p::text
            WHEN o.p IS NOT NULL AND NOT t.lossless THEN 'touched, but taken as it is'
       END
FROM t, LATERAL (SELECT taken(t.original) AS p) AS o, LATERAL (SELECT taken(t.cleaned) AS p) AS c
"""
_TAKEN = """
CREATE FUNCTION taken(document text) RETURNS jsonb LANGUAGE plpgsql AS
$$ BEGIN RETURN document::jsonb; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$
"""


def _compare(connection: Connection, cells: list[bytes], column: JsonColumn) -> list[object]:
    """Return the cells on which the kernel and the server disagree."""
    rules = {repair.row: set(repair.rules) for repair in column.repairs}
    values = column.values.to_pylist()
    fields = list(zip(*(column.fields[name].to_pylist() for name in FIELDS), strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE UNLOGGED TABLE t (i int, original text, cleaned text, printed text, fields text[], lossless bool)"
        )
        with cursor.copy("COPY t FROM STDIN") as copy:
            for row, (cell, value) in enumerate(zip(cells, values, strict=True)):
                lossless = rules.get(row, set()) <= LOSSLESS
                printed = None if value is None else jsonb_text(value)
                copy.write_row((row, _sendable(cell), value, printed, list(fields[row]), lossless))
        cursor.execute(_COMPARE.format(members=", ".join(f"c.p ->> '{name}'" for name in FIELDS)).encode())
        wrong: list[object] = [row for row in cursor if row[-1] is not None]
        cursor.execute("DROP TABLE t")
    return wrong


def _check(connection: Connection, cells: list[bytes]) -> Counter[str]:
    """Clean the cells, assert all that can be asserted of them, and count what became of them."""
    column = clean_json(pa.array(cells, pa.binary()), FIELDS)
    assert _compare(connection, cells, column) == []
    column.values.validate(full=True)
    rules = {repair.row: repair.rules for repair in column.repairs}
    rejected = {reject.row for reject in column.rejects}
    assert rejected == {row for row, value in enumerate(column.values.to_pylist()) if value is None}
    for row, (cell, value) in enumerate(zip(cells, column.values.to_pylist(), strict=True)):
        if row in rejected:
            continue
        if row not in rules:
            assert value.encode() == cell
            assert _alters(cell) is not True, cell
        elif GUESSES & set(rules[row]) and value.startswith("{"):
            assert "_migration_note" in value
    counts = Counter(rule for found in rules.values() for rule in found)
    counts.update(reject.rule for reject in column.rejects)
    counts["untouched"] += len(cells) - len(rules) - len(rejected)
    return counts


Check = Callable[[Iterable[bytes]], Counter[str]]


@pytest.fixture
def check(pg_url: str) -> Iterator[Check]:
    """Compare cells with the server, and count what became of them."""
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute(_TAKEN)

        def run(cells: Iterable[bytes]) -> Counter[str]:
            counts: Counter[str] = Counter()
            waiting = iter(cells)
            while batch := list(islice(waiting, BATCH)):
                counts += _check(connection, batch)
            return counts

        yield run


def _cells(count: int, seed: int) -> Iterator[bytes]:
    random_ = random.Random(seed)
    return (make_cell(random_) for _ in range(count))


def test_the_server_agrees_about_3_000_documents(check: Check) -> None:
    counts = check(_cells(3_000, seed=1))
    assert counts["untouched"] > 600
    assert set(counts) > GUESSES | LOSSLESS | {
        "json.nul",
        "json.surrogate",
        "json.number",
        "json.json5",
        "json.trailing",
    }


@pytest.mark.fuzz
def test_the_server_agrees_about_300_000_documents(check: Check) -> None:
    counts = check(_cells(300_000, seed=2))
    assert counts["untouched"] > 60_000


def test_the_server_takes_the_deepest_documents_and_the_widest_numbers(check: Check) -> None:
    deep = [(b"[", b"]", 10_000), (b'{"a":', b"}", 9_999), (b'{"a":1,"b":[2,', b"]}", 4_999)]
    cells = [opening * times + b"[]"[: 2 * (times != 10_000)] + closing * times for opening, closing, times in deep]
    numbers = [b"1e131071", b"9" * 131_072, b"1e-16383", b"0." + b"1" * 16_383, b"0e1073741822", b"-9.99e131071"]
    cells += [b'{"a": [' + number + b"]}" for number in numbers]
    assert check(cells) == {"untouched": 9}


def test_the_server_agrees_about_real_payloads(check: Check, real_v3: Path, real_v6: Path) -> None:
    cells = []
    for path in (real_v3, real_v6):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
            source.text_factory = bytes
            for table in ("raw_events", "dead_letter_events"):
                cells += [payload for (payload,) in source.execute(f"SELECT payload FROM {table}")]
    counts = check(cells)
    assert counts.pop("untouched") == len(cells) - counts.total()
    assert counts == {"json.nul": 291, "json.surrogate": 11, "json.nonfinite": 3}
