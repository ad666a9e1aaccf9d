"""Text from the data steers nothing: neither terminal, nor spreadsheet, nor page, nor Dagster.

Belongs here: hostile text in every place of a database, and every output searched for it. Not here: the functions that
make it inert (`test_reporting.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._serdes import serialize_value
from markdown_it import MarkdownIt

from cowrie_assets.cli.main import main
from cowrie_assets.defs.build import build_defs
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.settings import Settings
from cowrie_assets_tests.test_migration import query
from cowrie_assets_tests.test_reporting import TAGS, TOKENS, Page
from cowrie_assets_tests.test_source import opened

HOSTILE = [
    "\x1b]0;owned\x07\x1b[31mred\x1b[0m \x9b31m\x85\x90q\x9c",
    "up\r\x1b[2K\x08\x08\x7f\nnext\x0bline\x0c",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200fy \u061c zero\u200b\u200d\u2060\ufeffwidth\u00ad\u2028line\u2029",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><svg/onload=alert(1)> <a href='javascript:alert(1)'>a</a> &lt;b&gt;",
    "[x](javascript:alert(1)) ![i](http://e.example/i) **b** `c` | d | <http://e.example>",
    "=cmd|' /C calc'!A0",
    "\t@SUM(1)",
    "[bold red]x[/] [link=http://e.example]y[/link] :smile: %s {0} {x} %(y)s $HOME `id` $(id)",
    "-'; DROP TABLE raw_events; -- \" x",
    "long" * 1_000,
]
STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
"""Control characters but newline and tab, bidi controls, what has no width, surrogates."""
LONGEST = 2_100
"""Characters of the longest line for people: an error's limit and its prefix."""


def assert_inert(shown: str, where: str) -> None:
    found = STEERS.search(shown)
    assert found is None, (where, shown[max(0, found.start() - 80) : found.end() + 20])
    longest = max(shown.split("\n"), key=len)
    assert len(longest) <= LONGEST or "--json" in where or "--format" in where, (where, longest[:200])


def plant(path: Path) -> Path:
    """Every hostile text as name of tables, columns, indexes, views, triggers, as key, as cell of each kind."""
    with opened(path) as connection:
        run = connection.execute
        run("CREATE TABLE raw_events (id INTEGER PRIMARY KEY, source TEXT, source_inode TEXT, source_offset INTEGER,"
            " source_generation INTEGER, ingest_at DATETIME, payload JSON, session_id TEXT)")  # fmt: skip
        run("CREATE TABLE files (id INTEGER PRIMARY KEY, session_id TEXT, shasum TEXT, filename TEXT,"
            " first_seen DATETIME, file_size INTEGER, vt_malicious BOOLEAN)")  # fmt: skip
        for number, text in enumerate(HOSTILE, 1):
            name = '"' + text.replace('"', '""') + '"'
            document = json.dumps({"session": text, text: text, "timestamp": "2026-10-01T00:00:00Z"})
            payloads = [document, document[:-1], "x" + text, text + "\0", document.replace("{", '{"a": "\\u0000", ', 1)]
            for at, payload in enumerate(payloads):
                key = number * 10 + at
                values = (key, text, text, at, number, "2026-10-01 00:00:00", payload, text + "\0" * at)
                run("INSERT INTO raw_events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
                run("INSERT INTO raw_events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (key + 1_000, *values[1:]))
            run("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", (number, text, text, text + "\0", text, text, text))
            run(f"CREATE TABLE {name} ({name} TEXT PRIMARY KEY, n INTEGER NOT NULL, b BOOLEAN, d DATETIME, j JSON,"
                f" r REFERENCES files (id), \"2{name[1:]} {name} DEFAULT 'x')")  # fmt: skip
            run(f"INSERT INTO {name} ({name}, n, b, d, j, r) VALUES (?, 1, 1, '2026-10-01', '{{}}', 999)", (text,))
            run(f"INSERT INTO {name} ({name}, n, b, d, j) VALUES (NULL, 1, ?, ?, ?)", (text, text, document))
            run(
                f"INSERT INTO {name} ({name}, n, b, d, j) VALUES (?, ?, ?, ?, ?)", (text + "\0", text, text, text, text)
            )
            run(f"INSERT INTO {name} ({name}, n) VALUES (CAST(? AS TEXT), 2)", (text.encode() + b"\xff",))
            run(f'CREATE INDEX "i{name[1:]} ON {name} ({name}) WHERE n > 1')
            run(f'CREATE VIEW "v{name[1:]} AS SELECT 1')
            run(f'CREATE TRIGGER "t{name[1:]} AFTER INSERT ON {name} BEGIN SELECT 1; END')
    return path


@dataclass(frozen=True)
class Shown:
    code: int
    out: str
    err: str


Command = Callable[..., Shown]


@pytest.fixture
def command(
    tmp_path: Path, pg_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run a command line over the planted source; whatever it shows is searched."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("COWRIE_SQLITE_PATH", str(plant(tmp_path / "s.sqlite")))
    monkeypatch.setenv("COWRIE_POSTGRES_URL", url_of(pg_url))

    def run(*arguments: str) -> Shown:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in out + err
        assert_inert(out.replace("\r\n", "\n") + err, " ".join(arguments)[:80])
        return Shown(ended.value.code, out, err)

    yield run


def url_of(conninfo: str) -> str:
    """The conninfo string that tests have as the URL that users give."""
    parts = dict(part.split("=", 1) for part in conninfo.split())
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"


def test_nothing_that_a_command_shows_steers_anything(command: Command, pg_url: str, tmp_path: Path) -> None:
    for arguments in ("inspect", "inspect --json", "plan", "plan --json", "migrate --dry-run"):
        assert command(*arguments.split()).code == 0, arguments
    migrated = command("migrate")
    assert migrated.code == 0, migrated.err
    assert "PASS:" in migrated.out
    for arguments in ("status", "status --json", "verify", "verify --json", "rules"):
        assert command(*arguments.split()).code == 0, arguments
    the_report_has_no_element_of_the_data(*map(Path, command("report").out.splitlines()[1:]))
    assert "x[/] [link=http" in command("quarantine").out
    lines = command("quarantine", "--format", "jsonl").out.splitlines()
    rows = list(csv.reader(io.StringIO(command("quarantine", "--format", "csv").out)))
    assert len(rows) == len(lines) + 1 > 5 * len(HOSTILE)
    assert not [cell for row in rows for cell in row if cell.strip()[:1] in tuple("=+-@")]
    for name in HOSTILE[:4]:
        assert command("quarantine", "--table", name, "--rule", name).code == 0
    assert command("migrate", "--tables", ",".join(name + "x" for name in HOSTILE)).code == 2
    at = str(tmp_path / "s.sqlite")
    assert command("export", "--to", "again.sqlite", "--compare-with", at).code == 0
    failing(pg_url, tmp_path)
    for arguments in (
        "verify",
        "verify --json",
        "status",
        "report",
        f"export --to again.sqlite --overwrite --compare-with {at}",
    ):
        assert command(*arguments.split()).code in (0, 1), arguments
    command("migrate", "--force", "--tables", "nothing")
    command("reset", "--yes")


def the_report_has_no_element_of_the_data(markdown: Path, html: Path) -> None:
    text, page = markdown.read_text(encoding="utf-8"), html.read_text(encoding="utf-8")
    for shown in (text, page):
        assert STEERS.search(shown) is None
        assert "gnp.exe" in shown
    parsed = Page(page)
    assert parsed.tags <= TAGS
    assert parsed.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert {kind.removesuffix("_open").removesuffix("_close") for kind in kinds} <= TOKENS


def failing(url: str, folder: Path) -> None:
    """Damage the target, and write newer rows to the source."""
    query(url, "DELETE FROM raw_events")
    query(url, "UPDATE files SET filename = filename || chr(27) || '[31m' || chr(8238), session_id = chr(155)")
    with opened(folder / "s.sqlite") as connection:
        for text in HOSTILE:
            name = '"' + text.replace('"', '""') + '"'
            query(url, f"DELETE FROM {name}")
            connection.execute(f"INSERT INTO {name} ({name}, n) VALUES ('new', 1)")


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def test_nothing_that_dagster_keeps_or_logs_steers_anything(
    pg_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(
        source=plant(tmp_path / "s.sqlite"), target=pg_url, staging=str(tmp_path / "staging"), home=tmp_path / "home",
        today=date(2026, 11, 24),
    )  # fmt: skip
    keys = Pipeline(settings).plan.windows.keys
    defs = build_defs(settings, now=datetime(2026, 11, 24, 12, tzinfo=UTC))
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        for damage in (False, True):
            if damage:
                failing(pg_url, tmp_path)
                for file in (tmp_path / "staging" / "cleaned").rglob("*.json"):
                    file.write_text("no json", encoding="utf-8")
            result = dg.materialize(
                list(defs.assets or ()),  # type: ignore[arg-type]
                tags=tags,
                instance=instance,
                raise_on_error=False,
            )
            assert result.success is not damage
            kept = [serialize_value(entry) for entry in instance.all_logs(result.run_id)]
            for text in (text for entry in kept for text in strings(json.loads(entry))):
                assert_inert(text, "event log")
            assert "gnp.exe" in "".join(kept)
            shown = capfd.readouterr()
            assert_inert(shown.out + shown.err, "console")
    assets = defs.resolve_asset_graph()
    for key in assets.get_all_asset_keys():
        assert_inert(assets.get(key).description or "", str(key))
