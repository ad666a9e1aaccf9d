"""The services' clients against a local server: what they ask, what they make of answers, how they fail.

Not here: pace and cache (test_enrichment_limits.py), or writing answers down (test_enrichment_refresh.py).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cowrie_assets.enrichment import http
from cowrie_assets.enrichment.answers import Answer, Kind, LookupFailed, Reason
from cowrie_assets.enrichment.config import service_configs
from cowrie_assets.enrichment.services import client

from .fake_service import VT_MISSING, FakeService, FakeTime, Planned, dshield_ip, fake_service, vt_file

pytestmark = pytest.mark.usefixtures("loopback_only")

SHA = "a3f9791435541d9fcd043c545c31020d9d72180e1d2b917b44b0a4fc526925e8"
IP = "8.8.4.4"
KEY = "k3y-that-nobody-may-see"
SERVICES = ("virustotal", "dshield", "urlhaus", "spur")
ENV = {
    "COWRIE_VT_API_KEY": KEY,
    "COWRIE_URLHAUS_API_KEY": KEY,
    "COWRIE_SPUR_API_KEY": KEY,
    "COWRIE_DSHIELD_CONTACT": "me@isp.example",
}


@pytest.fixture
def server() -> Iterator[FakeService]:
    with fake_service() as service:
        yield service


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def ask(server: FakeService, time: FakeTime, name: str, kind: Kind, value: str, timeout: float = 5.0) -> Answer:
    table = {"timeout_seconds": timeout} | {service: {"base_url": server.url} for service in SERVICES}
    return client(service_configs(ENV, table)[name], time.clock).lookup(kind, value)


def failure(server: FakeService, time: FakeTime, name: str = "virustotal", timeout: float = 5.0) -> LookupFailed:
    with pytest.raises(LookupFailed) as caught:
        ask(server, time, name, Kind.IP, IP, timeout)
    assert KEY not in str(caught.value) + repr(caught.value)
    return caught.value


def test_virustotal_reports_a_file(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(body=vt_file(SHA))]
    answer = ask(server, time, "virustotal", Kind.FILE, SHA.upper())
    assert (server.asked[0].method, server.asked[0].path) == ("GET", f"/files/{SHA}")
    assert server.asked[0].headers["x-apikey"] == KEY
    assert (answer.value, answer.found, answer.flagged) == (SHA, True, True)
    assert answer.data == {
        "positives": 5,
        "total": 65,
        "first_seen": datetime.fromtimestamp(1_700_000_000, UTC).isoformat(),
        "last_analysis": datetime.fromtimestamp(1_750_000_000, UTC).isoformat(),
        "classification": "trojan.mirai/gafgyt",
        "description": "ELF",
        "tags": ["64bits", "elf"],
    }


def test_virustotal_does_not_know_a_file(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(404, VT_MISSING)]
    assert ask(server, time, "virustotal", Kind.FILE, SHA) == Answer("virustotal", Kind.FILE, SHA, found=False)


def test_virustotal_reports_an_address_that_nobody_calls_malicious(server: FakeService, time: FakeTime) -> None:
    body = vt_file(IP, malicious=0, reputation=-3, country="US", asn=15169, as_owner="Google LLC")
    server.answers = [Planned(body=body)]
    answer = ask(server, time, "virustotal", Kind.IP, IP)
    assert server.asked[0].path == f"/ip_addresses/{IP}"
    assert (answer.found, answer.flagged) == (True, False)
    assert {k: answer.data[k] for k in ("positives", "reputation", "asn", "as_owner")} == {
        "positives": 0,
        "reputation": -3,
        "asn": 15169,
        "as_owner": "Google LLC",
    }


def test_dshield_names_a_contact_and_reports_attacks(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(body=dshield_ip(IP)), Planned(body=dshield_ip(IP, None, None))]
    known, unknown = (ask(server, time, "dshield", Kind.IP, IP) for _ in range(2))
    assert (server.asked[0].path, server.asked[0].method) == (f"/ip/{IP}?json", "GET")
    assert "me@isp.example" in server.asked[0].headers["User-Agent"]
    assert (known.found, known.flagged, known.data["ip"]["attacks"]) == (True, True, 120)
    assert (unknown.found, unknown.flagged, unknown.data["ip"]["asname"]) == (False, False, "EXAMPLE-AS")


@pytest.mark.parametrize(
    ("kind", "value", "path", "form"),
    [
        (Kind.IP, IP, "/host/", f"host={IP}"),
        (Kind.HOST, "Evil.Example.org", "/host/", "host=evil.example.org"),
        (Kind.URL, "http://evil.example.org/a?b=1", "/url/", "url=http%3A%2F%2Fevil.example.org%2Fa%3Fb%3D1"),
        (Kind.FILE, SHA, "/payload/", f"sha256_hash={SHA}"),
    ],
)
def test_urlhaus_takes_a_form(
    server: FakeService, time: FakeTime, kind: Kind, value: str, path: str, form: str
) -> None:
    entry = {"id": "1", "url_status": "online", "threat": "malware_download", "tags": ["elf", "mirai"]}
    body = {"query_status": "ok", "url_count": "12", "blacklists": {"surbl": "listed"}, "urls": [entry, entry]}
    server.answers = [Planned(body=body), Planned(body={"query_status": "no_results"})]
    answer, unknown = ask(server, time, "urlhaus", kind, value), ask(server, time, "urlhaus", kind, value)
    asked = server.asked[0]
    assert (asked.method, asked.path, asked.body, asked.headers["Auth-Key"]) == ("POST", path, form, KEY)
    assert (answer.found, answer.flagged, unknown.found, unknown.flagged) == (True, True, False, False)
    assert answer.data == {
        "url_count": 12,
        "online": 2,
        "threats": ["malware_download"],
        "tags": ["elf", "mirai"],
        "blacklists": {"surbl": "listed"},
    }


def test_spur_gives_context(server: FakeService, time: FakeTime) -> None:
    tunnel = {"type": "VPN", "operator": "NORD_VPN", "anonymous": True}
    body = {
        "ip": IP,
        "as": {"number": 64500, "organization": "Example"},
        "infrastructure": "DATACENTER",
        "location": {"country": "NL"},
        "risks": ["TUNNEL"],
        "tunnels": [tunnel],
    }
    server.answers = [Planned(body=body), Planned(body={"ip": IP})]
    answer, unknown = (ask(server, time, "spur", Kind.IP, IP) for _ in range(2))
    assert (server.asked[0].path, server.asked[0].headers["Token"]) == (f"/context/{IP}", KEY)
    assert answer.data == {
        "infrastructure": "DATACENTER",
        "as": {"number": 64500, "organization": "Example"},
        "country": "NL",
        "risks": ["TUNNEL"],
        "tunnels": [tunnel],
    }
    assert (answer.found, answer.flagged, unknown.found) == (True, False, False)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_service_at_once(server: FakeService, time: FakeTime, name: str, status: int) -> None:
    server.answers = [Planned(status, {"error": {"code": "WrongCredentialsError"}})]
    error = failure(server, time, name)
    assert (error.reason, error.final, len(server.asked)) == (Reason.REFUSED_KEY, True, 1)


@pytest.mark.parametrize("name", SERVICES)
def test_no_log_shows_a_key(server: FakeService, time: FakeTime, name: str, caplog: pytest.LogCaptureFixture) -> None:
    server.answers = [Planned(503), Planned(reset=True), Planned(401)]
    with caplog.at_level(logging.DEBUG):
        failure(server, time, name)
    assert "HTTP/1.1" in caplog.text
    assert KEY not in caplog.text


def test_urlhaus_refuses_a_key_in_its_own_words(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(body={"query_status": "unknown_auth_key"})]
    assert failure(server, time, "urlhaus").reason is Reason.REFUSED_KEY


def test_retry_after_is_honoured(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(429, headers={"Retry-After": "7"}), Planned(body=vt_file(IP))]
    assert ask(server, time, "virustotal", Kind.IP, IP).found
    assert time.slept[0] == 7.0


def test_a_date_in_retry_after_is_honoured(server: FakeService, time: FakeTime) -> None:
    server.answers = [
        Planned(503, headers={"Retry-After": "Tue, 24 Nov 2026 22:00:30 GMT"}),
        Planned(body=vt_file(IP)),
    ]
    assert ask(server, time, "virustotal", Kind.IP, IP).found
    assert time.slept[0] == 30.0


def test_a_long_retry_after_is_left_for_a_later_run(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(429, headers={"Retry-After": "3600"})]
    error = failure(server, time, "dshield")
    assert (error.reason, error.final, time.slept) == (Reason.QUOTA, True, [])
    assert error.resume_at == datetime(2026, 11, 24, 23, 0, tzinfo=UTC)
    assert "2026-11-24 23:00:00 UTC" in str(error)


def test_virustotals_daily_quota_ends_at_midnight(server: FakeService, time: FakeTime) -> None:
    quota = Planned(429, {"error": {"code": "QuotaExceededError", "message": "Quota exceeded"}})
    server.answers = [quota, quota]
    error = failure(server, time)
    assert (error.reason, error.final, time.slept) == (Reason.QUOTA, True, [60.0])
    assert error.resume_at == datetime(2026, 11, 25, tzinfo=UTC)


def test_spurs_used_up_balance_is_not_waited_for(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(429)]
    error = failure(server, time, "spur")
    assert (error.reason, error.resume_at, time.slept) == (Reason.QUOTA, None, [])


def test_a_server_that_recovers_is_asked_again(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(500), Planned(reset=True), Planned(503), Planned(body=vt_file(IP))]
    assert ask(server, time, "virustotal", Kind.IP, IP).found
    backoffs = [s for s in time.slept if s < 8]  # the others are the pace of four a minute
    assert [round(s / 2**i) for i, s in enumerate(backoffs)] == [1, 1, 1]


@pytest.mark.parametrize("planned", [Planned(502, b"<html>"), Planned(reset=True)], ids=["502", "reset"])
def test_a_server_that_stays_down_is_unreachable(server: FakeService, time: FakeTime, planned: Planned) -> None:
    server.answer = lambda asked: planned
    error = failure(server, time)
    assert (error.reason, error.final, len(server.asked)) == (Reason.UNREACHABLE, False, http.TRIES)


def test_nobody_listens(server: FakeService, time: FakeTime) -> None:
    gone = FakeService(url="http://127.0.0.1:1")
    assert failure(gone, time).reason is Reason.UNREACHABLE
    assert not server.asked


def test_a_silent_server_is_not_waited_for(
    server: FakeService, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TRIES", 1)
    server.answer = lambda asked: Planned(slow=5)
    error = failure(server, time, timeout=0.1)
    assert (error.reason, "no answer within 0.1 s" in str(error)) == (Reason.UNREACHABLE, True)


def test_a_server_that_drips_is_not_waited_for(server: FakeService, time: FakeTime) -> None:
    server.answer = lambda asked: Planned(body=b"{" + b" " * 400, drip=0.02)
    assert failure(server, time, timeout=0.15).reason is Reason.UNREACHABLE


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "planned",
    [
        Planned(body=b""),
        Planned(body=b"<html>no</html>"),
        Planned(body=b"[1]"),
        Planned(body=b'{"ip": NaN}'),
        Planned(body=b'{"data": "\xff"}'),
        Planned(body=b"[" * 100_000),
        Planned(body=b'{"data": 7, "ip": [], "query_status": 7}'),
        Planned(body=b"{}"),
        Planned(400, b"{}"),
        Planned(404, b"{}"),
        Planned(204, b""),
        Planned(302, b"{}", {"Location": "http://127.0.0.1:1/"}),
        Planned(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["empty", "html", "list", "nan", "bytes", "deep", "types", "nothing", "400", "404", "204", "302", "gzip"],
)
def test_garbage_is_an_error_and_asked_once(server: FakeService, time: FakeTime, name: str, planned: Planned) -> None:
    server.answer = lambda asked: planned
    error = failure(server, time, name)
    assert (error.reason, error.final, len(server.asked)) == (Reason.UNEXPECTED, False, 1)


def test_an_oversized_answer_is_not_read_on(
    server: FakeService, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ANSWER_LIMIT", 100_000)
    server.answer = lambda asked: Planned(body=b" " * 3_000_000)
    assert "larger than 100,000 bytes" in str(failure(server, time))


def test_another_files_report_is_not_taken(server: FakeService, time: FakeTime) -> None:
    server.answers = [Planned(body=vt_file("0" * 64))]
    with pytest.raises(LookupFailed, match="no report of the value"):
        ask(server, time, "virustotal", Kind.FILE, SHA)


def test_what_a_service_says_is_cut_and_made_harmless(server: FakeService, time: FakeTime) -> None:
    stats = {"malicious": "many", "undetected": 2**70, "harmless": True, "suspicious": -1}
    label = {"suggested_threat_label": "a\x00b\x1b[31m\u202e" + "x" * 9_000}
    body = vt_file(SHA, last_analysis_stats=stats, popular_threat_classification=label, tags=[7, None, "t"] * 50)
    server.answers = [Planned(body=body | {"data": body["data"] | {"extra": ["y"] * 9}})]
    answer = ask(server, time, "virustotal", Kind.FILE, SHA)
    assert answer.flagged is False
    assert answer.data["classification"].startswith("a b [31m x")
    assert len(answer.data["classification"]) == 128
    assert answer.data["tags"] == ["t"]
    assert "positives" not in answer.data


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "value",
    ["10.0.0.1", "127.0.0.1", "192.0.2.7", "224.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1",
     "8.8.8.8/../x", "8.8.8.8\r\nX: y", "08.8.8.8", "", "x", "8.8.8.8 ", "１.1.1.1"],
)  # fmt: skip
def test_no_address_is_sent_that_is_private_or_none(server: FakeService, time: FakeTime, name: str, value: str) -> None:
    with pytest.raises(LookupFailed) as caught:
        ask(server, time, name, Kind.IP, value)
    assert (caught.value.reason, caught.value.final, server.asked) == (Reason.NOT_SENT, False, [])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.FILE, "a" * 63),
        (Kind.FILE, "g" * 64),
        (Kind.FILE, SHA + "/"),
        (Kind.FILE, "０" * 64),
        (Kind.HOST, "localhost"),
        (Kind.HOST, "nas.local"),
        (Kind.HOST, "intranet"),
        (Kind.HOST, "10.1.2.3"),
        (Kind.HOST, "-bad-.org"),
        (Kind.URL, "http://10.0.0.1/x"),
        (Kind.URL, "http://user:password@evil.example.org/"),
        (Kind.URL, "file:///etc/passwd"),
        (Kind.URL, "http://[::1]/"),
        (Kind.URL, "http://[bad/"),
        (Kind.URL, "http://evil.example.org/" + "a" * 3_000),
        (Kind.URL, "http://evil.example.org/a b"),
    ],
)
def test_no_other_value_is_sent_that_is_private_or_malformed(
    server: FakeService, time: FakeTime, kind: Kind, value: str
) -> None:
    with pytest.raises(LookupFailed) as caught:
        ask(server, time, "urlhaus", kind, value)
    assert (caught.value.reason, server.asked) == (Reason.NOT_SENT, [])


def test_a_client_without_a_key_says_which_setting_lacks() -> None:
    for name, config in service_configs({}, {}).items():
        with pytest.raises(LookupFailed) as caught:
            client(dataclasses.replace(config, credential=None), FakeTime().clock)
        assert (caught.value.reason, config.setting in str(caught.value), name) == (Reason.NO_KEY, True, config.name)
