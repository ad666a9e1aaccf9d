"""The proof, in its own code: fresh readings of source and target, held against the ledger.

Not here: anything from `cleaning/` or `loading/`; a fault there must not be able to hide itself.
"""
