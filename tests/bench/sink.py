"""The upstream of uploads: counts body bytes and answers how many came. The same one stands behind every chain.

    python -m tests.bench.sink 127.0.0.1:9001

HTTP/1.1 with Content-Length only, kept alive; anything else gets 411. It keeps nothing it reads.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from typing import Any

from tests.bench.relay import address

READ_SIZE = 1024 * 1024
LARGEST_HEAD = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)


class Sink(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._head = bytearray()
        self._expected = 0
        self._left = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left > nbytes:
            self._left -= nbytes
            return
        data = bytes(self._buffer[:nbytes])
        if self._left:
            data = data[self._left :]
            self._finish()
        self._take_heads(data)

    def _take_heads(self, data: bytes) -> None:
        self._head += data
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._head, 0, end + 2)
            if found is None:
                self._transport.write(
                    b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                self._transport.close()
                return
            self._expected = self._left = int(found[1])
            body = self._head[end + 4 :]
            if len(body) < self._left:
                self._left -= len(body)
                self._head.clear()
                return
            self._head = body[self._left :]
            self._finish()
        if len(self._head) > LARGEST_HEAD:
            self._transport.abort()

    def _finish(self) -> None:
        self._left = 0
        body = b'{"received": %d}' % self._expected
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )


async def _serve(host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(Sink, host, port)
    await stopped.wait()
    server.close()


def main() -> None:
    import uvloop

    uvloop.run(_serve(*address(sys.argv[1])))


if __name__ == "__main__":
    main()
