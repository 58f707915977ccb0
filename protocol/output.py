"""What a session has to say, and how messages are put together: control frames first, then DATA in turn.

The base of `commands.Commands`, and so of `session.Session`, which explains the whole. `Output` keeps the table of
streams, for what it sends may end one.
"""

from __future__ import annotations

from . import frames
from .codec import encode
from .errors import StreamCode
from .events import Event, StreamWritable
from .inflight import InFlight
from .limits import MESSAGE_MAX, MESSAGE_TARGET
from .liveness import Liveness
from .scheduler import Buffer, Scheduler
from .stalls import Stalls
from .stream import ABORTED, ENDED, NEXT, ON_END, Stream


class Output:
    """Frames and body bytes that wait to leave. now: monotonic seconds."""

    __slots__ = (
        "_inflight",
        "_now",
        "_pinging",
        "bytes_sent",
        "control",
        "last_opened",
        "last_sent",
        "liveness",
        "opener",
        "resets_to_answer",
        "resetting",
        "scheduler",
        "streams",
    )

    def __init__(self, opener: bool, now: float, stalls: Stalls) -> None:
        self.opener = opener
        self.liveness = Liveness(now)
        self.streams: dict[int, Stream] = {}
        self.bytes_sent = 0
        self.control: list[bytes] = []
        self.scheduler = Scheduler(stalls)
        self._inflight: InFlight | None = None
        self._now = now
        self._pinging = False
        self.last_opened = -1
        self.last_sent = -1
        """The last stream whose OPEN may have been handed out by `data_to_send`."""
        self.resetting: dict[Stream, None] = {}
        """Streams that we reset and that the peer has not ended yet, oldest first."""
        self.resets_to_answer: list[Stream] = []
        """Streams that the opener reset: what our answer says is decided when it leaves."""

    @property
    def inflight(self) -> InFlight:
        """Made when DATA is first to be sent: most sessions idle, and it takes some 3 KiB."""
        found = self._inflight
        if found is None:
            found = self._inflight = InFlight(self._now)
            found.quiet(self.liveness.round_trip, self._now)
        return found

    # -- Messages -------------------------------------------------------------------------------------

    def has_output(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return (
            bool(self.control) or bool(self.resets_to_answer) or (bool(self.scheduler) and self.inflight.room > 0)
        )

    def data_to_send(self, events: list[Event], now: float | None = None) -> bytes:
        """The next message: all control frames, then DATA in turn, up to about `MESSAGE_TARGET` bytes.

        Returns b"" when there is nothing to send, or DATA must wait for a PONG (`inflight.py`), as `has_output`
        says. `StreamWritable` is appended to `events` for each stream whose source may go on. now: if not given,
        that of the last message received. The events of `receive` must have been handled before: what an
        application did in answer to them is told to the peer.
        """
        if self.resets_to_answer:
            self._answer_resets()
        flowing = bool(self.scheduler) and self.inflight.room > 0
        control = self.control
        if not flowing and not control:
            return b""
        self.control = []
        self.last_sent = self.last_opened
        message = b"".join(control)
        if len(message) > MESSAGE_MAX // 2:
            message = self._first_of(control)
        elif self._pinging:
            self._pinging = False
        elif flowing and len(message) < MESSAGE_TARGET:
            return self._with_data(message, events, self._now if now is None else now)
        self.bytes_sent += len(message)
        return message

    def _answer_resets(self) -> None:
        """Not at once: a handler of the same message may have dispatched the stream before it heard of its end."""
        for stream in self.resets_to_answer:
            code = StreamCode.NO_ERROR if stream.dispatched else StreamCode.NOT_DISPATCHED
            self.control.append(encode((frames.RESET, stream.id, code, "")))
        self.resets_to_answer.clear()

    def _first_of(self, control: list[bytes]) -> bytes:
        """A message of the first frames; the others stay queued."""
        size = count = 0
        while size < MESSAGE_TARGET and count < len(control):
            size += len(control[count])
            count += 1
        self.control = control[count:] + self.control
        return b"".join(control[:count])

    def _with_data(self, message: bytes, events: list[Event], now: float) -> bytes:
        """The message, filled up with DATA frames as far as they may be under way."""
        scheduler, inflight = self.scheduler, self.inflight
        parts: list[Buffer] = [message]
        size = len(message)
        inflight.begin(self.bytes_sent + size, now)
        budget = inflight.message
        most = min(MESSAGE_TARGET, size + budget)
        while scheduler and size < most:
            stream, added, ends = scheduler.next_frame(parts, budget)
            size += added
            if ends:
                self.step(stream, ON_END)
                self.settle(stream)
            elif stream.outbox is not None and stream.outbox.unblock():
                events.append(StreamWritable(stream))
        self.bytes_sent += size
        if inflight.note(self.bytes_sent, bool(scheduler), now):
            self.mark(now)
        return b"".join(parts)

    def ping(self, number: int) -> None:
        """Queue a PING. It leaves without DATA behind it, which would delay it: a message is read as a whole."""
        self._pinging = True
        self.control.append(encode((frames.PING, number)))

    def mark(self, now: float) -> None:
        """Ask when all that was sent so far has been read."""
        number = self.liveness.mark()
        self.inflight.mark(number, bool(self.scheduler), now)
        self.ping(number)

    # -- Ends of streams ------------------------------------------------------------------------------

    def unsent(self, stream: Stream) -> bool:
        """Whether nothing of a stream that we opened has left this session: its OPEN still waits here."""
        return self.opener and stream.id > self.last_sent

    def withdraw(self, stream: Stream) -> None:
        """Drop an `unsent` stream whose sending half is aborted: the peer will never hear of it."""
        head = encode((frames.OPEN, stream.id))[1:]  # behind the array's length, which differs
        self.control = [frame for frame in self.control if not frame.startswith(head, 1)]
        stream.receiving = ABORTED
        self.settle(stream)

    def settle(self, stream: Stream) -> bool:
        """Forget the stream if both halves are over."""
        if stream.sending < ENDED or stream.receiving < ENDED:
            return False
        window = stream.receive_window
        if window is not None and (stream.receiving == ABORTED or window.consumed >= stream.received):
            window.release()
        if self.streams.pop(stream.id, None) is not None and not self.streams:
            self.liveness.idle()
        if self.resetting:
            self.resetting.pop(stream, None)
        return True

    def abort_sending(self, stream: Stream) -> None:
        """Our half is over without a clean end; what was queued is dropped."""
        stream.sending = ABORTED
        stream.outbox = None
        self.scheduler.remove(stream)

    @staticmethod
    def step(stream: Stream, signal: int) -> None:
        """Follow the table in our own half; a transition that it does not have is a mistake of the caller."""
        state = NEXT[stream.sending][signal]
        assert state is not None, f"{stream} cannot send signal {signal}"
        stream.sending = state
