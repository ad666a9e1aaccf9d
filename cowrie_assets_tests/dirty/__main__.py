"""`python -m cowrie_assets_tests.dirty --seed N --out file.sqlite` writes a database, and its truth as JSON beside it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .database import make


def main() -> None:
    """Write both files and say what is in them."""
    parser = argparse.ArgumentParser(prog="python -m cowrie_assets_tests.dirty")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dirt", type=float, default=0.3)
    parser.add_argument("--rows", type=int)
    given = parser.parse_args()
    truth = make(given.out, given.seed, dirt=given.dirt, rows=given.rows)
    beside = given.out.with_suffix(".truth.json")
    beside.write_text(
        json.dumps(truth.to_json(), indent=1, ensure_ascii=False), encoding="utf-8", errors="backslashreplace"
    )
    rows = sum(len(table.rows) for table in truth.tables.values())
    aside = sum(bool(row.aside) for table in truth.tables.values() for row in table.rows)
    repairs = sum(len(row.repairs) for table in truth.tables.values() for row in table.rows)
    print(f"{given.out}: schema {truth.version}, {rows} rows, {repairs} repairs, {aside} rows to set aside; {beside}")


if __name__ == "__main__":
    main()
