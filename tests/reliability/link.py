"""One connection through a relay: two sockets, bytes both ways, and how it is broken."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.reliability.bottleneck import PACKET, Bottleneck
from tests.reliability.wire_frames import FrameEnds

if TYPE_CHECKING:
    from tests.reliability.relay import Relay

READ = 256 * 1024
CONNECT_SECONDS = 10.0
LINGER = 0.02
"""Seconds between the last bytes and the end of a link, in which the kernel delivers them."""


@dataclass
class Cut:
    """An order to end one link at an exact place."""

    left: int
    unit: str
    direction: str
    ending: str
    fired: bool = False


class End(asyncio.BufferedProtocol):
    """One socket. `taken` counts the bytes that were read from it."""

    def __init__(self, link: Link, direction: str, narrow: Bottleneck | None) -> None:
        self._link = link
        self._direction = direction
        self._narrow = narrow
        self._buffer = memoryview(bytearray(PACKET if narrow else READ))
        self._frames = FrameEnds() if direction == "up" and link.relay.frames else None
        self.peer: End | None = None
        self.transport: Any = None
        self.taken = 0
        self._waiting = False
        self._early: list[bytes] = []
        """What came before the onward connection stood."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._direction == "up":
            self._link.connect_onward()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._link.lost(self, error)

    def eof_received(self) -> bool:
        return False

    def get_buffer(self, _hint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        self.taken += size
        if self._link.dark:
            return
        data = bytes(self._buffer[:size])
        ends = self._frames.feed(data) if self._frames is not None else []
        cut = self._link.relay.cut
        if cut is not None and cut.direction == self._direction and not cut.fired:
            data = self._up_to_cut(cut, data, ends)
        self._pass_on(data)

    def _up_to_cut(self, cut: Cut, data: bytes, ends: list[int]) -> bytes:
        """What of `data` still goes through; the link ends behind it when the order says so."""
        keep: int | None = None
        if cut.unit == "bytes":
            if cut.left <= len(data):
                keep = cut.left
            cut.left -= len(data)
        else:
            if 0 < cut.left <= len(ends):
                keep = len(data) - (self.taken - ends[cut.left - 1])
            cut.left -= len(ends)
        if keep is None:
            return data
        cut.fired = True
        self._link.end_soon(cut.ending)
        return data[:keep]

    def _pass_on(self, data: bytes) -> None:
        peer = self.peer
        if peer is None:
            self._early.append(data)
            return
        if not data:
            return
        if self._narrow is None:
            peer.write(data)
            return
        self._narrow.offer(len(data), lambda: peer.write(data))
        if self._narrow.full and not self._waiting:
            self._waiting = True
            self.pause()
            self._narrow.when_free(self._may_read)

    def join(self, peer: End) -> None:
        self.peer = peer
        early, self._early = self._early, []
        for data in early:
            self._pass_on(data)

    def _may_read(self) -> None:
        self._waiting = False
        self.resume()

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing() and not self._link.dark:
            self.transport.write(data)

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.pause()

    def resume_writing(self) -> None:
        if self.peer is not None and not self._link.stalled:
            self.peer.resume()

    def pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self, ending: str) -> None:
        if self.transport is None:
            return
        if ending == "reset":
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


class Link:
    """Both ends of one connection."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.dark = False
        """Everything is swallowed, and neither end hears of the other's end."""
        self.stalled = False
        self._loop = asyncio.get_running_loop()
        up, down = relay.narrow or (None, None)
        self.near = End(self, "up", up)
        self.far = End(self, "down", down)
        self._task: asyncio.Task[None] | None = None

    def connect_onward(self) -> None:
        self.relay.links.add(self)
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        onward = self.relay.socket()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.sock_connect(onward, ("127.0.0.1", self.relay.target))
                await self._loop.create_connection(lambda: self.far, sock=onward)
        except (OSError, TimeoutError):
            onward.close()
            self.near.close("reset")
            return
        if self.near.transport is None:
            self.far.close("reset")
            return
        self.far.join(self.near)
        self.near.join(self.far)

    def lost(self, end: End, error: Exception | None) -> None:
        """One end is gone: so is the other, unless the link is dark."""
        other = self.far if end is self.near else self.near
        if other.transport is None:
            self.relay.links.discard(self)
        elif not self.dark:
            other.close("reset" if error is not None else "fin")

    def end(self, ending: str) -> None:
        for end in (self.near, self.far):
            end.close(ending)

    def end_soon(self, ending: str) -> None:
        """Nothing more goes through; the link ends once what was written before has arrived."""
        self.dark = True
        self._loop.call_later(LINGER, self.end, ending)

    def stall(self) -> None:
        self.stalled = True
        self.near.pause()
        self.far.pause()

    def flow(self) -> None:
        self.stalled = False
        self.near.resume()
        self.far.resume()
