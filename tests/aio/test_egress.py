"""The egress against scripted servers on loopback: exact bytes in, exact bytes out, on both event loops."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import StreamCode
from tests.support.tls import PrivateCA
from tests.unit.egress.harness import (
    HOST,
    OK,
    Client,
    Peer,
    Recorder,
    both_loops,
    client,
    pair,
    request,
    serving,
    until,
)
from tunnel_agent.egress.dial import tls_context
from tunnel_agent.egress.resolve import Resolver

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b"HTTP/1.1 200 OK\r\n"


async def serve(peer: Peer) -> None:
    await peer.serve()


async def silent(peer: Peer) -> None:
    await peer.until_gone()


def after(answer: bytes, ending: str = "fin") -> Any:
    """A script: read a head, send `answer`, then end the connection or keep it."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        if ending == "reset":
            peer.reset()
        elif ending == "keep":
            await peer.until_gone()

    return script


async def settled(it: Client) -> None:
    """Every connection is idle or gone."""
    await until(lambda: it.upstream.open == it.upstream.idle, "no connection is busy or closing")


# -- ordinary exchanges -----------------------------------------------------------------------------


@both_loops
async def test_a_get_and_its_answer_in_one_call() -> None:
    async with pair(serve) as (it, server):
        got = await it.ask(request(fields=[b"Accept", b"*/*"]))
        assert server.heads == [b"GET /x HTTP/1.1\r\nHost: visits.example\r\nAccept: */*\r\n\r\n"]
        assert (got.status, got.reason, got.length, got.body, got.calls) == (200, b"OK", 2, b"ok", ["answer"])
        assert got.call is not None
        assert got.call.dispatched


@both_loops
async def test_connections_are_used_again_and_counted() -> None:
    async with pair(serve) as (it, server):
        for _ in range(5):
            assert (await it.ask()).status == 200
        up = it.upstream
        assert (len(server.peers), up.connects, up.reuse, up.open, up.idle, up.busy) == (1, 1, 4, 1, 1, 0)


@both_loops
async def test_a_receiver_may_start_the_next_call_from_its_last_callback() -> None:
    async with pair(serve) as (it, server):
        first = it.start()
        following: list[Recorder] = []
        first.hook = lambda name: following.append(it.start()) if name == "answer" else None
        await until(lambda: following and following[0].over, "the second answer")
        assert len(server.peers) == 1


async def upload(peer: Peer) -> None:
    """Answers with the raw bytes of the body, which ends with a full stop."""
    while True:
        await peer.head()
        body = await peer.reader.readuntil(b".")
        if b"chunked" in peer.heads[-1]:
            body += await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(LINE + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


@both_loops
async def test_a_body_sent_bit_by_bit() -> None:
    async with pair(upload) as (it, server):
        for _ in range(2):
            got = it.start(request(b"PUT", length=6, body=b"ab", complete=False))
            assert got.call is not None
            got.call.body(b"cd")
            await until(lambda: it.upstream.busy, "a connection")
            got.call.body(b"e.")
            got.call.body_end([])
            await until(lambda: got.over, "the answer")
            assert got.body == b"abcde."
        assert len(server.peers) == 1


@both_loops
async def test_a_chunked_body_with_trailers() -> None:
    async with pair(upload) as (it, server):
        got = it.start(request(b"PUT", chunked=True, complete=False))
        assert got.call is not None
        await until(lambda: got.writable, "the connection is there")
        assert got.call.body(b"abc")
        assert got.call.body(b"")
        assert got.call.body(b"de.")
        got.call.body_end([b"X-Sum", b"1"])
        await until(lambda: got.over, "the answer")
        assert got.body == b"3\r\nabc\r\n3\r\nde.\r\n0\r\nX-Sum: 1\r\n\r\n"
        await it.ask(request(b"PUT", chunked=True, body=b"x."))
        assert len(server.peers) == 1


@both_loops
async def test_big_bodies_pass_whole_and_the_connection_is_used_again() -> None:
    data = random.Random(1).randbytes(3_000_000)

    async def script(peer: Peer) -> None:
        while True:
            if b"chunked" in await peer.head():
                await peer.send(CHUNKED)
                for start in range(0, len(data), 70_000):
                    piece = data[start : start + 70_000]
                    await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await peer.send(b"0\r\nX-Sum: 1\r\n\r\n")
            else:
                await peer.send(LINE + b"Content-Length: %d\r\n\r\n" % len(data) + data)

    async with pair(script) as (it, server):
        for target in (b"/length", b"/chunked", b"/length", b"/chunked"):
            got = await it.ask(request(target=target))
            assert got.body == data
            assert got.trailers == ([b"X-Sum", b"1"] if target == b"/chunked" else [])
        assert len(server.peers) == 1


@both_loops
async def test_head_leaves_the_connection_usable() -> None:
    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            await peer.send(LINE + b"Content-Length: 2\r\n\r\n" + (b"" if head.startswith(b"HEAD") else b"ok"))

    async with pair(script) as (it, server):
        for method in (b"HEAD", b"GET", b"HEAD", b"HEAD", b"GET"):
            got = await it.ask(request(method))
            assert (got.length, got.body, got.calls) == (2, b"" if method == b"HEAD" else b"ok", ["answer"])
        assert len(server.peers) == 1


@both_loops
async def test_redirects_cookies_and_coded_bodies_are_the_callers_business() -> None:
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8bX"
    )
    async with pair(lambda peer: peer.serve(answer)) as (it, server):
        got = await it.ask()
        assert (got.status, got.body) == (302, b"\x1f\x8bX")
        assert got.fields[2:6] == [b"Set-Cookie", b"a=1", b"Set-Cookie", b"b=2"]
        await it.ask()
        assert b"Cookie" not in b"".join(server.heads)


@both_loops
async def test_interim_answers_are_passed_on() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with pair(lambda peer: peer.serve(hints + hints + OK)) as (it, server):
        for _ in range(2):
            got = await it.ask()
            assert got.interims == [(103, [b"Link", b"</a>"])] * 2
            assert got.calls == ["interim", "interim", "answer"]
        assert len(server.peers) == 1


@both_loops
async def test_interim_answers_and_the_body_in_reads_of_their_own() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        for piece in (b"HTTP/1.1 103 E\r\n\r\n", LINE, b"Content-Length: 4\r\n\r\na", b"b", b"cd"):
            await peer.send(piece)
            await asyncio.sleep(0.01)
        await peer.until_gone()

    async with pair(script) as (it, _):
        got = await it.ask()
        assert (got.body, len(got.interims)) == (b"abcd", 1)


@both_loops
async def test_an_expectation_goes_through_and_so_does_the_100() -> None:
    async def script(peer: Peer) -> None:
        assert b"\r\nExpect: 100-continue\r\n" in await peer.head()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await peer.reader.readexactly(4)
        await peer.send(LINE + b"Content-Length: 4\r\n\r\n" + body)
        await peer.until_gone()

    async with pair(script) as (it, _):
        got = it.start(request(b"POST", length=4, complete=False, expect_continue=True))
        await until(lambda: got.interims, "100 (Continue)")
        assert got.call is not None
        got.call.body(b"body")
        await until(lambda: got.over, "the answer")
        assert (got.interims, got.body) == ([(100, [])], b"body")


# -- answers that end in other ways -----------------------------------------------------------------


@both_loops
async def test_an_answer_without_length_ends_with_its_connection() -> None:
    async with pair(after(LINE + b"\r\nall of it")) as (it, server):
        for number in (1, 2):
            got = await it.ask()
            assert (got.body, got.length, got.failure) == (b"all of it", None, None)
            assert len(server.peers) == number
        await until(lambda: it.upstream.open == 0, "both are closed")


TRUNCATED, CLOSED = StreamCode.UPSTREAM_TRUNCATED, StreamCode.UPSTREAM_CLOSED


@pytest.mark.parametrize("ending", ["fin", "reset"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", CLOSED),
        (b"HTTP/1.1 100 Continue\r\n\r\n", CLOSED),
        (b"HTTP/1.1 200 O", TRUNCATED),
        (LINE + b"Content-Length: 5\r\n\r\n", TRUNCATED),
        (LINE + b"Content-Length: 5\r\n\r\nhell", TRUNCATED),
        (CHUNKED + b"5\r\nhello\r\n", TRUNCATED),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", TRUNCATED),
    ],
)
@both_loops
async def test_an_answer_that_breaks_off_is_never_a_clean_end(
    answer: bytes, code: StreamCode, ending: str
) -> None:
    async with pair(after(answer, ending)) as (it, server):
        got = await it.ask()
        # A reset may overtake bytes that are still unread; then the agent knows less, but never a clean end.
        assert got.code in ((code, CLOSED) if ending == "reset" else (code,))
        assert not got.ended
        assert len(server.peers) == 1
        await until(lambda: it.upstream.open == 0, "the connection is closed")


@both_loops
async def test_a_reset_does_not_end_an_answer_without_length() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(LINE + b"\r\npart")
        await peer.reader.readexactly(4)  # the agent has read it
        peer.reset()

    async with pair(script) as (it, _):
        got = it.start(request(b"POST", length=5, complete=False))
        await until(lambda: got.body, "the first part")
        assert got.call is not None
        got.call.body(b"read")
        await until(lambda: got.over, "the end")
        assert got.code is TRUNCATED


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        LINE + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        LINE + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
        LINE + b"X: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 17 + OK,
        LINE + b"X: " + b"x" * 70_000,
        b"+OK POP3 ready\r\n",
    ],
)
@both_loops
async def test_an_invalid_answer_costs_its_connection_and_nothing_else(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.head()
            await peer.send(answer)
            await peer.until_gone()
        else:
            await peer.serve()

    async with pair(script) as (it, server):
        got = await it.ask()
        assert got.code is StreamCode.UPSTREAM_INVALID
        assert (await it.ask()).status == 200
        assert len(server.peers) == 2
        await until(lambda: server.live == 1, "the first connection is closed")


@both_loops
async def test_an_invalid_chunk_after_a_good_one_ends_the_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED + b"2\r\nok\r\n")
        await peer.reader.readexactly(1)
        await peer.send(b"xx\r\n")
        await peer.until_gone()

    async with pair(script) as (it, _):
        got = it.start(request(b"POST", length=2, complete=False))
        await until(lambda: got.body, "the first chunk")
        assert got.call is not None
        got.call.body(b"!")
        await until(lambda: got.over, "the end")
        assert (got.body, got.code) == (b"ok", StreamCode.UPSTREAM_INVALID)


@pytest.mark.parametrize("surplus", [b"X", b"\r\n", OK, b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
@both_loops
async def test_bytes_after_an_answer_discard_the_connection_not_the_answer(surplus: bytes) -> None:
    async with pair(after(OK + surplus, "keep")) as (it, server):
        for number in (1, 2):
            got = await it.ask()
            assert (got.status, got.body) == (200, b"ok")
            assert len(server.peers) == number


@both_loops
async def test_bytes_on_an_idle_connection_close_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await until(lambda: idle(), "the connection is idle")
        await peer.send(OK)
        await peer.until_gone()

    async with pair(script) as (it, server):
        idle = lambda: it.upstream.idle  # noqa: E731
        await it.ask()
        await until(lambda: it.upstream.open == 0, "the connection is closed")
        assert (await it.ask()).body == b"ok"
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    "answer",
    [
        LINE + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
    ],
)
@both_loops
async def test_a_connection_that_must_not_be_used_again_is_not(answer: bytes) -> None:
    async with pair(after(answer, "keep")) as (it, server):
        for number in (1, 2):
            assert (await it.ask()).failure is None
            assert len(server.peers) == number


@both_loops
async def test_an_answer_before_the_request_is_complete_stops_the_request() -> None:
    answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    async with pair(after(answer, "keep")) as (it, server):
        got = it.start(request(b"POST", length=10, body=b"abc", complete=False))
        await until(lambda: got.over, "the answer")
        assert (got.status, got.unwanted, got.calls[-2:]) == (413, True, ["answer", "unwanted"])
        assert got.call is not None
        assert got.call.body(b"more") is True
        got.call.body_end([])
        await until(lambda: server.live == 0, "the connection is closed")


@both_loops
async def test_an_answer_may_begin_before_the_request_is_complete() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED)
        for _ in range(3):
            await peer.send(b"1\r\n%b\r\n" % await peer.reader.readexactly(1))
        await peer.send(b"0\r\n\r\n")
        await peer.serve()

    async with pair(script) as (it, server):
        got = it.start(request(b"POST", length=3, complete=False))
        for size, piece in enumerate((b"a", b"b", b"c"), 1):
            assert got.call is not None
            got.call.body(piece)
            await until(lambda size=size: len(got.body) == size, "the echo")  # type: ignore[misc]
        await until(lambda: got.over, "the end")
        assert not got.unwanted
        await it.ask()
        assert len(server.peers) == 1


# -- upgrades ---------------------------------------------------------------------------------------

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Echo: 1\r\n\r\n"


async def echo(peer: Peer) -> None:
    assert b"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n" in await peer.head()
    await peer.send(SWITCH + b"hello")
    while data := await peer.reader.read(65536):
        await peer.send(data)
    await peer.send(b"bye")


@both_loops
async def test_an_upgrade_makes_a_pipe_that_closes_one_direction_at_a_time() -> None:
    async with pair(echo) as (it, _):
        got = it.start(request(upgrade=b"echo"), deadline=20.0)
        await until(lambda: got.status, "101")
        assert (got.status, got.fields, got.body, got.ended) == (101, [b"X-Echo", b"1"], b"hello", False)
        assert got.call is not None
        got.call.body(b"\0raw\r\n")
        await until(lambda: got.body == b"hello\0raw\r\n", "the echo")
        got.call.body_end([])
        await until(lambda: got.over, "the other half")
        assert (got.body, got.ended, got.unwanted) == (b"hello\0raw\r\nbye", True, False)
        await until(lambda: it.upstream.open == 0, "the connection is closed")


@both_loops
async def test_a_pipe_stays_open_towards_an_upstream_that_sends_no_more() -> None:
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        peer.writer.write_eof()
        received.append(await peer.until_gone())

    async with pair(script) as (it, _):
        got = it.start(request(upgrade=b"ECHO"))
        await until(lambda: got.ended, "the upstream's half is closed")
        assert got.call is not None
        assert got.call.body(b"still here")
        got.call.body_end([])
        await until(lambda: received == [b"still here"], "it arrives")
        assert not got.unwanted


@both_loops
async def test_a_broken_pipe_is_not_a_clean_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        await peer.reader.readexactly(1)
        peer.reset()

    async with pair(script) as (it, _):
        got = it.start(request(upgrade=b"echo"))
        await until(lambda: got.status, "101")
        assert got.call is not None
        got.call.body(b"x")
        await until(lambda: got.over, "the end")
        assert got.code is TRUNCATED


@both_loops
async def test_an_upgrade_may_be_declined() -> None:
    async with pair(serve) as (it, _):
        got = await it.ask(request(upgrade=b"echo"))
        assert (got.status, got.body, it.upstream.idle) == (200, b"ok", 1)


@both_loops
async def test_an_upgrade_to_something_else_is_invalid() -> None:
    async with pair(after(SWITCH.replace(b"echo", b"other"), "keep")) as (it, _):
        assert (await it.ask(request(upgrade=b"echo"))).code is StreamCode.UPSTREAM_INVALID


# -- connections that turn out to be closed ---------------------------------------------------------


def dies_on(request_number: int, connections: int = 1, ending: str = "fin") -> Any:
    """The first connections answer `request_number - 1` requests and close on the next; later ones serve on."""

    async def script(peer: Peer) -> None:
        if peer.number >= connections:
            await peer.serve()
        for _ in range(request_number - 1):
            await peer.head()
            await peer.send(OK)
        await peer.head()
        if ending == "reset":
            peer.reset()

    return script


@pytest.mark.parametrize("ending", ["fin", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
@both_loops
async def test_an_idempotent_request_is_repeated_on_a_new_connection(method: bytes, ending: str) -> None:
    async with pair(dies_on(2, ending=ending)) as (it, server):
        await it.ask()
        sent = request(method, length=0 if method == b"PUT" else None)
        got = await it.ask(sent)
        assert (got.status, got.calls) == (200, ["answer"])
        assert [len(peer.heads) for peer in server.peers] == [2, 1]
        assert server.peers[0].heads[1] == server.peers[1].heads[0]


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"TRACE"])
@both_loops
async def test_any_other_request_is_not(method: bytes) -> None:
    async with pair(dies_on(2)) as (it, server):
        await it.ask()
        got = await it.ask(request(method))
        assert got.code is CLOSED
        assert len(server.peers) == 1


@both_loops
async def test_nor_is_one_whose_body_is_not_all_there() -> None:
    async with pair(dies_on(2)) as (it, server):
        await it.ask()
        got = await it.ask(request(b"PUT", length=5, body=b"ab", complete=False))
        assert got.code is CLOSED
        assert len(server.peers) == 1


@both_loops
async def test_nor_is_one_that_was_answered_in_part() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()
        await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")

    async with pair(script) as (it, server):
        await it.ask()
        got = await it.ask()
        assert (got.code, got.calls) == (CLOSED, ["interim", "failure"])
        assert len(server.peers) == 1


@both_loops
async def test_a_request_is_repeated_once_and_only_after_a_connection_was_used() -> None:
    async with pair(dies_on(1, connections=9)) as (it, server):
        assert (await it.ask()).code is CLOSED
        assert len(server.peers) == 1
    async with pair(dies_on(2)) as (it, server):
        await it.ask()
        server.script = dies_on(1, connections=9)
        assert (await it.ask()).code is CLOSED
        assert len(server.peers) == 2


@both_loops
async def test_a_repeated_request_takes_no_connection_that_was_used_before() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()
        if peer.number < 2:
            peer.close()
        await peer.send(OK)

    async with pair(script) as (it, server):
        first, second = it.start(), it.start()
        await until(lambda: first.over and second.over, "two connections were used")
        assert (await it.ask()).status == 200 or len(server.peers) == 3
        assert len(server.peers) == 3


@both_loops
async def test_a_failure_to_repeat_does_not_claim_that_nothing_was_delivered() -> None:
    async with serving(dies_on(2)) as server, client(server.port) as it:
        await it.ask()
        it.upstream._pool._dialler._port = 1  # type: ignore[attr-defined]
        got = await it.ask()
        assert got.code is CLOSED


@both_loops
async def test_a_post_does_not_trust_a_connection_that_was_idle_for_long() -> None:
    async with pair(serve, timeouts={"fresh_for": -1.0}) as (it, server):
        await it.ask()
        assert (await it.ask(request(b"POST", length=0))).status == 200
        assert len(server.peers) == 2
        await it.ask()
        assert it.upstream.connects == 2


@both_loops
async def test_old_connections_make_room_for_a_post_when_all_are_in_use() -> None:
    async with pair(serve, timeouts={"fresh_for": -1.0}, limits={"connections": 2}) as (it, server):
        for _ in range(5):
            assert (await it.ask(request(b"POST", length=0))).status == 200
        assert server.peak <= 2
        assert len(server.peers) == 5


@both_loops
async def test_an_idle_connection_closes_after_a_while_or_when_the_upstream_closes_it() -> None:
    async with pair(serve, timeouts={"keep_idle": 0.03}) as (it, server):
        await it.ask()
        await until(lambda: it.upstream.open == 0 and server.live == 0, "the idle connection is closed")
        await it.ask()
        assert len(server.peers) == 2
    async with pair(after(OK)) as (it, server):
        for number in (1, 2):
            await it.ask(request(b"POST", length=0))
            await until(lambda: it.upstream.open == 0, "the connection is gone")
            assert len(server.peers) == number


# -- timeouts ---------------------------------------------------------------------------------------

SOON = 0.03
LATE = {"first_byte": 30.0, "idle": 30.0, "pipe_idle": 30.0}


@pytest.mark.parametrize(
    ("timeouts", "deadline", "answer", "code"),
    [
        ({"first_byte": SOON}, None, b"", StreamCode.FIRST_BYTE_TIMEOUT),
        ({"first_byte": SOON}, None, LINE + b"Content-", StreamCode.FIRST_BYTE_TIMEOUT),
        ({"first_byte": SOON}, None, b"HTTP/1.1 100 Continue\r\n\r\n", StreamCode.FIRST_BYTE_TIMEOUT),
        ({"idle": SOON}, None, LINE + b"Content-Length: 5\r\n\r\nhell", StreamCode.IDLE_TIMEOUT),
        ({"idle": SOON}, None, CHUNKED, StreamCode.IDLE_TIMEOUT),
        ({"total": SOON}, None, b"", StreamCode.TOTAL_TIMEOUT),
        ({"total": SOON}, None, LINE + b"\r\nbody", StreamCode.TOTAL_TIMEOUT),
        ({}, SOON, b"", StreamCode.DEADLINE),
        ({}, SOON, LINE, StreamCode.DEADLINE),
        ({}, SOON, b"HTTP/1.1 100 Continue\r\n\r\n", StreamCode.DEADLINE),
        ({"pipe_idle": SOON}, None, SWITCH, StreamCode.IDLE_TIMEOUT),
    ],
)
@both_loops
async def test_each_timeout_has_its_name_and_closes_the_connection(
    timeouts: dict[str, float], deadline: float | None, answer: bytes, code: StreamCode
) -> None:
    async with pair(after(answer, "keep"), timeouts=LATE | timeouts) as (it, server):
        got = await it.ask(request(upgrade=b"echo"), deadline)
        assert got.code is code
        await until(lambda: server.live == 0 and it.upstream.open == 0, "the connection is closed")


@both_loops
async def test_timeouts_of_one_exchange_do_not_hit_the_next_on_the_connection() -> None:
    async with pair(serve, timeouts=LATE | {"first_byte": 0.1}) as (it, server):
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.4
        while loop.time() < end:
            assert (await it.ask(deadline=0.1)).failure is None
        assert len(server.peers) == 1


@both_loops
async def test_a_deadline_and_a_total_do_not_cut_what_has_begun_or_was_upgraded() -> None:
    async with pair(after(LINE + b"\r\nbegun", "keep"), timeouts=LATE) as (it, _):
        got = it.start(deadline=SOON)
        await until(lambda: got.body, "the head")
        await asyncio.sleep(5 * SOON)
        assert not got.over
        assert got.call is not None
        got.call.cancel()
    async with pair(after(SWITCH, "keep"), timeouts=LATE | {"total": 0.1, "idle": 0.1}) as (it, _):
        got = it.start(request(upgrade=b"echo"), deadline=0.1)
        await until(lambda: got.status, "101")
        await asyncio.sleep(0.3)
        assert not got.over
        assert got.call is not None
        got.call.cancel()


@both_loops
async def test_the_first_byte_is_not_awaited_while_the_request_is_being_sent() -> None:
    async with pair(upload, timeouts=LATE | {"first_byte": 0.1}) as (it, _):
        got = it.start(request(b"PUT", length=31, complete=False))
        assert got.call is not None
        for _ in range(30):
            got.call.body(b"x")
            await asyncio.sleep(0.01)
        assert not got.over
        got.call.body(b".")
        await until(lambda: got.over, "the answer")
        assert got.status == 200


@both_loops
async def test_a_request_body_that_stops_is_idle() -> None:
    async with pair(silent, timeouts=LATE | {"idle": SOON, "first_byte": 0.001}) as (it, _):
        got = await it.ask(request(b"PUT", length=5, body=b"ab", complete=False))
        assert got.code is StreamCode.IDLE_TIMEOUT


@both_loops
async def test_each_interim_answer_starts_the_wait_anew() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(10):
            await asyncio.sleep(0.04)
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await peer.send(OK)
        await peer.until_gone()

    async with pair(script, timeouts=LATE | {"first_byte": 0.25}) as (it, _):
        got = await it.ask()
        assert (got.status, len(got.interims)) == (200, 10)


@both_loops
async def test_a_paused_answer_is_not_idle() -> None:
    async with pair(after(LINE + b"Content-Length: 5\r\n\r\nhell", "keep"), timeouts=LATE | {"idle": SOON}) as (
        it,
        _,
    ):
        got = it.start()
        got.hook = lambda name: got.call.pause() if got.call and name == "answer" else None
        await until(lambda: got.status, "the head")
        await asyncio.sleep(5 * SOON)
        assert not got.over
        assert got.call is not None
        got.call.resume()
        await until(lambda: got.over, "the idle timeout")
        assert got.code is StreamCode.IDLE_TIMEOUT


# -- backpressure -----------------------------------------------------------------------------------


@both_loops
async def test_an_upstream_that_does_not_read_stops_the_body() -> None:
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await read.wait()
        size = 0
        while size < 20_000_000:
            size += len(await peer.reader.read(1 << 20))
        await peer.send(OK)
        await peer.until_gone()

    async with pair(script) as (it, _):
        got = it.start(request(b"PUT", length=20_000_000, complete=False))
        await until(lambda: got.writable, "the connection")
        assert got.call is not None
        left = 200
        while left and got.call.body(b"x" * 100_000):
            left -= 1
            await asyncio.sleep(0)
        left -= 1
        assert left > 0
        before = got.writable
        read.set()
        while left:
            await until(lambda: got.writable > before, "the upstream reads again")
            before = got.writable
            while left and got.call.body(b"x" * 100_000):
                left -= 1
            left -= 1 if left else 0
        await until(lambda: got.over, "the answer")
        assert got.status == 200


@both_loops
async def test_a_paused_answer_is_not_read() -> None:
    size = 30_000_000

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(LINE + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        await peer.until_gone()

    async with pair(script) as (it, _):
        got = it.start()
        got.hook = lambda _: got.call.pause() if got.call else None
        await until(lambda: got.status, "the head")
        have = len(got.body)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(got.body) <= have + 1_000_000
        for _ in range(3):
            have = len(got.body)
            assert got.call is not None
            got.call.resume()
            got.call.resume()
            await until(lambda have=have: len(got.body) > have, "more")  # type: ignore[misc]
        got.hook = None
        got.call.resume()
        await until(lambda: got.over, "the end")
        assert len(got.body) == size
        got.call.pause()
        got.call.resume()
        assert (await it.ask()).length == size


@both_loops
async def test_a_call_that_waits_keeps_its_body_and_says_when_it_goes_on() -> None:
    async with pair(upload, limits={"connections": 1}) as (it, server):
        first = it.start(request(b"PUT", length=2, body=b"a", complete=False))
        await until(lambda: first.writable, "the first has the connection")
        second = it.start(request(b"PUT", chunked=True, body=b"1", complete=False))
        third = it.start(request(b"PUT", chunked=True, body=b"2", complete=False))
        assert first.call is not None
        assert second.call is not None
        assert third.call is not None
        assert second.call.body(b"3") is False
        third.call.body(b"4.")
        third.call.body_end([])
        assert not second.call.dispatched
        first.call.body(b".")
        await until(lambda: second.writable, "the second goes on")
        second.call.body(b".")
        second.call.body_end([])
        await until(lambda: third.over, "the third is answered")
        assert first.body == b"a."
        assert second.body == b"1\r\n1\r\n1\r\n3\r\n1\r\n.\r\n0\r\n\r\n"
        assert third.body == b"1\r\n2\r\n2\r\n4.\r\n0\r\n\r\n"
        assert third.writable == 0
        assert len(server.peers) == 1


# -- requests that must not be sent -----------------------------------------------------------------


@both_loops
async def test_an_invalid_request_reaches_nobody() -> None:
    async with pair(serve) as (it, server):
        got = await it.ask(request(fields=[b"X", b"a\r\nHost: evil"]))
        assert got.code is StreamCode.INVALID_REQUEST
        assert got.call is not None
        assert not got.call.dispatched
        assert server.peers == []
        cancelled = it.start(request(target=b"no path"))
        assert cancelled.call is not None
        cancelled.call.cancel()
        await asyncio.sleep(0)
        assert cancelled.calls == []


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize(("pieces", "chunked"), [([b"abc", b"def"], False), ([b"abc", None], False)])
@both_loops
async def test_a_body_of_another_length_than_announced_is_never_completed(
    pieces: list[bytes | None], chunked: bool, waiting: bool
) -> None:
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        received.append(await peer.until_gone())

    async with pair(script) as (it, _):
        got = it.start(request(b"POST", length=5, complete=False))
        if not waiting:
            await until(lambda: got.writable, "the connection")
        assert got.call is not None
        for piece in pieces:
            if piece is None:
                got.call.body_end([])
            else:
                got.call.body(piece)
        assert got.failure is None  # never inside the call
        await until(lambda: got.over, "the refusal")
        assert got.code is StreamCode.INVALID_REQUEST
        await until(lambda: waiting or received, "the connection is closed")
        assert received in ([], [b""], [b"abc"])


@both_loops
async def test_a_body_that_goes_on_after_its_end_does_not_claim_that_nothing_was_delivered() -> None:
    async with pair(silent) as (it, _):
        got = it.start(request(b"POST", length=3, body=b"abc"))
        await until(lambda: it.upstream.busy, "the connection")
        assert got.call is not None
        got.call.body(b"d")
        await until(lambda: got.over, "the refusal")
        assert got.code is StreamCode.CANCELLED


# -- cancelling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "stage"),
    [
        (b"", None),
        (b"HTTP/1.1 103 E\r\n\r\n" * 2 + OK, "interim"),
        (LINE + b"Content-Length: 9\r\n\r\npart", "answer"),
        (LINE + b"\r\npart", "answer"),
        (SWITCH + b"raw", "answer"),
        (OK, "answer"),
    ],
)
@both_loops
async def test_cancel_in_a_callback_or_before_closes_the_connection_at_once(
    answer: bytes, stage: str | None
) -> None:
    async with pair(after(answer, "keep")) as (it, server):
        got = it.start(request(upgrade=b"echo"))

        def cancel(name: str) -> None:
            if name == stage and got.call is not None:
                got.call.cancel()

        got.hook = cancel
        await until(lambda: server.heads, "the request is there")
        assert got.call is not None
        if stage is None:
            got.call.cancel()
        await until(lambda: got.call and got.call.cancelled, "it was cancelled")
        if not got.ended:
            await until(lambda: server.live == 0 and it.upstream.open == 0, "the connection is closed")
        assert got.calls == ([] if stage is None else [stage])
        got.call.cancel()
        assert got.call.body(b"x") is True


@pytest.mark.parametrize("ending", [b"", b"0\r\n\r\n"])
@both_loops
async def test_cancel_while_the_body_comes(ending: bytes) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED)
        await go.wait()
        await peer.send(b"2\r\nok\r\n" + ending)
        await peer.until_gone()

    async with pair(script) as (it, server):
        got = it.start()
        await until(lambda: got.status, "the head")
        got.hook = lambda _: got.call.cancel() if got.call else None
        go.set()
        await until(lambda: server.live == 0, "the connection is closed")
        assert got.calls == ["answer", "body"]


@both_loops
async def test_cancel_frees_the_place_for_the_next() -> None:
    async with pair(silent, limits={"connections": 1}) as (it, server):
        first, second, third = (it.start() for _ in range(3))
        await until(lambda: it.upstream.busy, "the first is sent")
        assert first.call is not None
        assert second.call is not None
        assert third.call is not None
        second.call.cancel()
        assert not second.call.dispatched
        assert it.upstream.waiting == 1
        server.script = serve
        first.call.cancel()
        await until(lambda: third.over, "the third is answered")
        assert (server.peak, len(server.peers), first.calls, second.calls) == (1, 2, [], [])


@both_loops
async def test_cancel_while_connecting_leaves_nothing() -> None:
    async with pair(serve) as (it, server):
        for _ in range(20):
            got = it.start()
            assert got.call is not None
            got.call.cancel()
            assert not got.call.dispatched
        await until(lambda: it.upstream._pool.slots.opening == 0, "the attempt is over")
        assert server.heads == []
        assert it.upstream.open <= 1
        await it.ask()
        assert it.upstream.reuse <= 1


# -- connecting, waiting ----------------------------------------------------------------------------


@both_loops
async def test_a_refused_connection() -> None:
    async with serving(serve) as server:
        port = server.port
    async with client(port) as it:
        results = [it.start() for _ in range(5)]
        await until(lambda: all(got.over for got in results), "all failed")
        assert {got.failure for got in results} == {(StreamCode.CONNECT_FAILED, "connection refused")}
        assert not any(got.call is None or got.call.dispatched for got in results)
        assert it.upstream.connect_failures == 5


class Stuck(Resolver):
    """Never finds an address, like a connection attempt into a black hole."""

    async def addresses(self) -> list[Any]:
        await asyncio.Event().wait()
        return []


@both_loops
async def test_an_attempt_that_hangs_holds_up_nobody_else() -> None:
    async with (
        client(1, resolver=Stuck("v.example"), timeouts={"connect": 0.2}) as stuck,
        pair(serve) as (it, _),
    ):
        hanging = stuck.start()
        for _ in range(20):
            assert (await it.ask()).status == 200
        assert not hanging.over
        await until(lambda: hanging.over, "the connect timeout")
        assert hanging.code is StreamCode.CONNECT_TIMEOUT


@both_loops
async def test_the_deadline_bounds_connecting() -> None:
    async with client(1, resolver=Stuck("v.example")) as it:
        got = await it.ask(deadline=SOON)
        assert got.failure == (StreamCode.CONNECT_TIMEOUT, "no connection in time")
        assert got.call is not None
        assert not got.call.dispatched


@pytest.mark.parametrize(("timeouts", "deadline"), [({"wait": SOON}, None), ({}, SOON), ({"total": SOON}, None)])
@both_loops
async def test_waiting_for_a_busy_upstream_is_bounded(timeouts: dict[str, float], deadline: float | None) -> None:
    async with pair(silent, limits={"connections": 1}, timeouts=timeouts) as (it, _):
        first = it.start()
        await until(lambda: it.upstream.busy, "the connection is busy")
        got = await it.ask(deadline=deadline)
        assert got.failure == (StreamCode.OVERLOADED, "no connection became free in time")
        assert got.call is not None
        assert not got.call.dispatched
        assert first.call is not None
        first.call.cancel()


@both_loops
async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    async with pair(serve) as (it, server):
        assert (await it.ask(deadline=0.0)).code is StreamCode.NOT_DISPATCHED
        assert server.peers == []


@both_loops
async def test_the_waiting_list_is_bounded() -> None:
    async with pair(silent, limits={"connections": 1, "waiting": 2}) as (it, _):
        results = [it.start() for _ in range(5)]
        await until(lambda: sum(got.over for got in results) == 2, "two are refused")
        assert [got.code for got in results] == [None, None, None, StreamCode.OVERLOADED, StreamCode.OVERLOADED]
        assert it.upstream.waiting == 2


@both_loops
async def test_waiting_calls_are_served_in_order() -> None:
    async with pair(serve, limits={"connections": 1}) as (it, server):
        results = [it.start(request(target=b"/%d" % number)) for number in range(20)]
        await until(lambda: all(got.over for got in results), "all are answered")
        assert [head.split()[1] for head in server.heads] == [b"/%d" % number for number in range(20)]


@pytest.mark.parametrize("seed", range(3))
@both_loops
async def test_under_any_schedule_the_bound_holds_and_no_answer_goes_astray(seed: int) -> None:
    rng = random.Random(seed)

    async def script(peer: Peer) -> None:
        while True:
            target = (await peer.head()).split()[1]
            await asyncio.sleep(rng.choice([0, 0, 0, 0.002]))
            kind = rng.random()
            if kind < 0.05:
                peer.reset()
                return
            if kind < 0.1:
                await peer.send(b"garbage")
                return
            if kind < 0.2:
                await peer.send(LINE + b"\r\n" + target)
                return
            if kind < 0.3:
                await peer.send(CHUNKED + b"%x\r\n%b\r\n" % (len(target), target))
                await asyncio.sleep(0.001)
                await peer.send(b"0\r\n\r\n")
                continue
            if kind < 0.35:
                await peer.send(LINE + b"Content-Length: 500\r\n\r\n" + target)
                return
            await peer.send(LINE + b"Content-Length: %d\r\n\r\n%b" % (len(target), target))

    async with pair(script, limits={"connections": 5, "waiting": 30}) as (it, server):
        results: list[Recorder] = []
        for number in range(400):
            got = it.start(request(rng.choice([b"GET", b"POST"]), b"/%d" % number))
            results.append(got)
            assert got.call is not None
            if rng.random() < 0.1:
                got.call.cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
            if rng.random() < 0.1:
                victim = rng.choice(results).call
                assert victim is not None
                victim.cancel()
            assert it.upstream.open <= 5
        await until(lambda: all(got.over or (got.call and got.call.cancelled) for got in results), "all are over")
        assert server.peak <= 5
        for number, got in enumerate(results):
            if got.ended:
                assert got.body == b"/%d" % number
        assert sum(got.ended for got in results) > 100
        await settled(it)


# -- closing, mistakes ------------------------------------------------------------------------------


@both_loops
async def test_close_ends_everything_by_name() -> None:
    async with pair(silent, limits={"connections": 1}) as (it, server):
        running, waiting = it.start(), it.start()
        await until(lambda: it.upstream.busy, "one runs")
        await it.upstream.close()
        assert (running.code, waiting.code) == (StreamCode.CANCELLED, StreamCode.NOT_DISPATCHED)
        assert it.upstream.open == 0
        late = await it.ask()
        assert late.code is StreamCode.NOT_DISPATCHED
        await until(lambda: server.live == 0, "the connection is closed")


@both_loops
async def test_close_while_connecting() -> None:
    async with client(1, resolver=Stuck("v.example")) as it:
        got = it.start()
        await asyncio.sleep(0)
        await it.upstream.close()
        assert got.code is StreamCode.NOT_DISPATCHED


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize("answer", [OK, LINE + b"Content-Length: 9\r\n\r\npart"])
def test_a_receivers_mistake_is_reported_and_hurts_no_other_call(loop_kind: str, answer: bytes) -> None:
    import uvloop

    async def whole() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with pair(lambda peer: peer.serve(answer), limits={"connections": 1}) as (it, _):
            bad, good = it.start(), it.start()

            def fail(name: str) -> None:
                if name == "answer":
                    raise ZeroDivisionError

            bad.hook = fail
            await until(lambda: good.status, "the other call is answered")
            assert good.body == answer.partition(b"\r\n\r\n")[2]
            assert bad.over
            assert [type(context["exception"]) for context in complaints] == [ZeroDivisionError]
            if not good.over:
                assert bad.code is StreamCode.INTERNAL
                assert good.call is not None
                good.call.cancel()

    factory = uvloop.new_event_loop if loop_kind == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(whole())


# -- TLS --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCA:
    return PrivateCA(tmp_path_factory.mktemp("ca"))


@both_loops
async def test_tls_with_an_own_authority_and_a_client_certificate(ca: PrivateCA) -> None:
    own = ca.issue("agent.example")
    context = tls_context(ca.ca_file, own.certificate, own.key)
    server_tls = ca.server_context(ask_client=True)
    async with pair(serve, server_tls=server_tls, tls=context) as (it, server):
        for _ in range(3):
            assert (await it.ask()).body == b"ok"
        assert (len(server.peers), it.upstream.reuse) == (1, 2)
        assert server.heads[0].startswith(b"GET /x HTTP/1.1\r\nHost: " + HOST)


@both_loops
async def test_tls_for_another_name_than_the_address(ca: PrivateCA) -> None:
    server_tls = ca.server_context(ca.issue("visits.internal"))
    async with pair(serve, server_tls=server_tls, tls=tls_context(ca.ca_file), server_name="visits.internal") as (
        it,
        _,
    ):
        assert (await it.ask()).status == 200


async def tls_failure(server_tls: Any, script: Any = serve, **settings: Any) -> tuple[StreamCode, str]:
    async with pair(script, server_tls=server_tls, **settings) as (it, server):
        got = await it.ask()
        assert got.failure is not None
        assert server.heads == []
        await until(lambda: server.live == 0 and it.upstream.open == 0, "the connection is closed")
        return got.failure


@both_loops
async def test_tls_certificates_that_do_not_verify(ca: PrivateCA, tmp_path: Path) -> None:
    other = PrivateCA(tmp_path / "other")
    code, detail = await tls_failure(ca.server_context(), tls=tls_context(other.ca_file))
    assert (code, detail) == (
        StreamCode.UPSTREAM_TLS,
        "certificate comes from an authority that is not trusted",
    )
    wrong_name = ca.server_context(ca.issue("another.example"))
    code, detail = await tls_failure(wrong_name, tls=tls_context(ca.ca_file), server_name="visits.internal")
    assert (code, detail) == (
        StreamCode.UPSTREAM_TLS,
        "certificate is not valid for the configured name",
    )
    assert (await tls_failure(wrong_name, tls=tls_context(ca.ca_file)))[0] is StreamCode.UPSTREAM_TLS


@both_loops
async def test_tls_without_the_client_certificate_that_the_upstream_requires(ca: PrivateCA) -> None:
    failure = await tls_failure(ca.server_context(ask_client=True), tls=tls_context(ca.ca_file))
    assert failure == (StreamCode.UPSTREAM_TLS, "the upstream requires a client certificate")


@both_loops
async def test_tls_to_a_port_that_speaks_plain_http(ca: PrivateCA) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    failure = await tls_failure(None, plain, tls=tls_context(ca.ca_file))
    assert failure == (StreamCode.UPSTREAM_TLS, "the upstream does not speak TLS on this port")


@both_loops
async def test_tls_handshakes_that_hang_or_are_cut_off(ca: PrivateCA) -> None:
    failure = await tls_failure(None, silent, tls=tls_context(ca.ca_file), timeouts={"connect": 0.1})
    assert failure == (StreamCode.CONNECT_TIMEOUT, "no connection in time")

    async def cut(peer: Peer) -> None:
        await peer.reader.read(10)

    failure = await tls_failure(None, cut, tls=tls_context(ca.ca_file))
    assert failure == (StreamCode.UPSTREAM_TLS, "the upstream ended the TLS handshake")


@both_loops
async def test_tls_tells_the_end_of_an_answer_from_a_cut(ca: PrivateCA) -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        await peer.send(LINE + b"\r\nbody")
        if b"/cut" in head:
            await until(lambda: seen(), "the agent has the body")
            peer.writer.transport.abort()  # FIN without close_notify

    async with pair(script, server_tls=ca.server_context(), tls=tls_context(ca.ca_file)) as (it, _):
        whole = await it.ask()
        assert (whole.body, whole.ended) == (b"body", True)
        cut = it.start(request(target=b"/cut"))
        seen = lambda: cut.body  # noqa: E731
        await until(lambda: cut.over, "the end")
        assert cut.code is TRUNCATED


@both_loops
async def test_tls_pipes_end_both_ways_at_once(ca: PrivateCA) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH + b"hi")

    async with pair(script, server_tls=ca.server_context(), tls=tls_context(ca.ca_file)) as (it, _):
        got = it.start(request(upgrade=b"echo"))
        await until(lambda: got.over, "the end")
        assert (got.body, got.ended) == (b"hi", True)
        await until(lambda: got.unwanted, "the other direction is over too")


@both_loops
async def test_tls_carries_big_bodies_both_ways_with_backpressure(ca: PrivateCA) -> None:
    size = 3_000_000

    async def script(peer: Peer) -> None:
        await peer.head()
        body = await peer.reader.readexactly(size)
        await peer.send(LINE + b"Content-Length: %d\r\n\r\n" % size + body)
        await peer.until_gone()

    data = random.Random(2).randbytes(size)
    async with pair(script, server_tls=ca.server_context(), tls=tls_context(ca.ca_file)) as (it, _):
        got = it.start(request(b"PUT", length=size, complete=False))
        assert got.call is not None
        for start in range(0, size, 50_000):
            before = got.writable
            if not got.call.body(data[start : start + 50_000]):
                await until(lambda before=before: got.writable > before, "the upstream reads")  # type: ignore[misc]
        await until(lambda: got.over, "the answer")
        assert got.body == data
