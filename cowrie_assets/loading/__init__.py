"""COPY into PostgreSQL: the target's tables, the ledger, partitions, and finishing.

Not here: rules (`cleaning/`) or the proof (`validation/`).
"""
