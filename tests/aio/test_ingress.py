"""The ingress on real sockets, on both event loops, against scripted exchanges. Raw bytes in, raw bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from protocol.aio.wheel import Wheel
from tests.support.tls import PrivateCA
from tunnel_hub.ingress.chunks import ChunkedBody
from tunnel_hub.ingress.connection import CallerConnection
from tunnel_hub.ingress.heads import HeadParser
from tunnel_hub.ingress.intake import Intake
from tunnel_hub.ingress.limits import IngressLimits
from tunnel_hub.ingress.reply import CallerReply
from tunnel_hub.ingress.request import Reply, Request
from tunnel_hub.ingress.server import Ingress
from tunnel_hub.ingress.watch import Watch

GET = b"GET /a HTTP/1.1\r\nHost: visits.internal\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENCE = 20.0

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Scripted:
    """An exchange that keeps what it hears; subclasses answer."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self.request = request
        self.reply = reply
        self.heard: list[str] = []
        self.gone = asyncio.Event()
        self.start()

    def start(self) -> None: ...

    def on_body(self, data: bytes) -> None:
        self.heard.append("body")

    def on_body_end(self, trailers: list[bytes]) -> None:
        self.heard.append("end")

    def on_caller_writable(self) -> None:
        self.heard.append("writable")

    def on_caller_gone(self) -> None:
        self.heard.append("gone")
        self.gone.set()


class Hello(Scripted):
    def start(self) -> None:
        self.reply.head(200, b"OK", [], None, self.request.target, True)


class Later(Scripted):
    """Answers after a turn of the loop, in two pieces; /busy only when told."""

    def start(self) -> None:
        if self.request.target == b"/busy":
            return
        asyncio.get_running_loop().call_later(0.001, self.answer)

    def answer(self) -> None:
        self.reply.head(200, b"OK", [], None, self.request.target[:1], False)
        self.reply.body(self.request.target[1:])
        self.reply.end([b"X-Last", b"1"])


class Echo(Scripted):
    """Sends the body back as it comes; stops reading when the caller does not read."""

    def start(self) -> None:
        request, reply = self.request, self.reply
        status = 101 if request.upgrade else 200
        if request.complete and not request.upgrade:
            reply.head(status, b"OK", [], None, request.body, True)
            return
        reply.interim(100, [])
        if not reply.head(status, b"OK", [], request.length, request.body, False):
            reply.pause_body()

    def on_body(self, data: bytes) -> None:
        if not self.reply.body(data):
            self.reply.pause_body()

    def on_caller_writable(self) -> None:
        self.reply.resume_body()

    def on_body_end(self, trailers: list[bytes]) -> None:
        super().on_body_end(trailers)
        self.reply.end(trailers)


class Digest(Scripted):
    """Answers the digest of the body; pauses it again and again."""

    def start(self) -> None:
        self.sum = hashlib.sha256(self.request.body)
        self.pieces = 0
        if self.request.complete:
            self.on_body_end([])

    def on_body(self, data: bytes) -> None:
        self.sum.update(data)
        self.pieces += 1
        if self.pieces % 7 == 0:
            self.reply.pause_body()
            asyncio.get_running_loop().call_soon(self.reply.resume_body)

    def on_body_end(self, trailers: list[bytes]) -> None:
        self.reply.head(200, b"OK", [], None, self.sum.hexdigest().encode(), True)


class Source(Scripted):
    """Sends PIECES pieces as fast as the caller takes them."""

    PIECE = b"0123456789abcdef" * 4096
    PIECES = 400

    def start(self) -> None:
        self.left = self.PIECES
        self.reply.head(200, b"OK", [], self.PIECES * len(self.PIECE), b"", False)
        self.pump()

    def pump(self) -> None:
        while self.left:
            self.left -= 1
            if not self.reply.body(self.PIECE):
                return
        self.reply.end([])

    def on_caller_writable(self) -> None:
        super().on_caller_writable()
        self.pump()


class World:
    """One ingress, its wheel and its exchanges."""

    def __init__(self, ingress: Ingress, port: int, exchanges: list[Any], tls: ssl.SSLContext | None) -> None:
        self.ingress = ingress
        self.port = port
        self.exchanges = exchanges
        self.tls = tls
        self.writers: list[Writer] = []

    async def connect(self) -> tuple[Reader, Writer]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname="127.0.0.1" if self.tls else None, limit=1 << 22
        )
        self.writers.append(writer)
        return reader, writer

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - the conditions are many
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def world(
    exchange: Callable[[Request, Reply], Any],
    limits: IngressLimits | None = None,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    wheel = Wheel(loop)
    exchanges: list[Any] = []

    def start(request: Request, reply: Reply) -> Any:
        made = exchange(request, reply)
        exchanges.append(made)
        return made

    ingress = Ingress(start, loop, wheel, limits or IngressLimits(), "hub-1")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    address = await ingress.start(listener, server_tls)
    it = World(ingress, address.port, exchanges, client_tls)
    tasks = asyncio.all_tasks()
    try:
        yield it
        assert asyncio.all_tasks() <= tasks, "the ingress has made a task"
    finally:
        for writer in it.writers:
            writer.close()
        await ingress.close()
        assert ingress.connections == 0
        assert len(wheel) == 0
        wheel.close()
    assert faults == []


def run(work: Awaitable[None], loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await work

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(whole())


both_loops = pytest.mark.parametrize("loop_factory", LOOPS, ids=["asyncio", "uvloop"])
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


async def answer(reader: Reader) -> tuple[int, bytes, bytes]:
    """Status, head and body of one answer that states its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)\r\n", head)
    assert length is not None, head
    return int(head[9:12]), head, await reader.readexactly(int(length[1]))


async def chunks(reader: Reader) -> tuple[bytes, bytes]:
    """Body and trailer section of a chunked answer whose head was read."""
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    trailers = b""
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        trailers += line
    return body, trailers


@both_loops
def test_requests_on_one_connection(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Hello) as it:
            reader, writer = await it.connect()
            for n in range(20):
                writer.write(GET.replace(b"/a", b"/%d" % n))
                assert (await answer(reader))[2] == b"/%d" % n
            assert it.ingress.connections == 1

    run(story(), loop_factory)


@both_loops
def test_pipelined_requests_with_delayed_answers(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Later) as it:
            reader, writer = await it.connect()
            writer.write(b"".join(GET.replace(b"/a", b"/path-%d" % n) for n in range(100)))
            for n in range(100):
                await reader.readuntil(b"\r\n\r\n")
                assert await chunks(reader) == (b"/path-%d" % n, b"X-Last: 1\r\n")
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            assert await chunks(reader) == (b"/a", b"X-Last: 1\r\n")

    run(story(), loop_factory)


@both_loops
def test_byte_by_byte(loop_factory: LoopFactory) -> None:
    wire = CHUNKED + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"

    async def story() -> None:
        async with world(Echo) as it:
            reader, writer = await it.connect()
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in wire:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert (await reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert b"Transfer-Encoding: chunked" in await reader.readuntil(b"\r\n\r\n")
            assert await chunks(reader) == (b"hello", b"X-T: 1\r\n")

    run(story(), loop_factory)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@both_loops
def test_a_big_upload_that_is_paused(
    loop_factory: LoopFactory, framing: str, secure: bool, tmp_path: Path
) -> None:
    size = 8 << 20
    body = bytes(range(256)) * (size >> 8)
    server_tls, client_tls = contexts(tmp_path) if secure else (None, None)

    async def story() -> None:
        async with world(Digest, None, server_tls, client_tls) as it:
            reader, writer = await it.connect()
            for _ in range(2):
                if framing == "length":
                    writer.write(b"POST /u HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % size)
                    writer.write(body)
                else:
                    writer.write(CHUNKED)
                    for start in range(0, size, 70_001):
                        piece = body[start : start + 70_001]
                        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    writer.write(b"0\r\n\r\n")
                status, _, digest = await answer(reader)
                assert (status, digest.decode()) == (200, hashlib.sha256(body).hexdigest())

    run(story(), loop_factory)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@both_loops
def test_a_slow_reader_of_a_big_answer_costs_little(
    loop_factory: LoopFactory, secure: bool, tmp_path: Path
) -> None:
    server_tls, client_tls = contexts(tmp_path) if secure else (None, None)

    async def story() -> None:
        async with world(Source, None, server_tls, client_tls) as it:
            reader, writer = await it.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(GET)
            await it.until(lambda: it.exchanges)
            source = it.exchanges[0]
            before = -1
            while before != source.left:  # until nothing moves any more
                before = source.left
                await asyncio.sleep(0.05)
            assert source.left > 0
            (connection,) = it.ingress._context.connections
            assert connection.unsent() <= IngressLimits().write_high_water + len(Source.PIECE) + 100_000
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            _, _, body = await answer(reader)
            assert hashlib.sha256(body).digest() == hashlib.sha256(Source.PIECE * Source.PIECES).digest()
            assert source.left == 0
            assert "writable" in source.heard

    run(story(), loop_factory)


@both_loops
def test_an_echo_of_a_big_body_in_both_directions_at_once(loop_factory: LoopFactory) -> None:
    body = b"0123456789abcdef" * (1 << 18)

    async def story() -> None:
        async with world(Echo) as it:
            reader, writer = await it.connect()
            writer.write(b"POST /e HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.write(body)
            assert (await reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await answer(reader))[2] == body
            assert await reader.read() == b""

    run(story(), loop_factory)


@both_loops
def test_an_upgraded_connection_half_closes_in_either_order(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Echo) as it:
            reader, writer = await it.connect()
            writer.write(UPGRADE + b"early")
            head = await reader.readuntil(b"\r\n\r\n")
            while not head.startswith(b"HTTP/1.1 101"):
                head = await reader.readuntil(b"\r\n\r\n")
            assert b"Connection: Upgrade\r\nUpgrade: echo\r\n" in head
            writer.write(b"later" * 100_000)
            assert await reader.readexactly(500_005) == b"early" + b"later" * 100_000
            writer.write(b"last")
            writer.write_eof()
            assert await reader.read() == b"last"
            await it.until(lambda: not it.ingress.connections)
            assert it.exchanges[0].heard == ["end"]

            reader, writer = await it.connect()
            writer.write(UPGRADE)
            await it.until(lambda: len(it.exchanges) == 2)
            it.exchanges[1].reply.end([])
            assert (await reader.read()).endswith(b"\r\n\r\n")
            writer.write(b"x")
            writer.write_eof()
            await it.until(lambda: not it.ingress.connections)
            assert it.exchanges[1].heard == ["end"]

    run(story(), loop_factory)


class No(Scripted):
    def start(self) -> None:
        self.reply.head(403, b"Forbidden", [], None, b"no" * 20_000, True)


@both_loops
def test_no_reset_overtakes_an_early_answer(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(No, IngressLimits(linger_bytes=1 << 30)) as it:
            for _ in range(20):
                reader, writer = await it.connect()
                writer.write(
                    b"POST /u HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 4_000_000
                )
                status, head, body = await answer(reader)
                assert (status, body) == (403, b"no" * 20_000)
                assert b"\r\nConnection: close\r\n" in head
                assert await reader.read() == b""
                writer.close()

    run(story(), loop_factory)


class Abort(Scripted):
    def start(self) -> None:
        self.reply.head(200, b"OK", [], None, b"half", False)
        asyncio.get_running_loop().call_later(0.01, self.reply.abort)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@both_loops
def test_an_aborted_answer_is_seen_as_such(loop_factory: LoopFactory, version: bytes) -> None:
    async def story() -> None:
        async with world(Abort) as it:
            reader, writer = await it.connect()
            writer.write(GET.replace(b"1.1", version))
            await reader.readuntil(b"half")
            with pytest.raises(ConnectionResetError):
                await reader.read()

    run(story(), loop_factory)


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@both_loops
def test_a_caller_that_goes_is_noticed_while_waiting(loop_factory: LoopFactory, how: str) -> None:
    async def story() -> None:
        async with world(Scripted) as it:
            _, writer = await it.connect()
            writer.write(GET)
            await it.until(lambda: it.exchanges)
            if how == "reset":
                writer.transport.abort()
            elif how == "close":
                writer.close()
            else:
                writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                await it.exchanges[0].gone.wait()
            await it.until(lambda: not it.ingress.connections)
            assert it.exchanges[0].heard == ["gone"]

    run(story(), loop_factory)


@both_loops
def test_slowloris(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Hello, IngressLimits(header_timeout=0.3)) as it:
            slow = [await it.connect() for _ in range(20)]
            for _, writer in slow:
                writer.write(GET[:-2])
            reader, writer = await it.connect()
            for _ in range(50):
                writer.write(GET)
                assert (await answer(reader))[0] == 200
            for reader, _ in slow:
                status, head, _ = await answer(reader)
                assert status == 408
                assert b"\r\nConnection: close" in head
                assert await reader.read() == b""
            assert len(it.exchanges) == 50

    run(story(), loop_factory)


@both_loops
def test_a_caller_that_never_reads_is_cut_off(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Source, IngressLimits(send_idle_timeout=0.3)) as it:
            _, writer = await it.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(GET)
            await it.until(lambda: it.exchanges)
            async with asyncio.timeout(PATIENCE):
                await it.exchanges[0].gone.wait()
            await it.until(lambda: not it.ingress.connections)

    run(story(), loop_factory)


@both_loops
def test_too_many_connections(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Hello, IngressLimits(connections=2)) as it:
            kept = [await it.connect() for _ in range(2)]
            await it.until(lambda: it.ingress.connections == 2)
            reader, writer = await it.connect()
            writer.write(GET)
            status, head, _ = await answer(reader)
            assert status == 503
            assert b"\r\nRetry-After: " in head
            assert await reader.read() == b""
            writer.close()
            for reader, writer in kept:
                writer.write(GET)
                assert (await answer(reader))[0] == 200
            kept[0][1].close()
            await it.until(lambda: it.ingress.connections == 1)
            reader, writer = await it.connect()
            writer.write(GET)
            assert (await answer(reader))[0] == 200

    run(story(), loop_factory)


@both_loops
def test_a_drain_fails_no_request(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Later) as it:
            idle, busy, new = [await it.connect() for _ in range(3)]
            idle[1].write(GET)
            await idle[0].readuntil(b"\r\n0\r\nX-Last: 1\r\n\r\n")
            busy[1].write(GET.replace(b"/a", b"/busy"))
            await it.until(lambda: len(it.exchanges) == 2)
            it.ingress.drain(idle_grace=60)
            closing = asyncio.create_task(it.ingress.close(patience=60))
            with pytest.raises(ConnectionRefusedError):
                await it.connect()
            for reader, writer in (idle, new):
                writer.write(GET)
                assert b"\r\nConnection: close\r\n" in await reader.readuntil(b"\r\n\r\n")
                assert await chunks(reader) == (b"/a", b"X-Last: 1\r\n")
                assert await reader.read() == b""
                writer.close()
            it.exchanges[1].answer()
            assert (await busy[0].read()).endswith(b"0\r\nX-Last: 1\r\n\r\n")
            busy[1].close()
            await closing
            assert len(it.exchanges) == 4

    run(story(), loop_factory)


@both_loops
def test_a_drain_closes_idle_connections_in_the_end(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Hello) as it:
            reader, writer = await it.connect()
            writer.write(GET)
            await answer(reader)
            it.ingress.drain(idle_grace=0.05)
            it.ingress.drain(idle_grace=60)
            await it.ingress.close(patience=60)
            assert await reader.read() == b""

    run(story(), loop_factory)


@both_loops
def test_close_cuts_what_does_not_end(loop_factory: LoopFactory) -> None:
    async def story() -> None:
        async with world(Scripted) as it:
            reader, writer = await it.connect()
            writer.write(GET)
            await it.until(lambda: it.exchanges)
            await it.ingress.close(patience=0.1)
            assert it.exchanges[0].heard == ["gone"]
            with pytest.raises(ConnectionResetError):
                await reader.read()

    run(story(), loop_factory)


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ca = PrivateCA(folder)
    return ca.server_context(), ca.client_context()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@both_loops
def test_nothing_is_left_for_the_garbage_collector(
    loop_factory: LoopFactory, secure: bool, tmp_path: Path
) -> None:
    server_tls, client_tls = contexts(tmp_path) if secure else (None, None)

    def left() -> list[str]:
        ours = (CallerConnection, CallerReply, Request, Intake, HeadParser, ChunkedBody, Watch)
        return sorted(type(each).__name__ for each in gc.get_objects() if isinstance(each, ours))

    async def story() -> None:
        async with world(Echo, None, server_tls, client_tls) as it:
            gc.collect()
            before = left()
            gc.disable()
            try:
                reader, writer = await it.connect()
                for _ in range(3):
                    writer.write(GET + CHUNKED + b"2\r\nhi\r\n0\r\n\r\n")
                    assert [(await answer(reader))[2] for _ in range(2)] == [b"", b"hi"]
                    it.exchanges.clear()
                    assert {"CallerReply", "Request", "ChunkedBody"}.isdisjoint(left())
                writer.write(CHUNKED + b"2\r\nhi\r\n")
                await it.until(lambda: it.exchanges)
                writer.transport.abort()
                await it.until(lambda: not it.ingress.connections)
                it.exchanges.clear()
                if secure:
                    gc.collect()  # asyncio's own TLS objects form cycles, and the connection hangs on them
                assert left() == before
            finally:
                gc.enable()

    run(story(), loop_factory)


@both_loops
def test_tls(loop_factory: LoopFactory, tmp_path: Path) -> None:
    server_tls, client_tls = contexts(tmp_path)

    async def story() -> None:
        async with world(Echo, None, server_tls, client_tls) as it:
            reader, writer = await it.connect()
            for _ in range(3):
                writer.write(b"POST /e HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello")
                assert (await answer(reader))[2] == b"hello"
            assert it.exchanges[0].reply.peer == "127.0.0.1"
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await answer(reader))[0] == 200
            assert await reader.read() == b""
            writer.close()

            reader, writer = await it.connect()
            writer.write(UPGRADE)
            head = await reader.readuntil(b"\r\n\r\n")
            while not head.startswith(b"HTTP/1.1 101"):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"both ways")
            assert await reader.readexactly(9) == b"both ways"
            writer.close()
            await it.until(lambda: not it.ingress.connections)
            assert it.exchanges[-1].heard == ["end"]

    run(story(), loop_factory)


@both_loops
def test_plain_bytes_on_a_tls_port_do_no_harm(loop_factory: LoopFactory, tmp_path: Path) -> None:
    server_tls, client_tls = contexts(tmp_path)

    async def story() -> None:
        async with world(Hello, None, server_tls, client_tls) as it:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(GET)
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
            writer.close()
            reader, writer = await it.connect()
            writer.write(GET)
            assert (await answer(reader))[0] == 200
            assert len(it.exchanges) == 1

    run(story(), loop_factory)
