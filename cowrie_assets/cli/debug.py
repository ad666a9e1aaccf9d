"""`debug session`: why a session is stuck.

Belongs here: showing what was found. Not here: finding it (`db/session_debug.py`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ..reporting.text import inert
from .databases import database_option, opened, require_tables
from .options import json_option
from .output import gigabytes, print_json, print_table

if TYPE_CHECKING:
    from ..db.contention import Contention
    from ..db.session_debug import Event, SessionState

LAST_EVENTS = 10
LINE = 500


@click.group()
def debug() -> None:
    """Find out why something is stuck."""


@debug.command()
@click.argument("session")
@database_option
@click.option(
    "--events", type=click.IntRange(min=0), default=LAST_EVENTS, help="Last events to show.", show_default=True
)
@click.option("--deep", is_flag=True, help="Search all dead letters for the session: reads the whole table.")
@json_option
def session(session: str, database: str | None, events: int, deep: bool, as_json: bool) -> int:
    """Say why SESSION is stuck: summary, events, gaps, lost lines, cursors, dead letters, locks.

    Exit codes: 0 nothing is wrong with it; 1 it is stuck, incomplete or unknown; 2 the database cannot be used.
    """
    from ..db.session_debug import session_state

    with opened(database, write=False, doing="Reading the session") as engine:
        require_tables(engine, session_summaries=None, raw_events=None, dead_letter_events=None, ingest_cursors=None)
        with engine.connect() as connection:
            state = session_state(connection, session, deep=deep)
    if as_json:
        content = asdict(state)
        content["gaps"] = [{"after": a.id, "before": b.id, "seconds": s} for a, b, s in state.gaps]
        content["event_count"] = len(state.events)
        content["events"] = [asdict(event) for event in _latest(state, events)]
        print_json(content)
    else:
        _show(state, events)
    return int(state.stuck)


def _latest(state: SessionState, number: int) -> list[Event]:
    ordered = sorted(state.events, key=lambda event: event.id)
    return ordered[len(ordered) - min(number, len(ordered)) :]


def _show(state: SessionState, number: int) -> None:
    click.echo(f"Session {inert(state.session)}")
    if state.summary is None:
        click.echo("summary: none")
    else:
        click.echo("summary: " + ", ".join(f"{name} {value}" for name, value in state.summary.items()))
    click.echo(f"events: {len(state.events):,}")
    if latest := _latest(state, number):
        rows = [
            (e.id, e.at or "no date", e.event_type or "", e.source, e.offset if e.offset is not None else "")
            for e in latest
        ]
        print_table(("event", "at", "type", "source", "line"), rows)
    for before, after, seconds in state.gaps:
        click.echo(f"gap: {seconds:,.0f} s between events {before.id} and {after.id}")
    for source in state.sources:
        name = inert(source.source)
        lines = f"lines {source.first} to {source.last}"
        lost = (
            "missing lines NOT CHECKED" if source.missing is None else f"{source.missing:,} lines between them missing"
        )
        click.echo(f"source {name}: {lines}, {lost}{_first(source.examples)}")
        at = "no cursor" if source.cursor is None else f"cursor at {source.cursor} since {source.cursor_at} UTC"
        click.echo(f"source {name}: {at}{', in another file of that name' if source.rotated else ''}")
    for letter in state.letters:
        whose = "names the session" if letter.own else "lies between its lines"
        kept = "the event is stored as well" if letter.stored else "no event"
        line = f"dead letter {letter.id}: {letter.reason}, line {letter.offset} of {letter.source}, {whose}, {kept}"
        click.echo(inert(line, LINE))
    if not state.searched_letters:
        click.echo("dead letters elsewhere: NOT CHECKED (--deep)")
    _show_contention(state.contention)
    click.echo(inert(state.verdict, LINE))


def _first(examples: tuple[int, ...]) -> str:
    return f" (first: {', '.join(map(str, examples))})" if examples else ""


def _show_contention(found: Contention) -> None:
    if found.file:
        busy = {True: "another process is writing", False: "no other writer", None: "writers NOT CHECKED"}[
            found.file.busy
        ]
        journal = ", a journal is not rolled back" if found.file.hot_journal else ""
        click.echo(
            f"database: journal mode {found.file.journal_mode}, WAL {gigabytes(found.file.wal_bytes)}, {busy}{journal}"
        )
        return
    if not found.holders:
        click.echo("locks: no other transaction on its tables, none longer than a minute")
        return
    rows = [
        (
            h.pid,
            h.application,
            h.table or "",
            h.mode or "",
            "yes" if h.granted else f"waits for {h.blocked_by}",
            "unknown" if h.seconds is None else f"{h.seconds:.0f} s",
            h.state,
            h.statement,
        )
        for h in found.holders
    ]
    print_table(("process", "application", "table", "lock", "granted", "age", "state", "statement"), rows)
