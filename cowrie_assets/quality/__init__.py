"""What is in the staged rows, before anything is changed: statistics and findings, from Parquet alone.

Not here: changing a cell (`cleaning/`).
"""
