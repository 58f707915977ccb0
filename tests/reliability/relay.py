"""TCP relays with faults, in a process of their own.

Commands on stdin; `ports` names the relays (all when left out), and every command that changes something is
answered with `at`, the moment on the monotonic clock. A relay listens on a port and passes each connection on to
127.0.0.1:`target`; `up` is the way from whoever connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import uvloop

from tests.reliability.bottleneck import Bottleneck
from tests.reliability.link import Cut, Link
from tests.reliability.worker import serve

SMALL_BUFFER = 16 * 1024
"""Kernel buffers of a narrow link's relay: what waits shall wait at the senders."""


class Relay:
    """One listener and its links."""

    def __init__(
        self, target: int, *, rate: float | None = None, delay: float = 0.0, queue: int = 0, frames: bool = False
    ) -> None:
        """rate: bytes/s of a bottleneck that all links share, each way, with `delay` seconds and `queue` bytes;
        frames: look into what agents send, so that `cut_after` can count frames.
        """
        self.target = target
        self.frames = frames
        self.links: set[Link] = set()
        self.cut: Cut | None = None
        self.narrow: tuple[Bottleneck, Bottleneck] | None = None
        if rate is not None:
            self.narrow = (Bottleneck(rate, delay, queue), Bottleneck(rate, delay, queue))
        self.port = 0
        self._server: asyncio.Server | None = None
        self._fillers: list[socket.socket] = []

    def socket(self) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        if self.narrow:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                made.setsockopt(socket.SOL_SOCKET, option, SMALL_BUFFER)
        return made

    async def listen(self) -> None:
        """Accept connections (again)."""
        self._unblock()
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: Link(self).near, sock=self._bound(1024))
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections."""
        self._unblock()
        if self._server is not None:
            self._server.close()
            self._server = None

    async def drop(self) -> None:
        """Leave new connections without any answer, as a broken network does: the queue of the port is full."""
        self.refuse()
        self._fillers = [self._bound(0)]
        loop = asyncio.get_running_loop()
        while True:
            filler = self.socket()
            self._fillers.append(filler)
            try:
                async with asyncio.timeout(0.2):
                    await loop.sock_connect(filler, ("127.0.0.1", self.port))
            except TimeoutError:
                return

    def _bound(self, backlog: int) -> socket.socket:
        made = self.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", self.port))
        made.listen(backlog)
        return made

    def _unblock(self) -> None:
        for filler in reversed(self._fillers):
            filler.close()
        self._fillers.clear()


class Control:
    """The worker's commands."""

    def __init__(self) -> None:
        self._relays: dict[int, Relay] = {}
        names = (
            "open",
            "cut",
            "black_hole",
            "stall",
            "flow",
            "refuse",
            "drop",
            "listen",
            "cut_after",
            "fired",
            "state",
        )
        self.handlers = {name: getattr(self, name) for name in names}

    def _chosen(self, ports: list[int] | None) -> list[Relay]:
        return [self._relays[port] for port in (self._relays if ports is None else ports)]

    async def open(
        self, target: int, rate: float | None = None, delay: float = 0.0, queue: int = 0, frames: bool = False
    ) -> dict[str, int]:
        relay = Relay(target, rate=rate, delay=delay, queue=queue, frames=frames)
        await relay.listen()
        self._relays[relay.port] = relay
        return {"port": relay.port}

    async def cut(self, ports: list[int] | None = None, ending: str = "reset") -> dict[str, Any]:
        """End every present link, with a reset or a FIN to both sides."""
        links = [link for relay in self._chosen(ports) for link in relay.links]
        at = time.monotonic()
        for link in links:
            link.end(ending)
        return {"at": at, "links": len(links)}

    async def black_hole(self, ports: list[int] | None = None) -> dict[str, Any]:
        """Present links swallow everything from now on and never close; new ones work."""
        links = [link for relay in self._chosen(ports) for link in relay.links]
        at = time.monotonic()
        for link in links:
            link.dark = True
        return {"at": at, "links": len(links)}

    async def stall(self, ports: list[int] | None = None) -> dict[str, float]:
        """Stop reading on present links until `flow`."""
        for relay in self._chosen(ports):
            for link in list(relay.links):
                link.stall()
        return {"at": time.monotonic()}

    async def flow(self, ports: list[int] | None = None) -> dict[str, float]:
        for relay in self._chosen(ports):
            for link in list(relay.links):
                link.flow()
        return {"at": time.monotonic()}

    async def refuse(self, ports: list[int] | None = None) -> dict[str, float]:
        for relay in self._chosen(ports):
            relay.refuse()
        return {"at": time.monotonic()}

    async def drop(self, ports: list[int] | None = None) -> dict[str, float]:
        for relay in self._chosen(ports):
            await relay.drop()
        return {"at": time.monotonic()}

    async def listen(self, ports: list[int] | None = None) -> dict[str, float]:
        for relay in self._chosen(ports):
            await relay.listen()
        return {"at": time.monotonic()}

    async def cut_after(
        self, port: int, count: int, unit: str = "bytes", direction: str = "up", ending: str = "reset"
    ) -> None:
        """End the link on which `count` further bytes (or frames of answers) go in `direction`; once."""
        self._relays[port].cut = Cut(count, unit, direction, ending)

    async def fired(self, port: int) -> bool:
        """Whether the last `cut_after` has ended a link; takes it off."""
        cut, self._relays[port].cut = self._relays[port].cut, None
        return cut is not None and cut.fired

    async def state(self, ports: list[int] | None = None) -> dict[str, int]:
        relays = self._chosen(ports)
        return {
            "links": sum(not link.dark for relay in relays for link in relay.links),
            "dark": sum(link.dark for relay in relays for link in relay.links),
            "up": sum(link.near.taken for relay in relays for link in relay.links),
            "queue_peak": max((way.peak for relay in relays for way in relay.narrow or ()), default=0),
        }


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(Control().handlers, {}))
