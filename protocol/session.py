"""One session: frames in, events out; commands in, messages out. No I/O and no clock of its own.

The owner (`protocol.aio.link`) must, after every call that may have produced output, take messages with
`data_to_send` while its transport accepts them, and call `handle_timer` at `due`. This module dispatches;
what is sent stands in `output.py` and `commands.py`, what is received in `receiving.py`; state, credit,
scheduling, liveness and encoding live in the modules that these name.
"""

from __future__ import annotations

from . import frames
from .codec import Decoder, Frame, encode
from .commands import Commands, text
from .errors import ProtocolViolation, SessionCode, SessionError
from .events import Event, OfferState
from .flow import MemoryBudget
from .limits import Limits
from .liveness import DEAD, PROBE
from .rates import TokenBucket
from .receiving import HANDLERS
from .scheduler import Buffer
from .stalls import Stalls
from .stream import ABORTED, Stream

_decode = Decoder().decode


class Session(Commands):
    """The state of one session after the handshake.

    Args:
        opener: True at the hub, which opens streams; False at the agent, which answers them.
        ours: what we grant the peer.
        theirs: what the peer granted us in the handshake.
        budget: the process's memory for grown windows.
        now: monotonic seconds.
        stalls: counts, for the whole process, streams that wait for credit.
    """

    __slots__ = (
        "_drain_ping",
        "bytes_received",
        "drain_heard",
        "drained_at",
        "draining",
        "events",
        "last_seen",
        "offers",
        "pings",
        "resets",
    )

    def __init__(
        self,
        opener: bool,
        ours: Limits,
        theirs: Limits,
        budget: MemoryBudget,
        now: float,
        stalls: Stalls | None = None,
    ) -> None:
        super().__init__(opener, ours, theirs, budget, now, stalls or Stalls())
        self.draining = False
        self.drain_heard = False
        """The peer has read our DRAIN: what it opened before that has arrived here."""
        self._drain_ping: int | None = None
        self.drained_at: int | None = None
        self.bytes_received = 0
        self.events: list[Event] = []
        self.last_seen = -1
        self.pings = TokenBucket(ours.pings_per_second, now)
        self.resets = TokenBucket(ours.resets_per_second, now)
        self.offers = TokenBucket(ours.offers_per_second, now)

    def start(self, now: float) -> None:
        """Measure the round trip at once, so that the first download's window can grow by it."""
        self.ping(self.liveness.ping(now))

    @property
    def outstanding(self) -> int:
        """Streams that are not over yet on the wire."""
        return len(self.streams)

    @property
    def due(self) -> float:
        """When `handle_timer` wants to be called, on the clock of `now`."""
        return self.liveness.due

    # -- Commands -------------------------------------------------------------------------------------

    def offer(self, service: str, state: OfferState, limit: int | None = None) -> None:
        """Tell the hub how this agent serves `service` from now on."""
        assert not self.opener
        self.control.append(encode((frames.OFFER, service, state, limit)))

    def probe(self, now: float) -> None:
        """Ask the peer for a sign of life now or, right after a PING, in a moment: not only when that is due."""
        if self.liveness.want(now):
            self.ping(self.liveness.ping(now))

    def drain(self, now: float) -> None:
        """First step: tell the peer to open nothing new here. Streams that it has opened go on.

        `drain_heard` becomes true once the peer has read it. A hub's DRAIN asks the agent for another session.
        """
        if not self.draining:
            self.draining = True
            self._drain_ping = self.liveness.ping(now, fresh=True)
            self.control.append(encode((frames.DRAIN, None)))
            self.ping(self._drain_ping)

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
            self.scheduler.remove(stream)
            stream.sending = stream.receiving = ABORTED  # what owners still do on it has no effect
        return streams

    def goodbye(self, code: SessionCode, message: str) -> None:
        """Queue the reason for closing; the owner sends it, then closes the websocket. No DATA goes with it."""
        if self.closed is None:
            self.scheduler.clear()
            self.closed = SessionError(code, message)
            self.control.append(encode((frames.GOODBYE, code, text(message, 512))))

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
            self.ping(self.liveness.ping(now))
        elif action == DEAD:
            raise SessionError(SessionCode.SILENT, "the peer fell silent")
        for stream in self.resetting:
            if stream.reset_deadline <= now:
                raise ProtocolViolation(f"no end of stream {stream.id} after its RESET")
            break

    def ponged(self, number: int) -> None:
        """A PONG came; frames arrive in order, so whatever preceded its PING was read."""
        inflight, now = self._inflight, self._now
        if inflight is not None:
            inflight.quiet(self.liveness.sample, now)
            if inflight.pong(number, bool(self.scheduler), now):
                self.mark(now)
        if self._drain_ping is not None and number >= self._drain_ping:
            self.drain_heard = True
