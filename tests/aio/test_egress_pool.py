"""Connections of the egress: stale ones, cancelled ones, refused ones, and the calls that wait for them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from protocol.errors import StreamCode
from tests.unit.egress.harness import (
    CHUNKED,
    LINE,
    OK,
    SWITCH,
    Client,
    Peer,
    Recorder,
    after,
    both_loops,
    client,
    pair,
    request,
    serve,
    serving,
    silent,
    sockets_to,
    until,
)
from tunnel_agent.egress.dial import Dialler
from tunnel_agent.egress.resolve import Resolver

CLOSED = StreamCode.UPSTREAM_CLOSED
SOON = 0.03


async def settled(it: Client) -> None:
    """Every connection is idle or gone."""
    await until(lambda: it.upstream.open == it.upstream.idle, "no connection is busy or closing")


# -- connections that turn out to be closed ----------------------------------------------------------


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
        it.upstream._pool._dialler._port = 1
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
            assert it.upstream.open <= 2
        assert len(server.peers) == 5


@both_loops
async def test_a_connection_known_to_be_closing_is_not_used() -> None:
    async with pair(serve) as (it, server):
        await it.ask()
        (connection,) = it.upstream._pool._connections
        assert connection._transport is not None
        connection._transport.abort()  # as after a failed write; connection_lost comes in a later turn
        got = await it.ask(request(b"POST", length=0))
        assert got.status == 200
        assert len(server.peers) == 2


@both_loops
async def test_a_connection_that_is_lost_at_once_is_a_failure_to_connect() -> None:
    class Losing(Dialler):
        async def connect(self, factory: Any) -> Any:
            connection = await super().connect(factory)
            connection._transport.abort()
            await asyncio.sleep(0.01)
            return connection

    async with pair(serve) as (it, _):
        it.upstream._pool._dialler.__class__ = Losing
        got = await it.ask()
        assert got.failure == (StreamCode.CONNECT_FAILED, "connection reset")
        assert got.call is not None
        assert not got.call.dispatched


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


# -- cancelling --------------------------------------------------------------------------------------


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
        assert (len(server.peers), first.calls, second.calls) == (2, [], [])


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


# -- connecting, waiting -----------------------------------------------------------------------------


@both_loops
async def test_a_refused_connection() -> None:
    async with serving(serve) as server:
        port = server.port
    async with client(port) as it:
        results = [it.start() for _ in range(5)]
        await until(lambda: all(got.over for got in results), "all failed")
        assert {got.failure for got in results} == {(StreamCode.CONNECT_FAILED, "connection refused")}
        assert not any(got.call is None or got.call.dispatched for got in results)
        assert it.upstream.connect_failures.total() == 5


class Stuck(Resolver):
    """Never finds an address, like a connection attempt into a black hole."""

    async def addresses(self) -> list[Any]:
        await asyncio.Event().wait()
        return []


@both_loops
async def test_an_attempt_that_hangs_holds_up_nobody_else() -> None:
    async with (
        client(1, resolver=Stuck("v.example"), timeouts={"connect": 1.0}) as stuck,
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


@pytest.mark.parametrize(("timeouts", "deadline"), [({"wait": SOON}, None), ({}, SOON)])
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
        await until(lambda: it.upstream.busy and sum(got.over for got in results) == 2, "two are refused")
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

    async with pair(script, limits={"connections": 5, "waiting": 400}) as (it, server):
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
            if number % 10 == 0:
                assert sockets_to(server.port) <= 5
        await until(lambda: all(got.over or (got.call and got.call.cancelled) for got in results), "all are over")
        for number, got in enumerate(results):
            if got.ended:
                assert got.body == b"/%d" % number
        assert sum(got.ended for got in results) > 100
        await settled(it)


# -- closing, mistakes -------------------------------------------------------------------------------


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


@both_loops
async def test_close_tells_first_what_was_refused() -> None:
    async with pair(serve) as (it, _):
        got = it.start(request(target=b"no path"))
        await it.upstream.close()
        assert got.code is StreamCode.INVALID_REQUEST


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
