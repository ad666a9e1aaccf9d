"""VirusTotal, API v3: files by SHA-256 and addresses.

Belongs here: its questions, answers and limits (docs.virustotal.com/reference). Not here: HTTP (`http.py`).
"""

from __future__ import annotations

from .answers import Answer, Kind
from .http import Endpoint, Quota
from .shape import instant, kept, mapping, number, text, texts
from .values import checked

BASE_URL = "https://www.virustotal.com/api/v3"
KEY_HEADER = "x-apikey"
PER_MINUTE = 4.0
"""The public API's limit; it also has 500 a day (docs.virustotal.com/reference/public-vs-premium-api)."""
QUOTA = Quota(60.0, "4 a minute, 500 a day with a public key; days begin at 00:00 UTC", daily=True)
MALICIOUS_ENGINES = 1
"""Engines that must call a value malicious for it to be flagged: what the processor's columns count as positive."""
_PATHS = {Kind.FILE: "files", Kind.IP: "ip_addresses"}
_VERDICTS = ("malicious", "suspicious", "undetected", "harmless")
"""Members of last_analysis_stats that are an engine's word; the others (timeout, failure …) are none."""


class VirusTotal:
    """The client; flagged means that at least one engine says malicious."""

    name = "virustotal"
    kinds = frozenset(_PATHS)

    def __init__(self, endpoint: Endpoint) -> None:
        """`endpoint` sends the key in `KEY_HEADER`."""
        self._endpoint = endpoint

    def lookup(self, kind: Kind, value: str) -> Answer:
        """Ask for the report; see `Client.lookup`."""
        value = checked(self.name, kind, value)
        reply = self._endpoint.call(f"/{_PATHS[kind]}/{value}", missing=True)
        if reply.status == 404:
            # A proxy or a wrong base URL answers 404 as well.
            if mapping(reply.body.get("error")).get("code") != "NotFoundError":
                raise self._endpoint.unexpected("HTTP 404 without NotFoundError")
            return Answer(self.name, kind, value, found=False)
        report = mapping(reply.body.get("data"))
        attributes = report.get("attributes")
        if not isinstance(attributes, dict) or (kind is Kind.FILE and report.get("id") != value):
            raise self._endpoint.unexpected("it is no report of the value")
        stats = mapping(attributes.get("last_analysis_stats"))
        counts = {verdict: number(stats.get(verdict)) for verdict in _VERDICTS}
        positives, total = counts["malicious"], sum(n or 0 for n in counts.values())
        first, last = instant(attributes.get("first_submission_date")), instant(attributes.get("last_analysis_date"))
        threat = mapping(attributes.get("popular_threat_classification")).get("suggested_threat_label")
        data = kept(
            positives=positives,
            total=total if stats else None,
            reputation=attributes.get("reputation") if type(attributes.get("reputation")) is int else None,
            first_seen=first.isoformat() if first else None,
            last_analysis=last.isoformat() if last else None,
            classification=text(threat, 128),
            description=text(attributes.get("type_description")),
            tags=texts(attributes.get("tags")),
            country=text(attributes.get("country"), 8),
            asn=number(attributes.get("asn")),
            as_owner=text(attributes.get("as_owner")),
        )
        return Answer(self.name, kind, value, found=True, flagged=(positives or 0) >= MALICIOUS_ENGINES, data=data)
