"""The transport side of a connection to an upstream: closing, backpressure, and the watch over its timeouts."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, Protocol, cast

from protocol.aio.sockets import bound_received
from protocol.errors import StreamCode

from .lazytimer import LazyTimer
from .timeouts import NEVER, Timeouts

if TYPE_CHECKING:
    from protocol.aio.wheel import Wheel

    from .call import Call
    from .connection import Connection

RECEIVE_BUFFER: Final = 128 * 1024
"""What the kernel keeps of an answer that is not read; the path to an upstream is short."""

WRITE_BUFFER: Final = 64 * 1024
"""Bytes of a request that may wait in the transport before `Call.body` says stop."""


class Owner(Protocol):
    """The pool, as a connection sees it."""

    def released(self, connection: Connection) -> None:
        """The exchange is over; the connection may be given another call at once, or is to `rest`."""

    def discarded(self, connection: Connection) -> None:
        """The connection is being closed."""

    def lost(self, connection: Connection) -> None:
        """It is closed; always after `discarded`."""

    def repeat(self, call: Call) -> None:
        """Send the call once more, on a new connection."""


class Wire(asyncio.Protocol):
    """What `Connection` knows of its transport. Ask `usable` before a write: uvloop raises after a close."""

    __slots__ = (
        "_answered",
        "_buffered",
        "_loop",
        "_moved",
        "_paused",
        "_pipe",
        "_sending",
        "_since",
        "_ssl",
        "_stuck",
        "_timeouts",
        "_timer",
        "_transport",
        "closing",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel, timeouts: Timeouts) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._timer = LazyTimer(loop, wheel, self._check)
        self._transport: asyncio.Transport | None = None
        self._ssl: ssl.SSLObject | None = None
        self._moved = 0.0  # when a byte of the exchange last moved; without a call: since when idle
        self._since = 0.0  # since when the upstream owes an answer
        self._sending = False  # more of the request is to come; in a pipe: it is open towards the upstream
        self._answered = False  # the answer's head was passed on
        self._pipe = False  # after 101
        self._buffered = 0  # bytes seen in the transport at the last check
        self._stuck = False  # the transport takes no more for now
        self._paused = False  # the answer is not read
        self.closing = False

    @property
    def usable(self) -> bool:
        """Whether bytes may be written, as far as is known."""
        return not self.closing and self._transport is not None and not self._transport.is_closing()

    def pause(self) -> None:
        """Read nothing. Idempotent."""
        if not self._paused and self.usable:
            self._paused = True
            cast("asyncio.Transport", self._transport).pause_reading()

    def resume(self) -> None:
        """Read on. Idempotent."""
        if self._paused and self.usable:
            self._paused = False
            self._moved = self._since = self._loop.time()
            cast("asyncio.Transport", self._transport).resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(WRITE_BUFFER)
        bound_received(transport, RECEIVE_BUFFER)
        self._ssl = transport.get_extra_info("ssl_object")

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._buffered = 0
        self._moved = self._since = now = self._loop.time()
        if not self._sending:
            self._timer.by(now + self._timeouts.first_byte)

    def _cut_off(self) -> bool:
        """Whether TLS ended without close_notify, which anybody on the way can bring about (RFC 9112 section 9.8).

        uvloop then calls connection_lost alone; asyncio's own loop calls eof_received, as if it were an end.
        """
        try:
            return self._ssl is not None and self._ssl.read(1) != b""
        except ssl.SSLError:
            return True

    def _shut(self, abort: bool) -> None:
        """Close the transport; `abort`: without waiting for what it has to write."""
        self.closing = True
        self._timer.cancel()
        if self._transport is not None:
            if abort:
                self._transport.abort()
            else:
                self._transport.close()

    def _check(self, now: float) -> float:
        """The timer fired: when is it to fire again?"""
        raise NotImplementedError

    def _next_due(self, call: Call, now: float) -> tuple[float, StreamCode]:
        """When the exchange is to be given up as things stand, and as what."""
        timeouts = self._timeouts
        idle = timeouts.pipe_idle if self._pipe else timeouts.idle
        due, code = NEVER if self._pipe else call.total_at, StreamCode.TOTAL_TIMEOUT
        if not self._answered and call.deadline_at < due:
            due, code = call.deadline_at, StreamCode.DEADLINE
        if self._paused:
            return min(due, now + idle), code
        buffered = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if buffered != self._buffered:
            self._buffered = buffered
            self._moved = self._since = now
        if self._answered or self._sending or buffered:
            other, other_code = self._moved + idle, StreamCode.IDLE_TIMEOUT
        else:
            other, other_code = self._since + timeouts.first_byte, StreamCode.FIRST_BYTE_TIMEOUT
        return (other, other_code) if other < due else (due, code)
