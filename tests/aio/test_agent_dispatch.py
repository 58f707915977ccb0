"""What the agent answers to a RESET: NOT_DISPATCHED exactly while no byte can have reached the upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import StreamCode
from tests.support.agent import HandLink, agent_config, make_agent
from tests.unit.egress.harness import OK, Peer, Script, Server, both_loops, serving, silent, until
from tunnel_agent.egress.dial import Dialler

DISPATCHED, NOT_DISPATCHED = StreamCode.NO_ERROR, StreamCode.NOT_DISPATCHED


@contextlib.asynccontextmanager
async def linked(folder: Path, script: Script, **service: Any) -> AsyncIterator[tuple[HandLink, Server]]:
    async with serving(script) as server:
        config = agent_config(folder, f"http://127.0.0.1:{server.port}", services={"visits": service})
        agent = make_agent(config)
        try:
            yield HandLink(agent).establish(), server
        finally:
            await agent.services["visits"].upstream.close()
            agent.wheel.close()


@both_loops
async def test_a_request_that_was_sent_is_dispatched(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, server):
        stream = link.open()
        link.turn()
        await until(lambda: server.peers, "the request is sent")
        link.reset(stream)
        assert link.confirmed == [DISPATCHED]


@both_loops
async def test_one_that_waits_for_a_connection_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(Dialler, "connect", hang)
    async with linked(tmp_path, silent) as (link, _):
        stream = link.open()
        link.turn()
        await asyncio.sleep(0)
        link.reset(stream)
        assert link.confirmed == [NOT_DISPATCHED]


@both_loops
async def test_one_behind_a_busy_connection_is_not_until_it_gets_it(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await go.wait()
            go.clear()
            await peer.send(OK)

    async with linked(tmp_path, script, max_connections=1) as (link, server):
        first, waits, served = link.open(), link.open(method=b"POST"), link.open()
        link.turn()
        await until(lambda: server.heads, "the first request is sent")
        link.reset(waits)
        assert link.confirmed == [NOT_DISPATCHED]
        go.set()
        await until(lambda: len(server.heads) == 2, "the third request has the connection")
        link.reset(served)
        assert link.confirmed == [NOT_DISPATCHED, DISPATCHED]
        assert first.closed


@both_loops
async def test_one_whose_first_write_failed_stays_dispatched_while_it_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The idle connection turns out to be closed; its upstream may have acted before it closed it."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()

    async def hang(*_: Any) -> Any:
        await asyncio.sleep(60)

    async with linked(tmp_path, script) as (link, server):
        link.open()
        link.turn()
        upstream = link.agent.services["visits"].upstream
        await until(lambda: upstream.idle == 1, "the first is answered")
        monkeypatch.setattr(Dialler, "connect", hang)
        stream = link.open()
        link.turn()
        await until(lambda: upstream.waiting == 1, "the second waits for another connection")
        assert len(server.heads) == 2
        link.reset(stream)
        assert link.confirmed == [DISPATCHED]


@both_loops
async def test_one_that_failed_in_the_writing_counts_as_dispatched(tmp_path: Path) -> None:
    class Broken:
        """A transport whose write fails, as uvloop's does when the connection was closed meanwhile."""

        def is_closing(self) -> bool:
            return False

        def write(self, _: bytes) -> None:
            raise RuntimeError("the transport is closed")

    async with linked(tmp_path, silent) as (link, _):
        stream = link.open()
        [event] = link.session.receive(link.hub.data_to_send([]), link.loop.time())
        upstream = link.agent.services["visits"].upstream
        pool: Any = upstream._pool
        connection = pool._new_connection()
        connection._transport = Broken()
        pool.slots.open += 1
        pool.slots.idle[connection] = link.loop.time()
        with pytest.raises(RuntimeError):
            link.agent.on_opened(link, event)  # type: ignore[arg-type]
        assert link.session.streams[stream.id].dispatched
        pool.slots.open -= 1
