"""Malformed, oversized or ambiguous requests, byte for byte: 4xx, a closed connection, nothing forwarded."""

from __future__ import annotations

import contextlib

import pytest

from tests.support.problems import assert_problem
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import reply

H = b"Host: " + HOST.encode() + b"\r\n"
P = b"/t/malformed"

CASES: dict[str, bytes] = {
    # request line
    "bare LF after the request line": b"GET %p HTTP/1.1\n" + H + b"\r\n",
    "bare LF after a field": b"GET %p HTTP/1.1\r\nHost: visits.internal\n\r\n",
    "bare CR in a field": b"GET %p HTTP/1.1\r\n" + H + b"X-A: b\rX-B: c\r\n\r\n",
    "two spaces": b"GET  %p HTTP/1.1\r\n" + H + b"\r\n",
    "two spaces before the version": b"GET %p  HTTP/1.1\r\n" + H + b"\r\n",
    "tab": b"GET\t%p HTTP/1.1\r\n" + H + b"\r\n",
    "space in the target": b"GET %p x HTTP/1.1\r\n" + H + b"\r\n",
    "no version": b"GET %p\r\n" + H + b"\r\n",
    "lower-case version": b"GET %p http/1.1\r\n" + H + b"\r\n",
    "no such method": b"G@T %p HTTP/1.1\r\n" + H + b"\r\n",
    "target without slash": b"GET nothing HTTP/1.1\r\n" + H + b"\r\n",
    "fragment": b"GET %p#x HTTP/1.1\r\n" + H + b"\r\n",
    "control character in the target": b"GET %p\x01 HTTP/1.1\r\n" + H + b"\r\n",
    "userinfo": b"GET http://user:pw@visits.internal%p HTTP/1.1\r\n" + H + b"\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    # fields
    "space before the colon": b"GET %p HTTP/1.1\r\n" + H + b"X-A : b\r\n\r\n",
    "space before the first field": b"GET %p HTTP/1.1\r\n X-A: b\r\n" + H + b"\r\n",
    "folded field": b"GET %p HTTP/1.1\r\n" + H + b"X-A: b\r\n c\r\n\r\n",
    "NUL in a value": b"GET %p HTTP/1.1\r\n" + H + b"X-A: b\0c\r\n\r\n",
    "control character in a value": b"GET %p HTTP/1.1\r\n" + H + b"X-A: b\x01c\r\n\r\n",
    "no colon": b"GET %p HTTP/1.1\r\n" + H + b"X-A\r\n\r\n",
    "empty name": b"GET %p HTTP/1.1\r\n" + H + b": b\r\n\r\n",
    "name is no token": b"GET %p HTTP/1.1\r\n" + H + b"X(A): b\r\n\r\n",
    # Host
    "no Host": b"GET %p HTTP/1.1\r\nX-A: b\r\n\r\n",
    "two Hosts": b"GET %p HTTP/1.1\r\n" + H + H + b"\r\n",
    "empty Host": b"GET %p HTTP/1.1\r\nHost:\r\n\r\n",
    "list of Hosts": b"GET %p HTTP/1.1\r\nHost: visits.internal, other\r\n\r\n",
    "Host with a path": b"GET %p HTTP/1.1\r\nHost: visits.internal/x\r\n\r\n",
    "Host with userinfo": b"GET %p HTTP/1.1\r\nHost: a@visits.internal\r\n\r\n",
    # framing
    "length and chunked": b"POST %p HTTP/1.1\r\n"
    + H
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"POST %p HTTP/1.1\r\n"
    + H
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "signed length": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: +4\r\n\r\nbody",
    "negative length": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: -4\r\n\r\nbody",
    "length with an underscore": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: 1_0\r\n\r\n0123456789",
    "wide digits": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: \xef\xbc\x94\r\n\r\nbody",
    "hexadecimal length": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: 0x4\r\n\r\nbody",
    "empty length": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length:\r\n\r\nbody",
    "listed length": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: 4, 4\r\n\r\nbody",
    "repeated equal length": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    "contradicting lengths": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbodyX",
    "length beyond 64 bits": b"POST %p HTTP/1.1\r\n" + H + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nbody",
    "chunked under HTTP/1.0": b"POST %p HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST %p HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST %p HTTP/1.1\r\n"
    + H
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": b"POST %p HTTP/1.1\r\n" + H + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked misspelt": b"POST %p HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with vertical tab": b"POST %p HTTP/1.1\r\n" + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
}

IN_BODY: dict[str, bytes] = {
    "chunk size is no number": b"zz\r\nbody\r\n0\r\n\r\n",
    "signed chunk size": b"+4\r\nbody\r\n0\r\n\r\n",
    "0x chunk size": b"0x4\r\nbody\r\n0\r\n\r\n",
    "overflowing chunk size": b"FFFFFFFFFFFFFFFFF\r\nbody\r\n0\r\n\r\n",
    "chunk too long": b"2\r\nbody\r\n0\r\n\r\n",
    "bare LF after the size": b"4\nbody\r\n0\r\n\r\n",
    "bare LF after the data": b"4\r\nbody\n0\r\n\r\n",
    "endless extension": b"4;" + b"x" * 100_000 + b"\r\nbody\r\n0\r\n\r\n",
    "folded trailer": b"0\r\nX-A: b\r\n c\r\n\r\n",
    "endless trailers": b"0\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
}


def _path(name: str) -> bytes:
    return P + b"/" + name.replace(" ", "-").replace(",", "").encode()


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_head_is_refused_and_the_connection_closed(tunnel: Tunnel, name: str) -> None:
    path = _path(name)
    tunnel.upstream.on(path.decode(), reply())
    smuggled = b"GET " + path + b"/smuggled HTTP/1.1\r\n" + H + b"\r\n"
    with tunnel.raw() as caller:
        caller.send(CASES[name].replace(b"%p", path))
        answer = caller.answer()
        assert answer.status in (400, 501, 505), answer.raw_head
        assert_problem(answer, answer.status, code=None)
        try:
            caller.send(smuggled)
        except OSError:
            return  # closed and reset already: as good
        rest, _ = caller.read_to_end()
        assert b"HTTP/1." not in rest, "the connection went on after a malformed request"
    assert tunnel.upstream.requests(path.decode() + "*") == []


@pytest.mark.parametrize("name", IN_BODY)
def test_a_malformed_body_is_never_completed(tunnel: Tunnel, name: str) -> None:
    path = _path(name)
    tunnel.upstream.on(path.decode(), reply())
    with tunnel.raw() as caller:
        with contextlib.suppress(OSError):  # refused before all of it was sent
            caller.start("POST", path.decode(), "Transfer-Encoding: chunked", body=b"2\r\nok\r\n" + IN_BODY[name])
        data, _ = caller.read_to_end()
    assert data[9:12] in (b"", b"400", b"413", b"431"), data[:200]
    assert data.count(b"HTTP/1.1 ") <= 1, "the rest was read as another request"
    for received in tunnel.upstream.requests(path.decode()):
        received.gone.wait()
        assert not received.complete


def test_an_unknown_coding_is_501(tunnel: Tunnel, path: str) -> None:
    with tunnel.raw() as caller:
        caller.start("POST", path, "Transfer-Encoding: br, chunked", body=b"0\r\n\r\n")
        assert_problem(caller.answer(), 501)
    assert tunnel.upstream.requests(path) == []


def test_empty_lines_before_a_request_are_forgiven(tunnel: Tunnel, path: str) -> None:
    """RFC 9112 section 2.2: a server should ignore at least one empty line before the request line."""
    tunnel.upstream.on(path, reply())
    with tunnel.raw() as caller:
        caller.send(b"\r\n")
        assert caller.get(path).status == 200


def test_a_connection_that_sends_nothing_useful_is_closed(tunnel: Tunnel) -> None:
    with tunnel.raw() as caller:
        caller.send(b"\0" * 100_000)
        data, _ = caller.read_to_end()
        assert data.startswith(b"HTTP/1.1 4") or data == b""


def test_two_answers_to_a_smuggling_attempt_never_happen(tunnel: Tunnel, path: str) -> None:
    """Length and chunked at once, with a second request in what either reading would leave over."""
    tunnel.upstream.on(path + "*", reply())
    inner = f"GET {path}/smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with tunnel.raw() as caller:
        caller.start(
            "POST",
            path,
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            body=b"0\r\n\r\n" + inner,
        )
        data, _ = caller.read_to_end()
    assert data.count(b"HTTP/1.1 ") == 1
    assert data.startswith(b"HTTP/1.1 400")
    assert tunnel.upstream.requests(path + "*") == []
