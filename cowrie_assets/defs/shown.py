"""What Dagster is told in words: made inert, as on the terminal.

Belongs here: text from the data in metadata and failures. Not here: which facts an asset tells (`stages.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from ..errors import CowrieError
from ..reporting.text import ERROR_LENGTH, inert


def shown(value: Any) -> Any:
    """Metadata whose texts, labels too, steer neither a terminal that prints the event nor a page that shows it."""
    if isinstance(value, str):
        return inert(value, ERROR_LENGTH)
    if isinstance(value, dict):
        return {inert(str(label)): shown(item) for label, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list | tuple) else value


def failure(error: CowrieError) -> dg.Failure:
    """One of our errors as Dagster's: one line; a retry makes sense where it failed on the way."""
    return dg.Failure(inert(str(error), ERROR_LENGTH), allow_retries=error.exit_code == 3)


@contextmanager
def failures() -> Iterator[None]:
    """Our own errors as Dagster's."""
    try:
        yield
    except CowrieError as error:
        raise failure(error) from None
