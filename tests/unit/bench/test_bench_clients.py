"""The load generators' own parts: what they send, what they accept, when they send it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.bench.http_client import BadAnswer, Head, connect, parse_head, read_head, request
from tests.bench.openloop import due_times, run
from tests.bench.sink import Sink
from tests.bench.transfer import download, upload

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Head(5, b"hel")),
        (b"HTTP/1.0 200 OK\r\nX: y\r\ncontent-length:5 \r\n\r\n", Head(5, b"")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", None),
    ],
)
def test_heads(data: bytes, head: Head | None) -> None:
    assert parse_head(data) == head


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Content-Length: 5\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_anything_but_a_200_with_a_length_fails_the_measurement(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse_head(data)


def test_requests() -> None:
    assert request("GET", "/a?b", "h:1").startswith(b"GET /a?b HTTP/1.1\r\nHost: h:1\r\n")
    assert b"\r\nContent-Length: 0\r\n" in request("PUT", "/", "h", length=0)


def test_due_times_have_the_rate_and_are_the_same_for_the_same_seed() -> None:
    times = due_times(100, 100, seed=3)
    assert times == due_times(100, 100, seed=3) != due_times(100, 100, seed=4)
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 100
    assert 9_500 < len(times) < 10_500


class Answering(asyncio.Protocol):
    """A server that answers each request whatever it says."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self.transport.write(self.answer)


class Failing(Answering):
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def serve() -> Iterator[Callable[[ProtocolFactory], int]]:
    """Serves a protocol on a loopback port, in a thread: the clients block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[asyncio.Server] = []
    transports: list[asyncio.Transport] = []

    def start(factory: ProtocolFactory) -> int:
        def make() -> asyncio.BaseProtocol:
            protocol = factory()
            made = protocol.connection_made

            def connection_made(transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                transports.append(transport)
                made(transport)

            protocol.connection_made = connection_made  # type: ignore[method-assign]
            return protocol

        starting = asyncio.run_coroutine_threadsafe(loop.create_server(make, "127.0.0.1", 0), loop)
        server = starting.result(10)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def stop() -> None:
        for server in servers:
            server.close()
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)

    yield start
    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_requests_at_a_rate_are_all_answered(serve: Callable[[ProtocolFactory], int]) -> None:
    result = run("127.0.0.1", serve(Answering), "/", rate=400, seconds=0.25, seed=1)
    assert result["sent"] == len(due_times(400, 0.25, seed=1))
    assert result["errors"] == 0
    assert 0 < result["p50"] <= result["p99"] <= result["max"]


def test_failed_answers_are_counted_not_timed(serve: Callable[[ProtocolFactory], int]) -> None:
    with pytest.raises(BadAnswer, match="no request was answered"):
        run("127.0.0.1", serve(Failing), "/", rate=400, seconds=0.05, seed=1)


def test_the_sink_counts_what_it_gets(serve: Callable[[ProtocolFactory], int]) -> None:
    port = serve(Sink)
    for size in (0, 1, 3_000_000):
        assert upload("127.0.0.1", port, "/sink/upload", size) > 0


def test_the_sink_answers_one_request_after_another(serve: Callable[[ProtocolFactory], int]) -> None:
    host, port = "127.0.0.1", serve(Sink)
    with connect(host, port, timeout=10) as sock:
        together = request("PUT", "/", host, length=2) + b"ab" + request("PUT", "/", host, length=5) + b"c"
        sock.sendall(together)
        first = read_head(sock)
        assert first.rest == b'{"received": 2}'
        sock.sendall(b"defg" + request("PUT", "/", host, length=0))
        expected = b'{"received": 5}HTTP/1.1 200 OK\r\n'
        received = b""
        while not received.endswith(b'{"received": 0}'):
            received += sock.recv(1000)
        assert expected in received


def test_the_sink_wants_a_length(serve: Callable[[ProtocolFactory], int]) -> None:
    host, port = "127.0.0.1", serve(Sink)
    with connect(host, port, timeout=10) as sock:
        sock.sendall(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(BadAnswer, match="411"):
            read_head(sock)


def test_a_download_of_another_size_is_no_measurement(serve: Callable[[ProtocolFactory], int]) -> None:
    port = serve(Answering)
    assert download("127.0.0.1", port, "/", 3) > 0
    with pytest.raises(BadAnswer, match="announced 3 bytes instead of 4"):
        download("127.0.0.1", port, "/", 4)
