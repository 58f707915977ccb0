"""One websocket of a hostile peer, whichever end it is: it sends anything and remembers what it hears."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from protocol import frames
from tests.support.hostile import Frame, pack, unpack

DATA_KEPT = 100_000


class EvilSession:
    """From the end of the opening handshake on. Everything runs in the backstage loop."""

    def __init__(self, socket: ServerConnection | ClientConnection, number: int) -> None:
        self.socket = socket
        self.number = number
        self.heard: list[Frame] = []
        self.data = bytearray()
        """The beginning of the bodies that came in DATA, of all streams together."""
        self.over = asyncio.Event()
        self.answers_pings = True
        self.grants_credit = True
        self._changed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Begin to read; the handshake, if there is one, is over."""
        self._reading = asyncio.create_task(self._read())

    async def send(self, data: bytes | str) -> None:
        """One message, whatever it is; nothing when the session is over, or the agent reads nothing for 5 s."""
        # AttributeError: asyncio's transport, when it is aborted in the turn in which it was lost
        with contextlib.suppress(ConnectionClosed, TimeoutError, AttributeError):
            async with asyncio.timeout(5):
                await self.socket.send(data)

    def write(self, data: bytes) -> None:
        """Bytes below the messages, framed or not."""
        transport = self.socket.transport
        with contextlib.suppress(RuntimeError):  # the closing handshake has ended this side already
            if not transport.is_closing():
                transport.write(data)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for something that is heard, or for the end of the session; whether it came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition() and not self.over.is_set():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    @property
    def settled(self) -> set[int]:
        """The streams that were answered or reset."""
        return {frame[1] for frame in self.heard if frame[0] in (frames.ANSWER, frames.RESET)}

    @property
    def goodbye(self) -> int | None:
        return next((frame[1] for frame in self.heard if frame[0] == frames.GOODBYE), None)

    async def end(self) -> None:
        """Let go of the connection, whatever state it is in."""
        if not self.socket.connection_lost_waiter.done():
            self.socket.transport.abort()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                assert isinstance(message, bytes)
                for frame in unpack(message):
                    await self._one(frame)
                self._changed.set()
        except ConnectionClosed:
            pass
        finally:
            self.over.set()
            self._changed.set()

    async def _one(self, frame: Frame) -> None:
        if frame[0] == frames.PING and self.answers_pings:
            await self.send(pack(frames.PONG, frame[1]))
        elif frame[0] == frames.DATA:
            if len(self.data) < DATA_KEPT:
                self.data += frame[3]
            if self.grants_credit and frame[3]:
                await self.send(pack(frames.CREDIT, frame[1], len(frame[3])))
            return
        self.heard.append(frame)
