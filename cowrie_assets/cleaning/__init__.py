"""The rules: a stored cell in, a value the target holds identically out, every change listed.

Belongs here: rules and their column kernels. Not here: reading SQLite, writing PostgreSQL.
"""
