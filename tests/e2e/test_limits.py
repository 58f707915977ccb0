"""Slow, greedy and excessive clients meet limits; overload is 503 and never delivered; others are served."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support import scripts
from tests.support.keys import KeyRing
from tests.support.problems import assert_problem
from tests.support.rawhttp import RawClient, Truncated
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import Gate, stays, wait_until

MakeTunnel = Callable[..., Tunnel]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    """A tunnel with short timeouts for callers and few places."""
    tunnel = Tunnel(
        tmp_path_factory.mktemp("strict"),
        keys,
        sessions=1,
        service={"queue_timeout": "300ms"},
        hub_options={
            "limits": {
                "callers": 20,
                "header_timeout": "500ms",
                "idle_timeout": "1s",
                "body_idle_timeout": "500ms",
                "send_idle_timeout": "1s",
            }
        },
        agent_options={"limits": {"streams_per_session": 4}},
    )
    tunnel.upstream.on("/ok", reply())
    tunnel.start()
    yield tunnel
    tunnel.close()


# -- slow callers -----------------------------------------------------------------------------------


def test_a_head_that_never_ends_is_408(strict: Tunnel) -> None:
    with strict.raw() as caller:
        caller.send(f"GET /ok HTTP/1.1\r\nHost: {HOST}\r\nX-".encode())
        assert_problem(caller.answer(), 408)
        caller.read_to_end()


def test_a_head_that_trickles_is_ended_too(strict: Tunnel) -> None:
    """One byte now and then does not buy more time."""
    with strict.raw(timeout=0.1) as caller:
        caller.send(b"GET /ok HTTP/1.1\r\n")
        for _ in range(100):
            with contextlib.suppress(OSError):
                caller.send(b"X")
            try:
                data = caller.read_some()
            except TimeoutError:
                continue
            assert data.startswith(b"HTTP/1.1 408") or data == b""
            return
    raise AssertionError("a trickling head keeps its connection")


def test_an_idle_connection_is_closed_quietly(strict: Tunnel) -> None:
    with strict.raw() as caller:
        assert caller.get("/ok").status == 200
        assert caller.expect_closed() == "fin"
    with strict.raw() as silent:
        assert silent.expect_closed() == "fin"


def test_a_body_that_stops_is_ended_and_cancelled(strict: Tunnel, path: str) -> None:
    strict.upstream.on(path, reply())
    with strict.raw() as caller:
        caller.start("POST", path, "Content-Length: 100", body=b"some")
        received = strict.upstream.wait_for(path)
        data, _ = caller.read_to_end()
        assert data == b"" or data.startswith((b"HTTP/1.1 408", b"HTTP/1.1 502", b"HTTP/1.1 504"))
    received.gone.wait()
    assert not received.complete


def test_a_caller_that_takes_nothing_is_ended_and_cancelled(strict: Tunnel, path: str) -> None:
    strict.upstream.on(path, scripts.bulk_download(1 << 30))
    with strict.raw(receive_buffer=4096) as caller:
        caller.start("GET", path)
        strict.upstream.wait_for(path).gone.wait(15)


def test_a_long_answer_outlives_the_idle_timeouts(strict: Tunnel, path: str) -> None:
    """Waiting for the upstream is not idleness of the caller."""
    gate = Gate()

    async def script(x: Exchange) -> None:
        await x.body()
        await gate.passed()
        await x.answer(200, body=b"late")

    strict.upstream.on(path, script)
    with strict.raw() as caller:
        caller.start("GET", path)
        stays(lambda: not gate.is_open, "waiting", 1.6)
        gate.open()
        assert caller.answer().body == b"late"


# -- too many ---------------------------------------------------------------------------------------


def test_more_connections_than_places(strict: Tunnel) -> None:
    wait_until(lambda: strict.fetch("/ok").status == 200, "a place")
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(strict.raw()) for _ in range(30)]
        refused = 0
        for caller in callers:
            try:
                answer = caller.get("/ok")
            except (OSError, Truncated):
                refused += 1
                continue
            if answer.status != 200:
                assert_problem(answer, 503)
                refused += 1
        assert 10 <= refused <= 12, refused
    wait_until(lambda: _served(strict), "places to be free again")


def _served(tunnel: Tunnel) -> bool:
    try:
        return tunnel.fetch("/ok").status == 200
    except (OSError, Truncated):
        return False


def test_more_exchanges_than_the_sessions_carry(strict: Tunnel, path: str) -> None:
    """503, not delivered, and those under way are not disturbed."""
    gate = Gate()

    async def script(x: Exchange) -> None:
        await x.body()
        await gate.passed()
        await x.answer(200, body=b"done")

    strict.upstream.on(path, script)
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(strict.raw()) for _ in range(4)]
        for number, caller in enumerate(callers, 1):
            caller.start("GET", path)
            strict.upstream.wait_for(path, number)
        refused = strict.fetch(path, method="POST", body=b"{}")
        assert_problem(refused, 503, code="service_overloaded", origin="hub")
        gate.open()
        assert [caller.answer().body for caller in callers] == [b"done"] * 4
    assert len(strict.upstream.requests(path)) == 4


def test_more_requests_than_upstream_connections(make_tunnel: MakeTunnel) -> None:
    """The agent's own limit, which it announces: one waits at the agent, the next at the hub, and then is 503."""
    gate = Gate()

    async def script(x: Exchange) -> None:
        await x.body()
        await gate.passed()
        await x.answer(200, body=b"done")

    tunnel = make_tunnel(
        service={"queue_timeout": "300ms"}, agent_service={"max_connections": 2, "max_waiting": 1}
    ).start()
    tunnel.upstream.on("/slow", script)
    with contextlib.ExitStack() as stack:
        callers: list[RawClient] = [stack.enter_context(tunnel.raw()) for _ in range(3)]
        for caller in callers[:2]:
            caller.start("GET", "/slow")
        tunnel.upstream.wait_for("/slow", 2)
        callers[2].start("GET", "/slow")
        wait_until(lambda: "tunnel_agent_streams 3.0" in tunnel.agent.admin("/metrics").text, "the third")
        refused = tunnel.fetch("/slow", method="POST", body=b"{}")
        assert_problem(refused, 503, delivered="no", code="service_overloaded", origin="hub")
        assert "tunnel_agent_streams 3.0" in tunnel.agent.admin("/metrics").text
        gate.open()
        assert [caller.answer().body for caller in callers] == [b"done"] * 3
    assert tunnel.upstream.connections == 2


def test_more_held_requests_than_places(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(service={"hold": "3s", "hold_limit": 2})
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(tunnel.raw()) for _ in range(3)]
        for caller in callers:
            caller.start("GET", "/x")
        answers = [caller.answer() for caller in callers]
    codes = sorted(str(assert_problem(answer, 503)["code"]) for answer in answers)
    assert codes == ["hold_full", "no_session", "no_session"]


# -- around -----------------------------------------------------------------------------------------


def test_a_body_begun_while_no_agent_is_there_arrives_whole(make_tunnel: MakeTunnel) -> None:
    """A large upload meets the grace: it waits in the caller, not in the hub's memory, and then goes through."""
    tunnel = make_tunnel(service={"hold": "10s"})
    tunnel.upstream.on("/up", scripts.bulk_upload)
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    size = 8 << 20
    body = scripts.PATTERN * 8
    before = tunnel.hub.memory()
    with tunnel.raw(timeout=20) as caller:
        caller.start("POST", "/up", f"Content-Length: {size}")
        sender = threading.Thread(target=caller.send, args=(body,))
        sender.start()
        stays(sender.is_alive, "the upload waits", 0.5)
        assert tunnel.hub.memory() - before < 4 << 20
        tunnel.agent.start()
        assert caller.answer().body.decode() == scripts.pattern_digest(size)
        sender.join(10)
    assert tunnel.upstream.only("/up").body_bytes == size
