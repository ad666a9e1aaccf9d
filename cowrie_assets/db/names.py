"""Identifiers in statements that psycopg sends.

Not here: names that PostgreSQL cuts or refuses (`loading/ddl.py`).
"""

from __future__ import annotations


def bound(identifier: str) -> str:
    """A quoted identifier for a statement with parameters, in which psycopg reads a lone % as a placeholder."""
    return '"' + identifier.replace('"', '""').replace("%", "%%") + '"'
