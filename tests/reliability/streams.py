"""Bulk, event streams and upgraded connections, each checked byte by byte; a worker of its own.

An exchange ends `whole`, `cut` (the caller could see that it failed) or `wrong`: complete, but not what was sent.
Only the last must never happen. One that takes longer than its patience is `stuck`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.reliability.bodies import HOST, PIECE, bulk_hash, bulk_pieces
from tests.reliability.worker import serve

PATIENCE = 90.0
PAUSE = 0.2
LARGEST = 2_000_000
KEPT = 50


class Cut(Exception):
    """The exchange failed in a way that its caller could see."""


class Wrong(Exception):
    """The exchange was complete and its bytes were not the right ones."""


class Connection:
    """One caller's connection for one exchange."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def start(self, method: str, target: str, *fields: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", *fields]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def head(self, wanted: int) -> int:
        """Read an answer's head of this status; its Content-Length or 0."""
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        first, *lines = raw.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if line)
        status = int(first.split(" ")[1])
        if status != wanted:
            if "tunnel-delivered" not in fields:
                raise Wrong(f"status {status} from the upstream")
            raise Cut(f"{status}")
        return int(fields.get("content-length", 0))


async def download(connection: Connection, name: str, chance: random.Random) -> None:
    size = chance.randrange(LARGEST)
    connection.start("GET", f"/bulk/{name}?size={size}")
    length = await connection.head(200)
    if length != size:
        raise Wrong(f"{name}: Content-Length {length} instead of {size}")
    found, left = hashlib.sha256(), size
    while left:
        data = await connection.reader.read(min(left, PIECE))
        if not data:
            raise Cut("ended early")
        found.update(data)
        left -= len(data)
    if found.hexdigest() != bulk_hash(name, size):
        raise Wrong(f"{name}: {size} bytes with another hash")


async def upload(connection: Connection, name: str, chance: random.Random) -> None:
    size = chance.randrange(LARGEST)
    connection.start("PUT", f"/sink/{name}", f"Content-Length: {size}")
    for piece in bulk_pieces(name, size):
        connection.writer.write(piece)
        await connection.writer.drain()
    answer = json.loads(await connection.reader.readexactly(await connection.head(200)))
    if answer != {"sha256": bulk_hash(name, size), "bytes": size}:
        raise Wrong(f"{name}: the upstream received {answer}")


async def events(connection: Connection, name: str, chance: random.Random) -> None:
    count = chance.randrange(5, 50)
    connection.start("GET", f"/events/{name}?count={count}&every_ms={chance.randrange(5, 100)}")
    await connection.head(200)
    text = b""
    while size := int(await connection.reader.readuntil(b"\r\n"), 16):
        text += (await connection.reader.readexactly(size + 2))[:-2]
    if text != b"".join(b"data: %b-%d\n\n" % (name.encode(), number) for number in range(count)):
        raise Wrong(f"{name}: not the {count} events in their order, but {text[-60:]!r}")


async def echo(connection: Connection, name: str, chance: random.Random) -> None:
    connection.start("GET", f"/echo/{name}", "Connection: Upgrade", "Upgrade: echo")
    await connection.head(101)
    for _ in range(chance.randrange(5, 30)):
        sent = chance.randbytes(chance.randrange(1, PIECE))
        connection.writer.write(sent)
        if await connection.reader.readexactly(len(sent)) != sent:
            raise Wrong(f"{name}: other bytes came back")
        await asyncio.sleep(chance.uniform(0, 0.05))


KINDS: dict[str, Callable[[Connection, str, random.Random], Awaitable[None]]] = {
    "download": download,
    "upload": upload,
    "events": events,
    "echo": echo,
}


class Streams:
    """All of it, going on until `stop`; and the worker's commands."""

    def __init__(self) -> None:
        self.handlers = {"start": self.start, "status": self.status, "stop": self.stop}
        self._outcomes: Counter[str] = Counter()
        self._wrong: list[str] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = itertools.count(1)

    async def start(self, targets: list[int], each: int, seed: int) -> None:
        """`each` callers of every kind, spread over the hubs."""
        for kind in KINDS:
            for number in range(each):
                chance = random.Random(f"{seed}.{kind}.{number}")
                task = self._go_on(kind, targets[number % len(targets)], chance)
                self._tasks.append(asyncio.create_task(task))

    async def status(self) -> dict[str, Any]:
        return {"outcomes": dict(sorted(self._outcomes.items())), "wrong": self._wrong[:KEPT]}

    async def stop(self) -> dict[str, Any]:
        """Begin nothing new and wait for what runs."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        return await self.status()

    async def _go_on(self, kind: str, target: int, chance: random.Random) -> None:
        while not self._stopping:
            outcome = await self._one(kind, target, f"{kind}-{next(self._numbers)}", chance)
            self._outcomes[f"{kind} {outcome}"] += 1
            await asyncio.sleep(chance.uniform(0, PAUSE))

    async def _one(self, kind: str, target: int, name: str, chance: random.Random) -> str:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            return "cut"
        try:
            async with asyncio.timeout(PATIENCE):
                await KINDS[kind](Connection(reader, writer), name, chance)
        except (Cut, OSError, asyncio.IncompleteReadError) as error:
            if isinstance(error, TimeoutError):
                self._wrong.append(f"{name}: nothing came to an end within {PATIENCE:g} s")
                return "stuck"
            return "cut"
        except Wrong as error:
            self._wrong.append(str(error))
            return "wrong"
        finally:
            writer.close()
        return "whole"


if __name__ == "__main__":
    asyncio.run(serve(Streams().handlers, {}))
