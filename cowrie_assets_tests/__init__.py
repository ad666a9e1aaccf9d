"""The tests; see README for their markers."""
