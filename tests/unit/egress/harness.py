"""Scripted servers and a recording receiver for tests of the egress; one event loop, loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
import ssl
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from protocol.aio.wheel import Wheel
from protocol.errors import StreamCode
from tests.support.waiting import PATIENCE
from tunnel_agent.egress.call import Call, UpstreamRequest
from tunnel_agent.egress.timeouts import Limits, Timeouts
from tunnel_agent.egress.upstream import Upstream

LINE = b"HTTP/1.1 200 OK\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Echo: 1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = b"visits.example"


def both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test on asyncio's own loop and on uvloop; nothing may be left behind or go unhandled."""

    def run(loop_kind: str, **arguments: object) -> None:
        async def whole() -> None:
            complaints: list[dict[str, Any]] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            await asyncio.wait_for(test(**arguments), 30 * PATIENCE)
            await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "no task is left")
            assert complaints == [], f"unhandled: {complaints}"

        factory = uvloop.new_event_loop if loop_kind == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(whole())

    parameters = [inspect.Parameter("loop_kind", inspect.Parameter.KEYWORD_ONLY)]
    own = inspect.signature(test).parameters.values()
    parameters += [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    run.pytestmark = [  # type: ignore[attr-defined]
        *getattr(test, "pytestmark", []),
        pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"]).mark,
    ]
    return run


async def until(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition()`; fail with `what` after 10 s."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10 * PATIENCE
    while not condition():
        assert loop.time() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.002)


def sockets_to(port: int) -> int:
    """How many sockets of this process are connected to `port`."""
    count = 0
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as copy:
                    count += copy.family == socket.AF_INET and copy.getpeername()[1] == port
    return count


# -- the server -------------------------------------------------------------------------------------


class Peer:
    """A server's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.heads: list[bytes] = []

    async def head(self) -> bytes:
        """The next request's head; raises EOFError when the agent closes first."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError from error
        self.heads.append(head)
        return head

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop: RuntimeError once it is closed
            self.writer.write(data)
            await self.writer.drain()

    async def serve(self, answer: bytes = OK) -> None:
        """Give every bodyless request the same answer."""
        while True:
            await self.head()
            await self.send(answer)

    async def until_gone(self) -> bytes:
        """Read to the end; returns what still came. The agent's reset counts as an end."""
        rest = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                rest += data
        return rest

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """Runs `script` for every connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.live = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.ensure_future(self._run(reader, writer)))
        task.add_done_callback(self._tasks.discard)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers), reader, writer)
        self.peers.append(peer)
        self.live += 1
        try:
            await self.script(peer)
        except (EOFError, ConnectionError):
            pass
        finally:
            self.live -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @property
    def heads(self) -> list[bytes]:
        return [head for peer in self.peers for head in peer.heads]

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def serve(peer: Peer) -> None:
    """Script: 200 for every request."""
    await peer.serve()


async def silent(peer: Peer) -> None:
    """Script: never an answer."""
    await peer.until_gone()


def after(answer: bytes, ending: str = "fin") -> Script:
    """Script: read a head, send `answer`, then end the connection with `fin` or `reset`, or `keep` it."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        if ending == "reset":
            peer.reset()
        elif ending == "keep":
            await peer.until_gone()

    return script


async def upload(peer: Peer) -> None:
    """Script: answer each request with the raw bytes of its body, which ends with a full stop."""
    while True:
        await peer.head()
        body = await peer.reader.readuntil(b".")
        if b"chunked" in peer.heads[-1]:
            body += await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(LINE + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


@contextlib.asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(script)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.stop()


# -- the client -------------------------------------------------------------------------------------


class Recorder:
    """A receiver that keeps everything and insists on the contract of `call.Receiver`."""

    def __init__(self) -> None:
        self.call: Call | None = None
        self.interims: list[tuple[int, list[bytes]]] = []
        self.status = 0
        self.reason = b""
        self.fields: list[bytes] = []
        self.length: int | None = None
        self.body = b""
        self.trailers: list[bytes] = []
        self.calls: list[str] = []
        self.ended = False
        self.failure: tuple[StreamCode, str] | None = None
        self.unwanted = False
        self.dispatches = 0
        self.writable = 0
        self.hook: Callable[[str], None] | None = None

    def _note(self, name: str) -> None:
        assert self.call is not None, f"{name} inside start()"
        assert not self.call.cancelled, f"{name} after cancel"
        assert name == "unwanted" or not self.over, f"{name} after the end"
        self.calls.append(name)

    def _hook(self, name: str) -> None:
        if self.hook is not None:
            self.hook(name)

    @property
    def over(self) -> bool:
        return self.ended or self.failure is not None

    @property
    def code(self) -> StreamCode | None:
        return None if self.failure is None else self.failure[0]

    def on_dispatch(self) -> None:
        assert self.call is None or not self.call.cancelled
        assert not self.over
        self.dispatches += 1

    def on_interim(self, status: int, fields: list[bytes]) -> None:
        self._note("interim")
        self.interims.append((status, fields))
        self._hook("interim")

    def on_answer(
        self,
        status: int,
        reason: bytes,
        fields: list[bytes],
        length: int | None,
        body: bytes,
        end: bool,
        trailers: list[bytes],
    ) -> None:
        self._note("answer")
        self.status, self.reason, self.fields, self.length = status, reason, fields, length
        self.body, self.ended, self.trailers = body, end, trailers
        self._hook("answer")

    def on_answer_body(self, data: bytes) -> None:
        self._note("body")
        assert data
        self.body += data
        self._hook("body")

    def on_answer_end(self, trailers: list[bytes]) -> None:
        self._note("end")
        self.ended, self.trailers = True, trailers
        self._hook("end")

    def on_failure(self, code: StreamCode, detail: str) -> None:
        self._note("failure")
        self.failure = code, detail
        self._hook("failure")

    def on_upstream_writable(self) -> None:
        self._note("writable")
        self.writable += 1
        self._hook("writable")

    def on_request_body_unwanted(self) -> None:
        self._note("unwanted")
        assert not self.unwanted
        self.unwanted = True
        self._hook("unwanted")


def request(
    method: bytes = b"GET", target: bytes = b"/x", fields: list[bytes] | None = None, **more: Any
) -> UpstreamRequest:
    return UpstreamRequest(method, target, HOST, fields or [], **more)


class Client:
    """An upstream with a wheel of its own."""

    def __init__(self, port: int, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop, 0.005)
        timeouts = settings.pop("timeouts", {})
        limits = settings.pop("limits", {})
        host = settings.pop("host", "127.0.0.1")
        self.upstream = Upstream(
            host, port, self.wheel, timeouts=Timeouts(**timeouts), limits=Limits(**limits), **settings
        )

    def start(self, sent: UpstreamRequest | None = None, deadline: float | None = None) -> Recorder:
        recorder = Recorder()
        recorder.call = self.upstream.start(sent or request(), recorder, deadline)
        return recorder

    async def ask(self, sent: UpstreamRequest | None = None, deadline: float | None = None) -> Recorder:
        recorder = self.start(sent, deadline)
        await self.end_of(recorder)
        return recorder

    async def end_of(self, recorder: Recorder) -> None:
        await until(lambda: recorder.over, "the exchange is over")

    async def body_beyond(self, recorder: Recorder, size: int) -> None:
        await until(lambda: len(recorder.body) > size, "more of the body")

    async def writable(self, recorder: Recorder, times: int) -> None:
        """Wait until on_upstream_writable was called more than `times` times."""
        await until(lambda: recorder.writable > times, "the upstream takes more")


@contextlib.asynccontextmanager
async def client(port: int, **settings: Any) -> AsyncIterator[Client]:
    it = Client(port, **settings)
    try:
        yield it
    finally:
        await it.upstream.close()
        assert it.upstream.open == 0
        assert it.upstream.waiting == 0
        assert len(it.wheel) == 0, "a timer is left"
        it.wheel.close()


@contextlib.asynccontextmanager
async def pair(
    script: Script, *, server_tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[tuple[Client, Server]]:
    """A client of a scripted server."""
    async with serving(script, server_tls) as server, client(server.port, **settings) as it:
        yield it, server
