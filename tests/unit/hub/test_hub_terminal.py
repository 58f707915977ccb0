"""`tunnel-hub status`: what a snapshot comes to in words, for small hubs and for large ones."""

from __future__ import annotations

import io
import re
from typing import Any

import msgspec
import pytest
from rich.console import Console

from protocol.ops.console.switched import Switched
from tunnel_hub.console import terminal
from tunnel_hub.console.shapes import (
    AgentStatus,
    Concern,
    InstanceStatus,
    OfferStatus,
    Pacing,
    ServiceStatus,
    SessionStatus,
    Status,
)
from tunnel_hub.failures import Failure

PACE = Pacing(
    seconds=60.0,
    requests=600,
    errors=6,
    requests_per_second=10.0,
    bytes_in_per_second=1.0,
    bytes_out_per_second=1.0,
    error_ratio=0.01,
    p50=0.004,
    p95=0.095,
    p99=0.442,
)


def service(name: str = "visits", state: Any = "up", **values: Any) -> ServiceStatus:
    numbers = dict.fromkeys(("in_flight", "waiting", "holds", "repeats", "errors", "bytes_in", "bytes_out"), 0)
    fields = {"switched": None, "sessions": 2, "agents": 2, "agents_up": 2, "requests": 600, "recent": PACE}
    return ServiceStatus(name=name, state=state, **{**numbers, **fields, **values})


def session(number: int = 0, **values: Any) -> SessionStatus:
    fields = {"id": f"{number:08x}", "peer": "10.0.0.1", "age": 7200.0, "round_trip": 0.012, "silent_for": 0.1}
    sizes = {"outstanding": 1, "window": 0, "unsent": 0, "bytes_in": 2048, "bytes_out": 4096}
    return SessionStatus(**{**fields, **sizes, "draining": False, **values})


def agent(name: str = "leeds-1", state: Any = "up", sessions: int = 2, **values: Any) -> AgentStatus:
    offer = OfferStatus(
        service="visits",
        upstream_up=state != "upstream down",
        withdrawn=False,
        registered=True,
        outstanding=0,
        limit=80,
    )
    instance = InstanceStatus(
        id="0123abcd",
        software="tunnel-agent/1.2",
        outstanding=0,
        limit=None,
        draining=False,
        offers=[offer],
        sessions=[session(number) for number in range(sessions)],
    )
    fields = {"switched": None, "services": ["visits"], "outstanding": 3, "bytes_in": 1, "bytes_out": 1}
    return AgentStatus(
        id=name,
        state=state,
        sessions=sessions,
        round_trip=0.012 if sessions else None,
        instances=[instance] if sessions else [],
        **{**fields, **values},
    )


def hub(services: list[ServiceStatus], agents: list[AgentStatus], **values: Any) -> Status:
    numbers = dict.fromkeys(
        ("in_flight", "waiting", "sessions_lost", "agents_refused", "unrouted", "window_memory"), 0
    )
    fields = {
        "hub": "hub-1",
        "version": "1.2",
        "revision": None,
        "now": 1000.0,
        "uptime": 90.0,
        "state": "serving",
        "switched": None,
        "sessions": sum(each.sessions for each in agents),
        "agents_up": sum(each.state == "up" for each in agents),
        "failures": [],
        "failure_counts": [],
    }
    return Status(services=services, agents=agents, **{**numbers, **fields, **values})


def shown(status: Status, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    for part in terminal.read(msgspec.json.encode(status)).parts(width):
        console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


@pytest.mark.parametrize(
    ("services", "state", "word"),
    [
        (["up"], "serving", "up"),
        (["up", "degraded", "switched off"], "serving", "up"),
        (["up", "without agent"], "serving", "down"),
        (["down at every agent"], "serving", "down"),
        (["up"], "draining", "draining"),
        (["without agent"], "starting", "starting"),
        (["up"], "stopping", "stopping"),
    ],
)
def test_in_one_word(services: list[str], state: str, word: str) -> None:
    status = hub([service(each, each) for each in services], [agent()], state=state)
    assert terminal.standing(status) == word
    assert terminal.read(msgspec.json.encode(status)).up == (word == "up")


def test_what_is_wrong() -> None:
    by = Switched(by="operator alice", at=940.0, reason="INC-7")
    status = hub(
        [
            service("a", "degraded", agents_up=1),
            service("b", "without agent"),
            service("c", "switched off", switched=by),
            service("d", "switched off", switched=Switched(by="file")),
        ],
        [
            *(agent(f"away-{number}", "away", 0) for number in range(8)),
            agent("leeds-1", "stopped", switched=by),
            agent("leeds-2", "upstream down"),
            agent("leeds-3", "draining"),
        ],
        switched=by,
        concerns=[Concern(about="silence", name="away-1", text="away-1 went silent")],
    )
    assert list(terminal.problems(status)) == [
        "the hub is drained by the operator alice since 1 min: INC-7",
        "a is up at 1 of 2 agents only",
        "b is without agent",
        "c is switched off by the operator alice since 1 min: INC-7",
        "d is switched off by the file",
        "leeds-1 gets no requests by the operator alice since 1 min: INC-7",
        "no session with away-0, away-1, away-2, away-3, away-4, away-5, 2 more",
        "upstreams fail at leeds-2 (visits)",
        "leeds-3 takes nothing new",
        "away-1 went silent",
    ]


def test_a_small_hub_shows_each_session() -> None:
    text = shown(hub([service()], [agent(), agent("leeds-2", sessions=0, state="away")]))
    for words in ("p99", "442 ms", "1 %", "10.0", "00000001", "0123abcd", "10.0.0.1", "2 h", "12 ms", "AWAY"):
        assert words in text
    assert "last 60 s" in text


def test_a_large_hub_shows_agents_those_with_trouble_first() -> None:
    agents = [*(agent(f"ok-{number}") for number in range(500)), agent("ill-1", "upstream down")]
    text = shown(hub([service()], agents))
    rows = [line for line in text.splitlines() if line.startswith(("ok-", "ill-"))]
    assert len(rows) == terminal.AGENTS_SHOWN
    assert rows[0].startswith("ill-1")
    assert "461 more with --json" in text
    assert "00000001" not in text


def test_failures_that_are_alike_stand_in_one_line() -> None:
    def failure(number: int, code: str, status: int = 503) -> Failure:
        fields = {"service": "visits", "caller": "booking", "method": "GET", "path": "/x/*", "origin": "upstream"}
        rest = {"delivered": "no", "agent": "leeds-1", "seconds": 0.5}
        return Failure(at=990.0 - number, request_id=f"r-{number}", code=code, status=status, **fields, **rest)

    kinds = [failure(50 + number, f"code_{number}") for number in range(12)]
    failures = [*(failure(number, "connect_failed") for number in range(40)), failure(45, "", 500), *kinds]
    text = shown(hub([service()], [agent()], failures=failures))
    [line] = [line for line in text.splitlines() if "connect_failed" in line]
    assert line.split()[:4] == ["10", "s", "ago", "40"]
    assert line.endswith("r-0")
    assert re.search(r"\bupstream +500 +500 +visits\b", text), "an upstream's own answer has no code"
    assert "Latest failures (4 kinds more with --json)" in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 250])
def test_it_fits(width: int) -> None:
    status = hub([service("a-service-with-a-long-name", "down at every agent")], [agent("an-agent-far-away")])
    assert max(map(len, shown(status, width).splitlines())) <= width
