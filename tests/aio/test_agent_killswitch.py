"""The kill switch at the agent: what has not reached the upstream is given back, what has is cut later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.errors import StreamCode
from protocol.events import Answered, StreamReset
from tests.support.agent import HandLink, agent_config, make_agent
from tests.support.slots import Noted
from tests.unit.egress.harness import OK, Peer, Server, both_loops, serving, until
from tunnel_agent import killswitch
from tunnel_agent.killswitch import KillSwitch


class Bench:
    def __init__(self, link: HandLink, server: Server) -> None:
        self.link = link
        self.server = server
        self.audit = link.agent.audit = Noted()
        self.switch = KillSwitch(link.agent)

    def turn(self, *, on: bool) -> None:
        self.link.agent.services["visits"].enabled = on
        self.switch.turn("visits", on=on)

    @property
    def resets(self) -> list[tuple[int, str]]:
        return [(event.code, event.detail) for event in self.link.of(StreamReset)]


@contextlib.asynccontextmanager
async def switched(folder: Path, go: asyncio.Event) -> AsyncIterator[Bench]:
    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await go.wait()
            await peer.send(OK)

    async with serving(script) as server:
        table = {"max_connections": 1}
        config = agent_config(folder, f"http://127.0.0.1:{server.port}", services={"visits": table})
        agent = make_agent(config)
        try:
            yield Bench(HandLink(agent).establish(), server)
        finally:
            await agent.services["visits"].upstream.close()
            agent.wheel.close()


@both_loops
async def test_what_waits_goes_at_once_and_what_runs_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(killswitch, "CUT_AFTER", 0.1)
    async with switched(tmp_path, asyncio.Event()) as bench:
        link = bench.link
        link.open()
        link.turn()
        await until(lambda: bench.server.heads, "the first request is sent")
        link.open(method=b"POST")
        link.turn()
        bench.turn(on=False)
        assert bench.resets == [(StreamCode.NOT_DISPATCHED, "the service is switched off at the agent")]
        link.open()
        assert [code for code, _ in bench.resets] == [StreamCode.NOT_DISPATCHED] * 2, "and what comes"
        await until(lambda: len(bench.resets) == 3, "what runs is cut")
        assert bench.resets[2] == (StreamCode.CANCELLED, "the service was switched off at the agent")
        await until(lambda: not link.agent.services["visits"].upstream.busy, "the upstream's connection is closed")
        assert len(bench.server.heads) == 1
        assert [event for event, _ in bench.audit.events] == [
            *("service switched off", "boundary refused", "exchanges cut"),
        ]
        assert bench.audit.events[-1][1] == {"service": "visits", "count": 1}
        assert link.agent.in_flight == 0


@both_loops
async def test_what_ends_in_time_is_not_cut(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with switched(tmp_path, go) as bench:
        bench.link.open()
        bench.link.turn()
        await until(lambda: bench.server.heads, "the request is sent")
        bench.turn(on=False)
        go.set()
        await until(lambda: bench.link.of(Answered), "the answer")
        assert bench.resets == []


@both_loops
async def test_on_again_before_the_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killswitch, "CUT_AFTER", 0.05)
    go = asyncio.Event()
    async with switched(tmp_path, go) as bench:
        bench.link.open()
        bench.link.turn()
        await until(lambda: bench.server.heads, "the request is sent")
        bench.turn(on=False)
        bench.turn(on=True)
        await asyncio.sleep(0.1)  # past the cut
        go.set()
        await until(lambda: bench.link.of(Answered), "the answer")
        assert bench.resets == []
        assert [event for event, _ in bench.audit.events] == ["service switched off", "service switched on"]
