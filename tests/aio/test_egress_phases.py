"""What the egress says of a call's time: waiting for a connection, opening one, waiting for the answer's head."""

from __future__ import annotations

import asyncio

from protocol.errors import StreamCode
from tests.unit.egress.harness import OK, Peer, both_loops, client, request, serve, serving, until, upload

PAUSE = 0.05
"""Seconds that scripts below take; at most half of it is asked for."""
HALF = PAUSE * 1e6 / 2


async def slow(peer: Peer) -> None:
    while await peer.head():
        await asyncio.sleep(PAUSE)
        await peer.send(OK)


@both_loops
async def test_a_kept_connection_costs_neither_queue_nor_connect() -> None:
    async with serving(serve) as server, client(server.port) as it:
        first, second = await it.ask(), await it.ask()
        assert first.call is not None
        assert second.call is not None
        _, connect, _ = first.call.phases(0.0)
        assert connect > 0
        queue, connect, first_byte = second.call.phases(0.0)
        assert connect == 0
        assert queue >= 0
        assert first_byte > 0


@both_loops
async def test_who_waits_for_a_connection_waits_in_the_queue() -> None:
    async with serving(slow) as server, client(server.port, limits={"connections": 1}) as it:
        first, second = it.start(), it.start()
        await it.end_of(first)
        await it.end_of(second)
        assert first.call is not None
        assert second.call is not None
        assert first.call.phases(0.0)[2] > HALF
        queue, connect, first_byte = second.call.phases(0.0)
        assert queue > HALF
        assert first_byte > HALF
        assert connect < queue


@both_loops
async def test_the_upstream_is_not_charged_for_a_body_that_is_still_to_come() -> None:
    async with serving(upload) as server, client(server.port) as it:
        sent = it.start(request(b"POST", length=2, complete=False))
        call = sent.call
        assert call is not None
        await until(lambda: call.begun_at, "a connection")
        await asyncio.sleep(PAUSE)
        call.body(b"k.")
        await it.end_of(sent)
        assert call.sent_at - call.begun_at > PAUSE / 2
        assert call.phases(0.0) == call.phases(call.head_at)
        assert call.phases(0.0)[2] == int((call.head_at - call.sent_at) * 1e6)


@both_loops
async def test_a_call_that_fails_says_how_far_it_came() -> None:
    async with serving(serve) as server:
        port = server.port
    async with client(port) as it:
        refused = await it.ask()
        assert refused.code is StreamCode.CONNECT_FAILED
        assert refused.call is not None
        assert refused.call.connecting > 0
        queue, connect, first_byte = refused.call.phases(refused.call.queued_at + 100.0)
        assert connect > 0
        assert abs(queue + connect - 100_000_000) <= 1
        assert first_byte == 0
