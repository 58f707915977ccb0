"""The bytes of answers, for each kind of caller and each way an exchange may give its answer."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.ingress.scripted import GET, Rig

GET_10 = b"GET /a HTTP/1.0\r\nHost: visits.internal\r\n\r\n"
GET_10_KEEP = b"GET /a HTTP/1.0\r\nHost: visits.internal\r\nConnection: keep-alive\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD", 1)
UPGRADE = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n")
FIELDS = [b"X-A", b"1", b"set-cookie", b"a", b"Set-Cookie", b"b"]
LINES = b"X-A: 1\r\nset-cookie: a\r\nSet-Cookie: b\r\n"
_DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")


def sent(rig: Rig) -> bytes:
    """What was written, less the one Date that there must be in a final answer."""
    data, count = _DATE.subn(b"", rig.take())
    assert count == 1
    return data


def started(request: bytes) -> Rig:
    rig = Rig()
    rig.feed(request)
    assert len(rig.exchanges) == 1
    return rig


def test_a_complete_answer_is_one_write() -> None:
    rig = started(GET)
    assert rig.last.reply.head(200, b"OK", FIELDS, 5, b"hello", True)
    assert len(rig.transport.written) == 1
    assert sent(rig) == b"HTTP/1.1 200 OK\r\n" + LINES + b"Content-Length: 5\r\n\r\nhello"
    assert rig.last.reply.bytes_sent == 5
    assert not rig.transport.eof_written


def test_a_large_body_is_not_copied() -> None:
    rig = started(GET)
    body = b"x" * 100_000
    rig.last.reply.head(200, b"OK", [], None, body, True)
    assert rig.transport.written[1] is body


def test_the_date_of_the_upstream_stays() -> None:
    for name in (b"Date", b"date", b"DATE"):
        for fields in ([name, b"then"], [b"A", b"b", name, b"then"]):
            rig = started(GET)
            rig.last.answer(fields=fields)
            assert rig.sent.lower().count(b"date:") == 1


@pytest.mark.parametrize(
    ("request_bytes", "lines", "closes"),
    [
        (GET, b"", False),
        (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"Connection: close\r\n", True),
        (GET_10, b"Connection: close\r\n", True),
        (GET_10_KEEP, b"Connection: keep-alive\r\n", False),
    ],
)
def test_persistence_is_said_and_kept(request_bytes: bytes, lines: bytes, closes: bool) -> None:
    rig = started(request_bytes)
    rig.last.answer(b"hi")
    assert sent(rig) == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + lines + b"\r\nhi"
    assert rig.transport.eof_written is closes


def test_close_after() -> None:
    rig = started(GET)
    rig.last.reply.close_after()
    rig.last.answer()
    assert b"\r\nConnection: close\r\n" in rig.sent
    assert rig.transport.eof_written


def test_a_known_length_in_pieces() -> None:
    rig = started(GET)
    reply = rig.last.reply
    assert reply.head(200, b"OK", [], 5, b"he", False)
    assert reply.body(b"")
    assert reply.body(b"llo")
    reply.end([b"X-T", b"1"])
    assert sent(rig) == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert reply.bytes_sent == 5


def test_an_unknown_length_is_chunked_with_trailers() -> None:
    rig = started(GET)
    reply = rig.last.reply
    large = b"y" * 20_000
    reply.head(200, b"OK", [b"Trailer", b"X-T"], None, b"hello", False)
    reply.body(b"")
    reply.body(b"0123456789")
    reply.body(large)
    reply.end([b"X-T", b"1"])
    assert sent(rig) == (
        b"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        b"a\r\n0123456789\r\n4e20\r\n" + large + b"\r\n0\r\nX-T: 1\r\n\r\n"
    )
    assert reply.bytes_sent == 20_015


def test_a_chunked_answer_that_begins_without_a_body_or_with_a_large_one() -> None:
    rig = started(GET)
    rig.last.reply.head(200, b"OK", [], None, b"", False)
    rig.last.reply.end([])
    assert sent(rig) == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    large = b"z" * 70_000
    rig.feed(GET)
    rig.last.reply.head(200, b"OK", [], None, large, False)
    rig.last.reply.end([])
    assert sent(rig).endswith(b"\r\n\r\n11170\r\n" + large + b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("request_bytes", [GET_10, GET_10_KEEP])
def test_an_unknown_length_ends_with_the_connection_for_http_1_0(request_bytes: bytes) -> None:
    rig = started(request_bytes)
    reply = rig.last.reply
    reply.interim(103, [])
    reply.head(200, b"OK", [], None, b"he", False)
    reply.body(b"llo")
    assert not rig.transport.eof_written
    reply.end([b"X-T", b"1"])
    assert sent(rig) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    assert rig.transport.eof_written


@pytest.mark.parametrize(
    ("request_bytes", "status", "length", "lines"),
    [
        (HEAD, 200, 4, b"Content-Length: 4\r\n"),
        (HEAD, 200, None, b""),
        (GET, 304, 4, b"Content-Length: 4\r\n"),
        (GET, 304, None, b""),
        (GET, 204, 4, b""),
        (HEAD, 204, None, b""),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_no_body(request_bytes: bytes, status: int, length: int | None, lines: bytes, at_once: bool) -> None:
    rig = started(request_bytes)
    reply = rig.last.reply
    assert reply.head(status, b"", [], length, b"body", at_once)
    if not at_once:
        reply.body(b"more")
        reply.end([b"X-T", b"1"])
    assert sent(rig) == b"HTTP/1.1 %d \r\n%b\r\n" % (status, lines)
    assert reply.bytes_sent == 0
    rig.feed(GET)
    assert len(rig.exchanges) == 2


def test_several_interim_answers() -> None:
    rig = started(GET)
    reply = rig.last.reply
    reply.interim(103, [b"Link", b"</a>"])
    reply.interim(102, [])
    reply.interim(199, [])
    reply.interim(103, [b"Bad", b"a\r\nb"])
    rig.last.answer()
    reply.interim(103, [])
    assert sent(rig) == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 \r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )


def test_an_upgrade() -> None:
    rig = started(UPGRADE)
    assert rig.last.request.upgrade == b"WebSocket"
    rig.last.reply.head(101, b"Switching Protocols", [b"Sec-WebSocket-Accept", b"x"], None, b"raw", False)
    assert rig.take() == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n"
        b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nraw"
    )
    rig.last.reply.body(b"more")
    assert rig.take() == b"more"
    assert rig.last.reply.bytes_sent == 7


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason", "fields", "length", "body", "end"),
    [
        (GET, 200, b"OK", [b"A", b"b\r\nC: d"], 0, b"", True),
        (GET, 200, b"OK", [b"A b", b"c"], 0, b"", True),
        (GET, 200, b"OK", [b"A"], 0, b"", True),
        (GET, 200, b"OK", [b"Content-Length", b"1"], 1, b"a", True),
        (GET, 200, b"OK", [b"Transfer-Encoding", b"chunked"], 1, b"a", False),
        (GET, 200, b"OK", [b"Connection", b"close"], 1, b"a", False),
        (GET, 200, b"O\nK", [], 0, b"", True),
        (GET, 20, b"OK", [], 0, b"", True),
        (GET, 100, b"Continue", [], None, b"", False),
        (GET, 101, b"Switching Protocols", [], None, b"", False),
        (UPGRADE, 101, b"Switching Protocols", [b"Upgrade", b"x"], None, b"", False),
        (GET, 200, b"OK", [], 5, b"abcd", True),
        (GET, 200, b"OK", [], 3, b"abcd", True),
        (GET, 200, b"OK", [], 3, b"abcd", False),
    ],
)
def test_what_cannot_be_sent_becomes_a_502(
    request_bytes: bytes,
    status: int,
    reason: bytes,
    fields: list[bytes],
    length: int | None,
    body: bytes,
    end: bool,
) -> None:
    rig = started(request_bytes)
    assert rig.last.reply.head(status, reason, fields, length, body, end)
    head, _, problem = rig.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"\r\nConnection: close" in head
    assert b"\r\nTunnel-Delivered: yes" in head
    assert json.loads(problem)["code"] == "invalid_answer"
    assert rig.transport.eof_written
    assert rig.last.events == []
    rig.last.reply.body(b"late")
    rig.last.reply.end([])
    rig.clock.turn()
    assert rig.last.told == ([] if end else ["gone"])
    assert rig.sent.endswith(problem)
    rig.lose()
    assert rig.last.told == ([] if end else ["gone"])


def test_a_spoilt_answer_from_inside_the_start() -> None:
    rig = Rig(answer_at_once=lambda exchange: exchange.reply.head(99, b"", [], None, b"", False))
    rig.feed(GET)
    assert rig.sent.startswith(b"HTTP/1.1 502 ")
    assert rig.last.told == ["gone"]


@pytest.mark.parametrize("request_bytes", [GET, GET_10_KEEP])
def test_less_than_the_length_is_never_a_clean_end(request_bytes: bytes) -> None:
    rig = started(request_bytes)
    rig.last.reply.head(200, b"OK", [], 5, b"four", False)
    rig.last.reply.end([])
    assert rig.transport.ended == "reset"
    rig.clock.turn()
    assert rig.last.events == []


def test_more_than_the_length_is_not_sent() -> None:
    rig = started(GET)
    rig.last.reply.head(200, b"OK", [], 5, b"four", False)
    rig.take()
    rig.last.reply.body(b"12")
    assert rig.sent == b""
    assert rig.transport.ended == "reset"


def test_invalid_trailers_abort() -> None:
    rig = started(GET)
    rig.last.reply.head(200, b"OK", [], None, b"", False)
    rig.last.reply.end([b"A", b"b\r\n\r\n"])
    assert not rig.sent.endswith(b"0\r\n\r\n")
    assert rig.transport.ended == "reset"


def test_abort_before_and_after_the_head() -> None:
    for begun in (False, True):
        rig = started(GET)
        if begun:
            rig.last.reply.head(200, b"OK", [], None, b"a", False)
        rig.last.reply.abort()
        assert rig.transport.ended == "reset"
        rig.clock.turn()
        assert rig.last.events == []


def test_a_finished_reply_cannot_touch_the_next_answer() -> None:
    rig = started(GET)
    first = rig.last.reply
    rig.last.answer(b"1")
    rig.feed(GET)
    rig.take()
    first.head(200, b"OK", [], 1, b"x", True)
    first.body(b"late")
    first.end([])
    first.interim(103, [])
    first.pause_body()
    first.resume_body()
    first.close_after()
    first.abort()
    assert rig.sent == b""
    assert rig.transport.reading
    assert not rig.transport.ended
    rig.last.answer(b"2")
    assert rig.sent.endswith(b"\r\n\r\n2")


def test_calls_in_the_wrong_order_are_faults() -> None:
    rig = started(GET)
    reply = rig.last.reply
    with pytest.raises(RuntimeError):
        reply.body(b"a")
    with pytest.raises(RuntimeError):
        reply.end([])
    reply.head(200, b"OK", [], None, b"", False)
    with pytest.raises(RuntimeError):
        reply.head(200, b"OK", [], None, b"", False)
