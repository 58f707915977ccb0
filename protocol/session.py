"""One session: frames in, events out; commands in, messages out. No I/O and no clock of its own.

The owner (`protocol.aio.link`) must, after every call that may have produced output, take messages with
`data_to_send` while its transport accepts them, and call `handle_timer` at `due`. This module dispatches;
state, credit, scheduling, liveness and encoding live in the modules that it names.
"""

from __future__ import annotations

from . import frames
from .codec import Decoder, Frame, encode
from .errors import ProtocolViolation, SessionCode, SessionError, StreamCode
from .events import Event, OfferState, StreamWritable
from .flow import MemoryBudget, ReceiveWindow
from .limits import DATA_FRAME, MESSAGE_MAX, MESSAGE_TARGET, STREAM_ID_MAX, Limits
from .liveness import DEAD, PROBE, Liveness
from .rates import TokenBucket
from .receiving import HANDLERS
from .scheduler import Buffer, Outbox, Scheduler
from .stream import (
    ABORTED,
    AWAIT,
    BODY,
    ENDED,
    NEXT,
    ON_DATA,
    ON_END,
    ON_HEAD,
    ON_HEAD_END,
    ON_INTERIM,
    Stream,
)

_decode = Decoder().decode


class Session:
    """The state of one session after the handshake.

    Args:
        opener: True at the hub, which opens streams; False at the agent, which answers them.
        ours: what we grant the peer.
        theirs: what the peer granted us in the handshake.
        budget: the process's memory for grown windows.
        now: monotonic seconds.
    """

    __slots__ = (
        "_budget",
        "_drain_ping",
        "_now",
        "_open_limit",
        "_resetting",
        "bytes_received",
        "bytes_sent",
        "closed",
        "control",
        "drain_heard",
        "drained_at",
        "draining",
        "events",
        "last_opened",
        "last_seen",
        "last_sent",
        "liveness",
        "offers",
        "opener",
        "ours",
        "peer_draining",
        "pings",
        "resets",
        "scheduler",
        "streams",
        "theirs",
    )

    def __init__(self, opener: bool, ours: Limits, theirs: Limits, budget: MemoryBudget, now: float) -> None:
        self.opener = opener
        self.ours = ours
        self.theirs = theirs
        self.liveness = Liveness(now)
        self.streams: dict[int, Stream] = {}
        self.closed: SessionError | None = None
        self.draining = False
        self.drain_heard = False
        """The peer has read our DRAIN: what it opened before that has arrived here."""
        self._drain_ping: int | None = None
        self.drained_at: int | None = None
        self.peer_draining = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self._budget = budget
        self._now = now
        self.control: list[bytes] = []
        self.events: list[Event] = []
        self.scheduler = Scheduler()
        self.last_opened = -1
        self.last_seen = -1
        self.last_sent = -1
        """The last stream whose OPEN was handed out by `data_to_send`."""
        self._open_limit = min(ours.max_streams, theirs.max_streams)
        self.pings = TokenBucket(ours.pings_per_second, now)
        self.resets = TokenBucket(ours.resets_per_second, now)
        self.offers = TokenBucket(ours.offers_per_second, now)
        self._resetting: dict[Stream, None] = {}

    def start(self, now: float) -> None:
        """Measure the round trip at once, so that the first download's window can grow by it."""
        self.control.append(encode((frames.PING, self.liveness.ping(now))))

    # -- Facts the owner chooses by -------------------------------------------------------------------

    @property
    def selectable(self) -> bool:
        """Whether `open` may be called now. Our own DRAIN is a wish to the peer; it forbids us nothing."""
        return (
            self.closed is None
            and not self.peer_draining
            and len(self.streams) < self._open_limit
            and self.last_opened < STREAM_ID_MAX - 2
        )

    @property
    def outstanding(self) -> int:
        """Streams that are not over yet on the wire."""
        return len(self.streams)

    @property
    def due(self) -> float:
        """When `handle_timer` wants to be called, on the clock of `now`."""
        return self.liveness.due

    # -- Commands -------------------------------------------------------------------------------------

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
        self._step(stream, ON_HEAD_END if whole else ON_HEAD)
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
        self._step(stream, ON_INTERIM)
        self.control.append(encode((frames.INTERIM, stream.id, status, fields)))

    def send(self, stream: Stream, data: Buffer, end: bool = False) -> bool:
        """Queue body bytes. False asks the source to pause until `StreamWritable`.

        Bytes for a stream that the peer has reset are dropped: its `StreamReset` is on the way to the owner.
        """
        if stream.sending == ABORTED:
            return True
        self._step(stream, ON_DATA)
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
    ) -> None:
        """End both halves at once, drop what is queued and give the stream's memory back. Idempotent.

        Nothing more is reported of the stream, events already made but not yet handled included; with `confirm`
        the peer's answer is, as `ResetAnswered`, unless its half had ended already.
        """
        stream.silent = not confirm
        stream.confirm = confirm
        if stream.receive_window is not None:
            stream.receive_window.release()
        if stream.sending == ABORTED or stream.closed:
            return
        self.abort_sending(stream)
        self.control.append(encode((frames.RESET, stream.id, code, _text(detail, 256))))
        if not self.settle(stream):
            stream.reset_deadline = now + self.ours.reset_timeout
            self._resetting[stream] = None

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

    def offer(self, service: str, state: OfferState, limit: int | None = None) -> None:
        """Tell the hub how this agent serves `service` from now on."""
        assert not self.opener
        self.control.append(encode((frames.OFFER, service, state, limit)))

    def probe(self, now: float) -> None:
        """Ask the peer for a sign of life now, not only when the next probe is due."""
        self.control.append(encode((frames.PING, self.liveness.ping(now))))

    def drain(self, now: float) -> None:
        """First step: tell the peer to open nothing new here. Streams that it has opened go on.

        `drain_heard` becomes true once the peer has read it. A hub's DRAIN asks the agent for another session.
        """
        if not self.draining:
            self.draining = True
            self._drain_ping = self.liveness.ping(now, fresh=True)
            self.control.append(encode((frames.DRAIN, None)))
            self.control.append(encode((frames.PING, self._drain_ping)))

    def drain_finish(self, now: float) -> None:
        """Second step: state the last stream looked at; the opener treats later ones as NOT_DISPATCHED."""
        self.drain(now)
        if self.drained_at is None:
            self.drained_at = self.last_seen
            self.control.append(encode((frames.DRAIN, max(self.last_seen, 0))))

    def lost(self) -> list[Stream]:
        """The session is over: give all its memory back; returns the streams that were still open."""
        streams = list(self.streams.values())
        for stream in streams:
            if stream.receive_window is not None:
                stream.receive_window.release()
            stream.sending = stream.receiving = ABORTED  # what owners still do on it has no effect
        return streams

    def goodbye(self, code: SessionCode, message: str) -> None:
        """Queue the reason for closing; the owner sends it, then closes the websocket."""
        if self.closed is None:
            self.closed = SessionError(code, message)
            self.control.append(encode((frames.GOODBYE, code, _text(message, 512))))

    # -- Input ----------------------------------------------------------------------------------------

    def receive(self, message: Buffer, now: float) -> list[Event]:
        """Take one websocket message, whose buffer is not kept; returns what it meant.

        Raises:
            ProtocolViolation: the peer broke a rule. The owner must handle its `events`, which are those of the
                frames before the offending one, then `goodbye` with its code and close.
        """
        self.liveness.heard = self._now = now
        self.bytes_received += len(message)
        events: list[Event] = []
        self.events = events
        try:
            _decode(message, self._handle)
        except ProtocolViolation as violation:
            violation.events = events
            raise
        return events

    def _handle(self, frame: Frame) -> None:
        kind = frame[0]
        if type(kind) is not int:  # 12.0 and True would find a handler, too
            raise TypeError(kind)
        HANDLERS[kind](self, frame, self._now)

    def handle_timer(self, now: float) -> None:
        """Probe or condemn the peer as its silence demands.

        Raises:
            SessionError: the peer is dead (SILENT), or did not answer a RESET in time.
        """
        action = self.liveness.check(now)
        if action == PROBE:
            self.control.append(encode((frames.PING, self.liveness.ping(now))))
        elif action == DEAD:
            raise SessionError(SessionCode.SILENT, "the peer fell silent")
        for stream in self._resetting:
            if stream.reset_deadline <= now:
                raise ProtocolViolation(f"no end of stream {stream.id} after its RESET")
            break

    # -- Output ---------------------------------------------------------------------------------------

    def has_output(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return bool(self.control) or bool(self.scheduler)

    def data_to_send(self, events: list[Event]) -> bytes:
        """The next message: all control frames, then DATA in turn, up to about `MESSAGE_TARGET` bytes.

        Returns b"" when there is nothing to send. `StreamWritable` is appended to `events` for each stream
        whose source may go on.
        """
        scheduler = self.scheduler
        control = self.control
        if not scheduler and not control:
            return b""
        self.control = []
        self.last_sent = self.last_opened
        message = b"".join(control)
        if len(message) > MESSAGE_MAX // 2:
            message = self._first_of(control)
        elif scheduler and len(message) < MESSAGE_TARGET:
            message = self._with_data(message, events)
        self.bytes_sent += len(message)
        return message

    def _first_of(self, control: list[bytes]) -> bytes:
        """A message of the first frames; the others stay queued."""
        size = count = 0
        while size < MESSAGE_TARGET and count < len(control):
            size += len(control[count])
            count += 1
        self.control = control[count:] + self.control
        return b"".join(control[:count])

    def _with_data(self, message: bytes, events: list[Event]) -> bytes:
        """The message, filled up with DATA frames."""
        scheduler = self.scheduler
        parts: list[Buffer] = [message]
        size = len(message)
        while scheduler and size < MESSAGE_TARGET:
            stream, added, ends = scheduler.next_frame(parts)
            size += added
            if ends:
                self._step(stream, ON_END)
                self.settle(stream)
            elif stream.outbox is not None and stream.outbox.unblock():
                events.append(StreamWritable(stream))
        return b"".join(parts)

    # -- Shared with receiving.py ---------------------------------------------------------------------

    def settle(self, stream: Stream) -> bool:
        """Forget the stream if both halves are over."""
        if stream.sending < ENDED or stream.receiving < ENDED:
            return False
        window = stream.receive_window
        if window is not None and (stream.receiving == ABORTED or window.consumed >= stream.received):
            window.release()
        if self.streams.pop(stream.id, None) is not None and not self.streams:
            self.liveness.idle()
        if self._resetting:
            self._resetting.pop(stream, None)
        return True

    def ponged(self, number: int) -> None:
        """A PONG came; frames arrive in order, so whatever preceded its PING was read."""
        if self._drain_ping is not None and number >= self._drain_ping:
            self.drain_heard = True

    def unsent(self, stream: Stream) -> bool:
        """Whether nothing of the stream has left this session: its OPEN still waits here."""
        return stream.id > self.last_sent

    def abort_sending(self, stream: Stream) -> None:
        """Our half is over without a clean end; what was queued is dropped."""
        stream.sending = ABORTED
        stream.outbox = None
        self.scheduler.remove(stream)

    def _step(self, stream: Stream, signal: int) -> None:
        state = NEXT[stream.sending][signal]
        assert state is not None, f"{stream} cannot send signal {signal}"
        stream.sending = state


def _text(text: str, size: int) -> str:
    """What fits into `size` bytes of UTF-8; what cannot be encoded is replaced."""
    return text.encode("utf-8", "replace")[:size].decode(errors="ignore")
