"""What a session has to say, and how messages are put together: control frames first, then DATA in turn.

The base of `commands.Commands`, and so of `session.Session`, which explains the whole. `Output` keeps the table of
streams, for what it sends may end one.
"""

from __future__ import annotations

from . import frames
from .codec import encode
from .errors import StreamCode
from .events import Event, StreamWritable
from .limits import MESSAGE_MAX, MESSAGE_TARGET
from .liveness import Liveness
from .scheduler import Buffer, Scheduler
from .stream import ABORTED, ENDED, NEXT, ON_END, Stream


class Output:
    """Frames and body bytes that wait to leave. now: monotonic seconds."""

    __slots__ = (
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

    def __init__(self, opener: bool, now: float) -> None:
        self.opener = opener
        self.liveness = Liveness(now)
        self.streams: dict[int, Stream] = {}
        self.bytes_sent = 0
        self.control: list[bytes] = []
        self.scheduler = Scheduler()
        self.last_opened = -1
        self.last_sent = -1
        """The last stream whose OPEN may have been handed out by `data_to_send`."""
        self.resetting: dict[Stream, None] = {}
        """Streams that we reset and that the peer has not ended yet, oldest first."""
        self.resets_to_answer: list[Stream] = []
        """Streams that the opener reset: what our answer says is decided when it leaves."""

    # -- Messages -------------------------------------------------------------------------------------

    def has_output(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return bool(self.control) or bool(self.scheduler) or bool(self.resets_to_answer)

    def data_to_send(self, events: list[Event]) -> bytes:
        """The next message: all control frames, then DATA in turn, up to about `MESSAGE_TARGET` bytes.

        Returns b"" when there is nothing to send. `StreamWritable` is appended to `events` for each stream
        whose source may go on. The events of `receive` must have been handled before: what an application did
        in answer to them is told to the peer.
        """
        if self.resets_to_answer:
            self._answer_resets()
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

    def _with_data(self, message: bytes, events: list[Event]) -> bytes:
        """The message, filled up with DATA frames."""
        scheduler = self.scheduler
        parts: list[Buffer] = [message]
        size = len(message)
        while scheduler and size < MESSAGE_TARGET:
            stream, added, ends = scheduler.next_frame(parts)
            size += added
            if ends:
                self.step(stream, ON_END)
                self.settle(stream)
            elif stream.outbox is not None and stream.outbox.unblock():
                events.append(StreamWritable(stream))
        return b"".join(parts)

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
