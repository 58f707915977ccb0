"""The conventions of the callers' platform, at both programs: /health with its parts, /info, /ping, the probes.

What a program says in each state stands in one line of a table, so that nobody has to guess what a probe meets.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.process import Program
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import Gate, wait_until

MakeTunnel = Callable[..., Tunnel]
Said = tuple[int, int, int, dict[str, str]]
"""Liveness, readiness, health, and the parts by name."""


def said(program: Program) -> Said:
    health = program.admin("/health")
    document = health.json()
    assert document["status"] == ("UP" if health.status_code == 200 else "DOWN")
    for probe in ("liveness", "readiness"):
        answer = program.admin(f"/health/{probe}")
        assert answer.json() == {"status": "UP" if answer.status_code == 200 else "DOWN"}
    assert program.admin("/ping").text == "pong"
    assert program.admin("/info").status_code == 200
    parts = {
        re.sub(r"ws://127.0.0.1:\d+", "", name): part["status"] for name, part in document["components"].items()
    }
    return (
        program.admin_status("/health/liveness"),
        program.admin_status("/health/readiness"),
        health.status_code,
        parts,
    )


def comes_to_say(program: Program, *expected: Any) -> None:
    """Wait for it. States in between, such as one session of two, pass by themselves."""
    try:
        wait_until(lambda: said(program) == expected, f"{program.name} to say {expected}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it says {said(program)}") from None


def test_all_is_well(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    comes_to_say(tunnel.hub, 200, 200, 200, {"hub": "UP", "service:visits": "UP"})
    comes_to_say(tunnel.agent, 200, 200, 200, {"agent": "UP", "hub:/tunnel": "UP", "upstream:visits": "UP"})
    detail = tunnel.hub.admin("/health").json()["components"]["service:visits"]["details"]
    assert detail == {"state": "up", "sessions": 2, "waiting": 0}
    detail = tunnel.agent.admin("/health").json()["components"]["upstream:visits"]["details"]
    assert detail == {"state": "up", "problem": ""}


def test_a_hub_without_agents(make_tunnel: MakeTunnel) -> None:
    """Ready all the same: callers are better off with its hold and its 503 than with nobody."""
    tunnel = make_tunnel()
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    comes_to_say(tunnel.hub, 200, 200, 503, {"hub": "UP", "service:visits": "DOWN"})
    tunnel.start()
    comes_to_say(tunnel.hub, 200, 200, 200, {"hub": "UP", "service:visits": "UP"})
    tunnel.agent.stop()
    comes_to_say(tunnel.hub, 200, 200, 503, {"hub": "UP", "service:visits": "DOWN"})


def test_an_agent_without_its_hub(make_tunnel: MakeTunnel) -> None:
    """Starting and after a loss alike; why stands in the part."""
    tunnel = make_tunnel()
    alone = (200, 503, 503, {"agent": "UP", "hub:/tunnel": "DOWN", "upstream:visits": "UP"})
    tunnel.agent.start()
    tunnel.agent.wait_alive()
    comes_to_say(tunnel.agent, *alone)
    tunnel.start()
    comes_to_say(tunnel.agent, 200, 200, 200, {"agent": "UP", "hub:/tunnel": "UP", "upstream:visits": "UP"})
    tunnel.hub.kill()
    comes_to_say(tunnel.agent, *alone)

    def reason() -> str:
        [part] = [
            part for name, part in tunnel.agent.admin("/health").json()["components"].items() if "hub:" in name
        ]
        return str(part["details"]["last_error"])

    wait_until(lambda: "refused" in reason(), "the reason")


def test_an_upstream_that_fails(make_tunnel: MakeTunnel) -> None:
    """Down at the agent that looks at it; at the hub a service is up while an agent has a session for it."""
    tunnel = make_tunnel(agent_service={"health": "/health", "health_interval": "2s", "unhealthy_after": 1})
    tunnel.upstream.on("/health", reply(503))
    tunnel.start()
    comes_to_say(tunnel.agent, 200, 200, 503, {"agent": "UP", "hub:/tunnel": "UP", "upstream:visits": "DOWN"})
    part = tunnel.agent.admin("/health").json()["components"]["upstream:visits"]["details"]
    assert part == {"state": "down", "problem": "GET /health: status 503"}

    def state() -> Any:
        return tunnel.hub.admin("/health").json()["components"]["service:visits"]["details"]["state"]

    wait_until(lambda: state() == "down at every agent", "the hub to hear of it")
    comes_to_say(tunnel.hub, 200, 200, 200, {"hub": "UP", "service:visits": "UP"})
    tunnel.upstream.on("/health", reply(200))
    comes_to_say(tunnel.agent, 200, 200, 200, {"agent": "UP", "hub:/tunnel": "UP", "upstream:visits": "UP"})


def test_what_is_switched_off_is_not_down(make_tunnel: MakeTunnel) -> None:
    """Whoever switched it off need not be woken."""
    tunnel = make_tunnel(
        hub_options={"services": {"chat": {"hosts": ["chat.internal"], "enabled": False}}},
        agent_options={
            "services": {"chat": {"upstream": "http://127.0.0.1:1", "allow": ["GET /**"], "enabled": False}}
        },
    ).start()
    comes_to_say(tunnel.hub, 200, 200, 200, {"hub": "UP", "service:visits": "UP", "service:chat": "UP"})
    up = {"agent": "UP", "hub:/tunnel": "UP", "upstream:visits": "UP", "upstream:chat": "UP"}
    comes_to_say(tunnel.agent, 200, 200, 200, up)
    for program, name in ((tunnel.hub, "service:chat"), (tunnel.agent, "upstream:chat")):
        assert program.admin("/health").json()["components"][name]["details"]["state"] == "switched off"


@pytest.mark.parametrize("which", ["hub", "agent"])
def test_draining(make_tunnel: MakeTunnel, which: str) -> None:
    """SIGTERM with a request under way: alive, no more ready, and the answer still comes."""
    tunnel = make_tunnel().start()
    program: Program = getattr(tunnel, which)
    gate = Gate()

    async def late(x: Any) -> None:
        await gate.passed()
        await x.answer(200)

    tunnel.upstream.on("/late", late)
    with tunnel.raw() as caller:
        caller.start("GET", "/late")
        tunnel.upstream.wait_for("/late")
        program.terminate()
        wait_until(lambda: program.admin_status("/health/readiness") == 503, "it to say that it drains")
        live, ready, health, parts = said(program)
        assert (live, ready, health) == (200, 503, 503)
        assert parts[which] == "DOWN"
        gate.open()
        assert caller.answer().status == 200
    assert program.wait_exit() == 0


@pytest.mark.parametrize("which", ["hub", "agent"])
def test_who_answers(tunnel: Tunnel, which: str) -> None:
    program: Program = getattr(tunnel, which)
    answer = program.admin("/info")
    assert answer.headers["content-type"] == "application/json"
    about = answer.json()
    assert set(about) == {"name", "instance", "version", "git", "python", "uptime_seconds"}
    assert (about["name"], about["instance"]) == (f"tunnel-{which}", program.name)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|None", str(about["git"]["revision"]))
    assert about["uptime_seconds"] > 0


@pytest.mark.parametrize("which", ["hub", "agent"])
@pytest.mark.parametrize(
    "path", ["/health", "/health/liveness", "/health/readiness", "/ping", "/info", "/metrics"]
)
def test_every_endpoint_as_probes_and_people_ask_it(tunnel: Tunnel, which: str, path: str) -> None:
    """GET and HEAD without credentials, whatever Host says; nothing else; never from a cache."""
    url = getattr(tunnel, which).admin_url + path
    with httpx.Client(trust_env=False) as client:
        answer = client.get(url, headers={"Host": "hub-0.tunnel.svc:8082", "User-Agent": "kube-probe/1.30"})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        head = client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        for method in ("POST", "PUT", "DELETE"):
            assert client.request(method, url).status_code == 405


def test_a_probe_that_never_ends_its_request_disturbs_nobody(tunnel: Tunnel) -> None:
    assert tunnel.hub.admin_url is not None
    port = int(tunnel.hub.admin_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 5) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        assert tunnel.hub.admin_status("/health/liveness") == 200
