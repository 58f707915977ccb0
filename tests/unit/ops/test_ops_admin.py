"""The admin listener over a real socket: what each endpoint says, and that it starts and stops cleanly."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from protocol.ops import admin, metrics, sockets
from protocol.ops.admin import AdminListener, Component, Info
from protocol.ops.console import operators
from protocol.ops.console.operators import Refused, read_form
from protocol.ops.sockets import StartError
from protocol.ops.values import Address
from protocol.ops.version import Build

ANY_PORT = Address("127.0.0.1", 0)


class Source:
    def __init__(self) -> None:
        self.agents = True
        self.is_ready = True
        self.broken = False

    def components(self) -> Mapping[str, Component]:
        if self.broken:
            raise RuntimeError("hunter2")
        return {"agents": Component(self.agents, {"sessions": 2}), "callers": Component(True)}

    def ready(self) -> bool:
        return self.is_ready


async def form(request: Request) -> Response:
    try:
        return PlainTextResponse(str(await read_form(request)))
    except Refused as refused:
        return PlainTextResponse(refused.detail, refused.status_code, refused.headers)


async def page(_request: Request) -> Response:
    return PlainTextResponse("status page")


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def listener(source: Source) -> AdminListener:
    registry = CollectorRegistry()
    metrics.register(registry, lambda: [metrics.gauge("t_sessions", "Sessions").one(2)])
    ticks = iter(range(100))
    return AdminListener(
        Info("tunnel-hub", "hub-1", Build("1.0", "abcdef0", "3.11.2")),
        source,
        registry,
        routes=[Route("/status", page), Route("/form", form, methods=["POST"])],
        clock=lambda: float(next(ticks)),
    )


@pytest.fixture
async def client(listener: AdminListener) -> AsyncIterator[httpx.AsyncClient]:
    address = await listener.start(ANY_PORT, "listen.admin")
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        yield client
    await listener.stop()


async def test_health_is_down_when_a_part_is(client: httpx.AsyncClient, source: Source) -> None:
    answer = await client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "UP",
        "components": {
            "agents": {"status": "UP", "details": {"sessions": 2}},
            "callers": {"status": "UP", "details": {}},
        },
    }
    source.agents = False
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "DOWN"
    assert answer.json()["components"]["callers"]["status"] == "UP"
    assert answer.headers["cache-control"] == "no-store"


async def test_liveness_never_follows_health(client: httpx.AsyncClient, source: Source) -> None:
    source.agents = source.is_ready = False
    source.broken = True
    answer = await client.get("/health/liveness")
    assert (answer.status_code, answer.json()) == (200, {"status": "UP"})


async def test_readiness(client: httpx.AsyncClient, source: Source) -> None:
    assert (await client.get("/health/readiness")).status_code == 200
    source.is_ready = False
    assert (await client.get("/health/readiness")).status_code == 503


async def test_ping_info_metrics_and_more(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ping")).text == "pong"
    assert (await client.get("/info")).json() == {
        "name": "tunnel-hub",
        "instance": "hub-1",
        "version": "1.0",
        "git": {"revision": "abcdef0"},
        "python": "3.11.2",
        "uptime_seconds": 1.0,
    }
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "t_sessions 2.0" in answer.text
    openmetrics = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    assert (await client.get("/status")).text == "status page"
    assert (await client.get("/nothing")).status_code == 404
    assert (await client.post("/health")).status_code == 405


async def test_a_bug_in_the_source_does_not_end_the_listener(
    client: httpx.AsyncClient, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.broken = True
    answer = await client.get("/health")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert (await client.get("/ping")).status_code == 200
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_signal_handlers_are_left_alone(listener: AdminListener) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    await listener.start(ANY_PORT, "listen.admin")
    assert {number: signal.getsignal(number) for number in before} == before
    await listener.stop()


async def test_taken_port_is_a_sentence(listener: AdminListener, source: Source) -> None:
    address = await listener.start(ANY_PORT, "listen.admin")
    other = AdminListener(Info("x", "y", Build("1", None, "3")), source, CollectorRegistry())
    with pytest.raises(StartError, match=r"listen.admin: cannot listen on"):
        await other.start(address, "listen.admin")
    await other.stop()
    await listener.stop()


async def test_stop_closes_everything_and_may_come_twice(listener: AdminListener) -> None:
    address = await listener.start(ANY_PORT, "listen.admin")
    idle = await asyncio.open_connection(*address)
    before = asyncio.all_tasks()
    await listener.stop()
    await listener.stop()
    assert await asyncio.wait_for(idle[0].read(), 5) == b""
    idle[1].close()
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection(*address)
    assert {task for task in before if not task.done()} == {asyncio.current_task()}


async def test_stop_is_bounded_while_a_request_hangs(source: Source) -> None:
    asked = asyncio.Event()

    async def hang(_request: Request) -> Response:
        asked.set()
        await asyncio.sleep(3600)
        raise AssertionError

    listener = AdminListener(
        Info("x", "y", Build("1", None, "3")), source, CollectorRegistry(), routes=[Route("/hang", hang)]
    )
    address = await listener.start(ANY_PORT, "listen.admin")
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n")
    await asked.wait()
    await asyncio.wait_for(listener.stop(0.2), 10)
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=10)
    assert all(task.done() for task in left)


async def test_a_machine_that_is_gone_is_noticed(listener: AdminListener) -> None:
    listening = sockets.listen(ANY_PORT, "listen.admin")
    await listener.start_on(listening)
    assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == admin.TAKE_TIMEOUT * 1000
    await listener.stop()


@pytest.mark.parametrize("begun", [b"", b"GET /hea", b"POST /form HTTP/1.1\r\nHost: a\r\n"])
async def test_who_asks_nothing_does_not_keep_the_health_checks_out(
    listener: AdminListener, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(admin, "REQUEST_TIMEOUT", 0.2)
    address = await listener.start(ANY_PORT, "listen.admin")
    silent = [await asyncio.open_connection(*address) for _ in range(admin.CONNECTIONS_MAX)]
    for _, writer in silent:
        writer.write(begun)
    for reader, writer in silent:
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        assert (await client.get("/health")).status_code == 200
    await listener.stop()


async def test_a_form_that_trickles(listener: AdminListener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "FORM_TIMEOUT", 0.2)
    address = await listener.start(ANY_PORT, "listen.admin")
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n")
    writer.write(b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=")
    async with asyncio.timeout(10):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"The form did not come in time.")
    writer.close()
    await listener.stop()
