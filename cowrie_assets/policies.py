"""What the settings say about cells: the policies of rules, unwrapping, the type of documents.

Belongs here: reading, checking and looking up. Not here: the rules (`rules.py`), applying a policy (`cleaning/`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .catalog import Type
from .errors import SettingsError
from .rules import RULES, Policy, rule_of

_STRICTNESS = list(Policy)


@dataclass(frozen=True)
class Policies:
    """Policies that differ from the rules' defaults.

    Attributes:
        overrides: (`rule`, `rule@table` or `rule@table.column`, policy), sorted.
    """

    overrides: tuple[tuple[str, Policy], ...] = ()

    @cached_property
    def _by_scope(self) -> dict[str, Policy]:
        return dict(self.overrides)

    def of(self, code: str, table: str | None = None, columns: Iterable[str] = ()) -> Policy | None:
        """A rule's policy, the most specific one; of several columns the strictest. None for what has no policy."""
        rule, found = rule_of(code), self._by_scope
        of_columns = [p for c in columns if (p := found.get(f"{rule.code}@{table}.{c}"))]
        if of_columns:
            return max(of_columns, key=_STRICTNESS.index)
        return found.get(f"{rule.code}@{table}") or found.get(rule.code) or rule.default

    def strictest(self, codes: tuple[str, ...], table: str, columns: tuple[str, ...]) -> tuple[Policy, str]:
        """The strictest policy of the rules that changed one cell, and the first rule that has it."""
        return _strictest(self, codes, table, columns)

    def concerning(self, table: str) -> list[tuple[str, Policy]]:
        """The overrides that may concern a table."""
        scopes = [(s, s.partition("@")[2]) for s, _ in self.overrides]
        wanted = {s for s, place in scopes if not place or place == table or place.startswith(f"{table}.")}
        return [(s, p) for s, p in self.overrides if s in wanted]

    def check_places(self, tables: Mapping[str, Collection[str]]) -> None:
        """Raise SettingsError for a place that names none of these tables (name -> columns)."""
        known = {*tables, *(f"{table}.{column}" for table, columns in tables.items() for column in columns)}
        for scope, _ in self.overrides:
            place = scope.partition("@")[2]
            if place and place not in known:
                raise SettingsError(
                    f"The rule setting {scope!r} names no table or column of this migration.",
                    hint="Write it as rule@table or rule@table.column; `cowrie-assets inspect` lists the tables.",
                )


@lru_cache(4096)
def _strictest(policies: Policies, codes: tuple[str, ...], table: str, columns: tuple[str, ...]) -> tuple[Policy, str]:
    found = [(policies.of(code, table, columns) or Policy.REPAIR, code) for code in codes]
    return max(found, key=lambda pair: _STRICTNESS.index(pair[0]))


@dataclass(frozen=True)
class Treatment:
    """How cells are treated.

    Attributes:
        policies: of the rules.
        unwrap: dead letters `{"malformed": "…"}` are taken out of their wrapper.
        json_type: `jsonb`, or `json`: then documents stay byte for byte.
    """

    policies: Policies = Policies()
    unwrap: bool = False
    json_type: Type = Type.JSONB

    def asked(self) -> dict[str, str | None]:
        """The form the plan pins; None for a default."""
        return {
            "rules": json.dumps(dict(self.policies.overrides)) if self.policies.overrides else None,
            "unwrap": "yes" if self.unwrap else None,
            "json_type": None if self.json_type is Type.JSONB else self.json_type.value,
        }

    @classmethod
    def from_asked(cls, asked: Mapping[str, str | None]) -> Treatment:
        """Read back what `asked` gave; a plan of before these settings has the defaults."""
        overrides = json.loads(asked.get("rules") or "{}")
        return cls(
            Policies(tuple((scope, Policy(p)) for scope, p in overrides.items())),
            asked.get("unwrap") == "yes",
            Type(asked.get("json_type") or Type.JSONB),
        )


def read_policies(file: Mapping[str, Any], variable: str) -> Policies:
    """The policies of `sensors.toml` and of COWRIE_RULES, which wins.

    Args:
        file: the table `[migration.rules]`.
        variable: `rule=policy,rule@table=policy,rule@table.column=policy`.

    Raises:
        SettingsError: for an unknown rule, or a policy that the rule does not allow.
    """
    given: dict[str, tuple[object, str]] = {scope: (word, "[migration.rules]") for scope, word in file.items()}
    for part in filter(None, (p.strip() for p in variable.split(","))):
        scope, _, word = part.rpartition("=")
        given[scope.strip()] = (word.strip(), "COWRIE_RULES")
    return Policies(tuple(sorted((scope, _checked(scope, *rest)) for scope, rest in given.items())))


def _checked(scope: str, word: object, setting: str) -> Policy:
    code, at, place = scope.partition("@")
    if isinstance(word, Mapping):
        raise SettingsError(
            f"{setting} {scope} is a table.", hint='Write the whole name in quotes: "json.truncated" = "quarantine".'
        )
    if code not in RULES or not RULES[code].allowed:
        has_none = ", which has no policy" if code in RULES else ""
        raise SettingsError(
            f"{setting} names {scope or word!r}: the rule {code or word!r} is not one of those with a policy{has_none}:"
            f" {', '.join(c for c, r in RULES.items() if r.allowed)}.",
            hint="Write rule=policy, rule@table=policy or rule@table.column=policy; see `cowrie-assets rules`.",
        )
    if at and not all(place.partition(".")[::2] if "." in place else (place,)):
        raise SettingsError(
            f"{setting} names {scope!r}, which lacks a table or column.",
            hint=f"Write {code}, {code}@table or {code}@table.column.",
        )
    allowed = RULES[code].allowed
    if word not in allowed:
        raise SettingsError(f"{setting}: {scope}={word} is not allowed.", hint=f"{code} allows {', '.join(allowed)}.")
    return Policy(str(word))


def read_json_type(word: str, setting: str) -> Type:
    """`jsonb` or `json`; SettingsError names the setting."""
    if word.lower() not in (Type.JSONB, Type.JSON):
        raise SettingsError(f"{setting}={word!r} is unknown.", hint="Write jsonb or json.")
    return Type(word.lower())
