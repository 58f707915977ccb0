"""What a session reports to its owner: one small object per frame or change of state.

`stream.owner` is whatever the owner put there; the session never looks at it.
"""

from __future__ import annotations

from enum import IntEnum

from .stream import Stream


class OfferState(IntEnum):
    """What an agent says of one of its services."""

    WITHDRAWN = 0
    """It does not serve it any more."""
    DOWN = 1
    """Its upstream fails: any other agent is better."""
    UP = 2


class Event:
    """Base of all events."""

    __slots__ = ()

    stream: Stream | None = None


class Opened(Event):
    """The hub opened a stream; the agent must set `stream.owner`, then answer or reset it."""

    __slots__ = (
        "authority",
        "body",
        "chunked",
        "deadline_ms",
        "end",
        "expect",
        "fields",
        "length",
        "method",
        "request_id",
        "service",
        "stream",
        "target",
        "upgrade",
    )

    stream: Stream

    def __init__(
        self,
        stream: Stream,
        end: bool,
        chunked: bool,
        expect: bool,
        deadline_ms: int | None,
        service: str,
        request_id: bytes,
        method: bytes,
        authority: bytes,
        target: bytes,
        fields: list[bytes],
        length: int | None,
        upgrade: bytes | None,
        body: bytes,
    ) -> None:
        self.stream = stream
        self.end = end
        self.chunked = chunked
        self.expect = expect
        self.deadline_ms = deadline_ms
        self.service = service
        self.request_id = request_id
        self.method = method
        self.authority = authority
        self.target = target
        self.fields = fields
        self.length = length
        self.upgrade = upgrade
        self.body = body


class Answered(Event):
    """The final answer began; with `end` it is complete."""

    __slots__ = ("body", "end", "fields", "length", "reason", "status", "stream")

    stream: Stream

    def __init__(
        self,
        stream: Stream,
        end: bool,
        status: int,
        reason: bytes,
        fields: list[bytes],
        length: int | None,
        body: bytes,
    ) -> None:
        self.stream = stream
        self.end = end
        self.status = status
        self.reason = reason
        self.fields = fields
        self.length = length
        self.body = body


class InterimAnswered(Event):
    """A 1xx answer came."""

    __slots__ = ("fields", "status", "stream")

    stream: Stream

    def __init__(self, stream: Stream, status: int, fields: list[bytes]) -> None:
        self.stream = stream
        self.status = status
        self.fields = fields


class DataReceived(Event):
    """Body bytes; report them with `Session.consumed` once the far socket took them."""

    __slots__ = ("body", "end", "stream")

    stream: Stream

    def __init__(self, stream: Stream, end: bool, body: bytes) -> None:
        self.stream = stream
        self.end = end
        self.body = body


class TrailersReceived(Event):
    """The peer's half ended with trailer fields."""

    __slots__ = ("fields", "stream")

    stream: Stream

    def __init__(self, stream: Stream, fields: list[bytes]) -> None:
        self.stream = stream
        self.fields = fields


class StreamReset(Event):
    """The stream is over in both directions; nothing more may be sent on it."""

    __slots__ = ("code", "detail", "stream")

    stream: Stream

    def __init__(self, stream: Stream, code: int, detail: str) -> None:
        self.stream = stream
        self.code = code
        self.detail = detail


class ResetAnswered(Event):
    """The peer's answer to our own RESET, where `Session.reset` was asked to report it.

    A code of the NOT_DISPATCHED class: no byte of the request has reached an upstream, nor will it. Not made when
    the peer's half ends by itself meanwhile (its answer crossed the RESET), or when the session is lost.
    """

    __slots__ = ("code", "stream")

    stream: Stream

    def __init__(self, stream: Stream, code: int) -> None:
        self.stream = stream
        self.code = code


class StreamWritable(Event):
    """Queued bytes fell to `SEND_LOW` after `Session.send` had answered False."""

    __slots__ = ("stream",)

    stream: Stream

    def __init__(self, stream: Stream) -> None:
        self.stream = stream


class SessionEvent(Event):
    """Base of the events that are about no stream. `origin` is free for the shell: where the event came from."""

    __slots__ = ("origin",)

    origin: object


class PeerDraining(SessionEvent):
    """The peer takes nothing new; with `last` it will not look at streams above that id."""

    __slots__ = ("last",)

    def __init__(self, last: int | None) -> None:
        self.last = last


class Offered(SessionEvent):
    """How the agent serves a service from now on. limit: requests at once, None: not stated."""

    __slots__ = ("limit", "service", "state")

    def __init__(self, service: str, state: OfferState, limit: int | None) -> None:
        self.service = service
        self.state = state
        self.limit = limit


class PeerGoodbye(SessionEvent):
    """The peer ends the session and says why."""

    __slots__ = ("code", "message")

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
