"""When a slot dials, by a simulated clock: at once after a loss, further and further apart after failures."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from protocol.errors import SessionCode, SessionError
from protocol.ops import log
from tests.support import virtual
from tests.support.agent import agent_config
from tests.support.slots import DIAL, FakeAgent, FakeLink, Network, up, works
from tunnel_agent.config import Hub
from tunnel_agent.dial import DialError
from tunnel_agent.slot import ATTEMPT_TIMEOUT, Slot

OUTAGE = 600.0


async def refused(_: FakeLink) -> None:
    await asyncio.sleep(0.001)
    raise DialError("connect", "no connection to the hub: Connection refused")


async def dropped(_: FakeLink) -> None:
    """Every SYN vanishes."""
    await asyncio.sleep(1e9)


async def silent(_: FakeLink) -> None:
    """Connected, and no handshake ever."""
    await asyncio.sleep(DIAL)


async def refused_late(_: FakeLink) -> None:
    await asyncio.sleep(random.uniform(0, ATTEMPT_TIMEOUT))
    raise DialError("connect", "no route to host")


async def mixed(link: FakeLink) -> None:
    await random.choice((refused, dropped, silent, refused_late))(link)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    return agent_config(tmp_path_factory.mktemp("agent")).hubs[0]


@pytest.fixture(autouse=True)
def logged() -> Iterator[io.StringIO]:
    """What is logged as an error; the rest would take longer than the test."""
    stream = io.StringIO()
    log.setup("text", "error", stream)
    yield stream
    log.structlog.reset_defaults()


Scenario = Callable[[FakeAgent, Network, Slot], Awaitable[None]]


def simulate(hub: Hub, scenario: Scenario, *, seed: int = 0, longest: float = 10.0) -> None:
    async def whole() -> None:
        random.seed(seed)
        agent: Any = FakeAgent()
        network = Network()
        slot = Slot(agent, hub, 0, longest, network.dial)
        slot.start()
        try:
            await scenario(agent, network, slot)
        finally:
            await slot.stop()
        assert agent.up == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual.run(whole())


@pytest.mark.parametrize("way", [refused, dropped, silent, refused_late, mixed])
def test_after_ten_minutes_service_is_back_within_eleven_seconds(
    hub: Hub, way: Callable[[FakeLink], Awaitable[None]]
) -> None:
    waits: list[float] = []
    attempts: list[int] = []

    async def scenario(agent: FakeAgent, network: Network, _slot: Slot) -> None:
        await up(agent, 1.0)
        await asyncio.sleep(random.uniform(1, 20))
        network.way = way
        network.links[-1].lose()
        before = len(network.dials)
        await asyncio.sleep(OUTAGE + random.uniform(0, 20))
        attempts.append(len(network.dials) - before)
        network.way = works
        waits.append(await up(agent, 60.0))

    for seed in range(60):
        simulate(hub, scenario, seed=seed)
    assert max(waits) <= 11.0
    assert max(waits) > 2.0, "the outage was none"
    assert max(attempts) <= 200, "a storm of attempts"
    assert min(attempts) >= 60


def test_after_each_of_many_cuts_service_is_back_at_once(hub: Hub) -> None:
    waits: list[float] = []

    async def scenario(agent: FakeAgent, network: Network, _slot: Slot) -> None:
        await up(agent, 1.0)
        for _ in range(300):
            await asyncio.sleep(random.uniform(0.6, 1.4))
            network.links[-1].lose()
            waits.append(await up(agent, 5.0))

    simulate(hub, scenario)
    assert sorted(waits)[int(len(waits) * 0.99)] <= 0.5
    assert len({round(wait, 3) for wait in waits}) > 10, "no jitter"


def test_sessions_that_end_at_once_are_no_reason_to_dial_without_end(hub: Hub) -> None:
    async def scenario(agent: FakeAgent, network: Network, _slot: Slot) -> None:
        async def flaps(link: FakeLink) -> None:
            await works(link)
            link.loop.call_later(0.2 + DIAL, link.lose)

        network.way = flaps
        await asyncio.sleep(120.0)
        assert 15 <= len(network.dials) <= 60
        network.way = works
        await up(agent, 11.0)
        network.links[-1].owner._agent.loop.call_later(1.0, network.links[-1].lose)
        await asyncio.sleep(1.01)
        assert await up(agent, 11.0) <= 0.5, "a session that lasted forgives what was before"

    simulate(hub, scenario)


def test_a_draining_hub_is_replaced_before_it_is_gone(hub: Hub) -> None:
    async def scenario(agent: FakeAgent, network: Network, slot: Slot) -> None:
        await up(agent, 1.0)
        await asyncio.sleep(5.0)
        old = network.links[-1]
        old.owner.hub_drains()
        assert not slot.up
        await asyncio.sleep(0.5)
        assert agent.up == 2
        assert slot.up
        old.owner.hub_drains()
        old.lose()
        assert slot.up
        await asyncio.sleep(5.0)
        assert len(network.dials) == 2

    simulate(hub, scenario)


def test_a_duplicate_is_told_and_tried_again_with_growing_waits(hub: Hub, logged: io.StringIO) -> None:
    async def scenario(agent: FakeAgent, network: Network, _slot: Slot) -> None:
        async def duplicate(link: FakeLink) -> None:
            await asyncio.sleep(DIAL)
            error = SessionError(SessionCode.DUPLICATE, "another instance is connected")
            link.loop.call_later(DIAL, link.lose, error)

        network.way = duplicate
        await asyncio.sleep(120.0)
        assert 10 <= len(network.dials) <= 60
        network.way = works
        await up(agent, 11.0)

    simulate(hub, scenario)
    assert "another machine is connected with this agent's id" in logged.getvalue()


def test_nothing_is_dialled_once_the_end_has_begun(hub: Hub) -> None:
    async def scenario(agent: FakeAgent, network: Network, slot: Slot) -> None:
        await up(agent, 1.0)
        slot.end()
        assert agent.up == 1
        network.links[-1].lose()
        await asyncio.sleep(60.0)
        assert len(network.dials) == 1

    simulate(hub, scenario)


@pytest.mark.parametrize("after", [DIAL / 2, 1.5 * DIAL, 2 * DIAL])
def test_a_link_that_is_on_its_way_then_takes_no_work(hub: Hub, after: float) -> None:
    async def scenario(agent: FakeAgent, network: Network, slot: Slot) -> None:
        agent.loop.call_later(after, slot.end)
        await asyncio.sleep(10.0)
        assert len(network.dials) == 1
        assert agent.began == [] or after == 2 * DIAL
        assert all(link.lost for link in network.links) or agent.began

    simulate(hub, scenario)


def test_a_fault_of_our_own_ends_no_slot(hub: Hub) -> None:
    async def scenario(agent: FakeAgent, network: Network, slot: Slot) -> None:
        async def broken(_: FakeLink) -> None:
            raise ZeroDivisionError

        complaints: list[dict[str, Any]] = []
        agent.loop.set_exception_handler(lambda _, context: complaints.append(context))
        network.way = broken
        await asyncio.sleep(5.0)
        assert slot.last_error == "internal: ZeroDivisionError"
        assert complaints
        network.way = works
        await up(agent, 11.0)

    simulate(hub, scenario)


def test_sessions_are_audited(hub: Hub) -> None:
    """One that stood and ended, then one that the hub refused; what never reached a hub is no event."""

    async def refused_by_hub(link: FakeLink) -> None:
        link.loop.call_later(0.01, link.lose, SessionError(SessionCode.NOT_REGISTERED, "not registered"))

    async def scenario(agent: FakeAgent, network: Network, _slot: Slot) -> None:
        await up(agent, 1)
        for way in (refused, refused_by_hub):
            count = len(network.dials)
            network.way = way
            if network.links and not network.links[-1].lost:
                network.links[-1].lose()
            async with asyncio.timeout(60):
                while len(network.dials) < count + 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        opened, ended, *more = agent.audit.events
        assert opened[0] == "session opened"
        assert opened[1]["key"] == hub.public_keys[0].fingerprint
        assert (ended[0], ended[1]["code"], ended[1]["hub"]) == ("session ended", "INTERNAL", "hub-1")
        assert more
        assert {(event, fields["code"]) for event, fields in more} == {("session refused", "NOT_REGISTERED")}

    simulate(hub, scenario)
