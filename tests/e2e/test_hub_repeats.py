"""What the hub sends again by itself, what it never sends again, and what callers say of deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from protocol import frames
from protocol.errors import StreamCode
from tests.e2e.conftest import SHORT_DEADLINE
from tests.support import scripts
from tests.support.hostile import HostileAgent
from tests.support.keys import KeyRing
from tests.support.ports import free_port
from tests.support.problems import assert_problem
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, Script, Upstream, reply
from tests.support.waiting import PATIENCE, wait_until

MakeTunnel = Callable[..., Tunnel]


def hangs_once() -> Script:
    """The first request is never answered, those after it are."""
    count = 0

    async def script(x: Exchange) -> None:
        nonlocal count
        count += 1
        if count == 1:
            await scripts.no_answer(x)
        else:
            await x.answer(body=b"served")

    return script


def test_what_was_in_flight_at_a_killed_agent(make_tunnel: MakeTunnel) -> None:
    """GET and PUT are answered by the other agent, then by the agent's successor; a POST was sent once."""
    tunnel = make_tunnel(agent_ids=("leeds-1", "leeds-2"), service={"hold": "15s"})
    first, second = tunnel.agents
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    first.start()
    tunnel.wait_sessions(2)
    for method in ("GET", "PUT", "POST"):
        tunnel.upstream.on(f"/{method}", hangs_once())
    with ThreadPoolExecutor(4) as pool:
        calls = {
            method: pool.submit(tunnel.fetch, f"/{method}", method=method, body=b"x" * 5000)
            for method in ("GET", "PUT", "POST")
        }
        for method in calls:
            tunnel.upstream.wait_for(f"/{method}")
        second.start()
        tunnel.wait_sessions(4)
        first.kill()
        for method in ("GET", "PUT"):
            answer = calls[method].result()
            assert (answer.status, answer.body) == (200, b"served")
            assert [bytes(got.body) for got in tunnel.upstream.requests(f"/{method}")] == [b"x" * 5000] * 2
        assert_problem(calls["POST"].result(), 502, delivered="unknown", code="session_lost", origin="tunnel")
        assert len(tunnel.upstream.requests("/POST")) == 1

        tunnel.upstream.on("/held", hangs_once())
        held = pool.submit(tunnel.fetch, "/held")
        tunnel.upstream.wait_for("/held")
        second.kill()
        second.start()
        assert (held.result().status, held.result().body) == (200, b"served")


@pytest.fixture
def by_hand(make_tunnel: MakeTunnel, keys: KeyRing) -> tuple[Tunnel, HostileAgent]:
    """A hub whose first agent is the test itself; the second one is not started."""
    tunnel = make_tunnel(agent_ids=("leeds-1", "leeds-2"), service={"hold": "15s"}, sessions=1)
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    agent = HostileAgent(tunnel.hub.agents_port)
    agent.shake(keys.agent("leeds-1"), keys.hub())
    tunnel.wait_sessions(1)
    return tunnel, agent


def test_a_post_that_was_not_dispatched_goes_elsewhere(by_hand: tuple[Tunnel, HostileAgent]) -> None:
    """The agent is overloaded, cannot connect, and drains at last: the other one serves each POST, once."""
    tunnel, agent = by_hand
    codes = (StreamCode.OVERLOADED, StreamCode.CONNECT_FAILED)
    for code in codes:
        tunnel.upstream.on(f"/{code.name}", reply(body=b"served"))
    tunnel.upstream.on("/drain", reply(body=b"served"))
    with agent, ThreadPoolExecutor(4) as pool:
        calls = {
            code.name: pool.submit(tunnel.fetch, f"/{code.name}", "Tunnel-Deadline: 9s", method="POST", body=b"b")
            for code in codes
        }
        opened = {}
        for _ in codes:
            frame = agent.next_frame(frames.OPEN)
            opened[frame[8].decode()] = frame
            assert 5000 < frame[3] <= 9000, "what is left of the caller's deadline"
        drained = pool.submit(tunnel.fetch, "/drain", method="POST", body=b"b")
        last = agent.next_frame(frames.OPEN)
        tunnel.agents[1].start()
        tunnel.wait_sessions(2)
        for code in codes:
            agent.send(frames.RESET, opened[f"/{code.name}"][1], code, "")
        for call in calls.values():
            assert (call.result().status, call.result().body) == (200, b"served")
        agent.send(frames.DRAIN, None)
        agent.send(frames.DRAIN, last[1] - 2)
        assert (drained.result().status, drained.result().body) == (200, b"served")
        for path in (*opened, "/drain"):
            assert bytes(tunnel.upstream.only(path).body) == b"b"


def test_an_unreachable_upstream_is_the_other_agents_turn(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(agent_ids=("leeds-1", "leeds-2"), sessions=1)
    tunnel.agents[0].config["services"]["visits"]["upstream"] = f"http://127.0.0.1:{free_port()}"
    tunnel.agents[0].write_config()
    tunnel.start()
    tunnel.wait_sessions(2)
    tunnel.upstream.on("/x", reply())
    for _ in range(6):
        assert tunnel.fetch("/x", method="POST", body=b"{}").status == 200
    assert len(tunnel.upstream.requests("/x")) == 6
    tunnel.upstream.refuse()
    assert_problem(tunnel.fetch("/x", method="POST", body=b"{}"), 503, code="connect_failed", origin="upstream")


# -- deadlines --------------------------------------------------------------------------------------


def test_a_caller_lowers_the_deadline(tunnel: Tunnel, upstream: Upstream, path: str) -> None:
    upstream.on(path, scripts.no_answer)
    began = time.monotonic()
    answer = tunnel.fetch(path, "Tunnel-Deadline: 600ms", method="POST", body=b"{}")
    took = time.monotonic() - began
    assert_problem(answer, 504, delivered="unknown", code="deadline", origin="tunnel")
    assert 0.6 <= took < 0.6 + 1.0 * PATIENCE
    assert not upstream.only(path).has("tunnel-deadline")
    upstream.only(path).gone.wait(2)


def test_a_caller_cannot_raise_the_deadline(tunnel: Tunnel, upstream: Upstream, path: str) -> None:
    upstream.on(path, scripts.no_answer)
    began = time.monotonic()
    answer = tunnel.fetch(path, "Tunnel-Deadline: 20s", host=SHORT_DEADLINE)
    assert answer.status == 504
    assert time.monotonic() - began < 1.0 + 1.0 * PATIENCE


@pytest.mark.parametrize(
    "fields", [("Tunnel-Deadline: soon",), ("Tunnel-Deadline: 1s", "tunnel-deadline: 1s"), ("Tunnel-Deadline:",)]
)
def test_a_malformed_deadline(tunnel: Tunnel, upstream: Upstream, path: str, fields: tuple[str, ...]) -> None:
    assert_problem(tunnel.fetch(path, *fields), 400, code="malformed_request", origin="hub")
    assert not upstream.requests(path)


def test_a_deadline_that_ends_in_the_queue(make_tunnel: MakeTunnel) -> None:
    """All connections to the upstream are busy: nothing was delivered, and that is what is said."""
    tunnel = make_tunnel(agent_service={"max_connections": 1}, sessions=1).start()
    tunnel.upstream.on("/busy", scripts.no_answer)
    tunnel.upstream.on("/x", reply())
    with tunnel.raw() as busy:
        busy.start("GET", "/busy")
        tunnel.upstream.wait_for("/busy")
        answer = tunnel.fetch("/x", "Tunnel-Deadline: 400ms", method="POST", body=b"{}")
        assert_problem(answer, 504, delivered="no")
    wait_until(lambda: tunnel.fetch("/x").status == 200, "the connection to be free")
    assert len(tunnel.upstream.requests("/x")) == 1
