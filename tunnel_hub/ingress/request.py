"""The seam between a caller's connection and the exchange that serves its requests.

Fields are flat lists (name, value, ...), as everywhere. All calls are made in the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Request:
    """One request as the caller sent it. Made by the connection, read by the exchange."""

    __slots__ = (
        "authority",
        "body",
        "chunked",
        "complete",
        "expect_continue",
        "fields",
        "keep_alive",
        "kinds",
        "length",
        "method",
        "minor",
        "received",
        "target",
        "trailers",
        "upgrade",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        authority: bytes,
        minor: int,
        fields: list[bytes],
        kinds: int,
        length: int | None,
        chunked: bool,
        expect_continue: bool,
        upgrade: bytes | None,
        keep_alive: bool,
        received: float,
    ) -> None:
        self.method = method
        self.target = target
        """Origin form, byte for byte as sent (absolute form: what follows the authority)."""
        self.authority = authority
        """Host, or the authority of an absolute-form target; valid; empty only where HTTP/1.0 sent none."""
        self.minor = minor
        """HTTP/1.`minor` is the caller's version."""
        self.fields = fields
        """End-to-end fields; the exchange owns the list."""
        self.kinds = kinds
        """Mask of `protocol.http.names.Kind` seen in the head, also of fields that were taken out."""
        self.length = length
        """Content-Length; None with `chunked`: unknown; None without: there is no body."""
        self.chunked = chunked
        self.expect_continue = expect_continue
        """The caller waits for `Reply.interim(100, [])` before it sends the body."""
        self.upgrade = upgrade
        """The protocol the caller asks to change to; answer 101 to accept, anything else to decline."""
        self.keep_alive = keep_alive
        self.received = received
        """loop.time() when the head was complete."""
        self.body = b""
        """The part of the body that arrived together with the head."""
        self.complete = True
        """The whole request has arrived; no on_body or on_body_end follows."""
        self.trailers: list[bytes] = []
        """Only when `complete`."""


class Exchange(Protocol):
    """What the connection tells the exchange. No method may raise."""

    def on_body(self, data: bytes) -> None:
        """More of the request body; after an upgrade, raw bytes."""

    def on_body_end(self, trailers: list[bytes]) -> None:
        """The request is complete; after an upgrade, the caller has closed its direction."""

    def on_caller_writable(self) -> None:
        """`Reply.head` or `Reply.body` returned False, and the caller has caught up."""

    def on_caller_gone(self) -> None:
        """The connection is lost, or the caller broke the framing: no answer is possible.

        The last call, made at most once, and not when the answer is complete.
        """


class Reply(Protocol):
    """What the exchange tells the connection. After the answer's end, or the caller's, every method does nothing.

    `head` and `body` return False when the caller does not read fast enough: stop, on_caller_writable follows.
    They return True when there is no caller any more.
    """

    @property
    def peer(self) -> str:
        """The caller's IP address; empty on a Unix socket."""

    @property
    def certificate(self) -> bytes:
        """DER of the TLS client certificate, verified against client_ca; empty without one."""

    @property
    def bytes_sent(self) -> int:
        """Body bytes of the answer given to the transport, without framing."""

    def interim(self, status: int, fields: list[bytes]) -> None:
        """A 1xx answer other than 101, any number of them before `head`. Dropped for an HTTP/1.0 caller."""

    def head(
        self, status: int, reason: bytes, fields: list[bytes], length: int | None, body: bytes, end: bool
    ) -> bool:
        """The final answer's head and first body bytes; `end`: that is all, and `length` may be None.

        `length` None without `end`: chunked, or delimited by closing for HTTP/1.0. HEAD, 204, 304: no body,
        whatever is passed. 101: the connection becomes a byte pipe. Date and Connection are added. What cannot be
        sent (invalid fields, a body that does not fit `length`, a 101 nobody asked for) becomes a 502, the
        connection closes, and without `end` on_caller_gone follows.
        """

    def body(self, data: bytes) -> bool:
        """More of the answer. More than `length` aborts the connection."""

    def end(self, trailers: list[bytes]) -> None:
        """The answer is complete; less than `length` aborts instead. After 101: close our direction of the pipe.

        Trailers are sent only with a chunked answer.
        """

    def abort(self) -> None:
        """End the connection with a reset, so that the caller sees that the answer is not complete."""

    def pause_body(self) -> None:
        """Stop reading from this caller. Idempotent; a little more may still arrive."""

    def resume_body(self) -> None:
        """Undo `pause_body`. Idempotent."""

    def close_after(self) -> None:
        """Close the connection after this answer; before `head`, it also says `Connection: close`."""


StartExchange = Callable[[Request, Reply], Exchange]
"""Called once per request, in order, one at a time on a connection; may answer before it returns."""
