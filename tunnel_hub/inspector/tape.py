"""What is kept of one exchange while it runs: it stands between the exchange and its caller, and takes notes."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from .bodies import BODY_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.ops.access import AccessRecord
    from tunnel_hub.exchange import Exchange
    from tunnel_hub.ingress.request import Reply

    Done = Callable[["Tape | None", Exchange, AccessRecord], None]

_NONE: Final[list[bytes]] = []


class Sample:
    """The beginning of a body. `take` asks for room, in bytes."""

    __slots__ = ("_take", "kept", "no_room")

    def __init__(self, take: Callable[[int], bool] | None) -> None:
        """take None: nothing is kept."""
        self._take = take
        self.kept = bytearray()  # not its pieces: each object costs 33 bytes more than a caller needs to send
        self.no_room = False

    @property
    def size(self) -> int:
        return len(self.kept)

    def add(self, data: bytes) -> None:
        if self._take is None or not data or self.no_room or self.size >= BODY_MAX:
            return
        data = data[: BODY_MAX - self.size]
        if not self._take(len(data)):
            self.no_room = True
            return
        self.kept += data


class Notes:
    """What is kept of exchanges of which neither fields nor bodies are: nothing before the end. One for all."""

    __slots__ = ("_done",)

    def __init__(self, done: Done) -> None:
        self._done = done

    def more(self, data: bytes) -> None:
        """More of the request's body."""

    def finish(self, exchange: Exchange, record: AccessRecord) -> None:
        """The exchange is over."""
        self._done(None, exchange, record)


class Tape(Notes):
    """One exchange's notes. It does not know the exchange, so that no cycle is left for the garbage collector."""

    __slots__ = ("_piped", "fields", "head_at", "request_body", "request_fields", "response_body")

    def __init__(self, exchange: Exchange, take: Callable[[int], bool] | None, done: Done) -> None:
        """take: room for bodies, None when they are not recorded. done: gets the tape when it is over."""
        super().__init__(done)
        self.request_fields = exchange.request.fields
        self.request_body = Sample(take)
        self.request_body.add(exchange.request.body)
        self.fields = _NONE
        """Of the answer, as the caller got them."""
        self.response_body = Sample(take)
        self.head_at = 0.0
        """time.monotonic() of the answer's head; 0: there was none."""
        self._piped = False  # after a 101 the bytes are no bodies
        exchange.reply = TapedReply(exchange.reply, self)

    @property
    def held(self) -> int:
        """Bytes of room that it has."""
        return self.request_body.size + self.response_body.size

    def more(self, data: bytes) -> None:
        if not self._piped:
            self.request_body.add(data)

    def head(self, status: int, fields: list[bytes], body: bytes) -> None:
        self.head_at = monotonic()
        self.fields = fields
        self._piped = status == 101
        self.body(body)

    def body(self, data: bytes) -> None:
        if not self._piped:
            self.response_body.add(data)

    def finish(self, exchange: Exchange, record: AccessRecord) -> None:
        self._done(self, exchange, record)


class TapedReply:
    """A `Reply` whose answer goes on the tape as well."""

    __slots__ = ("_reply", "_tape")

    def __init__(self, reply: Reply, tape: Tape) -> None:
        self._reply = reply
        self._tape = tape

    @property
    def peer(self) -> str:
        return self._reply.peer

    @property
    def certificate(self) -> bytes:
        return self._reply.certificate

    @property
    def bytes_sent(self) -> int:
        return self._reply.bytes_sent

    def interim(self, status: int, fields: list[bytes]) -> None:
        self._reply.interim(status, fields)

    def head(
        self, status: int, reason: bytes, fields: list[bytes], length: int | None, body: bytes, end: bool
    ) -> bool:
        self._tape.head(status, fields, body)
        return self._reply.head(status, reason, fields, length, body, end)

    def body(self, data: bytes) -> bool:
        self._tape.body(data)
        return self._reply.body(data)

    def end(self, trailers: list[bytes]) -> None:
        self._reply.end(trailers)

    def abort(self) -> None:
        self._reply.abort()

    def pause_body(self) -> None:
        self._reply.pause_body()

    def resume_body(self) -> None:
        self._reply.resume_body()

    def close_after(self) -> None:
        self._reply.close_after()
