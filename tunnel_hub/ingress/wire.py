"""The transport's side of a caller's connection: writing, reading or not, and the three ways to end it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from typing import Final, cast

from protocol.aio.sockets import bound_unsent

from .context import IngressContext
from .state import State

UNSENT_MAX: Final = 256 * 1024
"""Unsent bytes that the kernel may hold for a caller who does not read."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Wire(asyncio.Protocol):
    """Base of `CallerConnection`; knows nothing of HTTP."""

    __slots__ = (
        "_caller_ended",
        "_discard",
        "_reading_paused",
        "_transport",
        "certificate",
        "context",
        "peer",
        "since",
        "state",
        "write",
        "write_all",
        "write_paused",
    )

    write: Callable[[bytes], object]
    write_all: Callable[[Iterable[bytes]], object]
    _transport: asyncio.Transport

    def __init__(self, context: IngressContext) -> None:
        self.context = context
        self.peer = ""
        """The caller's IP address; empty on a Unix socket."""
        self.certificate = b""
        """DER of the client certificate that TLS has verified; empty without one."""
        self.state = State.HEAD
        self.since = 0.0
        """loop.time() of the last event that `Watch` counts from."""
        self.write_paused = False
        """The transport holds more than the high-water mark."""
        self._caller_ended = False
        self._reading_paused = False
        self._discard = context.limits.linger_bytes

    def attach(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self.write = transport.write
        self.write_all = transport.writelines
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None and tls.context.verify_mode is not ssl.CERT_NONE:
            self.certificate = tls.getpeercert(binary_form=True) or b""
        self.since = self.context.loop.time()
        limits = self.context.limits
        transport.set_write_buffer_limits(limits.write_high_water, limits.write_low_water)
        bound_unsent(transport, UNSENT_MAX)

    def detach(self) -> None:
        """The transport is gone; what is still written goes nowhere."""
        self.state = State.CLOSED
        self.write = self.write_all = _write_nothing

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    def unsent(self) -> int:
        """Bytes that the transport holds for the caller."""
        return self._transport.get_write_buffer_size()

    def set_reading(self, wanted: bool) -> None:
        """Read from the transport, or not. Idempotent."""
        if wanted == self._reading_paused and self.state is not State.CLOSED:
            self._reading_paused = not wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def discard(self, data: bytes) -> None:
        """Bytes that came after the last answer."""
        self._discard -= len(data)
        if self._discard < 0:
            self.close_now()

    def close_gently(self) -> None:
        """Close our direction and discard what comes until the caller closes too, within bounds.

        A plain close with unread bytes would send a reset, which can overtake the answer (RFC 9112 section 9.6).
        """
        self.state = State.LINGER
        self.since = self.context.loop.time()
        if self._caller_ended:
            self._transport.close()
            return
        self.set_reading(True)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # the end of a TLS session waits for the caller by itself

    def close_now(self) -> None:
        """Wait no longer for the caller to close. What the kernel has still to send is sent."""
        self.state = State.CLOSED
        self._transport.abort()

    def cut(self) -> None:
        """End the connection at once, with a TCP reset, so that no half answer looks like a whole one."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            sock = self._transport.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()


def _write_nothing(_data: object) -> None:
    """Stands for the transport's methods once the connection is lost."""
