"""The agent against a hub whose every frame is the test's: what it announces, and how it drains."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import frames
from protocol.errors import SessionCode, StreamCode
from protocol.events import OfferState
from tests.support import scripts
from tests.support.hostile import HostileHub, HostileSession, open_frame
from tests.support.keys import KeyRing
from tests.support.ports import free_port
from tests.support.programs import ALLOW_ALL, Agent
from tests.support.toml import merge
from tests.support.upstream import Exchange, Upstream, reply
from tests.support.waiting import Gate, stays, wait_until

UP, DOWN, WITHDRAWN = OfferState.UP, OfferState.DOWN, OfferState.WITHDRAWN


class Lone:
    """An agent with one session to a hub of the test's."""

    def __init__(self, folder: Path, keys: KeyRing, **options: Any) -> None:
        self.upstream = Upstream()
        self.hub = HostileHub(keys.hub("hostile"), keys.agent())
        entry = {"url": self.hub.url, "public_keys": [keys.hub("hostile").public], "sessions": 1}
        self.agent = Agent(
            folder,
            keys.agent(),
            hubs=[entry],
            services={"visits": {"upstream": self.upstream.url, "allow": ALLOW_ALL}},
            options=options,
        )

    def start(self) -> HostileSession:
        self.agent.start()
        return self.hub.wait_session()

    def close(self) -> None:
        self.agent.close()
        self.hub.close()
        self.upstream.close()


@pytest.fixture
def make(tmp_path: Path, keys: KeyRing) -> Iterator[Callable[..., Lone]]:
    made: list[Lone] = []

    def make(**options: Any) -> Lone:
        made.append(Lone(tmp_path, keys, **options))
        return made[-1]

    yield make
    for lone in made:
        lone.close()


def heard(session: HostileSession, kind: int) -> list[list[Any]]:
    return [frame[1:] for frame in list(session.heard) if frame[0] == kind]


def wait_offers(session: HostileSession, *expected: list[Any]) -> None:
    wait_until(lambda: heard(session, frames.OFFER) == list(expected), f"offers {expected}")


def open_stream(session: HostileSession, number: int, target: bytes, **more: Any) -> None:
    session.send_bytes(open_frame(number, target, **more))


# -- announcements ----------------------------------------------------------------------------------


def test_calls_in_vain_are_announced_logged_and_measured_and_so_is_the_return(make: Callable[..., Lone]) -> None:
    port = free_port()
    lone = make(services={"visits": {"upstream": f"http://127.0.0.1:{port}", "max_connections": 4}})
    session = lone.start()
    wait_offers(session, ["visits", UP, 5])
    for number in (1, 3):
        open_stream(session, number, b"/x")
    wait_offers(session, ["visits", UP, 5], ["visits", DOWN, 5])
    assert [frame[1] for frame in heard(session, frames.RESET)] == [StreamCode.CONNECT_FAILED] * 2
    assert lone.agent.admin_status("/health") == 503
    health = lone.agent.admin("/health").json()
    assert health["components"]["upstream:visits"]["details"]["problem"] == "connection refused"
    assert 'tunnel_agent_upstream_up{service="visits"} 0.0' in lone.agent.admin("/metrics").text
    assert lone.agent.admin_status("/health/readiness") == 200
    with socket.create_server(("127.0.0.1", port)):
        wait_offers(session, ["visits", UP, 5], ["visits", DOWN, 5], ["visits", UP, 5])
        assert 'tunnel_agent_upstream_up{service="visits"} 1.0' in lone.agent.admin("/metrics").text
        assert lone.agent.admin_status("/health") == 200
    log = lone.agent.log()
    assert log.count("the upstream fails") == log.count("the upstream works again") == 1


def test_a_failing_health_check_is_announced(make: Callable[..., Lone]) -> None:
    lone = make(services={"visits": {"health": "/health", "health_interval": "100ms"}})
    lone.upstream.on("/health", reply(503))
    session = lone.start()
    wait_offers(session, ["visits", UP, 80], ["visits", DOWN, 80])
    lone.upstream.on("/health", reply(204, body=b""))
    wait_offers(session, ["visits", UP, 80], ["visits", DOWN, 80], ["visits", UP, 80])
    assert lone.agent.stop() == 0
    assert "Traceback" not in lone.agent.log()


# -- draining ---------------------------------------------------------------------------------------


def test_sigterm_takes_what_was_sent_before_the_hub_knew(make: Callable[..., Lone]) -> None:
    lone = make()
    gate = Gate()

    async def slow(x: Exchange) -> None:
        await gate.passed()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    lone.upstream.on("/slow", slow)
    session = lone.start()
    wait_until(lambda: heard(session, frames.PING), "the first PING")
    session.answer_pings = False
    lone.agent.terminate()
    wait_until(lambda: heard(session, frames.DRAIN) == [[None]], "the first step")
    open_stream(session, 1, b"/slow")
    lone.upstream.wait_for("/slow")
    stays(lambda: heard(session, frames.DRAIN) == [[None]], "the second step waits for the PONG", 0.3)
    session.send(frames.PONG, heard(session, frames.PING)[-1][0])
    wait_until(lambda: heard(session, frames.DRAIN) == [[None], [1]], "the second step")
    open_stream(session, 3, b"/slow")
    session.answer_pings = True
    stays(lambda: lone.agent.running and not heard(session, frames.GOODBYE), "its request still runs", 0.3)
    gate.open()
    session.expect_end(SessionCode.SHUTDOWN)
    assert [(frame[0], frame[2]) for frame in heard(session, frames.ANSWER)] == [(1, 200)]
    assert lone.agent.wait_exit() == 0
    assert len(lone.upstream.requests("/slow")) == 1
    assert len(lone.hub.sessions) == 1


def test_long_streams_and_upgrades_end_with_the_drain_timeout(make: Callable[..., Lone]) -> None:
    lone = make(limits={"drain_timeout": "1s"})
    gates = [Gate() for _ in range(3)]
    gates[0].open()
    lone.upstream.on("/events", scripts.events(gates))
    lone.upstream.on("/ws", scripts.websocket_echo)
    session = lone.start()
    open_stream(session, 1, b"/events", deadline=None)
    fields = [b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version", b"13"]
    open_stream(session, 3, b"/ws", flags=0, upgrade=b"websocket", fields=fields, deadline=None)
    wait_until(lambda: len(heard(session, frames.ANSWER)) == 2, "both answers to begin")
    lone.agent.terminate()
    stays(lambda: lone.agent.running, "the drain timeout has not passed", 0.5)
    session.expect_end(SessionCode.SHUTDOWN)
    resets = heard(session, frames.RESET)
    assert sorted(frame[:2] for frame in resets) == [[1, StreamCode.CANCELLED], [3, StreamCode.CANCELLED]]
    assert lone.agent.wait_exit() == 0


def test_sigterm_while_a_dial_hangs_ends_at_once(make: Callable[..., Lone], keys: KeyRing) -> None:
    lone = make()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/tunnel"
        lone.agent.config["hubs"].append({"url": url, "public_keys": [keys.hub().public], "sessions": 4})
        lone.agent.write_config()
        lone.start()
        dialled = silent.accept()
        began = time.monotonic()
        assert lone.agent.stop() == 0
        assert time.monotonic() - began < 5
        dialled[0].close()
    assert "Traceback" not in lone.agent.log()


def test_after_a_hubs_drain_the_next_session_comes_first_and_the_old_one_finishes(
    make: Callable[..., Lone],
) -> None:
    lone = make()
    gate = Gate()

    async def slow(x: Exchange) -> None:
        await gate.passed()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    lone.upstream.on("/slow", slow)
    old = lone.start()
    open_stream(old, 1, b"/slow")
    lone.upstream.wait_for("/slow")
    time.sleep(0.6)  # what ends sooner counts as a failure (slot.LASTED) and would be dialled with a longer wait
    old.send(frames.DRAIN, None)
    new = lone.hub.wait_session(2, timeout=5)
    assert not old.ended.is_set()
    gate.open()
    wait_until(lambda: heard(old, frames.ANSWER), "the old session's answer")
    wait_offers(new, ["visits", UP, 80])
    old.send(frames.GOODBYE, 0, "replaced")
    assert old.ended.wait(10)
    stays(lambda: len(lone.hub.sessions) == 2, "one session is wanted", 0.5)


def test_a_duplicate_is_told_with_its_remedy_and_tried_again(make: Callable[..., Lone]) -> None:
    lone = make()
    session = lone.start()
    session.send(frames.GOODBYE, SessionCode.DUPLICATE, "another instance is connected")
    line = lone.agent.wait_log("another machine is connected with this agent's id")
    assert "error" in line
    lone.hub.wait_session(2)


# -- SIGHUP -----------------------------------------------------------------------------------------


def reload(lone: Lone, **changes: Any) -> None:
    import signal

    mark = lone.agent.mark()
    lone.agent.config = merge(lone.agent.config, changes)
    lone.agent.write_config()
    lone.agent.signal(signal.SIGHUP)
    lone.agent.wait_log("configuration reloaded", since=mark)


def test_sighup_announces_services_on_the_session_that_stands(make: Callable[..., Lone]) -> None:
    lone = make()
    lone.upstream.on("/x", reply())
    session = lone.start()
    first = ["visits", UP, 80]
    wait_offers(session, first)
    more = {"upstream": lone.upstream.url, "allow": ["GET /x"], "max_connections": 2}
    reload(lone, services={"more": more})
    wait_offers(session, first, ["more", UP, 3])
    open_stream(session, 1, b"/x", service="more")
    wait_until(lambda: heard(session, frames.ANSWER), "an answer of the new service")
    reload(lone, services={"more": {"max_connections": 8}})
    wait_offers(session, first, ["more", UP, 3], ["more", UP, 10])
    del lone.agent.config["services"]["more"]
    reload(lone)
    wait_offers(session, first, ["more", UP, 3], ["more", UP, 10], ["more", WITHDRAWN, None])
    open_stream(session, 3, b"/x", service="more")
    wait_until(lambda: heard(session, frames.RESET), "a refusal")
    assert heard(session, frames.RESET)[0][:2] == [3, StreamCode.UNKNOWN_SERVICE]
    assert len(lone.hub.sessions) == 1


def test_sighup_dials_new_hubs_and_leaves_old_ones_when_their_requests_are_over(
    make: Callable[..., Lone], keys: KeyRing
) -> None:
    lone = make()
    gate = Gate()

    async def slow(x: Exchange) -> None:
        await gate.passed()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    lone.upstream.on("/slow", slow)
    old = lone.start()
    open_stream(old, 1, b"/slow")
    lone.upstream.wait_for("/slow")
    other = HostileHub(keys.hub("other-hub"), keys.agent())
    try:
        entry = {"url": other.url, "public_keys": [keys.hub("other-hub").public], "sessions": 2}
        reload(lone, hubs=[entry])
        other.wait_session(2)
        wait_until(lambda: heard(old, frames.DRAIN), "the old session drains")
        stays(lambda: not old.ended.is_set(), "its request still runs", 0.3)
        gate.open()
        wait_until(lambda: heard(old, frames.ANSWER), "its answer")
        old.expect_end(SessionCode.SHUTDOWN)
        assert len(lone.hub.sessions) == 1
        assert lone.agent.stop() == 0
    finally:
        other.close()
