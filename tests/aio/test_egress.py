"""The egress against scripted servers on loopback: exact bytes in, exact bytes out, on both event loops."""

from __future__ import annotations

import asyncio
import random

import pytest

from protocol.errors import StreamCode
from tests.unit.egress.harness import (
    CHUNKED,
    LINE,
    OK,
    SWITCH,
    Peer,
    Recorder,
    after,
    both_loops,
    pair,
    request,
    serve,
    silent,
    until,
    upload,
)

# -- ordinary exchanges ------------------------------------------------------------------------------


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
            await it.end_of(got)
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
        for _ in range(2):
            await it.ask(request(b"PUT", chunked=True, body=b"x."))
        assert len(server.peers) == 2, "the connection that carried trailers is not used again"


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


# -- answers that end in other ways ------------------------------------------------------------------


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
    idle = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await idle.wait()
        await peer.send(OK)
        await peer.until_gone()

    async with pair(script) as (it, server):
        await it.ask()
        assert it.upstream.idle == 1
        idle.set()
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
        for size, piece in enumerate((b"a", b"b", b"c")):
            assert got.call is not None
            got.call.body(piece)
            await it.body_beyond(got, size)
        await until(lambda: got.over, "the end")
        assert not got.unwanted
        await it.ask()
        assert len(server.peers) == 1


# -- upgrades ----------------------------------------------------------------------------------------


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


# -- requests that must not be sent ------------------------------------------------------------------


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
        assert got.code is (StreamCode.INVALID_REQUEST if waiting else StreamCode.CANCELLED)
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
