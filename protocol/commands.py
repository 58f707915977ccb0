"""What an owner may do to one stream: open, answer, send, end, reset, and give credit back.

The middle of `session.Session`, between messages (`output.py`) and what the session as a whole does.
"""

from __future__ import annotations

from . import frames
from .codec import encode
from .errors import SessionError, StreamCode
from .flow import MemoryBudget, ReceiveWindow
from .limits import DATA_FRAME, STREAM_ID_MAX, Limits
from .output import Output
from .scheduler import Buffer, Outbox
from .stalls import Stalls
from .stream import (
    ABORTED,
    AWAIT,
    BODY,
    ENDED,
    ON_DATA,
    ON_HEAD,
    ON_HEAD_END,
    ON_INTERIM,
    Stream,
)


class Commands(Output):
    """The commands on streams. Arguments as in `session.Session`."""

    __slots__ = ("_budget", "_open_limit", "closed", "ours", "peer_draining", "theirs")

    def __init__(
        self, opener: bool, ours: Limits, theirs: Limits, budget: MemoryBudget, now: float, stalls: Stalls
    ) -> None:
        super().__init__(opener, now, stalls)
        self.ours = ours
        self.theirs = theirs
        self.closed: SessionError | None = None
        self.peer_draining = False
        self._budget = budget
        self._open_limit = min(ours.max_streams, theirs.max_streams)

    @property
    def selectable(self) -> bool:
        """Whether `open` may be called now. Our own DRAIN is a wish to the peer; it forbids us nothing."""
        return (
            self.closed is None
            and not self.peer_draining
            and len(self.streams) < self._open_limit
            and self.last_opened < STREAM_ID_MAX - 2
        )

    def open(
        self,
        owner: object,
        now: float,
        *,
        service: str,
        request_id: bytes,
        method: bytes,
        authority: bytes,
        target: bytes,
        fields: list[bytes],
        length: int | None = None,
        chunked: bool = False,
        expect: bool = False,
        upgrade: bytes | None = None,
        deadline_ms: int | None = None,
        body: bytes = b"",
        end: bool = False,
    ) -> Stream:
        """Begin a stream. Only when `selectable`; `body` beyond one frame or the credit is queued."""
        assert self.selectable
        self.last_opened = stream_id = self.last_opened + 2
        credit = self.theirs.window
        if len(body) > DATA_FRAME or len(body) > credit:
            first, rest, whole = b"", body, False
        else:
            first, rest, whole = body, b"", end
            credit -= len(body)
        stream = Stream(stream_id, credit, ENDED if whole else BODY, AWAIT, owner)
        if not self.streams:
            self.liveness.busy(now)
        self.streams[stream_id] = stream
        flags = (
            (frames.END if whole else 0) | (frames.CHUNKED if chunked else 0) | (frames.EXPECT if expect else 0)
        )
        self.control.append(
            encode(
                (
                    frames.OPEN,
                    stream_id,
                    flags,
                    deadline_ms,
                    service,
                    request_id,
                    method,
                    authority,
                    target,
                    fields,
                    length,
                    upgrade,
                    first,
                )
            )
        )
        if rest:
            self.send(stream, rest, end)
        return stream

    def answer(
        self,
        stream: Stream,
        status: int,
        reason: bytes,
        fields: list[bytes],
        length: int | None,
        body: bytes = b"",
        end: bool = False,
    ) -> bool:
        """Send the final answer's head with what is there of its body; returns as `send` does."""
        if stream.sending == ABORTED:
            return True
        if len(body) > DATA_FRAME or len(body) > stream.credit:
            first, rest, whole = b"", body, False
        else:
            first, rest, whole = body, b"", end
            stream.credit -= len(body)
        self.step(stream, ON_HEAD_END if whole else ON_HEAD)
        self.control.append(
            encode(
                (
                    frames.ANSWER,
                    stream.id,
                    frames.END if whole else 0,
                    status,
                    reason,
                    fields,
                    length,
                    first,
                )
            )
        )
        if whole:
            self.settle(stream)
            return True
        return self.send(stream, rest, end) if rest else True

    def interim(self, stream: Stream, status: int, fields: list[bytes]) -> None:
        """Send a 1xx answer, before `answer`."""
        if stream.sending == ABORTED:
            return
        self.step(stream, ON_INTERIM)
        self.control.append(encode((frames.INTERIM, stream.id, status, fields)))

    def send(self, stream: Stream, data: Buffer, end: bool = False) -> bool:
        """Queue body bytes. False asks the source to pause until `StreamWritable`.

        Bytes for a stream that the peer has reset are dropped: its `StreamReset` is on the way to the owner.
        """
        if stream.sending == ABORTED:
            return True
        self.step(stream, ON_DATA)
        outbox = stream.outbox
        if outbox is None:
            outbox = stream.outbox = Outbox()
        assert not outbox.ending
        go_on = outbox.put(data) if data else not outbox.blocked
        outbox.ending = end
        self.scheduler.add(stream)
        return go_on

    def end(self, stream: Stream, trailers: list[bytes] | None = None) -> None:
        """End our half after what is queued; a no-op once the half is over."""
        if stream.sending != BODY:
            assert stream.sending != AWAIT
            return
        outbox = stream.outbox
        if outbox is None:
            outbox = stream.outbox = Outbox()
        assert not outbox.ending
        outbox.ending = True
        outbox.trailers = trailers or None
        self.scheduler.add(stream)

    def reset(
        self, stream: Stream, code: StreamCode, now: float, detail: str = "", *, confirm: bool = False
    ) -> bool:
        """End both halves at once, drop what is queued and give the stream's memory back. Idempotent.

        Nothing more is reported of the stream, events already made but not yet handled included. With `confirm`
        what the peer answers is, as `ResetAnswered`, unless its half ends by itself meanwhile. An `unsent` stream
        is withdrawn: the peer never hears of it. Returns whether the peer's half is still to end.
        """
        if not (confirm and stream.confirm):
            stream.silent = True
        stream.confirm = confirm
        if stream.receive_window is not None:
            stream.receive_window.release()
        if stream.sending == ABORTED or stream.closed:
            return not stream.closed
        self.abort_sending(stream)
        if self.unsent(stream):
            self.withdraw(stream)
            return False
        self.control.append(encode((frames.RESET, stream.id, code, text(detail, 256))))
        if self.settle(stream):
            return False
        stream.reset_deadline = now + self.ours.reset_timeout
        self.resetting[stream] = None
        return True

    def consumed(self, stream: Stream, size: int, now: float) -> None:
        """The far socket took `size` received body bytes; may send credit."""
        window = stream.receive_window
        if stream.receiving >= ENDED or stream.sending == ABORTED:
            if window is not None:
                window.consumed += size
                if window.consumed >= stream.received:
                    window.release()
            return
        if window is None:
            window = stream.receive_window = ReceiveWindow(
                self.ours.window, self.ours.window_max, self._budget, now
            )
        grant = window.consume(size, now, self.liveness.round_trip)
        if grant:
            self.control.append(encode((frames.CREDIT, stream.id, grant)))


def text(value: str, size: int) -> str:
    """What fits into `size` bytes of UTF-8; what cannot be encoded is replaced."""
    return value.encode("utf-8", "replace")[:size].decode(errors="ignore")
