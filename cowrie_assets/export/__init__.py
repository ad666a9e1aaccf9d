"""The way back: rebuilds the source's SQLite file from the target and its ledger, and compares two such files.

Not here: reading the source for a migration (`source/`) or the proof (`validation/`).
"""
