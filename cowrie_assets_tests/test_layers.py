"""The lines between the folders: who may import whom, how long a module is, what each opens with.

Not here: behaviour.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cowrie_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Absolute names of everything a module imports."""
    parts = ("cowrie_assets", *path.relative_to(PACKAGE).with_suffix("").parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(parts[: len(parts) - node.level]) if node.level else []
            name = ".".join([*base, node.module] if node.module else base)
            found |= {name} | {f"{name}.{alias.name}" for alias in node.names}
    return found


def top_folder(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_wiring_imports_dagster(path: Path) -> None:
    uses = any(name.split(".")[0].startswith("dagster") for name in imported(path))
    assert not uses or top_folder(path) in ("defs", "definitions.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_commands_and_definitions_import_the_wiring(path: Path) -> None:
    uses = any(name.startswith("cowrie_assets.defs") for name in imported(path))
    assert not uses or top_folder(path) in ("defs", "definitions.py", "cli")


@pytest.mark.parametrize("path", [p for p in MODULES if top_folder(p) == "validation"], ids=lambda p: p.name)
def test_the_proof_imports_nothing_of_what_it_proves(path: Path) -> None:
    assert not [n for n in imported(path) if n.startswith(("cowrie_assets.cleaning", "cowrie_assets.loading"))]


def test_the_source_is_read_in_few_places() -> None:
    readers = {top_folder(p) for p in MODULES if "sqlite3" in imported(p)}
    assert readers <= {"source", "planning", "export", "demo.py", "demo_schema.py"}


@pytest.mark.parametrize("path", [p for p in MODULES if top_folder(p) == "export"], ids=lambda p: p.name)
def test_the_way_back_uses_no_writing_side(path: Path) -> None:
    reading = {f"cowrie_assets.loading.{name}" for name in ("connection", "ddl", "failures", "ledger")}
    used = {".".join(n.split(".")[:3]) for n in imported(path) if n.startswith("cowrie_assets.")}
    assert {n for n in used if n.startswith("cowrie_assets.loading")} <= reading
    assert not {n for n in used if n.startswith(("cowrie_assets.cleaning", "cowrie_assets.staging"))}


def test_the_wiring_holds_no_sql_and_no_arrow() -> None:
    for path in MODULES:
        if top_folder(path) == "defs":
            names = imported(path)
            assert not {n.split(".")[0] for n in names} & {"pyarrow", "psycopg", "sqlite3", "sqlalchemy", "pandas"}
            assert "SELECT " not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_is_one_room_and_says_what_belongs_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))
    assert path.name != "utils.py"


def test_the_command_starts_without_dagster() -> None:
    code = "import sys, cowrie_assets.cli.main; sys.exit(any(m.split('.')[0] == 'dagster' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
