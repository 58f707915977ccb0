"""Ten faults in running programs: page, line, metric and alert each name the cause, as docs/operations.md says.

Alerts are those of deploy/alerts in a real Prometheus, for which a minute lasts half a second.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.deploy.alerts import RULES
from tests.deploy.prometheus import NoPrometheusError, Prometheus
from tests.e2e.test_gateway_tokens import FIVE_MINUTES_AHEAD
from tests.support.credentials import api_key
from tests.support.faulttable import page_text, rows, wait_named
from tests.support.keys import KeyRing
from tests.support.programs import Agent
from tests.support.scripts import no_answer
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import wait_until

ROWS: Final = rows()
HALF_SECOND: Final = "500ms"
PATH: Final = "/nomisapi/health"
DENIED: Final = "/nomisapi/denied"

Sign = Callable[[dict[str, Any]], bool]

MACHINE: Final = {"TunnelLoopLag", "TunnelHubGone"}
"""Alerts that a test machine under load may raise by itself: late loops, and scrapes that take half a second."""


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
    agent, folder = scene.tunnel.agent, scene.tunnel.directory / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FIVE_MINUTES_AHEAD)
    agent.env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    agent.stop()
    agent.start()
    agent.wait_log("the clock is five minutes ahead")


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

WELL: Final = "all is well"
OPTIONS: Final = {name: fault.options for name, fault in FAULTS.items()} | {WELL: {"tls": True}}


# -- What names them --------------------------------------------------------------------------------------


def hurried() -> str:
    """The alerts' rules as they are, except that a minute lasts half a second."""
    return re.sub(r"\b(\d+)m\b", lambda found: f"{int(found[1]) * 500}ms", RULES.read_text())


class Stage:
    """A tunnel for each fault and one that stays well, none started, and a Prometheus that looks at all."""

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self.tunnels: dict[str, Tunnel] = {}
        for number, (name, options) in enumerate(OPTIONS.items()):
            tunnel = self.tunnels[name] = Tunnel(folder / str(number), keys, **options)
            tunnel.upstream.on("/nomisapi/*", reply())
        jobs = {
            "tunnel-hub": [tunnel.hub for tunnel in self.tunnels.values()],
            "tunnel-agent": [tunnel.agent for tunnel in self.tunnels.values()],
        }
        self.prometheus: Prometheus | None = None
        self.without = ""
        """Why there is none."""
        try:
            self.prometheus = Prometheus(folder, jobs, rules=hurried(), every=HALF_SECOND)
        except NoPrometheusError as error:
            self.without = str(error)

    def start(self, name: str, scrapes: int) -> Tunnel:
        """Start that tunnel, which is seen well so many times."""
        tunnel = self.tunnels[name].start()
        if self.prometheus is not None:
            self.prometheus.wait_scraped(scrapes, tunnel.hub, tunnel.agent)
        return tunnel

    def close(self) -> None:
        for tunnel in self.tunnels.values():
            tunnel.close()
        if self.prometheus is not None:
            self.prometheus.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"), keys)
    yield stage
    stage.close()


def test_the_table_has_these_ten() -> None:
    assert list(ROWS) == list(FAULTS)
    assert len(FAULTS) == 10
    assert "m]" not in re.sub(r"\[\d+ms\]", "", hurried()), "a time that is not hurried"


@pytest.mark.parametrize("fault", FAULTS)
def test_page_line_metric_and_alert_name_it(fault: str, stage: Stage, keys: KeyRing) -> None:
    row, (inject, sign, _) = ROWS[fault], FAULTS[fault]
    with ExitStack() as stack:
        tunnel = stage.start(fault, 3)
        stack.callback(tunnel.close)
        marks = {program.name: program.mark() for program in (tunnel.hub, tunnel.agent)}
        assert not row.on_page(tunnel)
        assert not row.in_metrics(tunnel)
        began = time.time()
        inject(Scene(tunnel, keys, stack))
        wait_named(row, tunnel, marks)
        status = tunnel.hub.admin("/api/status").json()
        assert sign(status), status
        prometheus = stage.prometheus
        if prometheus is None:
            pytest.skip(f"the alert was not looked at: {stage.without}")

        def firing() -> set[str]:
            return prometheus.firing(began, tunnel.hub, *tunnel.agents) - MACHINE

        wait_until(lambda: row.alert in firing(), f"{row.alert} to fire", 40, every=0.2)
        assert firing() <= {row.alert, *row.along}
        assert row.on_page(tunnel), "it lasts, and so must its name"


def test_nothing_is_named_while_all_is_well(stage: Stage, keys: KeyRing) -> None:
    with ExitStack() as stack:
        began = time.time()
        tunnel = stage.start(WELL, 3)
        stack.callback(tunnel.close)
        Scene(tunnel, keys, stack).load(PATH)
        stage.start(WELL, 24)  # more than any alert waits
        assert "All services and agents are up." in page_text(tunnel.hub)
        status = tunnel.hub.admin("/api/status").json()
        assert (status["concerns"], status["failures"]) == ([], [])
        begin = {program.name: 0 for program in (tunnel.hub, tunnel.agent)}
        for row in ROWS.values():
            assert not row.on_page(tunnel), row.fault
            assert not row.in_log(tunnel, begin), row.fault
            assert not row.in_metrics(tunnel), row.fault
        if stage.prometheus is None:
            pytest.skip(f"the alerts were not looked at: {stage.without}")
        assert stage.prometheus.firing(began, tunnel.hub, tunnel.agent) - MACHINE == set()
