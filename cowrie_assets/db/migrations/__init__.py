"""The processor's schema, version by version: what each changes, and bringing a database up to date in place.

`v1` to `v6` say what a version changes, `steps` how, `runner` applies them, `drift` compares, `extras` are options.
"""
