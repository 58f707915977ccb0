"""Peers that shake hands properly, with the product's own handshake, and then misbehave byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from protocol import frames
from protocol.handshake import AgentHandshake, HubHandshake, Registration
from protocol.keys import PrivateKey, load_private_key, parse_public_line
from protocol.limits import SUBPROTOCOL, Limits
from tests.support.keys import Key
from tests.support.loop import backstage, stop_accepting
from tests.support.waiting import wait_until

Frame = list[Any]


def pack(*frame: Any) -> bytes:
    """One frame's bytes, whatever it says."""
    packed: bytes = msgpack.packb(list(frame), use_bin_type=True)
    return packed


def unpack(message: bytes) -> list[Frame]:
    """The frames of one message."""
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=0)
    unpacker.feed(message)
    return list(unpacker)


def open_frame(
    stream: int,
    target: bytes = b"/",
    *,
    flags: int = frames.END,
    method: bytes = b"GET",
    fields: Sequence[bytes] = (),
    service: str = "visits",
    length: int | None = None,
    upgrade: bytes | None = None,
    body: bytes = b"",
    authority: bytes = b"visits.internal",
    deadline: int | None = 10_000,
) -> bytes:
    return pack(
        *(frames.OPEN, stream, flags, deadline, service, b"req-1", method, authority, target),
        *(list(fields), length, upgrade, body),
    )


class HostileAgent:
    """Connects to a hub as agent `name`. `shake` first, or send whatever instead."""

    def __init__(self, port: int, subprotocol: str | None = SUBPROTOCOL) -> None:
        self._connecting = connect(
            f"ws://127.0.0.1:{port}/tunnel",
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            compression=None,
            proxy=None,
            ping_interval=None,
            max_size=None,
            close_timeout=2,
        )
        self.socket: ClientConnection = self._connecting.__enter__()
        self._pending: list[Frame] = []
        self.heard: list[Frame] = []

    def __enter__(self) -> HostileAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shake(self, key: Key, hub_key: Key, name: str = "leeds-1", services: Sequence[str] = ("visits",)) -> None:
        handshake = AgentHandshake(
            agent_id=name,
            instance_id=os.urandom(16),
            key=load_private_key(key.file),
            hub_keys=[parse_public_line(hub_key.public)],
            services=services,
            limits=Limits(),
            nonce=os.urandom(32),
            certificate_hash=None,
            software="hostile",
        )
        self.send_bytes(handshake.start())
        while handshake.result is None:
            answer = handshake.receive(self.receive_message())
            if answer:
                self.send_bytes(answer)

    def send(self, *frame: Any) -> None:
        self.send_bytes(pack(*frame))

    def send_bytes(self, data: bytes) -> None:
        """One websocket message. Nothing happens once the hub has closed."""
        with contextlib.suppress(ConnectionClosed):
            self.socket.send(data)

    def receive_message(self, timeout: float = 10.0) -> bytes:
        message = self.socket.recv(timeout)
        assert isinstance(message, bytes)
        return message

    def next_frame(self, kind: int, timeout: float = 10.0) -> Frame:
        """The next frame of this kind; others are remembered in `heard`. PINGs are not answered."""
        while True:
            while self._pending:
                frame = self._pending.pop(0)
                self.heard.append(frame)
                if frame[0] == kind:
                    return frame
            self._pending += unpack(self.receive_message(timeout))

    def expect_end(self, *codes: int, timeout: float = 15.0, farewell: bool = True) -> str:
        """The hub ends the session with one of these codes, in the close frame and, unless `farewell` is false,
        in a GOODBYE, whose message is returned.
        """
        goodbye: Frame | None = None
        try:
            while True:
                for frame in unpack(self.receive_message(timeout)):
                    if frame[0] == frames.GOODBYE:
                        goodbye = frame
        except ConnectionClosed:
            pass
        except TimeoutError:
            raise AssertionError("the hub keeps the session") from None
        closed_with = self.socket.close_code
        assert closed_with in (1006, *(4000 + code for code in codes)), closed_with
        if goodbye is None:
            assert not farewell, f"no GOODBYE; close code {closed_with}"
            return ""
        assert goodbye[1] in codes, goodbye
        return str(goodbye[2])

    def close(self) -> None:
        self._connecting.__exit__(None, None, None)


class HostileSession:
    """One agent's session at a `HostileHub`. Methods are called from the test's thread."""

    def __init__(self, socket: ServerConnection) -> None:
        self.heard: list[Frame] = []
        self.ended = threading.Event()
        self.answer_pings = True
        self._socket = socket

    def send(self, *frame: Any) -> None:
        self.send_bytes(pack(*frame))

    def send_bytes(self, data: bytes | str) -> None:
        async def work() -> None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(data)

        backstage.run(work())

    def send_raw(self, data: bytes) -> None:
        """Bytes below the websocket, framed or not."""
        backstage.call(self._socket.transport.write, data)

    @property
    def close_code(self) -> int | None:
        """Of the close frame that the agent sent; None while there is none."""
        received = self._socket.protocol.close_rcvd
        return None if received is None else received.code

    def wait_frame(self, kind: int, timeout: float = 10.0) -> Frame:
        def found() -> Frame | None:
            return next((frame for frame in list(self.heard) if frame[0] == kind), None)

        frame = wait_until(found, f"a frame {frames.NAMES.get(kind, kind)} from the agent", timeout)
        assert frame is not None
        return frame

    def expect_end(self, *codes: int, timeout: float = 15.0) -> str:
        assert self.ended.wait(timeout), "the agent keeps the session"
        goodbye = self.wait_frame(frames.GOODBYE, 1)
        assert goodbye[1] in codes, goodbye
        return str(goodbye[2])

    async def read(self) -> None:
        try:
            async for message in self._socket:
                assert isinstance(message, bytes)
                for frame in unpack(message):
                    self.heard.append(frame)
                    if frame[0] == frames.PING and self.answer_pings:
                        with contextlib.suppress(ConnectionClosed):  # what came before the close is still read
                            await self._socket.send(pack(frames.PONG, frame[1]))
        except ConnectionClosed:
            pass
        finally:
            self.ended.set()


class HostileHub:
    """Listens on `port` as a hub with a proper key; what it sends after the handshake is the test's."""

    def __init__(
        self,
        key: Key,
        agent_key: Key,
        name: str = "leeds-1",
        services: Sequence[str] = ("visits",),
        *,
        port: int = 0,
    ) -> None:
        self.sessions: list[HostileSession] = []
        self._key = load_private_key(key.file)
        self._registration = Registration([parse_public_line(agent_key.public)], frozenset(services))
        self._name = name
        self._server = backstage.run(self._start(port))
        self.port: int = next(iter(self._server.sockets)).getsockname()[1]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/tunnel"

    def wait_session(self, number: int = 1, timeout: float = 15.0) -> HostileSession:
        """The session that the agent opened as the `number`-th."""
        wait_until(lambda: len(self.sessions) >= number, f"session {number} at the hostile hub", timeout)
        return self.sessions[number - 1]

    def close(self) -> None:
        async def work() -> None:
            await stop_accepting(self._server)
            self._server.close()
            await self._server.wait_closed()

        backstage.run(work())

    def handshake(self, key: PrivateKey | None = None) -> HubHandshake:
        """The hub's side of a handshake, by another key where one is given."""
        return HubHandshake(
            hub_id="hostile",
            key=key or self._key,
            nonce=os.urandom(32),
            session_id=os.urandom(16),
            lookup=lambda agent: self._registration if agent == self._name else None,
            binding=None,
            limits=Limits(),
        )

    async def shake(self, socket: ServerConnection) -> bool:
        """The hub's side of a proper handshake; False: the agent went away."""
        handshake = self.handshake()
        try:
            while handshake.result is None:
                async with asyncio.timeout(10):
                    message = await socket.recv()
                assert isinstance(message, bytes)
                answer = handshake.receive(message)
                if answer:
                    await socket.send(answer)
        except (ConnectionClosed, TimeoutError):
            return False
        return True

    async def _start(self, port: int) -> Server:
        return await serve(
            self._serve,
            "127.0.0.1",
            port,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            ping_interval=None,
            max_size=None,
            close_timeout=1,
        )

    async def _serve(self, socket: ServerConnection) -> None:
        if not await self.shake(socket):
            return
        session = HostileSession(socket)
        self.sessions.append(session)
        await session.read()
