"""The reports' queries: what a Cowrie database answers, alike on SQLite and PostgreSQL.

Belongs here: questions and their typed rows. Not here: how these are shown (`reporting/`, `cli/`).
"""
