"""The websocket below a session: `websockets` connections whose binary messages go straight to a callback.

`websockets` does the opening handshake, proxies, TLS, control frames, fragments and closing. Its `recv` and `send`
coroutines cost several times the proxying itself, so after the opening handshake whole messages bypass them
(docs/decisions/0002).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, State

from protocol.limits import MESSAGE_MAX, SUBPROTOCOL

from .framing import Buffer, FrameReader, frame
from .sockets import bound_unsent

if TYPE_CHECKING:
    from websockets.http11 import Request, Response

    from protocol.stalls import Stalls

WRITE_HIGH: Final = 64 * 1024
"""Bytes in the transport above which the session's frames wait in their streams instead."""

UNSENT_LOW: Final = 128 * 1024
"""TCP_NOTSENT_LOWAT: unsent bytes the kernel may hold, so that control frames overtake bulk on slow links."""

OPTIONS: Final[dict[str, Any]] = {
    "compression": None,
    "subprotocols": [SUBPROTOCOL],
    "max_size": MESSAGE_MAX,
    "max_queue": None,
    "ping_interval": None,
    "close_timeout": 2.0,
    "write_limit": (WRITE_HIGH, WRITE_HIGH // 4),
}
"""Arguments for `websockets` at both ends; liveness is the session's own (SPEC.md, "Liveness")."""

_EARLY_MAX: Final = 4


class Messages(Connection):
    """Mixin: whole binary messages to `on_message`, the transport's pauses to `on_writable`."""

    on_message: Callable[[Buffer], None] | None = None
    on_writable: Callable[[], None]
    on_lost: Callable[[Exception | None], None]
    write_paused = False
    pauses: Stalls | None = None
    """Counts, for the whole process, sockets that take nothing for a while."""
    _made = False
    _reader: FrameReader | None = None
    _frames_begun = False
    _early: list[bytes] | None = None
    _fragments: list[bytes] | None = None
    _fragments_size = 0

    def attach(
        self,
        on_message: Callable[[Buffer], None],
        on_writable: Callable[[], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        """Take over after the opening handshake. `on_lost` is called exactly once, possibly at once."""
        self.on_message = on_message
        self.on_writable = on_writable
        self.on_lost = on_lost
        if not self._frames_begun and self._early is None and not self.protocol.reader.buffer:
            self._reader = FrameReader(self.protocol.side is SERVER)
        early, self._early = self._early, None
        for message in early or ():
            on_message(message)
        if self.connection_lost_waiter.done():
            on_lost(self.connection_exc if isinstance(self.connection_exc, Exception) else None)

    def send_message(self, message: bytes) -> None:
        """Send one binary message; dropped if the websocket is closing."""
        transport = self.transport
        if self.protocol.state is not State.OPEN or transport.is_closing():
            return
        buffers = frame(message, self.protocol.side is CLIENT)
        if len(buffers) == 1:
            transport.write(buffers[0])
        else:
            transport.writelines(buffers)

    def close_soon(self, code: int, reason: str) -> None:
        """Begin the closing handshake; the transport is aborted when it does not end in `close_timeout`."""
        if self.protocol.state is State.OPEN and not self.transport.is_closing():
            self.protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
            with contextlib.suppress(OSError, RuntimeError):
                self.send_data()
        self.loop.call_later(self.close_timeout or 0, self.transport.abort)

    # -- asyncio.Protocol -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._made = True
        bound_unsent(transport, UNSENT_LOW)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            self._leave_to_websockets(data)
            return
        rest = reader.feed(data, self._deliver)
        if rest:
            # Not the common case. From here on websockets reads: whether it is inside a frame cannot be seen.
            self._reader = None
            self._leave_to_websockets(rest)

    def _leave_to_websockets(self, data: bytes) -> None:
        self._frames_begun = self.response is not None or self._frames_begun
        super().data_received(data)
        if self.on_message is not None and self.protocol.state is not State.OPEN:
            self.loop.call_later(self.close_timeout or 0, self.transport.abort)

    def process_event(self, event: Request | Response | Frame) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if event.fin and event.opcode is Opcode.BINARY:
            self._deliver(cast(bytes, event.data))
        else:
            self._assemble(event)

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.pauses is not None:
            self.pauses.begin(self)
        super().pause_writing()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.pauses is not None:
            self.pauses.end(self)
        super().resume_writing()
        if self.on_message is not None:
            self.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._made:
            return  # TLS behind a proxy failed: `connect` raises that, and websockets knows of no connection
        super().connection_lost(exc)
        if self.pauses is not None:
            self.pauses.end(self)
        if self.on_message is not None:
            self.on_lost(exc)

    # -- Messages -------------------------------------------------------------------------------------

    def _deliver(self, message: Buffer) -> None:
        if self.on_message is not None:
            self.on_message(message)
            return
        self._early = self._early or []
        if len(self._early) >= _EARLY_MAX:
            self.transport.abort()
            return
        self._early.append(bytes(message))

    def _assemble(self, frame: Frame) -> None:
        """Intermediaries may fragment what our peers never do; text messages are not ours."""
        if frame.opcode is Opcode.TEXT:
            self.close_soon(1003, "only binary messages")
            return
        if frame.opcode is Opcode.BINARY:
            self._fragments, self._fragments_size = [], 0
        assert self._fragments is not None  # websockets refuses a continuation of nothing
        self._fragments.append(bytes(frame.data))
        self._fragments_size += len(frame.data)
        if self._fragments_size > MESSAGE_MAX:
            self.close_soon(1009, "message too big")
        elif frame.fin:
            message, self._fragments = b"".join(self._fragments), None
            self._deliver(message)


class AgentSocket(Messages, ClientConnection):
    """The agent's end."""


class HubSocket(Messages, ServerConnection):
    """The hub's end. skew: by how many seconds the agent's clock was ahead when it asked, if it said its time."""

    skew: float | None = None
