from __future__ import annotations

import pytest

from protocol.http.fields import BadMessage, Kind
from tunnel_hub.ingress.heads import HeadParser
from tunnel_hub.ingress.limits import IngressLimits
from tunnel_hub.ingress.own import problem_of
from tunnel_hub.ingress.request import Request

HOST = b"Host: visits.internal\r\n"


def parse(head: bytes, limits: IngressLimits | None = None) -> Request:
    return HeadParser(limits or IngressLimits()).parse(head, 12.5)


def test_a_request_is_read_as_it_was_sent() -> None:
    request = parse(
        b"POST /nomisapi/a%20b?x=1%202&y HTTP/1.1\r\nHost: Visits.internal:8080\r\nX-Thing:  a b \t \r\n"
        b"Set-Cookie: 1\r\nset-cookie: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
        b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    assert request.method == b"POST"
    assert request.target == b"/nomisapi/a%20b?x=1%202&y"
    assert request.authority == b"Visits.internal:8080"
    assert request.fields == [b"X-Thing", b"a b", b"Set-Cookie", b"1", b"set-cookie", b"2"]
    assert (request.minor, request.length, request.chunked) == (1, 5, False)
    assert request.expect_continue
    assert request.keep_alive
    assert request.received == 12.5
    assert request.kinds & Kind.CREDENTIAL


@pytest.mark.parametrize(
    ("head", "target", "authority"),
    [
        (b"GET http://a.example:81/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n", b"/x?y", b"a.example:81"),
        (b"GET HTTP://a.example?y HTTP/1.1\r\nHost: b.example\r\n\r\n", b"/?y", b"a.example"),
        (b"OPTIONS * HTTP/1.1\r\nHost: b.example\r\n\r\n", b"*", b"b.example"),
        (b"GET /x HTTP/1.0\r\n\r\n", b"/x", b""),
    ],
)
def test_forms_of_target(head: bytes, target: bytes, authority: bytes) -> None:
    request = parse(head)
    assert (request.target, request.authority) == (target, authority)


@pytest.mark.parametrize(
    ("line", "keep"),
    [
        (b"HTTP/1.1\r\n", True),
        (b"HTTP/1.1\r\nConnection: close\r\n", False),
        (b"HTTP/1.1\r\nConnection: Keep-Alive, Close\r\n", False),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_persistence(line: bytes, keep: bool) -> None:
    assert parse(b"GET / " + line + HOST + b"\r\n").keep_alive is keep


@pytest.mark.parametrize(
    ("extra", "upgrade"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"websocket"),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", None),
        (b"Upgrade: websocket\r\n", None),
        (b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", None),
        (b"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", None),
    ],
)
def test_upgrade(extra: bytes, upgrade: bytes | None) -> None:
    assert parse(b"GET / HTTP/1.1\r\n" + HOST + extra + b"\r\n").upgrade == upgrade


REFUSALS: list[tuple[bytes, int]] = [
    # the request line
    (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400),
    (b" GET / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"GET / \r\n\r\n", 400),
    (b"GET\r\n\r\n", 400),
    (b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
    (b"GET / http/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / RTSP/1.0\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/11\r\n" + HOST + b"\r\n", 400),
    (b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    (b"CONNECT a.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\n", 505),
    (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    (b"GET / HTTP/1.7\r\n" + HOST + b"\r\n", 505),
    # the target
    (b"GET a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET ?a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /\x7f HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /a?b#c HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET http://u:p@a.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET http:///x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET ftp://a.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    # field lines
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n A: b\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x00c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x01c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A(: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n", 400),
    # Host
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    # framing
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1_0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9223372036854775807\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", 400),
    # meaning
    (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nExpect: a-miracle\r\n\r\n", 417),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: X-Client-Name\r\nX-Client-Name: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X_Client_Name: a\r\n\r\n", 400),
]


@pytest.mark.parametrize(("head", "status"), REFUSALS)
def test_refusals(head: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as refused:
        parse(head)
    assert refused.value.status == status
    assert problem_of(refused.value).status == status


def test_limits_of_a_head() -> None:
    limits = IngressLimits(target=100, head=400, fields=4)
    line = b"GET /%b HTTP/1.1\r\n" + HOST
    assert parse(line % (b"a" * 99) + b"\r\n", limits).target == b"/" + b"a" * 99
    for head, status in (
        (line % (b"a" * 100) + b"\r\n", 414),
        (line % (b"a" * 500) + b"\r\n", 414),
        (line % b"" + b"A: 1\r\n" * 4 + b"\r\n", 431),
        (line % b"" + b"A: %b\r\n\r\n" % (b"b" * 400), 431),
    ):
        with pytest.raises(BadMessage) as refused:
            parse(head, limits)
        assert refused.value.status == status
    assert len(parse(line % b"" + b"A: 1\r\n" * 3 + b"\r\n", limits).fields) == 6


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Proxy-Connection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    ],
)
def test_any_request_may_follow_any_other(first: bytes) -> None:
    parser = HeadParser(IngressLimits())
    assert parser.parse(first, 0.0).keep_alive
    second = parser.parse(b"GET /second HTTP/1.1\r\n" + HOST + b"A: b\r\n\r\n", 0.0)
    assert (second.target, second.fields) == (b"/second", [b"A", b"b"])


@pytest.mark.parametrize(
    "held",
    [
        b"\x16\x03\x01\x02",
        b"\n",
        b" GET",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nA: b\nC",
        b"GET /\r\n",
        b"\r\rGET",
    ],
)
def test_what_cannot_become_a_head_is_refused_before_its_end(held: bytes) -> None:
    with pytest.raises(BadMessage) as refused:
        HeadParser(IngressLimits()).check_partial(bytearray(held), 0)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "held", [b"G", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r"]
)
def test_what_can_become_a_head_is_waited_for(held: bytes) -> None:
    HeadParser(IngressLimits()).check_partial(bytearray(held), 0)
