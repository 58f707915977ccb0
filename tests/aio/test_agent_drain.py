"""Draining at the agent: what the hub opened before it heard of it is served, nothing after; nothing is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import SessionCode, StreamCode
from protocol.events import Answered, PeerDraining, StreamReset
from tests.support.agent import HandLink, agent_config, make_agent
from tests.unit.egress.harness import OK, Peer, Script, Server, both_loops, serving, silent, until
from tunnel_agent import agent as module

LONG = 20.0


@contextlib.asynccontextmanager
async def linked(folder: Path, script: Script, **service: Any) -> AsyncIterator[tuple[HandLink, Server]]:
    async with serving(script) as server:
        agent = make_agent(agent_config(folder, f"http://127.0.0.1:{server.port}", services={"visits": service}))
        try:
            yield HandLink(agent).establish(), server
        finally:
            await agent.services["visits"].upstream.close()
            agent.wheel.close()


def draining(link: HandLink, patience: float = LONG) -> asyncio.Task[None]:
    return asyncio.create_task(link.agent.drain(patience))


async def ticking(link: HandLink, task: asyncio.Task[None]) -> None:
    """Carry frames until the drain is over."""
    while not task.done():
        link.turn()
        await asyncio.sleep(0.002)
    task.result()


@both_loops
async def test_a_request_that_crosses_the_first_step_is_served(tmp_path: Path) -> None:
    async with linked(tmp_path, lambda peer: peer.serve()) as (link, _):
        task = draining(link)
        await asyncio.sleep(0.05)
        assert not link.session.drain_heard
        link.open()  # the hub has not read the DRAIN yet
        await ticking(link, task)
        assert [event.status for event in link.of(Answered)] == [200]
        assert [event.last for event in link.of(PeerDraining)] == [None, 1]
        assert link.end == (SessionCode.SHUTDOWN, "the agent is shutting down")


@both_loops
async def test_the_second_step_follows_as_soon_as_the_first_was_heard(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, _):
        link.open()
        link.turn()
        task = draining(link)
        await asyncio.sleep(0.05)
        assert link.session.drained_at is None
        link.turn()
        await until(lambda: link.session.drained_at is not None, "the second step")
        assert not task.done()
        task.cancel()


@both_loops
async def test_a_hub_that_never_answers_delays_it_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARD_TIMEOUT", 0.05)
    async with linked(tmp_path, silent) as (link, _):
        task = draining(link)
        await until(lambda: link.session.drained_at is not None, "the second step")
        task.cancel()


@both_loops
async def test_what_runs_ends_and_only_then_the_link(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        await peer.send(OK)

    async with linked(tmp_path, script) as (link, server):
        link.open()
        link.turn()
        await until(lambda: server.heads, "the request is sent")
        task = draining(link)
        for _ in range(30):
            link.turn()
            await asyncio.sleep(0.005)
        assert link.session.drained_at is not None
        assert not task.done()
        assert link.end is None
        go.set()
        await ticking(link, task)
        assert [event.body for event in link.of(Answered)] == [b"ok"]
        assert link.end is not None


@both_loops
async def test_the_last_bytes_leave_before_the_goodbye(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, _):
        link.unsent = 1
        task = draining(link)
        for _ in range(30):
            link.turn()
            await asyncio.sleep(0.005)
        assert link.end is None
        link.unsent = 0
        await ticking(link, task)
        assert link.end is not None


@both_loops
async def test_what_does_not_end_in_time_is_reset_and_cancelled_at_the_upstream(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, server):
        link.open()
        link.open(b"some", end=False, method=b"POST", length=10)
        link.turn()
        await until(lambda: len(server.peers) == 2, "both requests are sent")
        await ticking(link, draining(link, 0.2))
        assert [event.code for event in link.of(StreamReset)] == [StreamCode.CANCELLED] * 2
        await until(lambda: server.live == 0, "the upstream's connections are closed")


@both_loops
async def test_a_link_that_is_lost_meanwhile_holds_up_nothing(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, _):
        link.open()
        link.turn()
        task = draining(link)
        await asyncio.sleep(0.01)
        link.close(SessionCode.INTERNAL, "lost")
        await task
