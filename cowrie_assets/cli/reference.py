"""Makes docs/reference/: every command's help, every setting, every error. `make docs` runs it.

Belongs here: collecting what the code itself says. Not here: prose.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import click
from click.testing import CliRunner

from .. import errors
from .main import cli

PACKAGE = Path(__file__).parent.parent
HEAD = "This page is made by `python -m cowrie_assets.cli.reference docs/reference`; a test holds it to the code.\n"
NAME = "cowrie-assets"
WIDTH = 100
GAP = "…"


def commands() -> str:
    """Every command and sub-command with its `--help`."""
    parts = ["# Commands\n", HEAD]
    for words in _walk((), cli):
        shown = CliRunner().invoke(cli, [*words, "--help"], prog_name=NAME, terminal_width=WIDTH)
        parts.append(f"## {' '.join((NAME, *words))}\n\n```text\n{shown.output}```\n")
    return "\n".join(parts)


def _walk(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                yield from _walk((*words, name), found)


def settings(example: str) -> str:
    """The commented example, which names each setting with its variable and default."""
    return f"# Settings\n\n{HEAD}\nAll of them, as `sensors.example.toml` has them:\n\n```toml\n{example}```\n"


def error_messages() -> str:
    """Every message that a command can end with, by class, with what it says to do."""
    kinds = {name: kind for name, kind in vars(errors).items() if _is_error(kind)}
    found: dict[str, set[tuple[str, str]]] = {name: set() for name in kinds}
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        rooms = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for room in [tree, *rooms]:
            words = _words(room)
            for node in _own(room):
                for name, message, hint in _messages(node, kinds.keys(), words):
                    if message.strip(f"{GAP} .:"):
                        found[name].add((message, hint))
    parts = ["# Errors\n", HEAD, f"`{GAP}` stands for what differs: a name, a path, the driver's own words.\n"]
    for name, kind in kinds.items():
        rows = [f"| {_cell(message)} | {_cell(hint)} |" for message, hint in sorted(found[name])]
        table = ["| message | what to do |", "|---|---|", *rows, ""] if rows else []
        about = (kind.__doc__ or "").partition("\n")[0]
        parts.append("\n".join([f"## {name}\n", f"{about} Exit code {kind.exit_code}.\n", *table]))
    return "\n".join(parts)


def _own(room: ast.AST) -> Iterator[ast.Call]:
    """The calls of a function or module, without those of functions within it."""
    for node in ast.iter_child_nodes(room):
        if isinstance(node, ast.Call):
            yield node
        if not isinstance(node, ast.FunctionDef):
            yield from _own(node)


def _words(room: ast.AST) -> dict[str, str]:
    """Names that a function gives a text once: hints are often made before they are used."""
    given: dict[str, list[str]] = {}
    for node in ast.walk(room):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            given.setdefault(node.targets[0].id, []).append(_text(node.value, {}))
    return {name: texts[0] for name, texts in given.items() if len(texts) == 1}


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.CowrieError)


def _messages(call: ast.Call, kinds: Collection[str], words: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(class, message, hint) of a call that makes an error, or of a line of `db/connecting.py`'s table of reasons."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name == "_Reason" and isinstance(call.args[1], ast.Name):
        yield call.args[1].id, f"The database {GAP} {_text(call.args[2], {})} ({GAP}).", _text(call.args[3], {})
    elif name in kinds and call.args:
        hints = [keyword.value for keyword in call.keywords if keyword.arg == "hint"]
        yield name, _text(call.args[0], words), _text(hints[0], words) if hints else ""


def _text(node: ast.expr, words: Mapping[str, str]) -> str:
    """A literal's text; what is put in at run time becomes a gap."""
    if isinstance(node, ast.Constant):
        return str(node.value) if node.value is not None else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, {}) for part in node.values)
    if isinstance(node, ast.IfExp):
        return " / ".join(filter(None, (_text(node.body, words), _text(node.orelse, words))))
    return words.get(node.id, GAP) if isinstance(node, ast.Name) else GAP


def _cell(text: str) -> str:
    """A text in a table of Markdown, nothing in it read as markup."""
    return f"`` {text} ``".replace("|", "\\|") if text.strip(GAP + " ") else GAP if text else ""


def pages(example: str) -> dict[str, str]:
    """File name to content."""
    return {"commands.md": commands(), "settings.md": settings(example), "errors.md": error_messages()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for file_name, text in pages((PACKAGE.parent / "sensors.example.toml").read_text(encoding="utf-8")).items():
        (folder / file_name).write_text(text, encoding="utf-8")
