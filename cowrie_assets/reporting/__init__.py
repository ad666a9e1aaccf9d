"""What the ledger and staging say, for people: the migration's report, summaries.

Not here: proving anything (`validation/`).
"""
