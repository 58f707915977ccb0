"""AnswerReader: every rule of RFC 9112 that an upstream can break, byte by byte."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel_agent.egress.answer import AnswerReader, InvalidAnswer
from tunnel_agent.egress.timeouts import Limits

LIMITS = Limits(head_bytes=2048, head_fields=20, interims=3)
LINE = b"HTTP/1.1 200 OK\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"


class Result:
    """All that a reader gave for some reads, in the shape that does not depend on how they were cut."""

    def __init__(self, *reads: bytes, method: bytes = b"GET", upgrade: bytes | None = None, eof: bool = False):
        reader = AnswerReader(method, upgrade, LIMITS)
        self.interims: list[tuple[int, list[bytes]]] = []
        self.heads = 0
        self.body = b""
        for data in reads:
            reader.feed(data)
            self.interims += reader.interims
            self.heads += reader.new_head
            self.body += reader.body
        self.clean = reader.eof() if eof else None
        self.ended = reader.ended
        self.begun = reader.begun
        self.reusable = reader.reusable if reader.ended else None
        self.trailers = reader.trailers if reader.ended else None
        self.head: Any = None
        if self.heads:
            self.head = (reader.status, reader.reason, reader.fields, reader.length)

    @property
    def facts(self) -> tuple[Any, ...]:
        return (
            self.interims,
            self.heads,
            self.body,
            self.ended,
            self.reusable,
            self.trailers,
            self.head,
            self.clean,
            self.begun,
        )


GOOD = {
    "length": LINE + b"Content-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello",
    "empty body": LINE + b"Content-Length: 0\r\n\r\n",
    "empty value": LINE + b"X-Empty:\r\nContent-Length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 404\r\nContent-Length: 1\r\n\r\nx",
    "obs-text": b"HTTP/1.1 200 Sch\xf6n\r\nX: \xe4\r\nContent-Length: 0\r\n\r\n",
    "chunks": CHUNKED + b'5\r\nhello\r\n6;ext="a"\r\n world\r\n0\r\n\r\n',
    "trailers": CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\nX-Other:  2 \r\n\r\n",
    "coding in capitals": LINE + b"transfer-encoding: Chunked\r\n\r\n0\r\n\r\n",
    "interims": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    + LINE
    + b"Content-Length: 2\r\n\r\nok",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304 with length": b'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "x"\r\n\r\n',
    "close": LINE + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_an_answer_is_the_same_however_the_network_cuts_it(name: str) -> None:
    data = GOOD[name]
    whole = Result(data)
    assert whole.ended
    for cut in range(1, len(data)):
        assert Result(data[:cut], data[cut:]).facts == whole.facts
    assert Result(*(data[i : i + 1] for i in range(len(data)))).facts == whole.facts


@given(st.sampled_from(sorted(GOOD)), st.lists(st.integers(1, 200), max_size=12))
def test_cuts_at_random_places_change_nothing(name: str, cuts: list[int]) -> None:
    data = GOOD[name]
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert Result(*pieces).facts == Result(data).facts


def test_what_a_simple_answer_says() -> None:
    result = Result(GOOD["length"])
    assert result.head == (200, b"OK", [b"X-A", b"1", b"X-A", b"2"], 5)
    assert (result.body, result.reusable, result.trailers) == (b"hello", True, [])


def test_hop_by_hop_fields_and_what_connection_names_are_taken_out() -> None:
    result = Result(
        LINE + b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n"
        b"Proxy-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )
    assert result.head[2] == [b"Set-Cookie", b"a=1", b"Set-Cookie", b"b=2"]
    assert result.reusable


def test_interim_answers_come_apart_from_the_final_one() -> None:
    result = Result(GOOD["interims"])
    assert result.interims == [(100, []), (103, [b"Link", b"</a>"])]
    assert result.head == (200, b"OK", [], 2)
    assert result.reusable


def test_trailers_are_trimmed_and_what_frames_or_routes_is_dropped() -> None:
    result = Result(CHUNKED + b"0\r\nX-Sum:  1 \r\nConnection: X-Sum\r\nHost: x\r\nSet-Cookie: a\r\n\r\n")
    assert result.trailers == [b"X-Sum", b"1"]


@pytest.mark.parametrize(
    ("method", "data", "length"),
    [
        (b"HEAD", LINE + b"Content-Length: 99\r\n\r\n", 99),
        (b"HEAD", CHUNKED, None),
        (b"HEAD", LINE + b"X: 1\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 99),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
    ],
)
def test_an_answer_without_body_ends_with_its_head(method: bytes, data: bytes, length: int | None) -> None:
    result = Result(data, method=method)
    assert result.ended
    assert result.head[3] == length
    assert result.reusable


@pytest.mark.parametrize(
    ("why", "data", "method"),
    [
        ("connection: close", GOOD["close"], b"GET"),
        ("close among others", LINE + b"Connection: x, CLOSE\r\nContent-Length: 0\r\n\r\n", b"GET"),
        ("HTTP/1.0", GOOD["HTTP/1.0"], b"GET"),
        (
            "HTTP/1.0 kept alive",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            b"GET",
        ),
        ("a byte too many", GOOD["length"] + b"X", b"GET"),
        ("a line end too many", GOOD["length"] + b"\r\n", b"GET"),
        ("another answer", GOOD["length"] + GOOD["length"], b"GET"),
        ("another answer after chunks", GOOD["chunks"] + GOOD["trailers"], b"GET"),
        ("a line end after chunks", GOOD["chunks"] + b"\r\n", b"GET"),
        ("half a line end after chunks", GOOD["chunks"] + b"\r", b"GET"),
        ("a body after HEAD", GOOD["length"], b"HEAD"),
        ("a body after 304", GOOD["304 with length"] + b"x", b"GET"),
        ("a body after 204", GOOD["204"] + b"x", b"GET"),
        ("a length with 204", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", b"GET"),
        ("a length with 100", b"HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\n" + GOOD["length"], b"GET"),
    ],
)
def test_a_good_answer_on_a_connection_that_must_not_be_used_again(why: str, data: bytes, method: bytes) -> None:
    whole = Result(data, method=method)
    assert whole.ended, why
    assert whole.reusable is False, why
    for cut in range(1, len(data)):
        assert Result(data[:cut], data[cut:], method=method).facts == whole.facts, (why, cut)


def test_a_surplus_answer_adds_nothing_to_the_first() -> None:
    result = Result(GOOD["trailers"] + GOOD["chunks"])
    assert (result.body, result.trailers) == (b"a", [b"X-Sum", b"1", b"X-Other", b"2"])


HOSTILE = {
    "bare LF after the status line": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "bare LF after a field": LINE + b"X: 1\nContent-Length: 0\r\n\r\n",
    "bare LF at the end of the head": LINE + b"Content-Length: 0\r\n\n\r\n\r\n",
    "bare CR in a value": LINE + b"X: a\rb\r\n\r\n",
    "NUL in a value": LINE + b"X: a\0b\r\n\r\n",
    "control in a value": LINE + b"X: a\x01b\r\n\r\n",
    "DEL in a value": LINE + b"X: a\x7fb\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "control in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    "obs-fold": LINE + b"X: a\r\n b\r\n\r\n",
    "space before the first field": LINE + b" X: a\r\n\r\n",
    "space before the colon": LINE + b"X : a\r\n\r\n",
    "space before the colon of a length": LINE + b"Content-Length : 5\r\n\r\nhello",
    "empty name": LINE + b": a\r\n\r\n",
    "no colon": LINE + b"nonsense\r\n\r\n",
    "name not a token": LINE + b"X(y): a\r\n\r\n",
    "name not ASCII": LINE + b"X\xe4: a\r\n\r\n",
    "two lengths": LINE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": LINE + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": LINE + b"Content-Length: 5, 5\r\n\r\nhello",
    "length with sign": LINE + b"Content-Length: +5\r\n\r\nhello",
    "negative length": LINE + b"Content-Length: -5\r\n\r\nhello",
    "length with underscore": LINE + b"Content-Length: 1_0\r\n\r\nhello",
    "hexadecimal length": LINE + b"Content-Length: 0x5\r\n\r\nhello",
    "empty length": LINE + b"Content-Length:\r\n\r\n",
    "length beyond 64 bits": LINE + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length beyond 63 bits": LINE + b"Content-Length: 9999999999999999999\r\n\r\n",
    "length in other digits": LINE + b"Content-Length: \xd9\xa5\r\n\r\nhello",
    "coding and length": LINE + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "length and coding": LINE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": LINE + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "coding before chunked": LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": LINE + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": LINE + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two fields": LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked with parameter": LINE + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "nearly chunked": LINE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "empty coding": LINE + b"Transfer-Encoding:\r\n\r\n",
    "coding under HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "small letters": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "only a body": b"<html>hello</html>",
    "line ends first": b"\r\n\r\n" + LINE + b"Content-Length: 0\r\n\r\n",
    "line ends after an interim": b"HTTP/1.1 100 C\r\n\r\n\r\n" + LINE + b"Content-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "too many interims": b"HTTP/1.1 103 E\r\n\r\n" * 4 + LINE + b"Content-Length: 0\r\n\r\n",
    "too many fields": LINE + b"X: 1\r\n" * 21 + b"Content-Length: 0\r\n\r\n",
    "head too long": LINE + b"X: " + b"y" * 2048 + b"\r\n\r\n",
    "status line too long": b"HTTP/1.1 200 " + b"y" * 2048 + b"\r\n\r\n",
    "head without end": LINE + b"X: " + b"y" * 2048,
    "unasked 101": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "chunk size with sign": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk size with space": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "chunk size missing": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "chunk size too big": CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "bare LF after a chunk size": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "bare LF after a chunk": CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    "chunk longer than said": CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n",
    "chunk extensions too long": CHUNKED + b"1;" + b"e" * 4096 + b"\r\na\r\n0\r\n\r\n",
    "chunk extensions too many": CHUNKED + (b"1;" + b"e" * 200 + b"\r\na\r\n") * 20 + b"0\r\n\r\n",
    "trailers too long": CHUNKED + b"0\r\nX: " + b"y" * 4096 + b"\r\n\r\n",
    "trailers too many": CHUNKED + b"0\r\n" + b"X: 1\r\n" * 21 + b"\r\n",
    "obs-fold in a trailer": CHUNKED + b"0\r\nX: 1\r\n 2\r\n\r\n",
    "bare LF in a trailer": CHUNKED + b"0\r\nX: 1\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_answer_that_breaks_a_rule_is_refused(name: str) -> None:
    data = HOSTILE[name]
    with pytest.raises(InvalidAnswer):
        Result(data)
    with pytest.raises(InvalidAnswer):
        Result(*(data[i : i + 1] for i in range(len(data))))


@pytest.mark.parametrize("name", HOSTILE)
def test_the_reason_for_a_refusal_quotes_nothing(name: str) -> None:
    marked = HOSTILE[name].replace(b"hello", b"SECRETTEXT").replace(b"X", b"SECRETTEXT").replace(b"y", b"S")
    with pytest.raises(InvalidAnswer) as caught:
        Result(marked)
    assert "SECRETTEXT" not in str(caught.value)


def test_garbage_is_noticed_before_a_head_is_complete() -> None:
    with pytest.raises(InvalidAnswer, match="HTTP/1"):
        Result(b"SSH")


def test_a_body_of_many_small_chunks_is_not_refused_for_its_headers() -> None:
    result = Result(CHUNKED + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n")
    assert result.body == b"a" * 5000


@pytest.mark.parametrize("minor", [b"0", b"1"])
def test_without_length_the_body_ends_with_the_connection(minor: bytes) -> None:
    result = Result(b"HTTP/1." + minor + b" 200 OK\r\n\r\nab", b"HTTP/1.1 200 OK\r\n\r\n", eof=True)
    assert result.body == b"abHTTP/1.1 200 OK\r\n\r\n"
    assert (result.clean, result.reusable, result.heads) == (True, False, 1)


@pytest.mark.parametrize(
    ("data", "begun"),
    [
        (b"", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"H", True),
        (LINE, True),
        (LINE + b"Content-Length: 5\r\n\r\nhell", True),
        (CHUNKED, True),
        (CHUNKED + b"5\r\nhello\r\n", True),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", True),
        (CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\r\n", True),
    ],
)
def test_the_end_of_the_connection_inside_an_answer_is_not_clean(data: bytes, begun: bool) -> None:
    result = Result(*([data] if data else []), eof=True)
    assert result.clean is False
    assert result.begun is begun


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX: 1\r\n\r\n"


def test_an_upgrade_that_was_asked_for_makes_a_pipe() -> None:
    data = SWITCH + b"\r\n\r\nraw \xff bytes"
    for cut in range(1, len(data)):
        result = Result(data[:cut], data[cut:], upgrade=b"websocket", eof=True)
        assert result.head == (101, b"Switching Protocols", [b"X", b"1"], None)
        assert result.body == b"\r\n\r\nraw \xff bytes"
        assert (result.clean, result.reusable) == (True, False)


@pytest.mark.parametrize(
    "data",
    [
        SWITCH.replace(b"WebSocket", b"other"),
        SWITCH.replace(b"WebSocket", b"websocket, other"),
        SWITCH.replace(b"Upgrade: WebSocket\r\n", b""),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
        b"HTTP/1.1 101 S\r\n\r\n",
    ],
)
def test_an_upgrade_to_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        Result(data, upgrade=b"websocket")


def test_an_upgrade_may_be_declined() -> None:
    result = Result(
        LINE + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno", upgrade=b"websocket"
    )
    assert result.head[0] == 200
    assert (result.body, result.ended) == (b"no", True)


@pytest.mark.parametrize("name", GOOD)
def test_a_reader_needs_no_garbage_collector(name: str) -> None:
    class Watched(AnswerReader):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        reader = Watched(b"GET", None, LIMITS)
        reader.feed(GOOD[name])
        ref = weakref.ref(reader)
        del reader
        assert ref() is None
    finally:
        gc.enable()
