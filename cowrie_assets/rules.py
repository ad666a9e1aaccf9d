"""The one closed list of rules: what may become of a cell or row besides arriving as it is.

Belongs here: data, and the examples that the tests put through the kernels. Not here: a kernel (`cleaning/`), and what
the settings make of the policies (`policies.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from .catalog import Type


class Policy(StrEnum):
    """What is done where a rule finds something, the mildest first."""

    REPAIR = "repair"
    QUARANTINE = "quarantine"
    FAIL = "fail"


SET_ASIDE = "(row set aside)"
NULL = "NULL"


@dataclass(frozen=True)
class Example:
    """A cell that a rule finds, and what becomes of it.

    Attributes:
        given: the stored cell, as an SQL expression of SQLite.
        result: its text form in the target, `NULL` or `SET_ASIDE`.
        place: table and column; a table that the catalog does not know stands for any such.
        beside: other cells of the row, by column.
        before: the same column's cell in an earlier row, where two rows are needed.
        declared: the column's declared type, where that matters.
    """

    given: str
    result: str
    place: tuple[str, str] = ("raw_events", "payload")
    beside: dict[str, str] = field(default_factory=dict)
    before: str | None = None
    declared: str = ""

    @property
    def shown(self) -> str:
        """The cell, and what else it takes."""
        parts = [self.given, *(f"beside {name} = {cell}" for name, cell in self.beside.items())]
        parts += [f"after a row with {self.before}"] if self.before else []
        parts += [f"in a column {self.declared}"] if self.declared else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        code: its name in the ledger and in the settings.
        finds: what it finds, and what a repair makes of it.
        kernel: dotted name of the code that decides.
        loses: what the target no longer says (the ledger keeps the original); empty for nothing.
        applies: the target types it concerns; empty where it concerns rows or columns of any type.
        example: a cell in, its result out; None where only a server or the source's file brings it about.
        default: None for a finding or a derivation, which have no policy.
        allowed: the policies that the settings may give it.
    """

    code: str
    finds: str
    kernel: str
    loses: str
    applies: tuple[Type, ...]
    example: Example | None
    default: Policy | None = Policy.REPAIR
    allowed: tuple[Policy, ...] = tuple(Policy)


_ASIDE = (Policy.QUARANTINE, Policy.FAIL)
_JSON = (Type.JSONB, Type.JSON)
_EXACT, _GUESS = "cleaning.json_exact.repair", "cleaning.json_heuristics.recover"
_DATE, _SCALAR = "source.instants.read_instants", "cleaning.scalars.clean"
_TABLE = "cleaning.table.TableCleaner.clean"


def _json(code: str, finds: str, given: str, result: str, *, kernel: str = _EXACT, loses: str = "") -> Rule:
    return Rule(f"json.{code}", finds, kernel, loses, _JSON, Example(given, result))


def _jsonb(code: str, finds: str, given: str, result: str, loses: str) -> Rule:
    return replace(_json(code, finds, given, result, loses=loses), applies=(Type.JSONB,))


def _text(code: str, finds: str, given: str, result: str, loses: str = "") -> Rule:
    example = Example(given, result, ("raw_events", "source"))
    return Rule(f"text.{code}", finds, "cleaning.text.clean_text", loses, (Type.TEXT,), example)


def _refused(code: str, finds: str, kind: Type, kernel: str, given: str, place: tuple[str, str]) -> Rule:
    finds = f"{finds}: NULL; in a NOT NULL column the row is set aside"
    return Rule(f"{code}.none", finds, f"{_SCALAR}_{kernel}", "the cell", (kind,), Example(given, NULL, place))


def _row(code: str, finds: str, example: Example | None, kernel: str = _TABLE) -> Rule:
    applies = _JSON if code.startswith("json.") else ()
    return Rule(code, finds, kernel, "the row", applies, example, Policy.QUARANTINE, _ASIDE)


def _found(code: str, finds: str, kernel: str, example: Example, loses: str = "") -> Rule:
    return Rule(code, finds, kernel, loses, (), example, None, ())


_LISTED = (
    _json("nul", r"a NUL in a key or string: the visible text \x00", r"""'{"a": "x\u0000"}'""", r'{"a": "x\\x00"}'),
    _json("surrogate", "a lone surrogate: its escape as text", r"""'{"a": "\ud800"}'""", r'{"a": "\\ud800"}'),
    _json("nonfinite", "NaN or an infinity: a string of that word", """'{"a": NaN}'""", '{"a": "NaN"}'),
    _json("utf8", r"a byte that is no UTF-8: \xff", "CAST(x'7b2261223a22ff227d' AS TEXT)", r'{"a":"\\xff"}'),
    _json("control", "a raw control character in a string: its escape", """'{"a": "' || char(9) || '"}'""",
          r'{"a": "\u0009"}'),
    _jsonb("number", "a number beyond jsonb's range: a string of its digits", """'{"a": 1e-16384}'""",
           '{"a": "1e-16384"}', "that it was a number"),
    _jsonb("negzero", "-0: jsonb keeps no sign", """'{"a": -0}'""", '{"a": 0}', "the sign"),
    _jsonb("duplicate", "a key that an object has twice: the last counts", """'{"a": 1, "a": 2}'""", '{"a": 2}',
           "the earlier members"),
    _json("real", "a document that SQLite's affinity made a real: the number (jsonb has no infinity: a string)", "1.1",
          "1.1", kernel="cleaning.json_column.number_as_json", loses="how it was spelled, as in SQLite"),
    _json("blob", "a document stored as a blob", "x'7b2261223a317d'", '{"a":1}',
          kernel="cleaning.json_cells.clean_json_cells"),
    _json("trailing", "something behind a complete document", """'{"a": 1} and more'""", '{"a": 1}',
          kernel="cleaning.json_document.clean_document", loses="what follows"),
    _json("json5", "JSON5: quotes, bare keys, comments, numbers written otherwise", "'{a: ''x'', /* c */ b: .5,}'",
          '{"a": "x",   "b": 0.5}', kernel=_GUESS, loses="comments"),
    _json("wrapped", 'a dead letter {"malformed": "…"}: what its text holds, where that is an object; only where'
          " unwrapping is set", r"""'{"malformed": "{\"src_ip\": \"192.0.2.1\"}"}'""", '{"src_ip": "192.0.2.1"}',
          kernel="cleaning.json_document.clean_document", loses="the wrapper"),
    _json("escaped", "a document written into a string, without the quotes around it", r"""'{\"a\": 1}'""",
          '{"a": 1, "_migration_note": "json.escaped"}', kernel=_GUESS),
    _json("fragment", "members without the braces around them: the complete ones", """'"a": 1, "b": 2,'""",
          '{"a": 1, "b": 2, "_migration_note": "json.fragment"}', kernel=_GUESS, loses="a member that is cut off"),
    _json("truncated", "an object whose end is missing: its complete members", """'{"a": 1, "b": "x'""",
          '{"a": 1, "_migration_note": "json.truncated"}', kernel=_GUESS, loses="a member that is cut off"),
    _json("fields", "Cowrie's own fields in a text that is nothing else", """'{]"session": "a1", "input": "ls", x'""",
          '{"session": "a1", "input": "ls", "_migration_note": "json.fields"}', kernel=_GUESS,
          loses="all but those fields"),
    _row("json.unreadable", "no JSON and no complete member", Example("'no field'", SET_ASIDE),
         "cleaning.json_document.clean_document"),
    _row("json.depth", "nested deeper than 10,000 levels", Example(
         "replace(hex(zeroblob(5001)), '0', '[')", SET_ASIDE), "cleaning.json_scan.tokens"),
    _row("json.size", "larger than PostgreSQL takes", Example(
         """'"' || replace(hex(zeroblob(134217728)), '0', 'a') || '"'""", SET_ASIDE), "cleaning.json_size.size_excess"),
    _text("nul", r"a NUL: the visible text \x00", "CAST(x'610062' AS TEXT)", r"a\x00b"),
    _text("utf8", r"a byte that is no UTF-8: \xff", "CAST(x'61ff' AS TEXT)", r"a\xff"),
    _text("blob", "a blob in a text column: its text", "x'6162'", "ab"),
    _text("number", "a number in a column that the catalog declares as text: its digits", "1.5", "1.5"),
    Rule("date.epoch", "an epoch number in seconds, milliseconds or microseconds: the instant", _DATE, "",
         (Type.TIMESTAMPTZ,), Example("1758542400", "2025-09-22 12:00:00+00", ("session_summaries", "last_event_at"))),
    Rule("date.fraction", "more than six fraction digits: cut, not rounded", _DATE, "digits below a microsecond",
         (Type.TIMESTAMPTZ,), Example("'2025-09-22 23:59:59.9999999'", "2025-09-22 23:59:59.999999+00",
                                      ("session_summaries", "last_event_at"))),
    Rule("date.unreadable", "no date by the grammar: NULL; in a NOT NULL column see date.fallback",
         f"{_SCALAR}_instant", "the cell", (Type.TIMESTAMPTZ,),
         Example("'now'", NULL, ("session_summaries", "last_event_at"))),
    Rule("date.fallback", "an unreadable date in a NOT NULL column: the date of the stated column that is readable",
         _TABLE, "the cell", (Type.TIMESTAMPTZ,),
         Example("'24:00:00'", "2025-09-22 12:00:00+00", ("session_summaries", "created_at"),
                 {"last_event_at": "'2025-09-22T12:00:00Z'"})),
    Rule("bool.text", "the word true or false", f"{_SCALAR}_boolean", "", (Type.BOOLEAN,),
         Example("'TRUE'", "true", ("raw_events", "quarantined"))),
    _refused("bool", "neither 0, 1, true nor false", Type.BOOLEAN, "boolean", "2", ("other", "flag")),
    _refused("integer", "no integer", Type.BIGINT, "integer", "'high'", ("raw_events", "risk_score")),
    _refused("real", "no number that a double holds", Type.DOUBLE, "real", "9007199254740993", ("other", "number")),
    _refused("blob", "no blob", Type.BYTEA, "blob", "'text'", ("other", "bytes")),
    _row("null.required", "NULL in a NOT NULL column", Example(NULL, SET_ASIDE, ("raw_events", "source"))),
    _row("key.null", "NULL in a key", Example(NULL, SET_ASIDE, ("ingest_cursors", "source"))),
    _row("key.duplicate", "a unique key that another row has: a row whose key was not repaired stays, then the lowest"
         " rowid", Example("CAST(x'61ff' AS TEXT)", SET_ASIDE, ("ingest_cursors", "source"), before=r"'a\xff'"),
         "planning.duplicates.KeyWatch.losers"),
    Rule("schema.version", "a schema version below the target's: the target's", _TABLE, "the older number",
         (Type.TEXT,), Example("'3'", "6", ("schema_state", "value"), {"key": "'schema_version'"}),
         allowed=(Policy.REPAIR, Policy.FAIL)),
    _row("postgres.*", "what only PostgreSQL refuses, by SQLSTATE (a CHECK or trigger of the target)", None,
         "loading.copy.copy_rows"),
    _found("payload.member", "a derivation: a column that the source computes or holds as NULL: the payload's",
           _TABLE, Example(NULL, "a1", ("raw_events", "session_id"), {"payload": """'{"session": "a1"}'"""}),
           "where SQLite computes it otherwise: of a key twice the first value, true as 1, a text up to its NUL"),
    _found("derived.differs", "a stored column that says otherwise than the payload: kept", _TABLE,
           Example("'b2'", "b2", ("raw_events", "session_id"), {"payload": """'{"session": "a1"}'"""})),
    _found("type.widened", "an unknown column with a cell that does not fit its declared type: text",
           "planning.shape.first_misfit", Example("'x'", "x", ("other", "number"), declared="INTEGER")),
    _found("column.generated", "a column that only SQLite computes: not in the target", "planning.scan.make_plan",
           Example("2", "(no column)", ("other", "double"), declared="INTEGER AS (1 + 1)"), "the column"),
)  # fmt: skip

RULES: dict[str, Rule] = {rule.code: replace(rule, kernel=f"cowrie_assets.{rule.kernel}") for rule in _LISTED}
"""Every rule, by its code."""


def rule_of(code: str) -> Rule:
    """The rule of a code as the ledger has it; KeyError where there is none."""
    return RULES["postgres.*" if code.startswith("postgres.") else code]
