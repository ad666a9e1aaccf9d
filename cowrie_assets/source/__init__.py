"""Reads SQLite, and only reads: connections, declarations, cells as stored, and the date of a row.

Not here: anything that writes, or knows of the target.
"""
