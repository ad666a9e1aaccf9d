"""Random databases of which every defect is known: a generator, and the truth about what it wrote.

Not here: tests of the migration (`test_dirty.py`); nothing in this package imports the rules that it is to judge.
"""

from .database import make
from .truth import Cell, Row, Table, Truth

__all__ = ["Cell", "Row", "Table", "Truth", "make"]
