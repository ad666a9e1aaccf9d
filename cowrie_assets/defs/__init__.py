"""Dagster wiring: assets, checks, partitions, jobs, schedules. No SQL and no Arrow here.

Not here: what a stage does (`pipeline.py` and the packages below it).
"""
