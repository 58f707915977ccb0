"""A hub with the pinned key whose every session follows a script: the fully compromised hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from protocol import frames
from tests.support.hostile import Frame, HostileHub, pack, unpack
from tests.support.keys import Key
from tests.support.loop import backstage

Script = Callable[["EvilSession"], Awaitable[None]]


class EvilSession:
    """One connection of the agent, from the end of the opening handshake. Everything runs in the backstage loop."""

    def __init__(self, hub: EvilHub, socket: ServerConnection, number: int) -> None:
        self.hub = hub
        self.socket = socket
        self.number = number
        self.heard: list[Frame] = []
        self.over = asyncio.Event()
        self.answers_pings = True
        self.grants_credit = True
        self._changed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def shake(self) -> bool:
        """The proper handshake, and then read on; False: the agent went away."""
        if not await self.hub.shake(self.socket):
            return False
        self.listen()
        return True

    def listen(self) -> None:
        self._reading = asyncio.create_task(self._read())

    async def send(self, data: bytes | str) -> None:
        """One message, whatever it is; nothing when the session is over, or the agent reads nothing for 5 s."""
        with contextlib.suppress(ConnectionClosed, TimeoutError):
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
            if self.grants_credit and frame[3]:
                await self.send(pack(frames.CREDIT, frame[1], len(frame[3])))
            return
        self.heard.append(frame)


class EvilHub(HostileHub):
    """Every connection of the agent is a session of its own number and follows `script`."""

    def __init__(
        self,
        key: Key,
        agent_key: Key,
        script: Script,
        *,
        port: int,
        name: str = "leeds-1",
        services: Sequence[str] = ("visits",),
    ) -> None:
        self.script = script
        self.begun = 0
        self.ended = 0
        self.failed: list[str] = []
        """Scripts that raised: mistakes of the harness."""
        self.live: set[asyncio.Task[Any]] = set()
        super().__init__(key, agent_key, name, services, port=port)

    async def _serve(self, socket: ServerConnection) -> None:
        number, self.begun = self.begun, self.begun + 1
        session = EvilSession(self, socket, number)
        task = asyncio.current_task()
        assert task is not None
        self.live.add(task)
        try:
            await self.script(session)
        except ConnectionClosed:
            pass
        except Exception as error:
            self.failed.append(f"session {number}: {error!r}")
        finally:
            await session.end()
            self.live.discard(task)
            self.ended += 1

    def close(self) -> None:
        """Take nobody any more and end every session."""

        async def work() -> None:
            self._server.close(close_connections=False)
            for task in list(self.live):
                task.cancel()
            if self.live:
                await asyncio.wait(self.live, timeout=10)

        backstage.run(work())
