"""A proxy that intercepts TLS: it shows a certificate of its own and reads everything, as some companies do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from tests.support.loop import backstage, close_server


class Interceptor:
    """Accepts TLS with `server` and connects with `client` to 127.0.0.1:`target_port` (None: in plain)."""

    def __init__(self, target_port: int, server: ssl.SSLContext, client: ssl.SSLContext | None) -> None:
        self._target_port = target_port
        self._client = client
        self._writers: set[asyncio.StreamWriter] = set()
        self.accepted = 0
        self._server = backstage.run(self._start(server))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        def end() -> None:
            for writer in self._writers:
                writer.transport.abort()

        close_server(self._server)
        backstage.call(end)

    async def _start(self, context: ssl.SSLContext) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            name = "127.0.0.1" if self._client else None
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self._target_port, ssl=self._client, server_hostname=name
            )
            self._writers.add(far_writer)
            try:
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            finally:
                far_writer.close()
        except OSError:
            pass
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
