"""What leaves for an upstream, byte for byte, and what must never leave."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel_agent.egress.call import UpstreamRequest
from tunnel_agent.egress.request import BodyFraming, InvalidRequest, prepare


def sent(method: bytes = b"GET", target: bytes = b"/x", host: bytes = b"v.example", **more: Any) -> bytes:
    wire, _ = prepare(UpstreamRequest(method, target, host, more.pop("fields", []), **more))
    return b"".join(wire)


def test_a_get() -> None:
    fields = [b"Accept", b"*/*", b"X-A", b"1", b"x-a", b"2"]
    assert sent(target=b"/nomisapi/x?y=%2F&z=a%20b", fields=fields) == (
        b"GET /nomisapi/x?y=%2F&z=a%20b HTTP/1.1\r\nHost: v.example\r\nAccept: */*\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    )


def test_a_post_that_is_all_there() -> None:
    wire, framing = prepare(UpstreamRequest(b"POST", b"/b", b"v:8080", [], length=4, body=b"body"))
    assert b"".join(wire) == b"POST /b HTTP/1.1\r\nHost: v:8080\r\nContent-Length: 4\r\n\r\nbody"
    assert framing is None


def test_a_length_of_nothing_is_said() -> None:
    assert b"\r\nContent-Length: 0\r\n" in sent(b"POST", length=0)


def test_no_length_is_invented() -> None:
    assert b"Content-Length" not in sent(b"POST")


def test_a_chunked_body_that_is_all_there() -> None:
    data = sent(b"POST", chunked=True, body=b"0123456789abcdef", trailers=[b"X-Sum", b"1", b"Host", b"evil"])
    assert data.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\n\r\n")


def test_an_empty_chunked_body() -> None:
    assert sent(b"POST", chunked=True).endswith(b"\r\n\r\n0\r\n\r\n")


def test_an_upgrade() -> None:
    data = sent(upgrade=b"websocket", fields=[b"Sec-WebSocket-Version", b"13"])
    assert data == (
        b"GET /x HTTP/1.1\r\nHost: v.example\r\nSec-WebSocket-Version: 13\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


def test_an_expectation_is_passed_on() -> None:
    assert b"\r\nExpect: 100-continue\r\n" in sent(b"POST", length=3, complete=False, expect_continue=True)


BAD: dict[str, dict[str, Any]] = {
    "space in the target": {"target": b"/a b"},
    "line end in the target": {"target": b"/a\r\nX: 1"},
    "NUL in the target": {"target": b"/a\0"},
    "tab in the target": {"target": b"/a\tb"},
    "DEL in the target": {"target": b"/a\x7f"},
    "empty target": {"target": b""},
    "absolute target": {"target": b"http://other/"},
    "authority as target": {"target": b"other:443"},
    "final line end in the target": {"target": b"/a\n"},
    "method with a space": {"method": b"GET /admin"},
    "empty method": {"method": b""},
    "method with a line end": {"method": b"GET\n"},
    "CONNECT": {"method": b"CONNECT"},
    "line end in the host": {"host": b"a\r\nX: 1"},
    "empty host": {"host": b""},
    "host with a path": {"host": b"a/b"},
    "host with userinfo": {"host": b"u@a"},
    "line end in a value": {"fields": [b"X", b"a\r\nY: b"]},
    "bare LF in a value": {"fields": [b"X", b"a\nb"]},
    "NUL in a value": {"fields": [b"X", b"a\0b"]},
    "line end in a name": {"fields": [b"X\r\nY", b"a"]},
    "space in a name": {"fields": [b"X Y", b"a"]},
    "empty name": {"fields": [b"", b"a"]},
    "odd number of fields": {"fields": [b"X"]},
    "Content-Length among the fields": {"fields": [b"content-length", b"5"]},
    "Transfer-Encoding among the fields": {"fields": [b"Transfer-Encoding", b"chunked"]},
    "Host among the fields": {"fields": [b"HOST", b"evil"]},
    "Connection among the fields": {"fields": [b"Connection", b"close"]},
    "Upgrade among the fields": {"fields": [b"Upgrade", b"x"]},
    "Expect among the fields": {"fields": [b"Expect", b"100-continue"]},
    "TE among the fields": {"fields": [b"TE", b"trailers"]},
    "an alias of Content-Length": {"fields": [b"Content_Length", b"5"]},
    "two upgrades": {"upgrade": b"a, b"},
    "line end in the upgrade": {"upgrade": b"a\r\nX: 1"},
    "length and chunked": {"length": 3, "chunked": True},
    "negative length": {"length": -1},
    "body without length": {"body": b"x"},
    "body longer than its length": {"length": 2, "body": b"abc"},
    "body longer than its length, more to come": {"length": 2, "body": b"abc", "complete": False},
    "body shorter than its length": {"length": 4, "body": b"abc"},
    "bad trailer": {"chunked": True, "trailers": [b"X", b"a\r\nb"]},
    "odd number of trailers": {"chunked": True, "trailers": [b"X"]},
}


@pytest.mark.parametrize("name", BAD)
def test_what_must_not_leave(name: str) -> None:
    with pytest.raises(InvalidRequest):
        sent(**BAD[name])


@given(st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12))
def test_whatever_is_tried_the_head_has_the_lines_it_should_have(target: bytes, name: bytes, value: bytes) -> None:
    try:
        data = sent(target=b"/" + target, fields=[name, value])
    except InvalidRequest:
        return
    lines = data.split(b"\r\n")
    assert lines == [b"GET /" + target + b" HTTP/1.1", b"Host: v.example", name + b": " + value, b"", b""]
    assert b"\n" not in b"".join(lines)
    assert len(lines[0].split(b" ")) == 3


class TestFraming:
    def test_a_length_is_counted(self) -> None:
        framing = BodyFraming(5)
        assert framing.frame(b"ab") == b"ab"
        assert not framing.done
        assert framing.frame(b"cde") == b"cde"
        assert framing.done
        assert framing.finish([b"X", b"dropped"]) == b""

    def test_not_one_byte_too_many(self) -> None:
        framing = BodyFraming(5)
        framing.frame(b"abcd")
        with pytest.raises(InvalidRequest, match="longer"):
            framing.frame(b"ef")

    def test_not_one_byte_too_few(self) -> None:
        framing = BodyFraming(5)
        framing.frame(b"abcd")
        with pytest.raises(InvalidRequest, match="shorter"):
            framing.finish([])

    def test_chunks(self) -> None:
        framing = BodyFraming(None)
        assert framing.frame(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
        assert framing.frame(b"") == b""
        assert not framing.done
        assert framing.finish([b"X-Sum", b"1"]) == b"0\r\nX-Sum: 1\r\n\r\n"
        assert framing.done
        assert framing.finish([]) == b""
        with pytest.raises(InvalidRequest):
            framing.frame(b"more")

    def test_an_incomplete_request_goes_on_where_it_stopped(self) -> None:
        wire, framing = prepare(UpstreamRequest(b"PUT", b"/", b"v", [], length=5, body=b"ab", complete=False))
        assert wire[-1] == b"ab"
        assert framing is not None
        assert framing.frame(b"cde") == b"cde"
        assert framing.done

    def test_an_incomplete_request_whose_length_is_there_already_is_done(self) -> None:
        _, framing = prepare(UpstreamRequest(b"PUT", b"/", b"v", [], length=2, body=b"ab", complete=False))
        assert framing is not None
        assert framing.done
