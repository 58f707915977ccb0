"""The upstream of all runs: fast, misbehaves when asked to, and counts side effects.

    python -m tests.reliability.ledger --port 9000

| request | answer |
|---|---|
| GET, HEAD, OPTIONS /item/ID | 200, `body_of(ID)`, the id again in X-Id |
| POST /transactions, X-Ref, X-Attempt | 200 and an effect; 409 for a ref that took effect before |
| PUT, PATCH, DELETE, POST /counter/ID | 200 and `body_of(ID)`; X-Attempt is counted |
| GET /bulk/SEED?size=N | 200 and N bytes of `bulk_pieces` |
| PUT, POST /sink/ID | 200 and `{"sha256": …, "bytes": …}` of the body |
| GET /events/ID?count=N&every_ms=M | 200, a server-sent event `ID-number` every M ms |
| GET /echo with Upgrade: echo | 101, then every byte comes back |

Query of any of them: `delay_ms`, `hang=1` (no answer), `size`, `chunked=1`, `cut=before|head|body` (the connection
is reset there), `ref` and `attempt` instead of the fields. Commands on stdin: see `Control`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import httptools
import uvloop

from tests.reliability.bodies import DUPLICATE, body_of, bulk_pieces
from tests.reliability.counts import Counts
from tests.reliability.worker import serve

HEAD = b"HTTP/1.1 %d %s\r\nX-Id: %b\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 %d %s\r\nX-Id: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = 10_000
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nX-Id: %b\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


def chunks(body: bytes) -> bytes:
    """`body` in the chunked coding."""
    pieces = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection from an agent."""

    def __init__(self, counts: Counts, connections: set[Upstream]) -> None:
        self._counts = counts
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._raw = False
        self._in_head = False
        self._pending = False
        self._pieces: Iterator[bytes] | None = None
        self._paused = False
        self._hash = hashlib.sha256()
        self._received = 0
        self._url = b""
        self._fields: dict[bytes, bytes] = {}

    # -- the connection -------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._counts.abandoned += self._pending
        self._counts.partial_heads += self._in_head
        self._pieces = None

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._raw:
            self._transport.write(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._raw = True
            rest = data[upgrade.args[0] :]
            if rest:
                self._transport.write(rest)
        except httptools.HttpParserError as error:
            self._counts.violations.append(f"{error}: {data[:80]!r}")
            self._transport.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send_pieces()

    def reset(self) -> None:
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # -- the parser's callbacks -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._pending:
            self._counts.violations.append("a request before the answer to the last one")
        self._in_head = True
        self._url = b""
        self._fields = {}
        self._received = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._pending = True
        counts = self._counts
        counts.requests += 1
        path, _, query = self._url.partition(b"?")
        self._path = path
        self._query = dict(parse_qsl(query.decode("latin-1"))) if query else {}
        self._attempt = self._asked(b"x-attempt", "attempt")
        if self._attempt:
            counts.arrivals[self._attempt] += 1
        if path.startswith(b"/sink/"):
            self._hash = hashlib.sha256()

    def on_body(self, data: bytes) -> None:
        self._received += len(data)
        if self._path.startswith(b"/sink/"):
            self._hash.update(data)

    def on_message_complete(self) -> None:
        query = self._query
        if not query:
            self._answer()
        elif "hang" in query:
            return
        elif "delay_ms" in query:
            self._timer = self._loop.call_later(float(query["delay_ms"]) / 1000, self._answer)
        else:
            self._answer()

    # -- answers --------------------------------------------------------------------------------

    def _asked(self, field: bytes, key: str) -> str:
        value = self._fields.get(field)
        return value.decode("latin-1") if value is not None else self._query.get(key, "")

    def _answer(self) -> None:
        self._timer = None
        if self._transport.is_closing():
            return
        kind, _, name = self._path[1:].partition(b"/")
        if kind == b"transactions":
            self._transaction()
        elif kind in {b"item", b"counter"}:
            size = self._query.get("size")
            self._send(200, b"OK", name, body_of(name, int(size) if size else None))
        elif kind == b"bulk":
            size = int(self._query["size"])
            self._transport.write(HEAD % (200, b"OK", name, size))
            self._pieces = bulk_pieces(name.decode(), size)
            self._send_pieces()
        elif kind == b"sink":
            answer = {"sha256": self._hash.hexdigest(), "bytes": self._received}
            self._send(200, b"OK", name, json.dumps(answer).encode())
        elif kind == b"events":
            self._transport.write(STREAM_HEAD % name)
            self._event(name, 0, int(self._query["count"]), float(self._query["every_ms"]) / 1000)
        elif kind == b"echo":
            self._pending = False
            self._transport.write(SWITCHED)
        else:
            self._send(404, b"Not Found", b"-", b"")

    def _transaction(self) -> None:
        counts = self._counts
        ref = self._asked(b"x-ref", "ref")
        ident = self._attempt.encode()
        if ref in counts.effects:
            counts.duplicates[ref] += 1
            self._send(409, b"Conflict", ident, DUPLICATE)
            return
        counts.effects[ref] += 1
        size = self._query.get("size")
        self._send(200, b"OK", ident, body_of(ident, int(size) if size else None))

    def _send(self, status: int, reason: bytes, ident: bytes, body: bytes) -> None:
        whole = HEAD % (status, reason, ident, len(body))
        if "chunked" in self._query:
            whole = CHUNKED_HEAD % (status, reason, ident) + chunks(body)
        elif self._parser.get_method() != b"HEAD":
            whole += body
        cut = self._query.get("cut")
        if cut is not None:
            self._transport.write(whole[: {"before": 0, "head": 20, "body": len(whole) - 5}[cut]])
            self._loop.call_later(0.01, self.reset)
            return
        self._done()
        self._transport.write(whole)

    def _done(self) -> None:
        self._pending = False
        self._counts.answered += 1

    def _send_pieces(self) -> None:
        while self._pieces is not None and not self._paused:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self._done()
            else:
                self._transport.write(piece)

    def _event(self, name: bytes, number: int, count: int, every: float) -> None:
        self._timer = None
        if self._transport.is_closing():
            return
        if number == count:
            self._done()
            self._transport.write(b"0\r\n\r\n")
            return
        data = b"data: %b-%d\n\n" % (name, number)
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        self._timer = self._loop.call_later(every, self._event, name, number + 1, count, every)


class Control:
    """The ledger's commands."""

    def __init__(self, counts: Counts, connections: set[Upstream]) -> None:
        self._counts = counts
        self._connections = connections
        self.handlers = {"summary": self.summary, "dump": self.dump, "arrived": self.arrived, "cut": self.cut}

    async def summary(self) -> dict[str, Any]:
        return {**self._counts.summary(), "connections": len(self._connections)}

    async def dump(self, file: str) -> None:
        """Write everything as JSON."""
        self._counts.write(file)

    async def arrived(self, attempts: list[str], patience: float = 10.0) -> list[int]:
        """Wait until each attempt has arrived, at most `patience` seconds; how often each did."""
        end = asyncio.get_running_loop().time() + patience
        while not all(self._counts.arrivals[name] for name in attempts):
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.002)
        return [self._counts.arrivals[name] for name in attempts]

    async def cut(self) -> int:
        """Reset every connection; how many there were."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        return len(connections)


async def run(port: int) -> None:
    counts = Counts()
    connections: set[Upstream] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(counts, connections), "127.0.0.1", port, backlog=1024)
    hello = {"port": server.sockets[0].getsockname()[1]}
    await serve(Control(counts, connections).handlers, hello)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="The upstream that counts side effects")
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(run(parser.parse_args().port))


if __name__ == "__main__":
    main()
