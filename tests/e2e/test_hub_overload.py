"""More than hub, agents and upstream take: fair turns, bounds, and early, cheap refusals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.test_agent_changes import reload
from tests.support.problems import assert_problem
from tests.support.rawhttp import RawClient
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import PATIENCE, Gate, stays, wait_until

MakeTunnel = Callable[..., Tunnel]
OTHER = "127.0.0.2"
FLOOD = 300
HELD = 60


@pytest.fixture
def callers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def waiting(tunnel: Tunnel) -> int:
    """How many requests wait in the hub."""
    details = tunnel.hub.admin("/health").json()["components"]["service:visits"]["details"]
    return int(details["waiting"])


def test_a_flood_delays_only_itself(make_tunnel: MakeTunnel, callers: ExitStack) -> None:
    """Hundreds of requests of one address, an upstream that takes two at once: another address has its turn."""
    tunnel = make_tunnel(
        agent_service={"max_connections": 2}, service={"hold_limit": HELD, "queue_timeout": "20s"}
    ).start()

    async def slow(x: Exchange) -> None:
        await asyncio.sleep(0.02)
        await x.answer()

    tunnel.upstream.on("/slow", slow)
    tunnel.upstream.on("/other", reply())
    flood = [callers.enter_context(tunnel.raw()) for _ in range(FLOOD)]
    began = time.monotonic()
    for caller in flood:
        caller.start("POST", "/slow", "Content-Length: 2", body=b"{}")
    wait_until(lambda: waiting(tunnel) >= HELD // 2, "the queue to fill")
    before = len(tunnel.upstream.requests("/slow"))
    assert tunnel.fetch("/other", source=OTHER).status == 200
    passed = len(tunnel.upstream.requests("/slow")) - before
    assert passed <= 10, f"{passed} requests of the flood came first"
    answers = [caller.answer() for caller in flood]
    refused = [answer for answer in answers if answer.status != 200]
    for answer in refused:
        assert_problem(answer, 503, code="service_overloaded")
    assert len(refused) >= FLOOD // 2
    assert len(tunnel.upstream.requests("/slow")) == FLOOD - len(refused)
    assert len(answers) - len(refused) >= HELD
    assert time.monotonic() - began < 15 * PATIENCE


class Busy:
    """An upstream path whose requests end when `gate` opens."""

    def __init__(self, tunnel: Tunnel, callers: ExitStack) -> None:
        self.gate = Gate()
        self.tunnel = tunnel
        self._callers = callers
        self._number = 0
        tunnel.upstream.on("/busy", self._script)

    async def _script(self, x: Exchange) -> None:
        await self.gate.passed()
        await x.answer()

    def request(self, source: str | None = None) -> RawClient:
        """One that has reached the upstream and stays there."""
        caller = self._callers.enter_context(self.tunnel.raw(source=source))
        caller.start("GET", "/busy")
        self._number += 1
        self.tunnel.upstream.wait_for("/busy", self._number)
        return caller

    def end(self, *running: RawClient) -> None:
        self.gate.open()
        for caller in running:
            assert caller.answer().status == 200
        self.gate = Gate()


def test_limits_of_callers_services_and_agents(make_tunnel: MakeTunnel, callers: ExitStack) -> None:
    """Each limit, put in force by SIGHUP, holds back exactly whom it names."""
    tunnel = make_tunnel(service={"queue_timeout": "300ms"}).start()
    tunnel.upstream.on("/x", reply())
    config = tunnel.hub.config
    busy = Busy(tunnel, callers)

    config["callers"]["concurrency"] = 1
    reload(tunnel.hub)
    running = busy.request()
    assert_problem(tunnel.fetch("/x"), 503, code="caller_overloaded")
    assert tunnel.fetch("/x", source=OTHER).status == 200
    config["callers"]["queue"] = 0
    reload(tunnel.hub)
    began = time.monotonic()
    assert_problem(tunnel.fetch("/x"), 503, code="caller_overloaded")
    assert time.monotonic() - began < 0.25 * PATIENCE, "refused at once"
    busy.end(running)
    assert tunnel.fetch("/x").status == 200

    config["callers"] = {"authentication": "none"}
    for table in (config["services"]["visits"], config["agents"]["leeds-1"]):
        table["concurrency"] = 2
        reload(tunnel.hub)
        pair = busy.request(), busy.request(OTHER)
        assert_problem(tunnel.fetch("/x"), 503, code="service_overloaded")
        with ThreadPoolExecutor(1) as pool:
            table["queue_timeout" if "hosts" in table else "concurrency"] = "10s" if "hosts" in table else 3
            reload(tunnel.hub)
            call = pool.submit(tunnel.fetch, "/x", source="127.0.0.3")
            if "hosts" in table:
                stays(lambda: not call.done(), "it waits for its turn", 0.3)  # noqa: B023
                busy.end(*pair)
            assert call.result().status == 200
            if "hosts" not in table:
                busy.end(*pair)
        del table["concurrency"]
        table.pop("queue_timeout", None)
        config["services"]["visits"]["queue_timeout"] = "300ms"
        reload(tunnel.hub)


def test_the_hold_is_bounded_and_keeps_the_order(make_tunnel: MakeTunnel, callers: ExitStack) -> None:
    tunnel = make_tunnel(
        service={"hold": "20s", "hold_limit": 4, "hold_bytes": "8KiB"}, agent_service={"max_connections": 1}
    )
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    tunnel.upstream.on("/*", reply())
    held: list[RawClient] = []
    for number in range(4):
        caller = callers.enter_context(tunnel.raw())
        caller.start("POST", f"/{number}", "Content-Length: 1000", body=b"b" * 1000)
        held.append(caller)
        wait_until(lambda: waiting(tunnel) == number + 1, "it to be held")  # noqa: B023
    began = time.monotonic()
    assert_problem(tunnel.fetch("/late"), 503, code="hold_full")
    assert time.monotonic() - began < 0.5 * PATIENCE, "refused at once"
    held.pop().abort()
    wait_until(lambda: waiting(tunnel) == 3, "the hub to notice")
    assert_problem(tunnel.fetch("/big", method="POST", body=b"b" * 6000), 503, code="hold_full")
    tunnel.agent.start()
    assert [caller.answer().status for caller in held] == [200] * 3
    assert [request.path for request in tunnel.upstream.ledger] == ["/0", "/1", "/2"]
