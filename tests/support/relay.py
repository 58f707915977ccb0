"""A TCP relay whose faults the test sets: delay, rate, silence, half-open links, truncation, resets.

`up` is the direction from whoever connected towards the target, `down` the way back. Every method is called
from the test's thread; the work happens in the background loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tests.support.loop import backstage, close_server
from tests.support.waiting import wait_until

Direction = Literal["up", "down"]
Side = Literal["client", "target"]
PIECE = 64 * 1024
HELD = 64 * 1024 * 1024
"""Bytes that a link without a rate holds at most while they are delayed."""


@dataclass
class Faults:
    """What one direction of a link does to the bytes. `delay` in seconds one way, `rate` in bytes/s."""

    delay: float = 0.0
    rate: float | None = None
    stalled: bool = False
    """Stop reading: the sender's buffers fill, TCP keeps saying that all is well."""
    swallow: bool = False
    """Read and throw away: the sender believes that everything arrives."""
    end_after: int | None = None
    """Forward exactly so many bytes of this direction, then do `ending` to the link."""
    ending: Literal["fin", "reset"] = "reset"


def reset_socket(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset, whatever is still buffered."""
    sock = writer.transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def reset_all(writers: Iterable[asyncio.StreamWriter]) -> None:
    for writer in list(writers):
        reset_socket(writer)


def _socket(buffer: int | None) -> socket.socket:
    made = socket.socket()
    if buffer is not None:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, buffer)
    return made


class _Pipe:
    """One direction of one link."""

    def __init__(
        self, link: Link, faults: Faults, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.link = link
        self.faults = faults
        self.received = 0
        self.forwarded = 0
        self.changed = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._held = 0
        self._free_at = 0.0

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._flowing()
            rate = self.faults.rate
            # what a link holds: the bytes on their way and, where it is narrow, a router's queue of 50 ms
            room = HELD if rate is None else int(rate * (self.faults.delay + 0.05))
            while self._held >= room and not self.faults.stalled:
                self.changed.clear()
                await self.changed.wait()
            size = PIECE if rate is None else max(512, min(PIECE, int(rate / 50)))
            try:
                data = await self._reader.read(size)
            except OSError:
                self.link.reset()
                return
            self.received += len(data)
            self._held += len(data)
            self._queue.put_nowait((loop.time() + self.faults.delay, data))
            if not data:
                return

    async def deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self._flowing()
            if not data:
                with contextlib.suppress(OSError, RuntimeError):
                    self._writer.write_eof()
                return
            if self.faults.swallow:
                self._let_go(data)
                continue
            if self.faults.rate:
                self._free_at = max(loop.time(), self._free_at) + len(data) / self.faults.rate
                await asyncio.sleep(max(0.0, self._free_at - loop.time()))
            held = data
            ending = self.faults.end_after is not None and self.forwarded + len(data) >= self.faults.end_after
            if ending:
                assert self.faults.end_after is not None
                data = data[: max(0, self.faults.end_after - self.forwarded)]
            try:
                self._writer.write(data)
                await self._writer.drain()
            except OSError:
                self.link.reset()
                return
            self.forwarded += len(data)
            self._let_go(held)
            if ending:
                await self.link.finish(self.faults.ending)
                return

    def _let_go(self, data: bytes) -> None:
        self._held -= len(data)
        self.changed.set()

    async def _flowing(self) -> None:
        while self.faults.stalled:
            self.changed.clear()
            await self.changed.wait()


class Link:
    """One connection through the relay."""

    def __init__(
        self,
        relay: Relay,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._relay = relay
        self._writers: dict[str, asyncio.StreamWriter] = {"client": client[1], "target": target[1]}
        self.pipes: dict[str, _Pipe] = {
            "up": _Pipe(self, replace(relay.defaults["up"]), client[0], target[1]),
            "down": _Pipe(self, replace(relay.defaults["down"]), target[0], client[1]),
        }
        self.open = True
        self._dark = False
        self._released = asyncio.Event()
        self.tasks = [
            asyncio.ensure_future(work) for pipe in self.pipes.values() for work in (pipe.read(), pipe.deliver())
        ]

    async def run(self) -> None:
        try:
            await asyncio.gather(*self.tasks, return_exceptions=True)
            if self._dark:
                await self._released.wait()
        finally:
            if self.open:
                self.open = False
                for writer in self._writers.values():
                    writer.close()

    async def finish(self, ending: Literal["fin", "reset"]) -> None:
        """End both sides; with "fin" what was written still arrives first."""
        if ending == "reset":
            # what was written before the cut shall arrive: give the kernel a moment to send it
            await asyncio.sleep(0.05)
            self.reset()
            return
        self.open = False
        for writer in self._writers.values():
            with contextlib.suppress(OSError):
                writer.close()
        self._cancel()

    def reset(self) -> None:
        self.open = False
        self._released.set()
        reset_all(self._writers.values())
        self._cancel()

    def keep_only(self, side: Side) -> None:
        """Half-open: the other side is gone, this one hears nothing of it, ever."""
        self._dark = True
        self._cancel()
        for name, writer in self._writers.items():
            if name != side:
                reset_socket(writer)

    def _cancel(self) -> None:
        current = asyncio.current_task()
        for task in self.tasks:
            if task is not current:
                task.cancel()


class Relay:
    """Listens on `port` and passes every connection on to 127.0.0.1:`target_port`."""

    def __init__(self, target_port: int, port: int = 0, *, buffer: int | None = None) -> None:
        """buffer: bytes that the relay's own sockets take; small for a narrow link, else the kernel's choice."""
        self.target_port = target_port
        self._buffer = buffer
        self._limit = PIECE if buffer is None else min(PIECE, buffer // 4)
        self.defaults: dict[str, Faults] = {"up": Faults(), "down": Faults()}
        self.links: list[Link] = []
        self._server: asyncio.Server | None = None
        self._port = port
        self.listen()

    @property
    def port(self) -> int:
        return self._port

    def listen(self) -> None:
        """Accept connections (again)."""

        async def start() -> asyncio.Server:
            listener = _socket(self._buffer)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            return await asyncio.start_server(self._accept, sock=listener, limit=self._limit)

        self._server = backstage.run(start())
        self._port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Stop listening: new connections are refused, present ones stay."""
        if self._server is not None:
            close_server(self._server)
            self._server = None

    def set(self, direction: Direction | None = None, *, new_links: bool = True, **changes: object) -> None:
        """Set faults on every present link and, unless `new_links` is false, on links to come."""

        def apply() -> None:
            for name in ("up", "down"):
                if direction not in (None, name):
                    continue
                if new_links:
                    self.defaults[name] = replace(self.defaults[name], **changes)  # type: ignore[arg-type]
                for link in self.links:
                    pipe = link.pipes[name]
                    pipe.faults = replace(pipe.faults, **changes)  # type: ignore[arg-type]
                    pipe.changed.set()

        backstage.call(apply)

    def stall(self, direction: Direction | None = None, *, new_links: bool = True) -> None:
        self.set(direction, new_links=new_links, stalled=True)

    def black_hole(self, direction: Direction | None = None, *, new_links: bool = True) -> None:
        self.set(direction, new_links=new_links, swallow=True)

    def clear(self) -> None:
        """Take every fault away; bytes that were swallowed stay lost."""
        self.set(delay=0.0, rate=None, stalled=False, swallow=False, end_after=None, ending="reset")

    def end_after(
        self,
        direction: Direction,
        further: int,
        ending: Literal["fin", "reset"] = "reset",
        *,
        new_links: bool = False,
    ) -> None:
        """End each present link once `further` more bytes went in `direction`."""

        def apply() -> None:
            for link in self.links:
                pipe = link.pipes[direction]
                pipe.faults = replace(pipe.faults, end_after=pipe.forwarded + further, ending=ending)
            if new_links:
                self.defaults[direction] = replace(self.defaults[direction], end_after=further, ending=ending)

        backstage.call(apply)

    def cut(self) -> None:
        """Reset every present link."""
        self._each(lambda link: link.reset())

    def half_open(self, keep: Side) -> None:
        """Let the side opposite to `keep` vanish without a word, on every present link."""
        self._each(lambda link: link.keep_only(keep))

    def count(self, direction: Direction) -> int:
        """Bytes forwarded in `direction` over all links so far."""
        return backstage.call(lambda: sum(link.pipes[direction].forwarded for link in self.links))

    @property
    def open_links(self) -> int:
        return backstage.call(lambda: sum(link.open for link in self.links))

    def wait_links(self, number: int, timeout: float = 10.0) -> None:
        wait_until(lambda: self.open_links >= number, f"{number} links through the relay", timeout)

    def close(self) -> None:
        self.refuse()
        self._each(lambda link: link.reset())
        wait_until(
            lambda: backstage.call(lambda: all(task.done() for link in self.links for task in link.tasks)),
            "the relay's tasks to end",
        )

    def _each(self, action: Callable[[Link], None]) -> None:
        def apply() -> None:
            for link in self.links:
                if link.open:
                    action(link)

        backstage.call(apply)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connection = _socket(self._buffer)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.target_port))
            target = await asyncio.open_connection(sock=connection, limit=self._limit)
        except OSError:
            connection.close()
            reset_socket(writer)
            return
        link = Link(self, (reader, writer), target)
        self.links.append(link)
        await link.run()
