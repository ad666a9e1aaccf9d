"""The catalogue of rules as a document: what docs/rules.md is made of.

Not here: the rules (`rules.py`), rendering (`text.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..rules import RULES, Rule
from .text import Block, Cell, Code, Heading, Paragraph, Table

COMMAND = "cowrie-assets rules --markdown > docs/rules.md"


def rules_document() -> Iterator[Block]:
    """The whole catalogue: a table of all rules, and one of their examples."""
    yield Heading("Rules", 1)
    yield Paragraph.of("This page is made by ", Code(COMMAND), "; a test holds it to the code.")
    yield Paragraph.of(
        "What the target's type holds with the same value arrives as it is. Everything else is the work of a rule of"
        " this closed list. A repaired cell has a row in ",
        Code("cowrie_migration.repairs"),
        ", with its original bytes; a row set aside one in ",
        Code("cowrie_migration.quarantine"),
        ", with all its cells. So what is lost below is lost in the target, not in the ledger.",
    )
    yield Paragraph.of(
        "Where several rules change one cell the ledger joins them by ",
        Code("+"),
        ", and the strictest policy counts.",
    )
    yield Table(
        ("Rule", "Finds", "Loses in the target", "Target type", "Policy", "Allowed"),
        [_described(r) for r in RULES.values()],
    )
    yield Heading("Examples")
    yield Paragraph.of("Each cell is an SQL expression of what SQLite stores; the tests put each one through the code.")
    yield Table(
        ("Rule", "Column", "Stored", "In the target"),
        [
            (Code(r.code), Code(".".join(r.example.place)), Code(r.example.shown), Code(r.example.result))
            for r in RULES.values()
            if r.example
        ],
    )


def _described(rule: Rule) -> tuple[Cell, ...]:
    types = ", ".join(kind.value for kind in rule.applies) or "any"
    default = rule.default.value if rule.default else "none"
    return (Code(rule.code), rule.finds, rule.loses or "nothing", types, default, ", ".join(rule.allowed) or "none")
