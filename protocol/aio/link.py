"""The asyncio shell of one session: reader, coalescing writer and timer around the sans-IO core.

Every frame that becomes ready within one turn of the event loop leaves in one message (SPEC.md, "Messages").
Start a link with `start`; it ends by itself or by `close`, and reports that exactly once through `on_lost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from protocol.errors import ProtocolViolation, SessionCode, SessionError, StreamCode
from protocol.events import Event, PeerGoodbye
from protocol.session import Session
from protocol.stalls import Stalls
from protocol.stream import Stream

from .framing import Buffer
from .websocket import Messages
from .wheel import Timer, Wheel

CLOSE_CODE_BASE: Final = 4000
HANDSHAKE_TIMEOUT: Final = 10.0

EAGER_FRAMES: Final = 16
"""Frames that leave at once: a longer wait for company would leave the peer without work."""
EAGER_STREAMS: Final = 2
"""Open streams up to which frames leave at once instead of at the end of the loop's turn."""


class Handshake(Protocol):
    """The part of `protocol.handshake` that a link drives, at either end."""

    farewell: bytes
    result: Any

    def receive(self, message: bytes) -> bytes:
        """Take a message, return the answer or b"". Raises SessionError with `farewell` set."""


class Owner(Protocol):
    """Who uses the link: the hub's agents' listener or the agent's supervisor."""

    handlers: Mapping[type[Event], Callable[[Any], None]]
    """What to call with each event of the session, by its type. A SessionEvent's `origin` is the link."""

    def make_session(self, link: Link, result: Any) -> Session:
        """The handshake succeeded: the session to run."""

    def on_established(self, link: Link) -> None:
        """The session may be used from now on."""

    def on_stream_failed(self, stream: Stream) -> None:
        """A handler raised: the stream was reset, whoever waits for it must be told."""

    def on_lost(self, link: Link, error: SessionError, streams: list[Stream]) -> None:
        """The link is over, and `streams` were open on it. Called exactly once, after a failed handshake too."""


class Link:
    """One websocket with its handshake and session."""

    __slots__ = (
        "_armed",
        "_closing",
        "_handshake",
        "_lost",
        "_owner",
        "_reading",
        "_scheduled",
        "_socket",
        "_timer",
        "_wheel",
        "established_at",
        "label",
        "loop",
        "result",
        "session",
        "skew",
    )

    session: Session

    def __init__(
        self,
        socket: Messages,
        handshake: Handshake,
        owner: Owner,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._socket = socket
        self._handshake: Handshake | None = handshake
        self._owner = owner
        self._wheel = wheel
        self.loop = loop
        self.result: Any = None
        self.label = ""
        """Free for the owner: how logs name the peer."""
        self.established_at = 0.0
        self.skew: float | None = None
        """For the owner: by how many seconds the agent's clock was ahead of the hub's at the start, if known."""
        self._scheduled = False
        self._reading = False
        self._closing: SessionError | None = None
        self._lost = False
        self._timer: Timer | None = None
        self._armed = 0.0

    def start(self, first: bytes = b"") -> None:
        """Attach to the websocket and send the handshake's first message, if it is ours."""
        self._timer = self._wheel.after(HANDSHAKE_TIMEOUT, self._handshake_late)
        self._socket.attach(self._on_message, self._flush, self._on_lost)
        if first:
            self._socket.send_message(first)

    @property
    def peer_address(self) -> str:
        address = self._socket.remote_address
        return address[0] if address else "?"

    @property
    def usable(self) -> bool:
        """Established, not closing, and willing to carry another stream."""
        return self._handshake is None and self._closing is None and not self._lost and self.session.selectable

    @property
    def unsent(self) -> int:
        """Bytes handed to the transport that have not left this process."""
        return self._socket.transport.get_write_buffer_size()

    async def wait_closed(self) -> None:
        """Return when the websocket is closed: soon after `on_lost`, in bounded time."""
        await self._socket.wait_closed()

    def wake(self) -> None:
        """The session has output, or its timer moved: send at the end of this loop turn.

        With next to nothing going on there is nothing to coalesce, and a turn of the loop is saved.
        """
        if self._reading:
            return
        session = self.session
        if len(session.control) >= EAGER_FRAMES or len(session.streams) <= EAGER_STREAMS:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._flush)

    def count_pauses(self, pauses: Stalls) -> None:
        """Tell `pauses` whenever the transport takes nothing for a while, from now on."""
        self._socket.pauses = pauses

    def close(self, code: SessionCode, message: str) -> None:
        """End the session: GOODBYE, then the websocket's closing handshake."""
        self._fail(SessionError(code, message), tell=True)

    # -- Reader ---------------------------------------------------------------------------------------

    def _on_message(self, message: Buffer) -> None:
        if self._closing is not None:
            return
        if self._handshake is not None:
            self._shake(self._handshake, bytes(message))
            return
        session = self.session
        violation: ProtocolViolation | None = None
        try:
            events = session.receive(message, self.loop.time())
        except ProtocolViolation as error:
            violation = error
            events, error.events = error.events, []
        self._reading = True  # what the handlers have to say leaves together, after the last of them
        try:
            self._dispatch(events)
        finally:
            self._reading = False
        if violation is not None:
            self._fail(violation, tell=True)
        elif self._closing is None and (session.has_output() or session.due < self._armed):
            self.wake()

    def _dispatch(self, events: list[Event]) -> None:
        handlers = self._owner.handlers
        goodbye: PeerGoodbye | None = None
        for event in events:
            if self._closing is not None:
                return
            stream = event.stream
            if stream is None:
                event.origin = self  # type: ignore[attr-defined]  # a SessionEvent
            elif stream.silent:
                continue
            try:
                handlers[type(event)](event)
            except Exception as error:
                self._handler_failed(event, error)
            if type(event) is PeerGoodbye:
                goodbye = event
        if goodbye is not None:  # what came with it counts: streams that it ended are not among those lost
            self._fail(_goodbye(goodbye), tell=False)

    def _handler_failed(self, event: Event, error: Exception) -> None:
        """Our own fault: the one stream pays, the others go on."""
        self.loop.call_exception_handler(
            {"message": f"handling {type(event).__name__} failed", "exception": error}
        )
        if event.stream is not None:
            self.session.reset(event.stream, StreamCode.INTERNAL, self.loop.time())
            self.wake()
            try:
                self._owner.on_stream_failed(event.stream)
            except Exception as second:
                self.loop.call_exception_handler({"message": "giving a stream up failed", "exception": second})

    def _shake(self, handshake: Handshake, message: bytes) -> None:
        try:
            answer = handshake.receive(message)
        except SessionError as error:
            if handshake.farewell:
                self._socket.send_message(handshake.farewell)
            self._fail(error, tell=False)
            return
        if answer:
            self._socket.send_message(answer)
        if handshake.result is None:
            return
        self.result = handshake.result
        self._handshake = None
        now = self.established_at = self.loop.time()
        self.session = self._owner.make_session(self, handshake.result)
        self._owner.on_established(self)
        if self._closing is None:
            self.session.start(now)
            self._arm(now)
            self.wake()

    def _handshake_late(self) -> None:
        self._fail(SessionError(SessionCode.HANDSHAKE_TIMEOUT, "the handshake took too long"), tell=False)

    # -- Writer ---------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._scheduled = False
        if self._closing is not None or self._handshake is not None:
            return
        session = self.session
        socket = self._socket
        writable: list[Event] = []
        now = self.loop.time()
        while not socket.write_paused:
            message = session.data_to_send(writable, now)
            if not message:
                break
            socket.send_message(message)
        if session.liveness.due < self._armed:
            self._arm(now)
        if writable:
            self._dispatch(writable)

    # -- Timer ----------------------------------------------------------------------------------------

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = self.session.due
        self._timer = self._wheel.after(max(self._armed - now, 0.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time()
        try:
            self.session.handle_timer(now)
        except SessionError as error:
            self._fail(error, tell=True)
            return
        self._arm(now)
        self._flush()

    # -- End ------------------------------------------------------------------------------------------

    def _fail(self, error: SessionError, *, tell: bool) -> None:
        if self._closing is not None or self._lost:
            return
        # Whoever keeps the error would keep the frames it passed through, and with them the peer's message.
        error.__traceback__ = error.__context__ = None
        if tell and self._handshake is None:
            self.session.goodbye(error.code, error.message)
            if not self._socket.write_paused:
                self._socket.send_message(self.session.data_to_send([]))
        self._closing = error
        self._socket.close_soon(CLOSE_CODE_BASE + error.code, error.message)
        self._report(error)

    def _on_lost(self, exc: Exception | None) -> None:
        if self._closing is None:
            reason = self._socket.close_reason
            detail = f"closed by the peer: {reason}" if reason else f"lost ({exc})" if exc else "lost"
            self._closing = SessionError(_close_code(self._socket.close_code), f"the connection was {detail}")
        self._report(self._closing)

    def _report(self, error: SessionError) -> None:
        if self._lost:
            return
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost = self.session.lost() if self._handshake is None else []
        self._owner.on_lost(self, error, lost)


def _goodbye(event: PeerGoodbye) -> SessionError:
    try:
        code = SessionCode(event.code)
    except ValueError:
        return ProtocolViolation(f"GOODBYE with the unknown code {event.code}")
    return SessionError(code, f"the peer said goodbye: {event.message}")


def _close_code(code: int | None) -> SessionCode:
    """The session code of a websocket close code of ours; INTERNAL for any other end."""
    try:
        return SessionCode((code or 0) - CLOSE_CODE_BASE)
    except ValueError:
        return SessionCode.INTERNAL
