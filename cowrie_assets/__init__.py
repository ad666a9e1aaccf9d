"""A Cowrie honeypot's SQLite database arrives in PostgreSQL, proven row by row.

Belongs here: the version. Not here: anything that imports Dagster or a driver.
"""

__version__ = "0.1.0"
