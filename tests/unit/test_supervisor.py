"""Hubs added, removed and changed while the agent runs, by a simulated clock."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from protocol.keys import generate, parse_public_line, public_line
from protocol.ops import log
from protocol.ops.urls import Url
from tests.support import virtual
from tests.support.agent import agent_config
from tests.support.slots import FakeAgent, FakeLink, Network, works
from tunnel_agent.config import Hub
from tunnel_agent.dial import DialError
from tunnel_agent.supervisor import STUCK_AFTER, Supervisor

KEY = parse_public_line(public_line(generate()))
OTHER_KEY = parse_public_line(public_line(generate()))


class Agent(FakeAgent):
    """Also drains, as `Agent.drain_link` does."""

    def __init__(self) -> None:
        super().__init__()
        self.drained: list[Any] = []

    async def drain_link(self, link: FakeLink, patience: float, reason: str) -> None:
        assert patience == 30.0
        assert "configuration" in reason
        self.drained.append(link)
        await asyncio.sleep(1.0)
        link.lose()

    def at(self, port: int) -> list[FakeLink]:
        """The links that stand to the hub of that port."""
        return [link for link in self.links if link.hub.url.port == port]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    log.setup("text", "error", io.StringIO())
    yield
    log.structlog.reset_defaults()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Hub]:
    hub = agent_config(tmp_path_factory.mktemp("agent")).hubs[0]

    def make(port: int, **changes: Any) -> Hub:
        url = Url("ws", "127.0.0.1", port, "/tunnel")
        changes = {"public_keys": (KEY,), "sessions": 2, **changes}
        return msgspec.structs.replace(hub, url=url, **changes)

    return make


def simulate(hubs: list[Hub], scenario: Callable[[Agent, Network, Supervisor], Awaitable[None]]) -> None:
    async def whole() -> None:
        agent: Any = Agent()
        network = Network()
        supervisor = Supervisor(agent, tuple(hubs), 10.0, network.dial)
        supervisor.start()
        await asyncio.sleep(2.0)
        assert agent.up == sum(hub.sessions for hub in hubs)
        try:
            await scenario(agent, network, supervisor)
        finally:
            supervisor.end()
            await supervisor.stop()
        assert agent.up == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual.run(whole())


def test_what_did_not_change_is_left_alone(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, network: Network, supervisor: Supervisor) -> None:
        before = set(agent.links)
        supervisor.apply((table(2), table(1)), 30.0)
        await asyncio.sleep(60.0)
        assert set(agent.links) == before
        assert len(network.dials) == 4

    simulate([table(1), table(2)], scenario)


def test_a_new_hub_is_dialled_and_a_removed_one_drained(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, _network: Network, supervisor: Supervisor) -> None:
        supervisor.apply((table(2),), 30.0)
        await asyncio.sleep(0.5)
        assert len(agent.drained) == 2
        assert len(agent.at(1)) == len(agent.at(2)) == 2
        await asyncio.sleep(5.0)
        assert (len(agent.at(1)), len(agent.at(2))) == (0, 2)
        assert {slot.hub.url.port for slot in supervisor.slots} == {2}

    simulate([table(1)], scenario)


def test_more_and_fewer_sessions(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, network: Network, supervisor: Supervisor) -> None:
        before = set(agent.links)
        supervisor.apply((table(1, sessions=5),), 30.0)
        await asyncio.sleep(2.0)
        assert agent.up == 5
        assert before <= set(agent.links)
        supervisor.apply((table(1, sessions=1),), 30.0)
        await asyncio.sleep(10.0)
        assert agent.up == 1
        assert set(agent.links) <= before
        assert len(network.dials) == 5
        assert sorted(slot.number for slot in supervisor.slots) == [0]

    simulate([table(1)], scenario)


def test_under_a_changed_table_new_comes_before_old(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, network: Network, supervisor: Supervisor) -> None:
        old = set(agent.links)

        async def late(link: FakeLink) -> None:
            await asyncio.sleep(3.0)
            await works(link)

        network.way = late
        supervisor.apply((table(1, public_keys=(KEY, OTHER_KEY)),), 30.0)
        await asyncio.sleep(2.9)
        assert set(agent.links) == old
        assert not agent.drained
        await asyncio.sleep(0.5)
        assert agent.up == 4
        assert set(agent.drained) == old
        await asyncio.sleep(5.0)
        assert agent.up == 2
        assert not old & set(agent.links)

    simulate([table(1)], scenario)


def test_with_another_key_of_the_agent_new_comes_before_old(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, _network: Network, supervisor: Supervisor) -> None:
        old = set(agent.links)
        supervisor.apply((table(1), table(2)), 30.0, renew=True)
        assert set(agent.links) == old
        await asyncio.sleep(0.5)
        assert set(agent.drained) == old
        assert (len(agent.at(1)), len(agent.at(2))) == (4, 4)
        await asyncio.sleep(5.0)
        assert (len(agent.at(1)), len(agent.at(2))) == (2, 2)
        assert not old & set(agent.links)

    simulate([table(1), table(2)], scenario)


def test_old_sessions_serve_while_the_new_key_is_not_known(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, network: Network, supervisor: Supervisor) -> None:
        old = set(agent.links)

        async def refused(_: FakeLink) -> None:
            raise DialError("handshake", "not registered")

        network.way = refused
        supervisor.apply((table(1),), 30.0, renew=True)
        await asyncio.sleep(300.0)
        assert set(agent.links) == old
        assert not agent.drained
        network.way = works
        await asyncio.sleep(20.0)
        assert len(agent.at(1)) == 2
        assert not old & set(agent.links)

    simulate([table(1)], scenario)


def test_old_sessions_serve_while_the_new_table_leads_nowhere(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, network: Network, supervisor: Supervisor) -> None:
        old = set(agent.links)

        async def refused(_: FakeLink) -> None:
            raise DialError("proxy", "the proxy answered 407")

        network.way = refused
        supervisor.apply((table(1, proxy=""),), 30.0)
        await asyncio.sleep(300.0)
        assert set(agent.links) == old
        next(iter(old)).lose()
        await asyncio.sleep(20.0)
        assert len(agent.links) == 1, "the old table is not dialled any more"
        network.way = works
        supervisor.apply((table(1),), 30.0)  # mended
        await asyncio.sleep(15.0)
        assert len(agent.at(1)) == 2
        assert not old & set(agent.links)

    simulate([table(1)], scenario)


def test_a_hub_whose_key_is_pinned_no_more_is_left_at_once(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, network: Network, supervisor: Supervisor) -> None:
        async def refused(_: FakeLink) -> None:
            raise DialError("handshake", "wrong key")

        network.way = refused
        supervisor.apply((table(1, public_keys=(OTHER_KEY,)),), 30.0)
        await asyncio.sleep(5.0)
        assert agent.up == 0

    simulate([table(1)], scenario)


def test_stop_while_old_sessions_still_serve(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, network: Network, supervisor: Supervisor) -> None:
        async def hang(_: FakeLink) -> None:
            await asyncio.sleep(1e6)

        network.way = hang
        supervisor.apply((table(1, proxy=""),), 30.0)
        await asyncio.sleep(1.0)
        assert agent.up == 2

    simulate([table(1)], scenario)


# -- stuck ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [0.5, 10.0, 300.0])
def test_what_looks_for_a_session_is_not_stuck_however_long_that_takes(
    table: Callable[..., Hub], longest: float
) -> None:
    """Also not when the links of earlier attempts end late."""

    async def whole() -> None:
        agent: Any = Agent()
        network = Network()
        supervisor = Supervisor(agent, (table(1),), longest, network.dial)
        supervisor.start()
        await asyncio.sleep(1.0)

        async def refused(_: FakeLink) -> None:
            raise DialError("connect", "no route to host")

        async def silent(link: FakeLink) -> None:
            agent.loop.call_later(20.0, link.lose)

        async def dropped(_: FakeLink) -> None:
            await asyncio.sleep(1e9)

        try:
            for way in (refused, silent, dropped, works, refused):
                network.way = way
                for link in list(agent.links):
                    link.owner.hub_drains()
                    agent.loop.call_later(30.0, link.lose)
                for _ in range(1500):
                    await asyncio.sleep(0.7)
                    assert not supervisor.stuck(agent.loop.time())
        finally:
            supervisor.end()
            await supervisor.stop()

    virtual.run(whole())


def test_slots_whose_tasks_are_gone_are_stuck_once_no_session_is_up(table: Callable[..., Hub]) -> None:
    async def scenario(agent: Agent, _network: Network, supervisor: Supervisor) -> None:
        first, second = supervisor.slots
        for slot in (first, second):
            assert slot._task is not None
            slot._task.cancel()
        await asyncio.sleep(100.0)
        assert not supervisor.stuck(agent.loop.time()), "a session is up"
        for slot in (first, second):
            slot.link, slot.due = None, agent.loop.time()
        await asyncio.sleep(STUCK_AFTER - 1.0)
        assert not supervisor.stuck(agent.loop.time())
        await asyncio.sleep(2.0)
        assert supervisor.stuck(agent.loop.time())
        second.due = agent.loop.time()
        assert not supervisor.stuck(agent.loop.time()), "one of them goes on"

    simulate([table(1)], scenario)
