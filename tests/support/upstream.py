"""A scripted upstream: each path has a script that gives the exact bytes to answer and sees those received.

Scripts are coroutines in the background loop; tests talk to them through `Gate`s and read the ledger:

    async def script(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream.on("/path", script)

A connection is kept when the script returns with the request's body read and nothing closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from tests.support.loop import backstage, close_server
from tests.support.relay import reset_all, reset_socket
from tests.support.waiting import Gate, wait_until

Fields = list[tuple[bytes, bytes]]
LIMIT = 1 << 20


class Gone(Exception):
    """The peer closed the connection inside a request."""


@dataclass
class Received:
    """One request as it came over the wire, in the ledger from the moment its head was complete."""

    raw_head: bytes
    method: bytes
    target: bytes
    fields: Fields
    connection: int
    at: float
    body: bytearray = field(default_factory=bytearray)
    body_bytes: int = 0
    raw_body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    complete: bool = False
    finished: Gate = field(default_factory=lambda: Gate("the upstream's script to end"))
    gone: Gate = field(default_factory=lambda: Gate("the upstream's connection to be closed by the agent"))
    gone_at: float = 0.0

    @property
    def path(self) -> str:
        return self.target.partition(b"?")[0].decode("latin-1")

    def all(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.fields if key.lower() == wanted]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times: {values!r}"
        return values[0].decode("latin-1") if values else None

    def has(self, name: str) -> bool:
        return bool(self.all(name))


class Exchange:
    """What a script works with: the request received so far and the bytes to answer."""

    def __init__(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = received
        self.closed_by_us = False
        self._reader = reader
        self._writer = writer
        self._body_done = False
        self._left: int | None = None
        self.keep_body = True
        """Store the body in the ledger; false for large ones."""

    # -- the request ----------------------------------------------------------------------------

    async def body(self) -> bytes:
        """Read the whole request body, decoded; trailers go to the ledger."""
        while await self.body_piece():
            pass
        return bytes(self.received.body)

    async def body_piece(self) -> bytes:
        """The next bytes of the body as they come (one chunk, or what one read brought); empty at its end."""
        if self._body_done:
            return b""
        received = self.received
        try:
            if received.has("transfer-encoding"):
                return await self._chunk()
            if self._left is None:
                self._left = int(received.get("content-length") or "0")
            if self._left == 0:
                self._end_of_body()
                return b""
            data = await self._reader.read(min(self._left, 256 * 1024))
            if not data:
                self._lost()
                raise Gone
            self._left -= len(data)
            self._note(data, data)
            if self._left == 0:
                self._end_of_body()
        except (asyncio.IncompleteReadError, OSError) as error:
            self._lost()
            raise Gone from error
        return data

    async def raw(self, number: int = 64 * 1024) -> bytes:
        """Bytes as they come, for upgraded connections; empty at the peer's half-close."""
        try:
            return await self._reader.read(number)
        except OSError:
            self._lost()
            return b""

    @property
    def body_done(self) -> bool:
        return self._body_done

    # -- the answer -----------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Exactly these bytes."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            self._lost()
            raise Gone from error

    async def answer(
        self,
        status: int = 200,
        fields: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        reason: str = "OK",
    ) -> None:
        """A well-formed answer with Content-Length, after reading the request's body."""
        await self.body()
        lines = [
            f"HTTP/1.1 {status} {reason}",
            *(f"{k}: {v}" for k, v in fields),
            f"Content-Length: {len(body)}",
        ]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def last_chunk(self, trailers: Iterable[tuple[str, str]] = ()) -> None:
        await self.send(b"0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in trailers) + b"\r\n")

    def close(self) -> None:
        """An orderly close (FIN)."""
        self.closed_by_us = True
        self._writer.close()

    def reset(self) -> None:
        self.closed_by_us = True
        reset_socket(self._writer)

    async def until_gone(self) -> None:
        """Wait until the agent closes this connection; the moment stands in the ledger."""
        async with asyncio.timeout(60):
            with contextlib.suppress(OSError):
                while await self._reader.read(64 * 1024):
                    pass
        self._lost()

    # -- inside ---------------------------------------------------------------------------------

    async def _chunk(self) -> bytes:
        line = await self._reader.readuntil(b"\r\n")
        size = int(line.strip().partition(b";")[0], 16)
        if size == 0:
            raw = line
            while (trailer := await self._reader.readuntil(b"\r\n")) != b"\r\n":
                raw += trailer
                name, _, value = trailer.strip().partition(b":")
                self.received.trailers.append((name, value.strip()))
            self.received.raw_body += raw + b"\r\n"
            self._end_of_body()
            return b""
        data = await self._reader.readexactly(size + 2)
        assert data.endswith(b"\r\n"), f"no CRLF after a chunk: {data[-10:]!r}"
        self._note(data[:-2], line + data)
        return data[:-2]

    def _note(self, data: bytes, raw: bytes) -> None:
        self.received.body_bytes += len(data)
        if self.keep_body:
            self.received.body += data
            self.received.raw_body += raw

    def _end_of_body(self) -> None:
        self._body_done = True
        self.received.complete = True

    def _lost(self) -> None:
        if not self.received.gone.is_open:
            self.received.gone_at = time.monotonic()
            self.received.gone.open()


Script = Callable[[Exchange], Awaitable[None]]


def reply(
    status: int = 200,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes = b"ok",
    reason: str = "OK",
) -> Script:
    """A script that reads the request and answers so."""
    kept = tuple(fields)

    async def script(x: Exchange) -> None:
        await x.answer(status, kept, body, reason)

    return script


def raw_reply(data: bytes, *, close: bool = False) -> Script:
    """A script that reads the request and answers these exact bytes."""

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(data)
        if close:
            x.close()

    return script


class Upstream:
    """Listens on `port`. Requests for paths without a script get a 599 and stand in the ledger as well."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.ledger: list[Received] = []
        self.errors: list[BaseException] = []
        self.handshake_failures = 0
        self._scripts: dict[str, Script] = {}
        self._tls = tls
        self._port = port
        self._connections = 0
        self._open: dict[int, asyncio.StreamWriter] = {}
        self._lock = threading.Lock()
        self._server: asyncio.Server | None = None
        self.listen()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def on(self, path: str, script: Script) -> None:
        """Answer requests for `path` (without the query) with `script`. A path ending in `*` is a prefix."""
        self._scripts[path] = script

    def listen(self) -> None:
        async def start() -> asyncio.Server:
            return await asyncio.start_server(
                self._serve, "127.0.0.1", self._port, limit=LIMIT, ssl=self._tls, backlog=1024
            )

        self._server = backstage.run(start())
        self._port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Stop listening and reset what is open: the upstream is down."""
        if self._server is not None:
            close_server(self._server)
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Reset every open connection."""
        backstage.call(lambda: reset_all(self._open.values()))

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        return self._connections

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def is_open(self, connection: int) -> bool:
        """Whether the connection of that number (`Received.connection`) is still open."""
        return connection in self._open

    def requests(self, path: str) -> list[Received]:
        """The ledger's entries for `path` (a trailing `*` makes it a prefix), oldest first."""
        if path.endswith("*"):
            return [r for r in list(self.ledger) if r.path.startswith(path[:-1])]
        return [r for r in list(self.ledger) if r.path == path]

    def only(self, path: str) -> Received:
        """The one request for `path`: exactly one must have come."""
        found = self.requests(path)
        assert len(found) == 1, f"{len(found)} requests for {path} reached the upstream"
        return found[0]

    def wait_for(self, path: str, count: int = 1, timeout: float = 10.0) -> Received:
        """Wait until `count` requests for `path` have arrived; return the last of them."""
        wait_until(lambda: len(self.requests(path)) >= count, f"{count} request(s) for {path}", timeout)
        return self.requests(path)[count - 1]

    def close(self) -> None:
        self.refuse()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        self._open[number] = writer
        try:
            while await self._one(number, reader, writer):
                pass
        except (Gone, OSError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            self._open.pop(number, None)
            writer.close()

    async def _one(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw[:-4].split(b"\r\n")
        method, target, version = first.split(b" ")
        assert version == b"HTTP/1.1", first
        fields = []
        for line in lines:
            name, colon, value = line.partition(b":")
            assert colon, line
            fields.append((name, value.strip(b" \t")))
        received = Received(raw, method, target, fields, number, time.monotonic())
        self.ledger.append(received)
        exchange = Exchange(received, reader, writer)
        try:
            await self._script(received.path)(exchange)
        finally:
            received.finished.open()
        return exchange.body_done and not exchange.closed_by_us and not received.gone.is_open

    def _script(self, path: str) -> Script:
        if path in self._scripts:
            return self._scripts[path]
        prefixes = [key for key in self._scripts if key.endswith("*") and path.startswith(key[:-1])]
        return self._scripts[max(prefixes, key=len)] if prefixes else reply(599, body=b"no script for this path")
