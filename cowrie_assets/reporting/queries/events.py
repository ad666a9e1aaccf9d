"""Reports over events: commands, downloads, credentials, sources, sensors, hours, days.

Belongs here: these queries. Not here: events and windows (`facts.py`), sessions (`sessions.py`).

Rows come highest count first (hours and days in order); equal ones by their texts' bytes, missing ones last. Without a
window each reads all events.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ...db.text_access import bytewise, hour_of, instant_of
from .facts import COMMAND, DOWNLOAD, LOGIN_SUCCESS, LOGINS, Facts, Window
from .rows import Command, Credential, Day, Download, Hour, Sensor, Source


def _ties(*texts: Any) -> list[Any]:
    return [bytewise(text).asc().nulls_last() for text in texts]


def _counted(facts: Facts, query: Any, number: Any, texts: Any, limit: int) -> list[Any]:
    ordered = query.group_by(*texts).order_by(number.desc(), *_ties(*texts)).limit(limit)
    return list(facts.connection.execute(ordered))


def commands(facts: Facts, window: Window) -> list[Command]:
    """Command lines (`cowrie.command.input`) by how often they were typed."""
    found = facts.events(window, ["command", "session_id"], COMMAND).c
    times, sessions = sa.func.count(), sa.func.count(found.session_id.distinct())
    query = sa.select(found.command, times, sessions)
    return [Command(*row) for row in _counted(facts, query, times, [found.command], window.limit)]


def downloads(facts: Facts, window: Window) -> list[Download]:
    """Downloaded files (`cowrie.session.file_download`) by how often they were fetched."""
    found = facts.events(window, ["shasum", "url", "session_id"], DOWNLOAD).c
    times, sessions = sa.func.count(), sa.func.count(found.session_id.distinct())
    query = sa.select(found.shasum, found.url, times, sessions)
    return [Download(*row) for row in _counted(facts, query, times, [found.shasum, found.url], window.limit)]


def credentials(facts: Facts, window: Window) -> list[Credential]:
    """Pairs of user name and password by how often they were tried."""
    found = facts.events(window, ["kind", "username", "password"], *LOGINS).c
    tries, successes = sa.func.count(), sa.func.count().filter(found.kind == LOGIN_SUCCESS)
    query = sa.select(found.username, found.password, tries, successes)
    return [Credential(*row) for row in _counted(facts, query, tries, [found.username, found.password], window.limit)]


def sources(facts: Facts, window: Window) -> list[Source]:
    """Source addresses by the number of events that name them."""
    found = facts.events(window, ["src_ip", "session_id"]).c
    number, sessions = sa.func.count(), sa.func.count(found.session_id.distinct())
    query = sa.select(found.src_ip, number, sessions).where(found.src_ip.is_not(None))
    return [Source(*row) for row in _counted(facts, query, number, [found.src_ip], window.limit)]


def _activity(facts: Facts, window: Window) -> tuple[sa.Subquery, list[sa.ColumnElement[bool]]]:
    """Events counted by sensor and hour, and the condition that an hour lies in the window."""
    found = facts.events(window, ["kind", "hour", "sensor"], dated=False).c
    counts = {
        "events": sa.func.count(),
        "logins": sa.func.count().filter(found.kind.in_(LOGINS)),
        "commands": sa.func.count().filter(found.kind == COMMAND),
        "downloads": sa.func.count().filter(found.kind == DOWNLOAD),
    }
    counted = sa.select(found.sensor, found.hour, *(count.label(name) for name, count in counts.items()))
    grouped = counted.group_by(found.sensor, found.hour).offset(0).subquery("activity")
    return grouped, window.holds(instant_of(grouped.c.hour))


def _sums(grouped: sa.Subquery) -> list[Any]:
    # PostgreSQL's sum of counts is numeric, which Python gets as Decimal.
    return [sa.cast(sa.func.sum(grouped.c[n]), sa.BigInteger()) for n in ("events", "logins", "commands", "downloads")]


def sensors(facts: Facts, window: Window) -> list[Sensor]:
    """Sensors by their number of events."""
    grouped, within = _activity(facts, window)
    events, *others = _sums(grouped)
    hour = bytewise(hour_of(instant_of(grouped.c.hour)))
    query = sa.select(grouped.c.sensor, events, *others, sa.func.min(hour), sa.func.max(hour)).where(*within)
    return [Sensor(*row) for row in _counted(facts, query, events, [grouped.c.sensor], window.limit)]


def hours(facts: Facts, window: Window) -> list[Hour]:
    """Hours with events in order of time; the latest ones where there are more than the limit."""
    return [Hour(*row) for row in _latest(facts, window, 13)]


def days(facts: Facts, window: Window) -> list[Day]:
    """Days with events in order of time; the latest ones where there are more than the limit."""
    return [Day(*row) for row in _latest(facts, window, 10)]


def _latest(facts: Facts, window: Window, length: int) -> list[Any]:
    grouped, within = _activity(facts, window)
    hour = hour_of(instant_of(grouped.c.hour)).label("bucket")
    by_hour = sa.select(hour, *(grouped.c[n] for n in ("events", "logins", "commands", "downloads"))).where(*within)
    hourly = by_hour.subquery("hourly")
    bucket = sa.func.substr(hourly.c.bucket, 1, sa.literal_column(str(length)))
    query = sa.select(bucket, *_sums(hourly)).group_by(bucket)
    rows = facts.connection.execute(query.order_by(bytewise(bucket).desc().nulls_first()).limit(window.limit))
    return list(rows)[::-1]
