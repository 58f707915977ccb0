"""One stream between two sessions, driven at random, against a model written from SPEC.md section 4.

Messages may be held back in either direction, so every crossing of frames occurs.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import StreamCode
from protocol.events import Answered, DataReceived, Event, InterimAnswered, Opened, StreamReset, TrailersReceived
from protocol.limits import Limits
from protocol.session import Session
from protocol.stream import ABORTED, Stream
from tests.sim.pair import HEAD, Pair


class End:
    """The model of one side: what it did, and what it was told."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.stream: Stream | None = None
        self.headed = False
        self.put = b""
        self.ended = False
        self.reset = False
        self.told_reset = 0
        self.told_head = False
        self.told_end = False
        self.told_interims = 0
        self.got = b""
        self.late = False
        self.withdrawn = False

    @property
    def may_send(self) -> bool:
        return self.headed and not (self.ended or self.reset or self.told_reset)

    def tell(self, event: Event) -> None:
        assert not self.reset, f"{type(event).__name__} after our reset"
        assert not self.told_reset, f"{type(event).__name__} after StreamReset"
        if isinstance(event, StreamReset):
            self.told_reset += 1
            return
        assert not self.told_end, f"{type(event).__name__} after the end"
        if isinstance(event, InterimAnswered):
            assert not self.told_head
            self.told_interims += 1
        elif isinstance(event, (Opened, Answered)):
            assert not self.told_head
            self.told_head = True
        else:
            assert self.told_head
        if isinstance(event, (Opened, Answered, DataReceived)):
            self.got += event.body
            self.told_end = event.end
        elif isinstance(event, TrailersReceived):
            self.told_end = True


class OneStream(RuleBasedStateMachine):
    """Hub and agent, their model, and the messages on the way."""

    @initialize(
        window=st.sampled_from([1024, 20_000, 262_144]), first=st.sampled_from([b"", b"first", b"f" * 20_000])
    )
    def begin(self, window: int, first: bytes) -> None:
        limits = Limits(window=window, window_max=4 * window)
        self.pair = Pair(limits, limits)
        self.hub, self.agent = End(self.pair.hub), End(self.pair.agent)
        self.to_agent: list[bytes] = []
        self.to_hub: list[bytes] = []
        self.interims = 0
        self.hub.stream = self.pair.hub.open(None, self.pair.now, **HEAD, chunked=True, body=first)
        self.hub.headed = True
        self.hub.put = first

    # -- What applications do

    @rule(side=st.booleans(), size=st.sampled_from([1, 500, 17_000]), end=st.booleans())
    def send(self, side: bool, size: int, end: bool) -> None:
        me = self.hub if side else self.agent
        if me.may_send and me.stream is not None:
            data = bytes([len(me.put) % 251]) * size
            me.session.send(me.stream, data, end)
            me.put += data
            me.ended = end

    @rule(side=st.booleans(), trailers=st.booleans())
    def end(self, side: bool, trailers: bool) -> None:
        me = self.hub if side else self.agent
        if me.may_send and me.stream is not None:
            me.session.end(me.stream, [b"T", b"1"] if trailers else None)
            me.ended = True

    @rule(size=st.sampled_from([0, 10, 16_385]), end=st.booleans())
    def answer(self, size: int, end: bool) -> None:
        me = self.agent
        if me.stream is not None and not (me.headed or me.reset or me.told_reset):
            me.headed, me.put, me.ended = True, b"a" * size, end
            me.session.answer(me.stream, 200, b"", [], None, me.put, end)

    @rule()
    def interim(self) -> None:
        me = self.agent
        if me.stream is not None and not (me.headed or me.reset or me.told_reset) and self.interims < 16:
            self.interims += 1
            me.session.interim(me.stream, 103, [])

    @rule(side=st.booleans())
    def reset(self, side: bool) -> None:
        me = self.hub if side else self.agent
        if me.stream is not None:
            me.late = me.stream.closed
            me.withdrawn = me.withdrawn or (not me.late and me.session.unsent(me.stream))
            me.session.reset(me.stream, StreamCode.CANCELLED, self.pair.now)
            me.reset = True

    @rule(side=st.booleans(), share=st.floats(0, 1))
    def consume(self, side: bool, share: float) -> None:
        me = self.hub if side else self.agent
        if me.stream is not None and me.got:
            window = me.stream.receive_window
            left = len(me.got) - (window.consumed if window is not None else 0)
            size = round(share * left)
            if size > 0:
                me.session.consumed(me.stream, size, self.pair.now)

    # -- What the link does

    @rule(side=st.booleans())
    def write(self, side: bool) -> None:
        session, queue = (self.pair.hub, self.to_agent) if side else (self.pair.agent, self.to_hub)
        queue += self.pair.take(session)

    @precondition(lambda self: self.to_agent)
    @rule()
    def arrive_at_agent(self) -> None:
        for event in self.pair.give(self.pair.agent, [self.to_agent.pop(0)]):
            if isinstance(event, Opened):
                self.agent.stream = event.stream
            self.agent.tell(event)

    @precondition(lambda self: self.to_hub)
    @rule()
    def arrive_at_hub(self) -> None:
        for event in self.pair.give(self.pair.hub, [self.to_hub.pop(0)]):
            self.hub.tell(event)

    # -- What must hold

    @invariant()
    def what_arrived_was_sent(self) -> None:
        if not hasattr(self, "pair"):
            return
        for me, other in ((self.hub, self.agent), (self.agent, self.hub)):
            assert other.put.startswith(me.got)
            if me.told_end:
                assert other.ended
                assert me.got == other.put
            if me.told_reset:
                assert other.reset
            stream = me.stream
            if stream is not None:
                assert (stream.id in me.session.streams) is not stream.closed
                if me.reset and not me.late:
                    assert stream.sending == ABORTED
                if stream.receive_window is not None and not me.reset:
                    stream.receive_window.check(stream.received)

    def teardown(self) -> None:
        """Let everything arrive: a reset has reached whoever could learn of it, and nothing is left over."""
        if not hasattr(self, "pair"):
            return
        for _ in range(6):
            self.write(True)
            while self.to_agent:
                self.arrive_at_agent()
            self.write(False)
            while self.to_hub:
                self.arrive_at_hub()
        self.what_arrived_was_sent()
        hub, agent = self.hub, self.agent
        for me, other in ((hub, agent), (agent, hub)):
            if me.withdrawn:
                assert other.stream is None
            elif me.reset and not me.late:
                assert other.reset or other.told_reset or (other.told_end and other.ended)
        if hub.reset or agent.reset:
            assert not self.pair.hub.streams
            assert not self.pair.agent.streams
            assert self.pair.hub_budget.used == 0 or hub.told_end
        elif hub.told_end and agent.told_end:
            assert not self.pair.hub.streams
            assert not self.pair.agent.streams
        for session in (self.pair.hub, self.pair.agent):
            session.liveness.heard = session.liveness.due = 1e9
            session.handle_timer(1e9)


TestOneStream = OneStream.TestCase
TestOneStream.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
