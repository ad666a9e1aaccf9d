"""Rows as stored, in Parquet: the only stage that reads SQLite.

Not here: what a cell means or becomes.
"""
