"""However bytes are cut into reads, the same requests come out."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.http.fields import BadMessage
from tunnel_hub.ingress.intake import Intake
from tunnel_hub.ingress.limits import IngressLimits

HOST = b"Host: visits.internal\r\n"
REQUESTS = {
    "get": b"GET /a?b HTTP/1.1\r\n" + HOST + b"A: b\r\n\r\n",
    "empty lines": b"\r\n\r\nGET /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "length": b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n\r\n\r\nGET /",
    "zero": b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    "chunked": b"POST /a HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\nX-T: 1\r\n\r\n",
    "upgrade": b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "upgrade with a body": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
    "upgrade with chunks": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
}


def read_all(reads: list[bytes]) -> list[Any]:
    """Every request, as (method, target, fields, body, trailers), and the status of a refusal."""
    intake = Intake(IngressLimits())
    found: list[Any] = []
    in_body = False
    try:
        for read in reads:
            data = read
            while data:
                if in_body:
                    payload, ended = intake.body(data)
                    found[-1][3] += payload
                    if not ended:
                        break
                    found[-1][4] = intake.trailers
                    in_body = False
                else:
                    request = intake.head(data, 0.0)
                    if request is None:
                        break
                    found.append([request.method, request.target, request.fields, request.body, request.trailers])
                    in_body = not request.complete
                data = intake.rest
        if in_body or intake.partial:
            found.append("more")
    except BadMessage as refused:
        found.append(refused.status)
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_every_cut_in_three_gives_the_same(name: str) -> None:
    wire = REQUESTS[name]
    expected = read_all([wire])
    assert len(expected) == 1
    for first in range(len(wire) + 1):
        for second in range(first, len(wire) + 1):
            assert read_all([wire[:first], wire[first:second], wire[second:]]) == expected, (first, second)


def test_byte_by_byte() -> None:
    wire = b"".join(REQUESTS.values())
    expected = read_all([wire])
    assert [request[0] for request in expected] == [
        b"GET",
        b"GET",
        b"POST",
        b"POST",
        b"POST",
        b"GET",
        b"POST",
        b"POST",
    ]
    assert expected[4] == [b"POST", b"/a", [], b"\r\n\r\n", [b"X-T", b"1"]]
    assert expected[7] == [b"POST", b"/", [], b"hi", []]
    assert read_all([bytes([byte]) for byte in wire]) == expected


@pytest.mark.parametrize("before", REQUESTS)
@pytest.mark.parametrize("after", REQUESTS)
def test_every_cut_of_two_in_a_row_gives_the_same(before: str, after: str) -> None:
    wire = REQUESTS[before] + REQUESTS[after]
    expected = read_all([wire])
    assert len(expected) == 2
    for cut in range(1, len(wire)):
        assert read_all([wire[:cut], wire[cut:]]) == expected, cut


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nB: c\nD: e\r\n\r\n", 400),
        (b"\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xee\x01\x00", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\nbroken\r\n\r\n", 505),
        (b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\nA:\nb\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 16384), 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: %b\r\n\r\n" % (b"b" * 65536), 431),
        (b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % (b"M" * 70000), 414),
    ],
)
def test_a_refusal_does_not_depend_on_the_cut(wire: bytes, status: int) -> None:
    assert read_all([wire]) == [status]
    step = 1 if len(wire) < 1000 else 1009
    for cut in range(1, len(wire), step):
        assert read_all([wire[:cut], wire[cut:]]) == [status], cut
    if step == 1:
        assert read_all([bytes([byte]) for byte in wire]) == [status]


def test_a_bare_lf_is_refused_at_once() -> None:
    intake = Intake(IngressLimits())
    assert intake.head(b"GET / HTTP/1.1\r\nHost: a\r\n", 0.0) is None
    with pytest.raises(BadMessage):
        intake.head(b"B: c\n", 0.0)


def test_what_is_held_of_a_head_is_bounded() -> None:
    intake = Intake(IngressLimits(head=5000))
    intake.head(b"GET / HTTP/1.1\r\n", 0.0)
    for _ in range(800):
        intake.head(b"A: b\r\n", 0.0)
    with pytest.raises(BadMessage) as refused:
        intake.head(b"A: b\r\n" * 40, 0.0)
    assert refused.value.status == 431


def test_an_endless_run_of_empty_lines_is_not_held() -> None:
    intake = Intake(IngressLimits())
    for _ in range(10):
        assert intake.head(b"\r\n" * 10_000, 0.0) is None
        assert len(intake.partial) <= 1
