"""Rules that take several steps to show: early answers, undrained bodies, 1xx, connections in rest."""

from __future__ import annotations

import contextlib

import pytest

from tests.support.problems import assert_problem, assert_upstreams_own
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import Gate, wait_until

from .rules import shows

TOO_MUCH = b"HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop"


@shows("undrained")
@pytest.mark.parametrize(
    ("framing", "begun"),
    [("Content-Length: 100000", b"x" * 1000), ("Transfer-Encoding: chunked", b"3e8\r\n" + b"x" * 1000 + b"\r\n")],
    ids=["length", "chunked"],
)
def test_an_early_answer_closes_on_both_sides(tunnel: Tunnel, path: str, framing: str, begun: bytes) -> None:
    """The upstream has heard enough: the caller gets its answer, and what follows on its connection is nothing."""

    async def script(x: Exchange) -> None:
        await x.body_piece()
        await x.send(TOO_MUCH)
        await x.until_gone()

    tunnel.upstream.on(path, script)
    tunnel.upstream.on(path + "/smuggled", reply())
    with tunnel.raw() as caller:
        caller.start("POST", path, framing, body=begun)
        answer = caller.answer()
        assert (answer.status, answer.body, answer.get("connection")) == (413, b"stop", "close")
        assert_upstreams_own(answer)
        caller.start("GET", path + "/smuggled")
        rest, _ = caller.read_to_end()
        assert rest == b""
    tunnel.upstream.only(path).gone.wait()
    assert tunnel.upstream.requests(path + "/smuggled") == []


@shows("undrained")
@pytest.mark.parametrize("fields", [["Content-Length: 1000"], ["Transfer-Encoding: chunked"]])
def test_a_refusal_with_the_body_still_to_come_closes(tunnel: Tunnel, path: str, fields: list[str]) -> None:
    with tunnel.raw() as caller:
        caller.start("POST", path, *fields, host="nobody.example")
        answer = caller.answer()
        assert_problem(answer, 404, code="no_such_service")
        assert answer.get("connection") == "close"
        caller.start("GET", path)
        assert caller.read_to_end()[0] == b""


@shows("chunk-size")
@shows("chunk-crlf")
@pytest.mark.parametrize(
    "broken",
    [
        b"zz\r\n",
        b"+4\r\nbody\r\n0\r\n\r\n",
        b"F" * 17 + b"\r\n",
        b"2\r\nbody\r\n0\r\n\r\n",
        b"4\nbody\r\n0\r\n\r\n",
        b"4\r\nbody\n0\r\n\r\n",
        b"0\r\nX-A: b\r\n c\r\n\r\n",
        b"0\r\nX-A\r\n\r\n",
        b"0\r\n\n",
        b"4;\n\r\nbody\r\n",
    ],
)
def test_a_body_that_breaks_later_is_never_completed(tunnel: Tunnel, path: str, broken: bytes) -> None:
    """The beginning is at the upstream by then: it is cancelled there, and the caller is not told otherwise."""
    _check_broken_body(tunnel, path, broken, 400, "malformed_request")


@shows("chunk-extension")
@shows("trailers")
@pytest.mark.parametrize(
    "endless",
    [b"2;" + b"x" * 100_000 + b"\r\nok\r\n0\r\n\r\n", b"0\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n"],
    ids=["extension", "trailers"],
)
def test_what_has_no_end_in_a_body_is_bounded(tunnel: Tunnel, path: str, endless: bytes) -> None:
    _check_broken_body(tunnel, path, endless, 431, "fields_too_large")


def _check_broken_body(tunnel: Tunnel, path: str, broken: bytes, status: int, code: str) -> None:
    tunnel.upstream.on(path + "*", reply())
    smuggled = f"GET {path}/smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with tunnel.raw() as caller:
        caller.start("POST", path, "Transfer-Encoding: chunked", body=b"2\r\nok\r\n")
        received = tunnel.upstream.wait_for(path)
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            caller.send(broken + smuggled)
        answer = caller.answer()
        assert_problem(answer, status, delivered="unknown", code=code)
        assert caller.read_to_end()[0] == b""
    received.gone.wait()
    assert not received.complete
    assert tunnel.upstream.requests(path + "/smuggled") == []


@shows("reuse")
def test_a_connection_that_carried_trailers_is_not_used_again(tunnel: Tunnel, path: str) -> None:
    """A server that does not read request trailers would take them for the beginning of the next request."""
    tunnel.upstream.on(path, reply())
    with tunnel.raw() as caller:
        for trailers in ("X-T: 1\r\n", ""):
            count = len(tunnel.upstream.requests(path))
            caller.start("POST", path, "Transfer-Encoding: chunked")
            tunnel.upstream.wait_for(path, count + 1)
            caller.send(f"2\r\nok\r\n0\r\n{trailers}\r\n".encode())
            assert caller.answer().status == 200
        caller.start("POST", path, "Transfer-Encoding: chunked", body=b"0\r\nX-T: 1\r\n\r\n")
        assert caller.answer().status == 200
        assert caller.get(path).status == 200
    first, second, third, fourth = (received.connection for received in tunnel.upstream.requests(path))
    assert first != second == third != fourth
    wait_until(lambda: not tunnel.upstream.is_open(first), "the first connection to be closed")
    wait_until(lambda: not tunnel.upstream.is_open(third), "the third connection to be closed")


@shows("surplus")
def test_bytes_on_a_connection_in_rest_discard_it(tunnel: Tunnel, path: str) -> None:
    """The surplus comes after the exchange was over in every way: nobody asked for it, so nobody gets it."""
    late = Gate("the exchange to be over")

    async def script(x: Exchange) -> None:
        await x.answer(200, body=b"first")
        await late.passed()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")

    tunnel.upstream.on(path, script)
    tunnel.upstream.on(path + "/next", reply(body=b"next"))
    with tunnel.raw() as caller:
        assert caller.get(path).body == b"first"
        used = tunnel.upstream.only(path).connection
        late.open()
        wait_until(lambda: not tunnel.upstream.is_open(used), "the connection to be discarded")
        assert caller.get(path + "/next").body == b"next"
    assert tunnel.upstream.only(path + "/next").connection != used


@shows("expect")
def test_the_hub_invites_the_body_where_the_upstream_does_not(tunnel: Tunnel, path: str) -> None:
    tunnel.upstream.on(path, reply(body=b"thanks"))
    with tunnel.raw() as caller:
        caller.start("POST", path, "Expect: 100-continue", "Content-Length: 4")
        assert caller.interim().status == 100
        caller.send(b"body")
        assert caller.answer().body == b"thanks"
        assert caller.get(path).status == 200
    received = tunnel.upstream.requests(path)[0]
    assert (received.body, received.get("expect")) == (b"body", "100-continue")


@shows("expect")
def test_the_upstreams_invitation_passes_once(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        assert x.received.get("expect") == "100-continue"
        await x.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await x.answer(200, body=b"thanks")

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("POST", path, "Expect: 100-Continue", "Transfer-Encoding: chunked")
        assert caller.interim().status == 100
        caller.send(b"4\r\nbody\r\n0\r\n\r\n")
        answer = caller.answer()
        assert (answer.body, answer.interim) == (b"thanks", [])


@shows("expect")
def test_an_upstream_that_refuses_before_the_body(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope")
        await x.until_gone()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("POST", path, "Expect: 100-continue", "Content-Length: 4")
        answer = caller.answer()
        assert (answer.status, answer.body, answer.get("connection")) == (403, b"nope", "close")
        assert caller.expect_closed() == "fin"


@shows("interim")
def test_interim_answers_pass_before_the_answer(tunnel: Tunnel, path: str) -> None:
    seen = Gate("the caller to have seen the hints")

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\n\r\n")
        await x.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await seen.passed()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.start("GET", path)
        hints = caller.interim()
        assert (hints.status, hints.all("link")) == (103, [b"</a.css>; rel=preload", b"</b.js>"])
        assert caller.interim().status == 102
        seen.open()
        assert caller.answer().body == b"ok"


@shows("no-1xx-in-1.0")
def test_an_old_caller_gets_neither_interim_answers_nor_chunks(tunnel: Tunnel, path: str) -> None:
    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await x.chunk(b"some")
        await x.chunk(b"thing")
        await x.last_chunk()

    tunnel.upstream.on(path, script)
    with tunnel.raw() as caller:
        caller.send(f"GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        answer = caller.answer()
        assert (answer.status, answer.interim, answer.body) == (200, [], b"something")
        assert not answer.has("transfer-encoding")
        assert caller.expect_closed() == "fin"
