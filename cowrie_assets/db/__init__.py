"""The database layer: URLs, connections, the embedded server.

Not here: what the migration writes (`loading/`) or proves (`validation/`).
"""
