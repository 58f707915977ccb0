"""A corporate HTTP proxy: CONNECT only, Basic password asked for when one is set."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import dataclass

from tests.support.loop import backstage, close_server
from tests.support.relay import reset_all


@dataclass(frozen=True)
class Connect:
    """One CONNECT as the proxy saw it."""

    authority: str
    authorised: bool
    credentials: str | None


class ConnectProxy:
    """Listens on `port`. `connects` lists every CONNECT received, refused ones included."""

    def __init__(self, user: str | None = None, password: str | None = None) -> None:
        self.user = user
        self.password = password
        self.connects: list[Connect] = []
        self.bytes_carried = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = backstage.run(self._start())
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The proxy's URL with the user, without the password."""
        user = f"{self.user}@" if self.user else ""
        return f"http://{user}127.0.0.1:{self.port}"

    @property
    def granted(self) -> int:
        return sum(connect.authorised for connect in self.connects)

    @property
    def refused(self) -> int:
        return sum(not connect.authorised for connect in self.connects)

    def cut(self) -> None:
        """Reset every tunnelled connection."""
        backstage.call(lambda: reset_all(self._writers))

    def close(self) -> None:
        close_server(self._server)
        self.cut()

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, authority, _ = first.split(" ", 2)
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        credentials = fields.get("proxy-authorization")
        authorised = self.password is None or credentials == self._expected()
        self.connects.append(Connect(authority, authorised, credentials))
        if not authorised:
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="data centre"\r\n'
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            await writer.drain()
            return
        host, _, port = authority.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        self._writers.add(far_writer)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers.discard(far_writer)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64 * 1024):
            self.bytes_carried += len(data)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _expected(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
