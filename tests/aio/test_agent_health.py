"""The health of upstreams as the hub hears of it: by calls without a connection, by probes, by health checks."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import StreamCode
from protocol.events import OfferState, StreamReset
from tests.support.agent import HandLink, agent_config, make_agent
from tests.support.ports import free_port
from tests.support.tls import PrivateCA
from tests.unit.egress.harness import OK, Peer, Server, both_loops, serving, until
from tunnel_agent import health

UP, DOWN = OfferState.UP, OfferState.DOWN
FAILING = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_EVERY", 0.02)
    monkeypatch.setattr(health, "SPREAD", 0.01)


@contextlib.asynccontextmanager
async def watching(folder: Path, url: str, **service: Any) -> AsyncIterator[HandLink]:
    """A link to an agent that watches over its upstream."""
    agent = make_agent(agent_config(folder, url, services={"visits": service}))
    link = HandLink(agent).establish()
    watch = agent.services["visits"].watch
    watch.start(agent.announce)
    try:
        yield link
    finally:
        await watch.stop()
        await agent.services["visits"].upstream.close()
        agent.wheel.close()


async def fail(link: HandLink, times: int) -> None:
    """So many calls in vain."""
    before = len(link.of(StreamReset))
    for number in range(times):
        link.open()
        await until(lambda: len(link.of(StreamReset)) == before + number + 1, "the call fails")  # noqa: B023


def states(link: HandLink) -> list[OfferState]:
    return [state for _, state, _ in link.offers]


@both_loops
async def test_what_is_offered_at_first(tmp_path: Path) -> None:
    async with watching(tmp_path, "http://127.0.0.1:9", max_connections=8) as link:
        assert link.offers == [("visits", UP, 10)]
    async with watching(tmp_path, "http://127.0.0.1:9", max_connections=8, max_waiting=1) as link:
        assert link.offers == [("visits", UP, 9)]
    async with watching(tmp_path, "http://127.0.0.1:9", max_connections=1) as link:
        assert link.offers == [("visits", UP, 2)]
    async with watching(tmp_path, "http://127.0.0.1:9", enabled=False, max_waiting=0) as link:
        assert link.offers == [("visits", DOWN, 64)]


@both_loops
async def test_calls_without_a_connection_turn_it_down_and_a_bare_connection_up(tmp_path: Path) -> None:
    port = free_port()
    async with watching(tmp_path, f"http://127.0.0.1:{port}", unhealthy_after=3) as link:
        await fail(link, 2)
        await asyncio.sleep(0.05)
        assert states(link) == [UP]
        await fail(link, 2)
        assert states(link) == [UP, DOWN]
        assert link.agent.services["visits"].watch.down == "connection refused"
        server = Server(lambda peer: peer.serve())
        listener = await asyncio.start_server(server.accept, "127.0.0.1", port)
        await until(lambda: states(link) == [UP, DOWN, UP], "a probe finds it up")
        assert server.heads == []
        await asyncio.sleep(0.1)
        assert len(server.peers) == 1, "probing goes on"
        listener.close()
        await server.stop()


@both_loops
async def test_an_answer_between_two_failures_forgives_the_first(tmp_path: Path) -> None:
    port = free_port()
    async with watching(tmp_path, f"http://127.0.0.1:{port}", keep_idle="10ms") as link:
        await fail(link, 1)
        server = Server(lambda peer: peer.serve(FAILING))
        listener = await asyncio.start_server(server.accept, "127.0.0.1", port)
        link.open()
        link.turn()
        await until(lambda: server.heads, "a call gets through")
        await until(lambda: not link.agent.services["visits"].watch.strikes, "its answer counts, whatever it is")
        listener.close()
        await server.stop()
        await until(lambda: link.agent.services["visits"].upstream.open == 0, "no connection is left")
        await fail(link, 1)
        await asyncio.sleep(0.05)
        assert states(link) == [UP]


@both_loops
async def test_an_answered_call_turns_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_EVERY", 60.0)
    port = free_port()
    async with watching(tmp_path, f"http://127.0.0.1:{port}") as link:
        await fail(link, 2)
        assert states(link) == [UP, DOWN]
        server = Server(lambda peer: peer.serve())
        listener = await asyncio.start_server(server.accept, "127.0.0.1", port)
        link.open()
        await until(lambda: states(link) == [UP, DOWN, UP], "the answer shows that it works")
        listener.close()
        await server.stop()


@both_loops
async def test_other_failures_say_nothing_of_the_upstream(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with serving(script) as server, watching(tmp_path, f"http://127.0.0.1:{server.port}") as link:
        await fail(link, 5)
        assert {event.code for event in link.of(StreamReset)} == {StreamCode.UPSTREAM_CLOSED}
        assert states(link) == [UP]


@both_loops
async def test_the_health_path_decides(tmp_path: Path) -> None:
    answer = [FAILING]

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.send(answer[0])

    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    async with (
        serving(script) as server,
        watching(
            tmp_path,
            f"http://127.0.0.1:{server.port}",
            health="/health?deep=1",
            health_interval="150ms",
            host="visits.example",
            headers={"Authorization": {"file": str(secret)}},
        ) as link,
    ):
        await until(lambda: states(link) == [UP, DOWN], "two failures")
        assert len(server.heads) == 2
        head = server.heads[0]
        assert head.startswith(b"GET /health?deep=1 HTTP/1.1\r\n")
        assert b"\r\nHost: visits.example\r\n" in head
        assert b"\r\nAuthorization: s3cret\r\n" in head
        assert b"\r\nConnection: close\r\n" in head
        assert link.agent.services["visits"].watch.down == "GET /health?deep=1: status 503"
        link.open()
        await until(lambda: len(server.heads) > 3, "a call gets through, and more checks are made")
        assert states(link) == [UP, DOWN], "a call's answer is no health check"
        answer[0] = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
        await until(lambda: states(link) == [UP, DOWN, UP], "one success")
        assert not [head for head in server.heads if b"elsewhere" in head]


@pytest.mark.parametrize("how", ["silent", "closes", "refused", "drips", "no HTTP"])
@both_loops
async def test_every_way_to_fail_a_health_check(tmp_path: Path, how: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        if how == "silent":
            await peer.until_gone()
        elif how == "no HTTP":
            await peer.send(b"SSH-2.0\r\n")
        elif how == "drips":
            await peer.send(b"HTTP/1.1 200 OK\r\n")
            for number in range(1000):
                await asyncio.sleep(0.01)
                await peer.send(b"X-%d: y\r\n" % number)

    async with (
        serving(script) as server,
        watching(
            tmp_path,
            f"http://127.0.0.1:{free_port() if how == 'refused' else server.port}",
            health="/health",
            health_interval="100ms",
        ) as link,
    ):
        await until(lambda: states(link) == [UP, DOWN], "the checks fail")
        assert "127.0.0.1" not in link.agent.services["visits"].watch.down


@both_loops
async def test_health_over_tls_trusts_what_the_service_trusts(tmp_path: Path) -> None:
    ours, other = PrivateCA(tmp_path / "ours"), PrivateCA(tmp_path / "other")
    for authority, expected in ((ours, [UP]), (other, [UP, DOWN])):
        async with (
            serving(lambda peer: peer.serve(OK), authority.server_context()) as server,
            watching(
                tmp_path,
                f"https://127.0.0.1:{server.port}",
                ca_file=str(ours.ca_file),
                health="/health",
                health_interval="150ms",
            ) as link,
        ):
            if expected == [UP]:
                await until(lambda: len(server.heads) > 2, "checks are made")
            await until(lambda: states(link) == expected, "the checks' outcome")  # noqa: B023


@both_loops
async def test_a_draining_link_hears_nothing(tmp_path: Path) -> None:
    async with watching(tmp_path, f"http://127.0.0.1:{free_port()}") as link:
        link.open()
        link.open()
        assert states(link) == [UP]
        link.session.drain(link.loop.time())
        await until(lambda: len(link.of(StreamReset)) == 2, "the calls fail")
        assert link.agent.services["visits"].watch.down
        assert states(link) == [UP]


@both_loops
async def test_a_service_that_is_switched_off_is_not_asked(tmp_path: Path) -> None:
    async with (
        serving(lambda peer: peer.serve()) as server,
        watching(
            tmp_path, f"http://127.0.0.1:{server.port}", enabled=False, health="/health", health_interval="10ms"
        ),
    ):
        await asyncio.sleep(0.1)
        assert server.peers == []


def test_httpx_is_loaded_by_those_who_ask_only() -> None:
    code = "import sys, tunnel_agent.server; sys.exit('httpx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
