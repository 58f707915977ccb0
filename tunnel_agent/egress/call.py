"""One HTTP exchange with an upstream, as the exchange of the tunnel sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from .request import InvalidRequest
from .timeouts import NEVER

if TYPE_CHECKING:
    import asyncio

    from protocol.aio.wheel import Timer
    from protocol.errors import StreamCode
    from protocol.http.trace import TraceParent
    from protocol.phases import Own

    from .request import BodyFraming

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods that are sent again when a reused connection turns out to be closed (RFC 9110 section 9.2.2)."""


class UpstreamRequest:
    """What to send. Fields and trailers are flat name, value lists, end-to-end only; not changed here.

    host: the Host value to send. length: the body's length; None with `chunked`: unknown; None without: no
    body. upgrade: the Upgrade token asked for, else None. body: what has arrived of the body. complete: that
    is all of it, and `trailers` are known. trace: what `traceparent` among the fields says.
    """

    __slots__ = (
        "body",
        "chunked",
        "complete",
        "expect_continue",
        "fields",
        "host",
        "length",
        "method",
        "target",
        "trace",
        "trailers",
        "upgrade",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        fields: list[bytes],
        *,
        length: int | None = None,
        chunked: bool = False,
        upgrade: bytes | None = None,
        expect_continue: bool = False,
        body: bytes = b"",
        complete: bool = True,
        trailers: list[bytes] | None = None,
        trace: TraceParent | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.fields = fields
        self.length = length
        self.chunked = chunked
        self.upgrade = upgrade
        self.expect_continue = expect_continue
        self.body = body
        self.complete = complete
        self.trailers: list[bytes] = [] if trailers is None else trailers
        self.trace = trace


class Receiver(Protocol):
    """Who gets the answer. Nothing but on_dispatch is called before `Upstream.start` has returned, and nothing
    after `Call.cancel`.

    Exactly one of on_answer with `end`, on_answer_end and on_failure is called; after it only
    on_request_body_unwanted may follow.
    """

    def on_dispatch(self) -> None:
        """From here on a byte of the request may reach the upstream. Again when the call is repeated."""

    def on_interim(self, status: int, fields: list[bytes]) -> None:
        """A 1xx answer other than 101."""

    def on_answer(
        self,
        status: int,
        reason: bytes,
        fields: list[bytes],
        length: int | None,
        body: bytes,
        end: bool,
        trailers: list[bytes],
    ) -> None:
        """The final answer's head with what came of its body. After status 101 the body is raw bytes.

        length: Content-Length, also that of an answer to HEAD and of a 304. trailers: only with `end`.
        """

    def on_answer_body(self, data: bytes) -> None:
        """More of the body; at most one call follows `Call.pause`."""

    def on_answer_end(self, trailers: list[bytes]) -> None:
        """The answer is complete; on an upgraded connection: the upstream sends no more."""

    def on_failure(self, code: StreamCode, detail: str) -> None:
        """The exchange failed. detail: a short phrase without host names."""

    def on_upstream_writable(self) -> None:
        """The upstream takes bytes again, after `Call.body` returned False or the request had to wait."""

    def on_request_body_unwanted(self) -> None:
        """The answer ended before the request body did: stop sending it. The call takes nothing any more."""


class Carrier(Protocol):
    """Where a call is just now: its connection, or the waiting list."""

    def send(self, call: Call, data: bytes) -> bool: ...
    def finish(self, call: Call, trailers: list[bytes]) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def drop(self, call: Call) -> None: ...


class Call:
    """The sending side of an exchange; made by `Upstream.start`. All methods are harmless after its end."""

    __slots__ = (
        "again",
        "begun_at",
        "cancelled",
        "carrier",
        "connecting",
        "deadline_at",
        "dispatched",
        "framing",
        "head_at",
        "paused",
        "queued_at",
        "receiver",
        "repeatable",
        "request",
        "sent_at",
        "timer",
        "total_at",
        "wire",
    )

    def __init__(self, request: UpstreamRequest, receiver: Receiver) -> None:
        self.request = request
        self.receiver = receiver
        self.dispatched = False
        """True once any byte of the request may have been written to an upstream."""
        self.again = False
        """This is its second attempt: the first may have been acted on."""
        self.cancelled = False
        self.paused = False
        # the rest belongs to the egress
        self.carrier: Carrier | None = None  # None: over, or not begun
        self.framing: BodyFraming | None = None  # of a request body that is not complete
        self.wire: list[bytes] = []  # what is to be written first
        self.repeatable = request.complete and request.method in IDEMPOTENT
        self.deadline_at = NEVER
        self.total_at = NEVER
        self.timer: Timer | None = None  # bounds the wait for a connection
        # when what happened, by time.monotonic(), for the loop's clock has steps of 1 ms; 0.0: not yet
        self.queued_at = 0.0
        self.connecting = 0.0  # seconds of its wait that went into opening a connection
        self.begun_at = 0.0
        self.sent_at = 0.0  # the request's last byte; while that is to come, its first
        self.head_at = 0.0

    def body(self, data: bytes) -> bool:
        """Send more of the request body; raw bytes after an upgrade.

        Returns False when the upstream is slower than that: stop until `Receiver.on_upstream_writable`. More
        than the stated length fails the call with INVALID_REQUEST.
        """
        carrier = self.carrier
        return True if carrier is None else carrier.send(self, data)

    def body_end(self, trailers: list[bytes]) -> None:
        """The request body is complete; on an upgraded connection: half-close.

        Trailers are dropped unless the body is chunked. Less than the stated length: INVALID_REQUEST.
        """
        if self.carrier is not None:
            self.carrier.finish(self, trailers)

    def pause(self) -> None:
        """Stop reading the answer. Idempotent."""
        self.paused = True
        if self.carrier is not None:
            self.carrier.pause()

    def resume(self) -> None:
        """Read on. Idempotent."""
        self.paused = False
        if self.carrier is not None:
            self.carrier.resume()

    def cancel(self) -> None:
        """Give up: the connection is closed, never reused, and the receiver hears nothing more."""
        self.cancelled = True
        if self.carrier is not None:
            self.carrier.drop(self)
            self.carrier = None

    def phases(self, now: float) -> Own:
        """What waiting for a connection, opening one and waiting for the answer's head took, so far."""
        connecting = self.connecting
        if self.begun_at:
            queued = self.begun_at - self.queued_at - connecting
            first_byte = (self.head_at or now) - self.sent_at
        else:
            queued = now - self.queued_at - connecting if self.queued_at else 0.0
            first_byte = 0.0
        return int(queued * 1e6), int(connecting * 1e6), int(first_byte * 1e6) if first_byte > 0.0 else 0

    @property
    def sending(self) -> bool:
        """For the egress: whether more of the request is to come."""
        return self.framing is not None and not self.framing.done

    def frame(self, data: bytes) -> bytes:
        """For the egress: what to write for more of the body; raises InvalidRequest when it is too much."""
        if self.framing is not None:
            return self.framing.frame(data)
        if data:
            raise InvalidRequest("the request body goes on after its end")
        return data

    def fail_soon(self, loop: asyncio.AbstractEventLoop, code: StreamCode, detail: str) -> None:
        """For the egress: end the call and tell the receiver in the next turn, not inside its own call."""
        self.carrier = None
        loop.call_soon(self._tell, code, detail)

    def _tell(self, code: StreamCode, detail: str) -> None:
        if not self.cancelled:
            self.receiver.on_failure(code, detail)
