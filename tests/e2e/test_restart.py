"""Hub and agent are killed, restarted and cut off, in any order: service comes back by itself."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.client import connect

from tests.support import scripts
from tests.support.problems import assert_problem
from tests.support.rawhttp import Answer
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import PATIENCE, Gate, stays, wait_until

ALWAYS_BACK_WITHIN = 11.0
MakeTunnel = Callable[..., Tunnel]


def served(tunnel: Tunnel, path: str = "/x") -> bool:
    try:
        return tunnel.get(path, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def assert_back(tunnel: Tunnel, within: float = ALWAYS_BACK_WITHIN) -> float:
    began = time.monotonic()
    wait_until(lambda: served(tunnel), f"service within {within:g} s", within)
    return time.monotonic() - began


@pytest.fixture
def up(make_tunnel: MakeTunnel) -> Tunnel:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/x", reply())
    assert served(tunnel)
    return tunnel


# -- killed and restarted ---------------------------------------------------------------------------


def test_agent_killed_and_restarted(up: Tunnel) -> None:
    up.agent.kill()
    wait_until(lambda: up.hub.admin_status("/health") == 503, "the hub to notice")
    assert up.hub.admin_status("/health/liveness") == 200
    up.agent.start()
    assert_back(up)
    wait_until(lambda: up.hub.admin_status("/health") == 200, "the hub's health to recover")


def test_hub_killed_and_restarted(up: Tunnel) -> None:
    up.hub.kill()
    wait_until(lambda: up.agent.admin_status("/health") == 503, "the agent to notice")
    assert up.agent.admin_status("/health/liveness") == 200
    assert up.agent.running
    up.hub.start()
    up.hub.wait_alive()
    taken = assert_back(up)
    assert taken <= 1.5 * PATIENCE, f"{taken:.1f} s at the first backoff steps"


def test_both_killed_and_restarted_in_either_order(up: Tunnel) -> None:
    for first, second in ((up.hub, up.agent), (up.agent, up.hub)):
        first.kill()
        second.kill()
        second.start()
        stays(lambda: second.running, f"{second.name} waits for the other", 0.5)  # noqa: B023
        first.start()
        first.wait_alive()
        assert_back(up)


@pytest.mark.bug(21)
def test_an_agent_starts_before_its_hub(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel()
    tunnel.upstream.on("/x", reply())
    tunnel.agent.start()
    wait_until(lambda: tunnel.agent.admin_status("/health/liveness") == 200, "the agent to live")
    assert tunnel.agent.admin_status("/health/readiness") == 503
    assert tunnel.agent.admin_status("/health") == 503
    stays(lambda: tunnel.agent.running, "an agent without hub goes on trying", 2.0)
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    assert_back(tunnel)


@pytest.mark.bug(21)
def test_a_hub_that_returns_late_is_found_within_eleven_seconds(up: Tunnel) -> None:
    up.hub.stop()
    stays(lambda: up.agent.running, "the agent goes on trying", 6.0)
    up.hub.start()
    up.hub.wait_alive()
    assert_back(up)


def test_a_burst_of_cuts(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(relay=True).start()
    tunnel.upstream.on("/x", reply())
    assert tunnel.relay is not None
    for _ in range(5):
        tunnel.relay.cut()
        assert_back(tunnel)
    tunnel.wait_served()


def test_the_hubs_address_refuses_for_a_while(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(relay=True).start()
    tunnel.upstream.on("/x", reply())
    assert tunnel.relay is not None
    tunnel.relay.refuse()
    tunnel.relay.cut()
    wait_until(lambda: tunnel.hub.admin_status("/health") == 503, "the hub to notice")
    tunnel.relay.listen()
    assert_back(tunnel)


# -- requests meanwhile -----------------------------------------------------------------------------


@pytest.mark.bug(15)
def test_requests_during_an_agents_restart_are_held_and_served(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(service={"hold": "10s"}).start()
    tunnel.upstream.on("/x", reply(body=b"served"))
    tunnel.agent.stop()
    wait_until(lambda: tunnel.hub.admin_status("/health") == 503, "the hub to notice")
    with ThreadPoolExecutor(10) as pool:
        held = [pool.submit(tunnel.fetch, "/x", method=method, body=b"{}") for method in ("GET", "POST") * 5]
        stays(lambda: not any(answer.done() for answer in held), "requests are held", 0.3)
        tunnel.agent.start()
        for answer in held:
            assert (answer.result().status, answer.result().body) == (200, b"served")
    assert len(tunnel.upstream.requests("/x")) == 10


@pytest.mark.bug(15)
def test_requests_during_an_agents_restart_never_get_404(up: Tunnel) -> None:
    stop = threading.Event()
    seen: list[Answer] = []

    def call() -> None:
        while not stop.is_set():
            seen.append(up.fetch("/x"))

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(call)
        up.agent.kill()
        up.agent.start()
        assert_back(up)
        stop.set()
    assert {answer.status for answer in seen} <= {200, 502, 503}
    for answer in seen:
        if answer.status != 200:
            assert_problem(answer, answer.status, delivered=None)


@pytest.mark.bug(8)
def test_a_killed_agents_requests_end_at_once(make_tunnel: MakeTunnel) -> None:
    """In flight when the agent dies: 502 unknown, at once and not at the deadline; never an empty 200."""
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/hang", scripts.no_answer)
    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(tunnel.fetch, "/hang", method="POST", body=b"{}") for _ in range(10)]
        tunnel.upstream.wait_for("/hang", 10)
        began = time.monotonic()
        tunnel.agent.kill()
        for call in calls:
            assert_problem(call.result(), 502, delivered="unknown", code="session_lost", origin="tunnel")
        assert time.monotonic() - began < 5
    assert len(tunnel.upstream.requests("/hang")) == 10


def test_a_killed_hubs_requests_are_cancelled_at_the_upstream(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/hang", scripts.no_answer)
    with tunnel.raw() as caller:
        caller.start("GET", "/hang")
        received = tunnel.upstream.wait_for("/hang")
        tunnel.hub.kill()
        received.gone.wait(5)


def test_with_two_agents_one_may_die(make_tunnel: MakeTunnel) -> None:
    """A safe request meets the survivor; nobody waits for the dead one."""
    tunnel = make_tunnel(agent_ids=("leeds-1", "leeds-2")).start()
    tunnel.upstream.on("/x", reply())
    for _ in range(10):
        assert tunnel.fetch("/x").status == 200
    tunnel.agents[0].kill()
    for _ in range(20):
        assert tunnel.fetch("/x", timeout=5).status == 200
    assert tunnel.agents[1].running


# -- silence ----------------------------------------------------------------------------------------


@pytest.mark.bug(11)
@pytest.mark.parametrize("how", ["stall", "black_hole"])
def test_a_silent_link_is_noticed_while_work_waits(make_tunnel: MakeTunnel, how: str) -> None:
    """TCP says that all is well, nothing arrives: the peer is dead within some seconds, service returns."""
    tunnel = make_tunnel(relay=True, service={"deadline": "20s"}).start()
    tunnel.upstream.on("/x", reply())
    assert tunnel.relay is not None
    getattr(tunnel.relay, how)(new_links=False)
    began = time.monotonic()
    answer = tunnel.fetch("/x", method="POST", body=b"{}", timeout=15)
    assert time.monotonic() - began < 8 * PATIENCE, "noticed by the deadline only"
    if answer.status != 200:
        assert_problem(answer, answer.status, delivered=None)
        assert answer.status in (502, 503)
    # the hub noticed within seconds; an agent without streams of its own learns of it by its slow probes
    assert_back(tunnel, 25)


@pytest.mark.bug(11)
@pytest.mark.bug(12)
def test_a_half_open_link_is_noticed_by_an_idle_agent(make_tunnel: MakeTunnel) -> None:
    """The hub's side is gone without a word: an idle agent notices by its slow probes and connects anew."""
    tunnel = make_tunnel(relay=True, sessions=1).start()
    tunnel.upstream.on("/x", reply())
    assert tunnel.relay is not None
    links = len(tunnel.relay.links)
    tunnel.relay.half_open(keep="client")
    wait_until(lambda: len(tunnel.relay.links) > links, "the agent to connect anew", 25)  # type: ignore[union-attr]
    assert_back(tunnel)


@pytest.mark.bug(12)
def test_health_is_red_while_the_agent_is_frozen(make_tunnel: MakeTunnel) -> None:
    """SIGSTOP: the kernel keeps the connection open; the hub must not call that healthy for long."""
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/x", reply())
    tunnel.agent.pause()
    answer = tunnel.fetch("/x", method="POST", body=b"{}", timeout=15)
    assert answer.status in (502, 503)
    assert_problem(answer, answer.status, delivered=None)
    wait_until(lambda: tunnel.hub.admin_status("/health") == 503, "the hub's health to turn red", 25)
    tunnel.agent.resume()
    assert_back(tunnel)
    wait_until(lambda: tunnel.hub.admin_status("/health") == 200, "the hub's health to recover")


def test_an_agent_notices_a_frozen_hub(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/x", reply())
    tunnel.hub.pause()
    wait_until(lambda: tunnel.agent.admin_status("/health") == 503, "the agent's health to turn red", 30)
    tunnel.hub.resume()
    assert_back(tunnel)


# -- orderly ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_idle_programs_end_at_once_with_status_0(make_tunnel: MakeTunnel, number: signal.Signals) -> None:
    tunnel = make_tunnel().start()
    for program in (tunnel.agent, tunnel.hub):
        began = time.monotonic()
        program.signal(number)
        assert program.wait_exit(10) == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in program.log()


@pytest.mark.bug(13)
@pytest.mark.parametrize("which", ["hub", "agent"])
def test_a_request_in_flight_outlives_sigterm(make_tunnel: MakeTunnel, which: str) -> None:
    tunnel = make_tunnel().start()
    gate = Gate()

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await gate.passed()
        await x.send(b"half")

    tunnel.upstream.on("/slow", script)
    program = getattr(tunnel, which)
    with tunnel.raw() as caller:
        caller.start("GET", "/slow")
        assert caller.head().status == 200
        assert caller.read_exactly(4) == b"half"
        program.terminate()
        stays(lambda: program.running, f"{which} waits for its request", 0.5)
        gate.open()
        assert caller.read_exactly(4) == b"half"
    assert program.wait_exit(10) == 0


@pytest.mark.bug(13)
def test_a_draining_agent_takes_nothing_new_while_another_serves(make_tunnel: MakeTunnel) -> None:
    """A rolling restart of two agents under load: every request is served."""
    tunnel = make_tunnel(agent_ids=("leeds-1", "leeds-2")).start()
    tunnel.upstream.on("/x", reply())
    stop = threading.Event()
    failures: list[Answer] = []
    count = 0

    def call() -> None:
        nonlocal count
        while not stop.is_set():
            answer = tunnel.fetch("/x", method="POST", body=b"{}")
            count += 1
            if answer.status != 200:
                failures.append(answer)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(call)
        for agent in tunnel.agents:
            assert agent.stop() == 0
            agent.start()
            agent.wait_ready()
        stop.set()
    assert count > 20
    assert not failures, [(failure.status, failure.body) for failure in failures]


@pytest.mark.bug(13)
@pytest.mark.parametrize("which", ["hub", "agent"])
def test_an_upgraded_websocket_is_told_that_its_way_ends(make_tunnel: MakeTunnel, which: str) -> None:
    """Close code 1001, going away; the program does not wait for its drain timeout."""
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/ws", scripts.websocket_echo)
    program = getattr(tunnel, which)
    with connect(f"ws://{HOST}/ws", sock=tunnel.socket(), proxy=None) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
        program.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CloseCode.GOING_AWAY
    assert program.wait_exit(10) == 0
    assert not tunnel.upstream.errors
