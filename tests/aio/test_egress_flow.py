"""Timeouts and backpressure of the egress."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import StreamCode
from tests.unit.egress.harness import (
    CHUNKED,
    LINE,
    OK,
    SWITCH,
    Peer,
    after,
    both_loops,
    pair,
    request,
    serve,
    silent,
    until,
    upload,
)

# -- timeouts ----------------------------------------------------------------------------------------

SOON = 0.2
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
    async with pair(serve, timeouts=LATE | {"first_byte": 0.5}) as (it, server):
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.2
        while loop.time() < end:
            assert (await it.ask(deadline=0.5)).failure is None
        assert len(server.peers) == 1


@both_loops
async def test_a_deadline_and_a_total_do_not_cut_what_has_begun_or_was_upgraded() -> None:
    async with pair(after(LINE + b"\r\nbegun", "keep"), timeouts=LATE) as (it, _):
        got = it.start(deadline=0.3)
        await until(lambda: got.body, "the head")
        await asyncio.sleep(0.6)
        assert not got.over
        assert got.call is not None
        got.call.cancel()
    async with pair(after(SWITCH, "keep"), timeouts=LATE | {"total": 0.3, "idle": 0.3}) as (it, _):
        got = it.start(request(upgrade=b"echo"), deadline=0.3)
        await until(lambda: got.status, "101")
        await asyncio.sleep(0.6)
        assert not got.over
        assert got.call is not None
        got.call.cancel()


@both_loops
async def test_the_first_byte_is_not_awaited_while_the_request_is_being_sent() -> None:
    async with pair(upload, timeouts=LATE | {"first_byte": 0.3}) as (it, _):
        got = it.start(request(b"PUT", length=31, complete=False))
        assert got.call is not None
        for _ in range(30):
            got.call.body(b"x")
            await asyncio.sleep(0.02)
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


# -- backpressure ------------------------------------------------------------------------------------


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
            await it.writable(got, before)
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
        await peer.serve(LINE + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)

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
            await it.body_beyond(got, have)
        got.hook = None
        assert got.call is not None
        got.call.resume()
        await until(lambda: got.over, "the end")
        assert len(got.body) == size
        assert got.call is not None
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
