"""The command `cowrie-assets`: options in, words and exit codes out.

Not here: work; every command calls the pipeline or a domain package.
"""
