"""Ten faults of a running tunnel, by the names that docs/operations.md has for them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from tests.support.credentials import api_key
from tests.support.keys import KeyRing
from tests.support.programs import Agent
from tests.support.scripts import no_answer
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange
from tests.support.wrongclock import SAID, five_minutes_ahead

PATH: Final = "/nomisapi/health"
"""One that is answered while all is well."""

DENIED: Final = "/nomisapi/denied"

Sign = Callable[[dict[str, Any]], bool]


class Scene:
    """A tunnel that is well, and what the test does to it."""

    def __init__(self, tunnel: Tunnel, keys: KeyRing, stack: ExitStack) -> None:
        self.tunnel = tunnel
        self.keys = keys
        self._stack = stack

    def load(self, path: str, *fields: str, callers: int = 1) -> None:
        """Callers that ask again and again until the test ends."""
        for _ in range(callers):
            self._stack.enter_context(_asking(self.tunnel, path, fields))


@contextmanager
def _asking(tunnel: Tunnel, path: str, fields: tuple[str, ...]) -> Iterator[None]:
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            tunnel.fetch(path, *fields, timeout=40)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(45)


# -- The faults -------------------------------------------------------------------------------------------


def stop_the_agent(scene: Scene) -> None:
    scene.tunnel.agent.stop()


def stall_the_session(scene: Scene) -> None:
    """Neither end hears anything of the other, and no connection is closed."""
    assert scene.tunnel.relay is not None
    scene.tunnel.relay.black_hole()
    scene.load(PATH)  # a session with work is missed sooner


def stop_the_upstream(scene: Scene) -> None:
    scene.tunnel.upstream.refuse()


def slow_the_upstream(scene: Scene) -> None:
    scene.tunnel.upstream.on("/nomisapi/slow", no_answer)
    scene.load("/nomisapi/slow")


def show_a_wrong_token(scene: Scene) -> None:
    scene.load(PATH, api_key().field)


def ask_for_a_denied_path(scene: Scene) -> None:
    scene.load(DENIED)


def ask_for_too_much(scene: Scene) -> None:
    async def takes_a_while(x: Exchange) -> None:
        await asyncio.sleep(0.3)
        await x.answer()

    scene.tunnel.upstream.on("/nomisapi/busy", takes_a_while)
    scene.load("/nomisapi/busy", callers=8)


def let_the_certificate_near_its_end(scene: Scene) -> None:
    ca, table = scene.tunnel.ca, scene.tunnel.hub.config["listen"]["agents_tls"]
    assert ca is not None
    issued = ca.issue(days=19.5)
    table["certificate"], table["key"] = str(issued.certificate), str(issued.key)
    scene.tunnel.hub.write_config()
    scene.tunnel.hub.signal(signal.SIGHUP)


def set_the_agents_clock(scene: Scene) -> None:
    agent = scene.tunnel.agent
    agent.env |= five_minutes_ahead(scene.tunnel.directory / "clock")
    agent.stop()
    agent.start()
    agent.wait_log(SAID)


def start_a_clone(scene: Scene) -> None:
    tunnel = scene.tunnel
    clone = Agent(
        tunnel.directory / "clone",
        scene.keys.agent("leeds-1"),
        hubs=[dict(tunnel.agent.config["hubs"][0])],
        services=tunnel.agent.config["services"],
    )
    tunnel.agents.append(clone)  # which the fixture closes
    clone.start()


GATE: Final = {
    "callers": {
        "authentication": "required",
        "named": {"booking": {"api_keys": [api_key().hash], "allow": {"visits": ["GET /nomisapi/**"]}}},
    }
}


def agent_is(state: str) -> Sign:
    return lambda status: [agent["state"] for agent in status["agents"]] == [state]


def concern(about: str) -> Sign:
    return lambda status: [each["about"] for each in status["concerns"]] == [about]


def failed(code: str, origin: str) -> Sign:
    return lambda status: [(each["code"], each["origin"]) for each in status["failure_counts"]] == [(code, origin)]


class Fault(NamedTuple):
    """How it is made, what /api/status says then, and what its tunnel needs."""

    inject: Callable[[Scene], None]
    sign: Sign
    options: dict[str, Any]


FAULTS: Final = {
    "agent stopped": Fault(stop_the_agent, agent_is("away"), {}),
    "session stalled": Fault(
        stall_the_session, concern("silence"), {"relay": True, "sessions": 1, "service": {"hold": "1s"}}
    ),
    "upstream down": Fault(
        stop_the_upstream,
        agent_is("upstream down"),
        {"agent_service": {"health": PATH, "health_interval": "500ms", "unhealthy_after": 2}},
    ),
    "upstream slow": Fault(
        slow_the_upstream,
        failed("first_byte_timeout", "upstream"),
        {"agent_service": {"first_byte_timeout": "200ms"}},
    ),
    "wrong token": Fault(show_a_wrong_token, failed("unauthenticated", "hub"), {"hub_options": GATE}),
    "denied path": Fault(
        ask_for_a_denied_path,
        failed("boundary_refused", "agent"),
        {"agent_service": {"allow": [f"GET {PATH}"]}},
    ),
    "overload": Fault(
        ask_for_too_much,
        failed("service_overloaded", "hub"),
        {"agent_service": {"max_connections": 1}, "service": {"hold_limit": 1}},
    ),
    "certificate near expiry": Fault(let_the_certificate_near_its_end, concern("expiry"), {"tls": True}),
    "clock skew": Fault(set_the_agents_clock, concern("clock"), {}),
    "duplicate agent id": Fault(start_a_clone, concern("duplicate"), {}),
}
