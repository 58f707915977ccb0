from __future__ import annotations

import json
import re

import pytest

from protocol.errors import FAILURES, Delivered, StreamCode
from protocol.http.fields import serialise
from tunnel_hub.problems import HUB_PROBLEMS, RETRY_AFTER, STREAM_PROBLEMS, Problem, answer, problem, proxy_status

RFC_9209_ERRORS = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
}
ALL: list[Problem] = [*HUB_PROBLEMS.values(), *STREAM_PROBLEMS.values()]


def by_name(fields: list[bytes]) -> dict[str, str]:
    pairs = iter(fields)
    return {name.decode(): value.decode() for name, value in zip(pairs, pairs, strict=True)}


def test_one_answer_in_full() -> None:
    fields, body = answer(
        HUB_PROBLEMS["no_session"], hub_id="hub-1", request_id="r1", detail='of "visits"', retry_after=9
    )
    assert by_name(fields) == {
        "Content-Type": "application/problem+json",
        "Cache-Control": "no-store",
        "Proxy-Status": r'hub-1; error=destination_unavailable; details="of \"visits\""',
        "Tunnel-Delivered": "no",
        "Retry-After": "9",
    }
    assert json.loads(body) == {
        "type": "urn:http-tunnel:problem:no_session",
        "title": "No agent is connected for this service",
        "status": 503,
        "detail": 'of "visits"',
        "code": "no_session",
        "origin": "hub",
        "delivered": "no",
        "request_id": "r1",
        "error": {"message": "No agent is connected for this service"},
        "userMessage": "No agent is connected for this service",
        "developerMessage": 'no_session: of "visits"',
    }


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_every_kind_keeps_the_contract(kind: Problem) -> None:
    fields, body = answer(kind, hub_id="hub-1", request_id="r1")
    said = by_name(fields)
    assert serialise(fields)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert kind.proxy_error in RFC_9209_ERRORS
    assert kind.origin in {"hub", "tunnel", "agent", "upstream"}
    assert 400 <= kind.status < 500 or kind.status in {501, 502, 503, 504, 505}
    assert kind.status != 429
    if kind.status == 502:
        assert kind.delivered in {Delivered.YES, Delivered.UNKNOWN}
    elif kind.status != 504:
        assert kind.delivered == Delivered.NO
    assert ("Retry-After" in said) == (kind.status == 503)
    assert said["Tunnel-Delivered"] == json.loads(body)["delivered"] == kind.delivered
    assert json.loads(body)["status"] == kind.status
    assert not kind.title.endswith(".")


def test_every_stream_code_has_its_problem() -> None:
    assert STREAM_PROBLEMS.keys() == FAILURES.keys() == set(StreamCode)
    for code, kind in STREAM_PROBLEMS.items():
        failure = FAILURES[code]
        assert (kind.status, kind.delivered, kind.origin, kind.title) == (
            failure.status, failure.delivered, failure.origin, failure.title,
        )  # fmt: skip


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)


def test_a_503_always_says_when_to_come_back() -> None:
    fields, _ = problem(
        503, "t", code="c", origin="hub", delivered="no", proxy_error="e", hub_id="h", request_id="r"
    )
    assert by_name(fields)["Retry-After"] == str(RETRY_AFTER)


@pytest.mark.parametrize(
    ("hub_id", "details", "value"),
    [
        ("hub-1.example/a", "plain", b'hub-1.example/a; error=e; details="plain"'),
        ("1hub", "x", b'"1hub"; error=e; details="x"'),
        ('h"b', "x", b'"h\\"b"; error=e; details="x"'),
        ("", "x", b'""; error=e; details="x"'),
        ("h", 'a "b" \\ c', b'h; error=e; details="a \\"b\\" \\\\ c"'),
        ("h", "\u00e9\r\nX: y\x00", b'h; error=e; details="???X: y?"'),
    ],
)
def test_proxy_status_is_quoted_as_a_structured_field(hub_id: str, details: str, value: bytes) -> None:
    assert proxy_status(hub_id, "e", details) == value


def test_a_detail_may_hold_anything() -> None:
    fields, body = answer(HUB_PROBLEMS["forbidden"], hub_id="h", request_id="r", detail='\u20ac "\\ \r\n\x00')
    assert serialise(fields)
    assert json.loads(body)["detail"] == '\u20ac "\\ \r\n\x00'
