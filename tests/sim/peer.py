"""One end: a session driven as the asyncio shell drives it, and the exchanges on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocol.errors import ProtocolViolation, SessionCode, SessionError, StreamCode
from protocol.events import Event, Offered, Opened, PeerDraining, PeerGoodbye, ResetAnswered, StreamWritable
from protocol.flow import MemoryBudget
from protocol.limits import Limits
from protocol.session import Session
from protocol.stream import ABORTED

from .clock import Clock
from .exchange import HANDLERS, AgentEnd, End
from .facts import check_drain_heard, on_offered, on_reset_answered
from .ledger import require
from .monitor import Monitor
from .wire import Wire

if TYPE_CHECKING:
    from .world import World

CONDEMNED_WITHIN = 3.0
TIMER_LATE = 0.05
"""Seconds: the wheel's two ticks."""


class Peer:
    """One end of one session; `turn` counts the messages that it has read."""

    wire: Wire
    monitor: Monitor
    other: Peer

    def __init__(
        self,
        world: World,
        clock: Clock,
        rng: random.Random,
        opener: bool,
        ours: Limits,
        theirs: Limits,
        budget: MemoryBudget,
        begin: Callable[[Peer, Opened], None],
    ) -> None:
        self.world = world
        self.clock = clock
        self.rng = rng
        self.name = "hub" if opener else "agent"
        self.budget = budget
        self.session = Session(opener, ours, theirs, budget, clock.now)
        self.begin = begin
        self.ends: list[End] = []
        self.by_id: dict[int, End] = {}
        self.turn = 0
        self.lost: SessionError | None = None
        self.frozen = False
        self.frozen_for = 0.0
        self.offers: list[tuple[str, int, int | None]] = []
        self.pool: list[AgentEnd] = []
        """They wait for a connection, which the next event of another stream sets free."""
        self.drained_by_peer = False
        self._backlog: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._timer_while_frozen = False
        self._woken = False
        self._armed = 0.0
        self._timer_count = 0

    @property
    def now(self) -> float:
        return self.clock.now

    def start(self) -> None:
        self.session.start(self.now)
        self._arm()
        self.wake()

    def other_end(self, end: End) -> End | None:
        return self.other.by_id.get(end.stream.id)

    def add(self, end: End) -> None:
        self.ends.append(end)
        self.by_id[end.stream.id] = end

    # -- A process that is suspended ------------------------------------------------------------------

    def later(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        self.clock.after(delay, self.run, call, *args)

    def run(self, call: Callable[..., object], *args: Any) -> None:
        if self.frozen:
            self._backlog.append((call, args))
        else:
            call(*args)

    def freeze(self, duration: float) -> None:
        """The process sleeps: when it wakes, its timers fire before it has read anything."""
        if not self.frozen:
            self.frozen = True
            self.frozen_for = max(self.frozen_for, duration)
            self.clock.after(duration, self._thaw)

    def _thaw(self) -> None:
        self.frozen = False
        if self._timer_while_frozen:
            self._timer_while_frozen = False
            self._on_timer(self._timer_count)
        backlog, self._backlog = self._backlog, []
        for call, args in backlog:
            call(*args)

    # -- Reader ---------------------------------------------------------------------------------------

    def on_message(self, message: bytes) -> None:
        self.run(self._on_message, message)

    def _on_message(self, message: bytes) -> None:
        if self.lost is not None:
            return
        self.turn += 1
        self.monitor.arrived(message)
        violation: ProtocolViolation | None = None
        try:
            events = self.session.receive(message, self.now)
        except ProtocolViolation as error:
            violation, events = error, error.events
        if not self.world.forging:
            for event in events:
                if isinstance(event, ResetAnswered):  # an impatient application repeats itself
                    self.session.reset(event.stream, StreamCode.INTERNAL, self.now, confirm=True)
            for event in events:
                self._dispatch(event)
            check_drain_heard(self)
        if violation is not None:
            self.close(violation)
        elif self.session.has_output():
            self.wake()

    def _dispatch(self, event: Event) -> None:
        if self.lost is not None:
            return
        self.world.note(self.name, event)
        if isinstance(event, Opened):
            self.begin(self, event)
        elif isinstance(event, PeerDraining):
            self.drained_by_peer = True
            require(not self.session.selectable, "selectable although the peer drains")
        elif isinstance(event, Offered):
            on_offered(self, event)
        elif isinstance(event, PeerGoodbye):
            self.lose(SessionError(SessionCode(event.code), event.message))
        else:
            assert event.stream is not None
            end: End = event.stream.owner  # type: ignore[assignment]
            self._connection_free(end)
            if isinstance(event, ResetAnswered):
                require(not event.stream.silent and end.over == "reset by us", f"{end.out.name}: {end.over}")
                on_reset_answered(event)
                return
            if end.over:
                require(
                    event.stream.silent and end.over == "reset by us" and end.reset_turn == self.turn,
                    f"{end.out.name}: {type(event).__name__} after {end.over}",
                )
                return
            HANDLERS[type(event)](event)

    def _connection_free(self, end: End) -> None:
        self.pool = [waiting for waiting in self.pool if not waiting.over]
        for waiting in self.pool:
            if waiting is not end:
                self.pool.remove(waiting)
                waiting.dispatch()
                return

    # -- Writer ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            self.clock.at(self.now, self.run, self._woke)

    def _woke(self) -> None:
        self._woken = False
        self.flush()

    def on_writable(self) -> None:
        self.run(self.flush)

    def flush(self) -> None:
        session, wire = self.session, self.wire
        if self.lost is not None:
            return
        events: list[Event] = []
        while not wire.paused:
            ready = self.monitor.ready(session) if session.inflight.room > 0 else {}
            expected = bool(ready) or bool(session.control) or bool(session.resets_to_answer)
            require(session.has_output() is expected, f"{self.name}: has_output is not {expected}")
            message = session.data_to_send(events, self.now)
            if not message:
                break
            self.monitor.sent(message, ready)
            session.inflight.check()
            wire.send(message)
        if session.due < self._armed:
            self._arm()
        if not session.control:
            self._check_grants()
        for event in events:
            require(isinstance(event, StreamWritable), "only StreamWritable comes from sending")
            assert event.stream is not None
            end: End = event.stream.owner  # type: ignore[assignment]
            if not end.over:
                end.on_writable()

    def _check_grants(self) -> None:
        """With no frame waiting, the peer has been sent every byte of credit that we hold it to."""
        for stream in self.session.streams.values():
            window = stream.receive_window
            if window is not None and stream.sending != ABORTED:
                granted = self.monitor.granted.get(stream.id, 0)
                limit = self.session.ours.window + granted
                require(window.limit == limit, f"{self.name}: limit {window.limit}, told {limit} on {stream.id}")

    # -- Timer ----------------------------------------------------------------------------------------

    def _arm(self) -> None:
        self._timer_count += 1
        self._armed = self.session.due
        late = self.rng.random() * TIMER_LATE
        self.clock.at(max(self._armed, self.now) + late, self._on_timer, self._timer_count)

    def _on_timer(self, count: int) -> None:
        if count != self._timer_count or self.lost is not None:
            return
        if self.frozen:
            self._timer_while_frozen = True
            return
        try:
            self.session.handle_timer(self.now)
        except SessionError as error:
            self.close(error)
            return
        self._arm()
        self.flush()

    # -- End ------------------------------------------------------------------------------------------

    def close(self, error: SessionError) -> None:
        """Say goodbye and go, as `Link.close` does."""
        if self.lost is None:
            self.session.goodbye(error.code, error.message)
            if not self.wire.paused:
                ready = self.monitor.ready(self.session)
                message = self.session.data_to_send([], self.now)
                self.monitor.sent(message, ready)
                self.wire.send(message)
            self.lose(error)

    def cut(self) -> None:
        """The connection under the session is gone."""
        if self.lost is None:
            self.lose(SessionError(SessionCode.INTERNAL, "cut"))

    def lose(self, error: SessionError) -> None:
        self.lost = error
        self.world.note(self.name, error)
        for stream in self.session.lost():
            if stream.owner is not None:  # a forged OPEN, which was not reported
                stream.owner.on_lost()  # type: ignore[attr-defined]
        self.world.on_lost(self, error)

    # -- Checks after every step ----------------------------------------------------------------------

    def check(self) -> None:
        session = self.session
        for end in self.ends:
            if not (end.over and end.stream.receive_window is None):
                end.check()
        if self.lost is None and session.liveness.busy_since is not None and not self.frozen:
            silent = self.now - max(session.liveness.heard, session.liveness.busy_since)
            require(
                silent <= CONDEMNED_WITHIN + self.frozen_for + TIMER_LATE,
                f"{self.name} waits in silence for {silent:.2f} s",
            )
        if self.lost is None:
            require(
                (session.liveness.busy_since is not None) == bool(session.streams),
                f"{self.name}: busy is not what the table says",
            )
