"""Every way in which a stream or a session can fail, with its wire code and what it means to a caller.

A stream fails with a `StreamCode` (frame RESET), a session with a `SessionCode` (frame GOODBYE). Whether a
request reached an upstream is a property of the code, never guessed from a message (SPEC.md, "Errors").
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple


class Delivered:
    """Whether the upstream received the request: the values of the header `Tunnel-Delivered`."""

    NO = "no"
    UNKNOWN = "unknown"
    YES = "yes"


class StreamCode(IntEnum):
    """Wire codes of RESET. 16 to 31 are the NOT_DISPATCHED class: no byte reached an upstream."""

    NO_ERROR = 0
    CANCELLED = 1
    DEADLINE = 2
    INTERNAL = 3

    NOT_DISPATCHED = 16
    BOUNDARY_REFUSED = 17
    UNKNOWN_SERVICE = 18
    OVERLOADED = 19
    CONNECT_FAILED = 20
    CONNECT_TIMEOUT = 21
    UPSTREAM_TLS = 22
    INVALID_REQUEST = 23
    UPGRADE_REFUSED = 24
    SIGNATURE_REFUSED = 25

    UPSTREAM_CLOSED = 32
    UPSTREAM_INVALID = 33
    UPSTREAM_TRUNCATED = 34
    FIRST_BYTE_TIMEOUT = 35
    IDLE_TIMEOUT = 36
    TOTAL_TIMEOUT = 37
    SESSION_LOST = 38


def is_not_dispatched(code: int) -> bool:
    """Whether a RESET with this code, known or not, says that no byte reached an upstream."""
    return 16 <= code <= 31


class Failure(NamedTuple):
    """What the hub tells a caller about a failure of the tunnel (design: failure contract).

    status: HTTP status; delivered: a value of `Delivered`; origin: hub, tunnel, agent or upstream;
    proxy_error: the RFC 9209 section 2.3 error type; title: one clear sentence without host names.
    """

    status: int
    delivered: str
    origin: str
    proxy_error: str
    title: str

    @property
    def retry_safe(self) -> bool:
        """Whether any method may be repeated: the upstream did not receive the request."""
        return self.delivered == Delivered.NO


_C, _D = StreamCode, Delivered

FAILURES: dict[StreamCode, Failure] = {
    _C.NO_ERROR: Failure(502, _D.YES, "upstream", "http_response_incomplete", "The answer ended early"),
    _C.CANCELLED: Failure(502, _D.UNKNOWN, "agent", "connection_terminated", "The agent cancelled the request"),
    _C.DEADLINE: Failure(
        504, _D.UNKNOWN, "tunnel", "http_response_timeout", "The deadline passed before an answer came"
    ),
    _C.INTERNAL: Failure(502, _D.UNKNOWN, "agent", "proxy_internal_error", "The agent failed"),
    _C.NOT_DISPATCHED: Failure(
        503, _D.NO, "agent", "destination_unavailable", "The agent did not pass the request on"
    ),
    _C.BOUNDARY_REFUSED: Failure(
        403, _D.NO, "agent", "http_request_denied", "The data centre's boundary does not allow this request"
    ),
    _C.UNKNOWN_SERVICE: Failure(
        503, _D.NO, "agent", "destination_unavailable", "The agent does not offer this service"
    ),
    _C.OVERLOADED: Failure(503, _D.NO, "agent", "connection_limit_reached", "The agent is at its limit"),
    _C.CONNECT_FAILED: Failure(
        503, _D.NO, "upstream", "connection_refused", "The upstream does not accept connections"
    ),
    _C.CONNECT_TIMEOUT: Failure(
        503, _D.NO, "upstream", "connection_timeout", "The upstream did not accept a connection in time"
    ),
    _C.UPSTREAM_TLS: Failure(
        503, _D.NO, "upstream", "tls_protocol_error", "No secure connection to the upstream could be made"
    ),
    _C.INVALID_REQUEST: Failure(
        400, _D.NO, "agent", "http_request_error", "The agent refused the request as malformed or ambiguous"
    ),
    _C.UPGRADE_REFUSED: Failure(
        403, _D.NO, "agent", "http_request_denied", "The agent does not allow this upgrade"
    ),
    _C.SIGNATURE_REFUSED: Failure(
        403,
        _D.NO,
        "agent",
        "http_request_denied",
        "The agent does not accept the request's signature, or lack of one",
    ),
    _C.UPSTREAM_CLOSED: Failure(
        502,
        _D.UNKNOWN,
        "upstream",
        "connection_terminated",
        "The upstream closed the connection without an answer",
    ),
    _C.UPSTREAM_INVALID: Failure(
        502, _D.YES, "upstream", "http_protocol_error", "The upstream's answer is not valid HTTP"
    ),
    _C.UPSTREAM_TRUNCATED: Failure(
        502, _D.YES, "upstream", "http_response_incomplete", "The upstream's answer broke off"
    ),
    _C.FIRST_BYTE_TIMEOUT: Failure(
        504, _D.UNKNOWN, "upstream", "http_response_timeout", "The upstream did not begin its answer in time"
    ),
    _C.IDLE_TIMEOUT: Failure(
        504, _D.UNKNOWN, "upstream", "http_response_timeout", "The exchange with the upstream came to a halt"
    ),
    _C.TOTAL_TIMEOUT: Failure(
        504, _D.UNKNOWN, "upstream", "http_response_timeout", "The exchange with the upstream took too long"
    ),
    _C.SESSION_LOST: Failure(
        502,
        _D.UNKNOWN,
        "tunnel",
        "connection_terminated",
        "The agent's connection was lost before the answer",
    ),
}


class SessionCode(IntEnum):
    """Wire codes of GOODBYE: why a session ends. The websocket close code is 4000 + this."""

    SHUTDOWN = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL = 2
    LIMIT_EXCEEDED = 3
    SILENT = 4
    INTERNAL = 5
    REPLACED = 6
    DUPLICATE = 7
    BAD_VERSION = 16
    NOT_REGISTERED = 17
    BAD_SIGNATURE = 18
    CHANNEL_BINDING = 19
    WRONG_HUB_KEY = 20
    HANDSHAKE_TIMEOUT = 21
    ENROLMENT_REFUSED = 22


class TunnelError(Exception):
    """Base of the tunnel's own errors."""


class SessionError(TunnelError):
    """The session cannot go on. `code` goes to the peer in GOODBYE; streams on it fail with SESSION_LOST."""

    def __init__(self, code: SessionCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ProtocolViolation(SessionError):
    """The peer broke a rule of SPEC.md. `events`: what its frames before that one meant (protocol.events)."""

    def __init__(self, message: str, code: SessionCode = SessionCode.PROTOCOL_ERROR) -> None:
        super().__init__(code, message)
        self.events: list[Any] = []


class HandshakeError(SessionError):
    """The handshake failed. `code` and `message` are what the peer is told, or what the peer told us.

    cause: the exact code, `detail`: the exact reason. Both are for our own log only: an unknown agent and one
    with a wrong key hear the same.
    """

    def __init__(
        self, code: SessionCode, message: str, detail: str = "", cause: SessionCode | None = None
    ) -> None:
        super().__init__(code, message)
        self.detail = detail or message
        self.cause = code if cause is None else cause
