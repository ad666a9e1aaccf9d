"""The plan: windows, high-water rowids, where each partition's rows lie, the target's shape.

Not here: moving a row. Loading Dagster's definitions reads the plan and nothing else.
"""
