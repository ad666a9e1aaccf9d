"""Whether the database and what feeds it are well, told within seconds to a person or a probe.

`report` says what a look is, `probe` takes it in bounded time, `serve` answers over HTTP; the others look at one thing.
"""
