"""`rules`: the catalogue, with the policies that the settings give.

Not here: the catalogue (`rules.py` of the package), its document (`reporting/rules.py`).
"""

from __future__ import annotations

import click

from ..errors import SettingsError
from ..reporting.rules import rules_document
from ..reporting.text import inert, markdown
from ..rules import RULES
from .options import json_option, settings_from
from .output import print_json, print_table


@click.command()
@json_option
@click.option("--markdown", "as_markdown", is_flag=True, help="The page docs/rules.md, with the default policies.")
def rules(as_json: bool, as_markdown: bool) -> None:
    """List every rule: what it finds, what it loses, and its policy under the present settings."""
    if as_json and as_markdown:
        raise SettingsError("--json and --markdown exclude each other.", hint="Leave one out.")
    if as_markdown:
        click.echo(markdown(list(rules_document())), nl=False)
        return
    treatment = settings_from().treatment
    policies = treatment.policies
    if as_json:
        listed = [
            {
                "code": rule.code,
                "finds": rule.finds,
                "kernel": rule.kernel,
                "loses": rule.loses,
                "types": rule.applies,
                "default": rule.default,
                "policy": policies.of(rule.code),
                "allowed": rule.allowed,
                "overrides": {s: p for s, p in policies.overrides if s.startswith(f"{rule.code}@")},
                "example": rule.example and {"given": rule.example.shown, "result": rule.example.result},
            }
            for rule in RULES.values()
        ]
        print_json({"rules": listed, "unwrap": treatment.unwrap, "json_type": treatment.json_type})
        return
    shown = [(r.code, policies.of(r.code) or "", ", ".join(r.allowed), r.finds, r.loses) for r in RULES.values()]
    print_table(("rule", "policy", "allowed", "finds", "loses in the target"), shown)
    for scope, policy in policies.overrides:
        if "@" in scope:
            click.echo(f"{inert(scope)}: {policy}")
    click.echo(f"Dead letters are {'' if treatment.unwrap else 'not '}unwrapped; documents are {treatment.json_type}.")
