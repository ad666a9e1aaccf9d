"""The report: what it says of a migration, and that text from the data is harmless in it.

Not here: the verdicts' own tests (`test_migration.py`).
"""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cowrie_assets.errors import StagingError, TargetError
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.reporting import ledger
from cowrie_assets.reporting.ledger import Misbuilt, TableSum, overall
from cowrie_assets.reporting.migration import write_report
from cowrie_assets.reporting.text import Badge, Block, Bullets, Code, Heading, Paragraph, Table, html, inert, markdown
from cowrie_assets.validation.verdicts import TableTotal, Verdict
from cowrie_assets_tests.test_migration import migrate, pipeline_for, query, units, verdicts
from cowrie_assets_tests.test_source import database

# At most 20 characters, of which each may become ten: a text within every limit.
HOSTILE = st.one_of(st.text(max_size=20), st.text("<>|`*_[]()!#&$~\\-+=1. \t\n\x1b\u202eaw:/@h", max_size=20))
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "strong", "code", "ul", "li", "div"} | {
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary")
}
TOKENS = {"heading", "paragraph", "list_item", "bullet_list", "inline", "text", "text_special", "code_inline"} | {
    *("strong", "table", "thead", "tbody", "tr", "th", "td")
}


@pytest.mark.parametrize(
    "text",
    ["\x1b[31mred\x1b[0m", "a\r\nb", "tab\t", "nul\x00", "\u202eevil", "\u2066x", "\x9b31m", "\x7f", "\ud800"]
    + ["\u200b", "\u00ad", "\u2028", "\u3164", "\u2800", "\U000e0041", "\U000e0101", "\ue000"],
)
def test_what_could_steer_a_terminal_is_visible_instead(text: str) -> None:
    shown = inert(text)
    assert shown.isprintable()
    assert "\\" in shown


@pytest.mark.parametrize("text", ["", "привет, мир 🧪 密码", 'o\'brien "x" | `id` <b> \\x00', "naïve café", "❤\ufe0f"])
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert inert(text) == text


@given(st.text(), st.integers(1, 60))
@example("\u202e" * 60, 1)
@example("x" * 61, 60)
def test_shown_text_is_one_printable_line_within_its_limit(text: str, limit: int) -> None:
    shown = inert(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert inert(shown, limit) == shown
    assert shown.endswith("…") or len(shown) >= len(text)


def test_a_long_text_is_cut_and_never_within_an_escape() -> None:
    assert inert("x" * 10_000, 100) == "x" * 99 + "…"
    assert inert("\x00" * 10_000, 10) == "\\x00\\x00…"


class Page(HTMLParser):
    """Collects a page's tags, attributes, and the text below `<body>`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "body":
            self.words.clear()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def document(text: str) -> list[Block]:
    """The text in every place a document has for it."""
    return [
        Heading(text, 2),
        Paragraph.of(Badge(text, "bad"), text, Code(text)),
        Bullets(((text,), ("x", Code(text)))),
        Table((text, "n"), [(text, 1), (Code(text), 2), ((Code(text), text), None)], fold=text),
    ]


@given(HOSTILE)
@example("</code><script>x</script>")
@example('" onload="x')
def test_no_text_becomes_markup_of_the_page(text: str) -> None:
    page = Page(html(text, document(text)))
    assert page.tags <= TAGS
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert "".join(page.words).count(inert(text)) >= 12


@given(HOSTILE)
@example("`a``b`")
@example(" ")
@example(" x ")
@example("a|b\\|c")
@example("[x](http://e.example) ![y](z) <http://e.example>")
@example("1. x")
@example("    code")
@example("---")
def test_no_text_becomes_markup_of_markdown(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown(document(text)))
    inline = [child for token in tokens for child in token.children or []]
    kinds = {re.sub("_(open|close)$", "", token.type) for token in (*tokens, *inline)}
    assert kinds <= TOKENS
    assert [t.type for t in tokens].count("td_open") == 6
    code = [t.content for t in inline if t.type == "code_inline"]
    assert code == [inert(text)] * (4 if text else 0)


def test_a_bare_link_of_the_data_is_none_in_markdown() -> None:
    assert markdown([Paragraph.of("see http://e.example and www.e.example")]) == (
        "see http\\://e.example and www\\.e.example\n"
    )


def test_numbers_are_grouped_and_right_aligned() -> None:
    table = Table(("t", "n"), [("a", 1234), ("b", None)])
    assert markdown([table]) == "| t | n |\n| --- | ---: |\n| a | 1,234 |\n| b |  |\n"
    assert '<td class="number">1,234</td>' in html("x", [table])


def table_sum(partitions: int, loaded: int, passed: int, failed: int) -> TableSum:
    return TableSum("t", partitions, loaded, 9, 7, 2, 0, passed, failed, "counts")


def total(verdict: Verdict) -> TableTotal:
    return TableTotal("t", 9, 9, 0, verdict, "")


@pytest.mark.parametrize(
    ("partitions", "loaded", "passed", "failed", "totals", "verdict", "why"),
    [
        (3, 3, 3, 0, Verdict.PASS, Verdict.PASS, "7 rows are in the target and 2 set aside"),
        (3, 3, 2, 1, Verdict.PASS, Verdict.FAIL, "1 of 3 partitions differ"),
        (3, 3, 3, 0, Verdict.FAIL, Verdict.FAIL, "1 of 1 tables do not add up (t: )"),
        (3, 1, 0, 1, Verdict.NOT_CHECKED, Verdict.FAIL, "1 of 3 partitions differ"),
        (3, 2, 2, 0, Verdict.NOT_CHECKED, Verdict.NOT_CHECKED, "1 of 3 partitions are not loaded"),
        (3, 3, 1, 0, Verdict.PASS, Verdict.NOT_CHECKED, "2 of 3 partitions are loaded and not verified"),
        (3, 3, 3, 0, Verdict.NOT_CHECKED, Verdict.NOT_CHECKED, "total was not checked"),
        (0, 0, 0, 0, Verdict.PASS, Verdict.NOT_CHECKED, "no partition"),
    ],
)
def test_the_verdict_over_all(
    partitions: int, loaded: int, passed: int, failed: int, totals: Verdict, verdict: Verdict, why: str
) -> None:
    found = overall([table_sum(partitions, loaded, passed, failed)], [total(totals)])
    assert found.verdict is verdict
    assert why in found.reason


def test_it_says_pass_and_the_sums(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v6, pg_url, tmp_path)
    migrate(line)
    verdicts(line)
    written = write_report(line)
    assert written.verdict == "PASS"
    for text in (written.markdown.read_text(encoding="utf-8"), written.html.read_text(encoding="utf-8")):
        for expected in ("14,080", "1,525", "json.surrogate", "text.nul", "week"):
            assert expected in text
    assert sorted(p.name for p in written.html.parent.iterdir()) == ["migration.html", "migration.md"]


def test_what_it_says_and_in_which_order(real_v6: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v6, pg_url, tmp_path)
    migrate(line)
    verdicts(line)
    text = write_report(line).markdown.read_text(encoding="utf-8")
    assert re.findall("^##? (.+)$", text, re.MULTILINE) == [
        *("Migration report", "Source", "Target", "Tables", "Totals", "Repaired cells", "Rows set aside"),
        *("Derived cells", "Findings", "Columns", "Not known to the catalog", "Not migrated"),
        *("Indexes and constraints that are not as declared", "What to run next"),
    ]
    lines = text.splitlines()
    assert "| `raw_events` | **PASS** | 14,080 | 14,080 | 0 | 158 | 63 | 63 | 63 |" in lines
    assert "| all | **PASS** | 16,933 | 16,933 | 0 | 159 | 317 | 317 | 317 |" in lines
    assert "| `raw_events` | `payload` | `json.surrogate` | 11 | `160137`, `160140`, `160146` |" in lines
    assert "| `raw_events` | `event_type` | `payload.member` | 12,385 |" in lines
    assert "| `raw_events` | `payload` | `text 14,080` | 70,509 |  | 13,922 | 158 |" in lines
    assert "every cell" in text
    assert line.plan.id in text


def test_it_says_fail_and_not_checked(real_v3: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_v3, pg_url, tmp_path)
    line.prepare()
    assert write_report(line).verdict == "NOT CHECKED"
    migrate(line)
    assert write_report(line).verdict == "NOT CHECKED"
    query(pg_url, "DELETE FROM dead_letter_events WHERE id = 3")
    verdicts(line)
    written = write_report(line)
    assert written.verdict == "FAIL"
    text = written.markdown.read_text(encoding="utf-8")
    assert "rows were loaded" in text
    assert "`cowrie-assets migrate --force --tables dead_letter_events`" in text


def test_one_partition_that_is_not_loaded_leaves_the_whole_not_checked(
    real_v3: Path, pg_url: str, tmp_path: Path
) -> None:
    line = pipeline_for(real_v3, pg_url, tmp_path)
    left_out = min(line.plan.tables["raw_events"].slices)
    line.prepare()
    with line.locked():
        for table, keys in units(line.plan):
            line.stage(table, keys)
            for key in keys:
                if (table, key) != ("raw_events", left_out):
                    line.clean(table, key)
                    line.load(table, key, "test")
    found = {(v.table, v.partition) for v in verdicts(line) if v.verdict is not Verdict.PASS}
    assert found == {("raw_events", left_out)}
    written = write_report(line)
    assert written.verdict == "NOT CHECKED"
    text = written.markdown.read_text(encoding="utf-8")
    assert re.search(r"^\*\*NOT CHECKED\*\* 1 of \d+ partitions are not loaded\.$", text, re.MULTILINE)
    assert f"| `raw_events` | not loaded | 1 | `{left_out}` |" in text
    assert "Load the partitions that are missing: `cowrie-assets migrate`" in text


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["t"], " --tables t"),
        (["a b", "c"], " --tables 'a b,c'"),
        (["a,b"], ""),  # the option separates with commas,
        ([" a"], ""),  # strips blanks,
        (["a\x1b"], ""),  # and what is not shown as it is cannot be copied
        ([f"table_{number:02}" for number in range(30)], ""),
    ],
)
def test_the_command_to_load_again_can_be_run_as_it_is_shown(
    names: list[str], options: str, pg_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.sqlite"
    database(path, *(f'CREATE TABLE "{n}" (k INTEGER PRIMARY KEY)' for n in names))
    database(path, *(f'INSERT INTO "{n}" VALUES (1)' for n in names))
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    for name in names:
        query(pg_url, f'DELETE FROM "{name}"')
    verdicts(line)
    text = write_report(line).markdown.read_text(encoding="utf-8")
    assert f"Load what differs again: `cowrie-assets migrate --force{options}`, then" in text


def test_of_many_tables_the_first_are_listed_and_all_are_summed(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [f"t{number}" for number in range(5)]
    path = database(tmp_path / "s.sqlite", *(f"CREATE TABLE {name} AS SELECT 1 AS k" for name in tables))
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    verdicts(line)
    monkeypatch.setattr("cowrie_assets.reporting.sections.SHOWN", 3)
    text = write_report(line).markdown.read_text(encoding="utf-8")
    section = text.partition("## Tables")[2].partition("##")[0].splitlines()
    assert [row.split(" | ")[0] for row in section[4:8]] == ["| `t0`", "| `t1`", "| `t2`", "| all"]
    assert section[7].startswith("| all | **PASS** | 5 | 5 |")
    assert "And 2 more." in section


def test_hostile_names_and_cells_are_inert(pg_url: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    name = "<script>alert(1)</script>|`\x1b[31m"
    database(
        path,
        f'CREATE TABLE "{name}" (k TEXT PRIMARY KEY, flag BOOLEAN)',
        f"INSERT INTO \"{name}\" VALUES (NULL, 1), ('<img src=x>', 0), ('x' || char(0), 1)",
        f'CREATE VIEW "<b>\u202eview</b>" AS SELECT 1 FROM "{name}"',
    )
    line: Pipeline = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    assert {v.verdict.value for v in verdicts(line)} == {"PASS"}
    written = write_report(line)
    html = written.html.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<b>" not in html
    markdown = written.markdown.read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e"} & set(html + markdown)
    assert "| view | `<b>\\u202eview</b>` |" in markdown
    assert "&lt;b&gt;\\u202eview&lt;/b&gt;" in html
    # In a code span Markdown takes every character as it is.
    assert "<script>" not in re.sub(r"(`+).*?\1", "", markdown)
    assert "| ``<script>alert(1)</script>\\|`\\x1b[31m`` | `key.null` | 1 | `1` |" in markdown


def other_database(folder: Path) -> Path:
    """A source with an orphan, a value too long for a btree, and things that are not migrated."""
    long = random.Random(1).randbytes(6_000).hex()  # noqa: S311 - must not compress, not be secret
    return database(
        folder / "s.sqlite",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent (id), t TEXT UNIQUE,"
        " g TEXT AS (t || 'x'))",
        f"INSERT INTO child (id, p, t) VALUES (1, 7, '{long}')",
        "CREATE INDEX ix_child_p ON child (p)",
        "CREATE INDEX some ON child (p) WHERE p > 1",
        "CREATE VIEW seen AS SELECT 1",
        "CREATE TABLE keyed (a TEXT PRIMARY KEY) WITHOUT ROWID",
        "INSERT INTO keyed VALUES ('a' || char(0)), ('b' || char(0)), ('c' || char(0)), ('d' || char(0))",
    )


def test_what_is_not_as_declared_is_found_by_looking(pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(other_database(tmp_path), pg_url, tmp_path)
    migrate(line)
    query(pg_url, "DROP INDEX ix_child_p")
    with line.connect() as connection:
        found = ledger.not_as_declared(connection, line.plan)
    assert sorted(found, key=lambda m: m.name) == [
        Misbuilt("child", "fk_child_p", "foreign key not valid: rows without a parent"),
        Misbuilt("child", "ix_child_p", "missing"),
        Misbuilt("child", "uq_child_t", "over md5 of the text: a value is too long for a btree"),
    ]
    text = write_report(line).markdown.read_text(encoding="utf-8")
    for expected in ("| view | `seen` |", "| partial or expression index | `child: some` |", "`child.g`"):
        assert expected in text
    assert "| `child` | table | 1 | `id bigint`, `p bigint`, `t text` |" in text


def test_examples_are_the_first_rows_or_keys(pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(other_database(tmp_path), pg_url, tmp_path)
    migrate(line)
    with line.connect() as connection:
        [found] = ledger.repairs(connection)
    assert (found.table, found.column, found.rule, found.count) == ("keyed", "a", "text.nul", 4)
    assert found.examples == ("a\\x00", "b\\x00", "c\\x00")


def test_newer_rows_are_counted_apart(pg_url: str, tmp_path: Path) -> None:
    path = database(tmp_path / "s.sqlite", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    verdicts(line)
    database(path, "INSERT INTO t VALUES (3)")
    written = write_report(line)
    assert written.verdict == "PASS"
    text = written.markdown.read_text(encoding="utf-8")
    assert "| `t` | **PASS** | 2 | 2 | 1 |  |" in text
    assert "`cowrie-assets plan --replace`" in text


def test_without_a_migration_there_is_nothing_to_report(pg_url: str, tmp_path: Path) -> None:
    path = database(tmp_path / "s.sqlite", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with pytest.raises(TargetError, match="target/schema"):
        write_report(pipeline_for(path, pg_url, tmp_path))
    assert not (tmp_path / "home" / "report").exists()


def test_a_report_that_cannot_be_written_leaves_the_last_one(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(tmp_path / "s.sqlite", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    line = pipeline_for(path, pg_url, tmp_path)
    migrate(line)
    written = write_report(line)
    before = written.markdown.read_bytes(), written.html.read_bytes()
    verdicts(line)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cowrie_assets.reporting.migration.os.fsync", full)
    with pytest.raises(StagingError, match="the disk is full"):
        write_report(line)
    assert (written.markdown.read_bytes(), written.html.read_bytes()) == before
    assert len(list(written.html.parent.iterdir())) == 2


def test_a_password_is_in_neither_file(real_other: Path, pg_url: str, tmp_path: Path) -> None:
    line = pipeline_for(real_other, f"{pg_url} password=hunter2secret", tmp_path)
    migrate(line)
    written = write_report(line)
    for path in (written.markdown, written.html):
        text = path.read_text(encoding="utf-8")
        assert "hunter2secret" not in text
        assert "***" in text.replace("\\*", "*")
