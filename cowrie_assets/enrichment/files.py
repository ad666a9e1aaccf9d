"""Files: VirusTotal's word on each SHA-256, in the `vt_*` columns.

A file's `enrichment_status` becomes `enriched` or `not_found`; `vt_scan_date` is when the service was asked, which is
what freshness goes by, `vt_last_analysis` when its engines last looked. A session one of whose files is malicious has
`vt_flagged` raised.

Belongs here: these columns. Not here: sessions' addresses (`sessions.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..db.tables import SQL_TABLES
from .answers import Answer, Kind
from .refresh import PAGE, Row

_FILES = SQL_TABLES["files"]
_SESSIONS = SQL_TABLES["session_summaries"]
ENRICHED = "enriched"
NOT_FOUND = "not_found"


class Files:
    """The files as a `Subject`."""

    table = "files"
    kind = Kind.FILE

    def count(self, connection: sa.Connection) -> int:
        """See `Subject`."""
        return connection.execute(sa.select(sa.func.count()).select_from(_FILES)).scalar_one()

    def page(
        self, connection: sa.Connection, service: str, after: str | int | None, fresh_since: datetime
    ) -> tuple[int, Sequence[Row], str | int | None]:
        """See `Subject`."""
        columns = (_FILES.c.id, _FILES.c.shasum, _FILES.c.enrichment_status, _FILES.c.vt_scan_date)
        query = sa.select(*columns).order_by(_FILES.c.id).limit(PAGE)
        rows = connection.execute(query if after is None else query.where(_FILES.c.id > after)).all()
        due = [
            Row(row.id, row.shasum)
            for row in rows
            if row.enrichment_status not in (ENRICHED, NOT_FOUND) or (row.vt_scan_date or fresh_since) <= fresh_since
        ]
        return len(rows), due, rows[-1].id if rows else None

    def write(self, connection: sa.Connection, answers: Sequence[tuple[str | int, Answer]], now: datetime) -> int:
        """See `Subject`."""
        written = 0
        for identity, answer in answers:
            values = _columns(answer) | {"last_updated": now}
            written += connection.execute(sa.update(_FILES).where(_FILES.c.id == identity).values(values)).rowcount
        flagged = [identity for identity, answer in answers if answer.flagged]
        if not flagged:
            return written
        sessions = sa.select(_FILES.c.session_id).where(_FILES.c.id.in_(flagged))
        connection.execute(
            sa.update(_SESSIONS)
            .where(_SESSIONS.c.session_id.in_(sessions), _SESSIONS.c.vt_flagged.is_not(sa.true()))
            .values(vt_flagged=True, updated_at=now)
        )
        return written


def _columns(answer: Answer) -> dict[str, Any]:
    if not answer.found:
        return {"enrichment_status": NOT_FOUND, "vt_scan_date": answer.asked_at}
    data = answer.data
    return {
        "enrichment_status": ENRICHED,
        "vt_malicious": answer.flagged,
        "vt_positives": data.get("positives"),
        "vt_total": data.get("total"),
        "vt_classification": data.get("classification"),
        "vt_description": data.get("description"),
        "vt_first_seen": _instant(data.get("first_seen")),
        "vt_last_analysis": _instant(data.get("last_analysis")),
        "vt_scan_date": answer.asked_at,
    }


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
