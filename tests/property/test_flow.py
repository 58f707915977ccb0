"""Credit, budget and scheduling against models that a reader can check by eye."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol import frames
from protocol.flow import MemoryBudget, ReceiveWindow
from protocol.limits import DATA_FRAME, DATA_MAX, SEND_HIGH, SEND_LOW
from protocol.scheduler import Buffer, Outbox, Scheduler
from protocol.stream import BODY, ENDED, Stream
from tests.sim.pair import frames_of


class Windows(RuleBasedStateMachine):
    """Several streams on one budget: a sender that uses what it was granted, a reader that takes what came."""

    @initialize(
        initial=st.integers(1, 5000),
        factor=st.integers(1, 9),
        budget=st.integers(0, 50_000),
        streams=st.integers(1, 4),
    )
    def begin(self, initial: int, factor: int, budget: int, streams: int) -> None:
        self.now = 100.0
        self.initial = initial
        self.maximum = initial * factor
        self.budget = MemoryBudget(budget)
        self.windows = [ReceiveWindow(initial, self.maximum, self.budget, self.now) for _ in range(streams)]
        self.granted = [initial] * streams
        self.sent = [0] * streams
        self.taken = [0] * streams
        self.over = [False] * streams

    @rule(seconds=st.sampled_from([0.0, 0.0005, 0.01, 0.5]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(which=st.integers(0, 3), share=st.floats(0, 1))
    def send(self, which: int, share: float) -> None:
        which %= len(self.windows)
        self.sent[which] += round(share * (self.granted[which] - self.sent[which]))

    @rule(which=st.integers(0, 3), share=st.floats(0, 1), round_trip=st.sampled_from([0.0, 0.001, 0.2]))
    def take(self, which: int, share: float, round_trip: float) -> None:
        which %= len(self.windows)
        size = round(share * (self.sent[which] - self.taken[which]))
        if self.over[which] or not size:
            return
        window = self.windows[which]
        before = window.window
        grant = window.consume(size, self.now, round_trip)
        self.taken[which] += size
        self.granted[which] += grant
        assert grant >= 0
        assert window.window in {before, min(2 * before, self.maximum)}
        if not grant:
            assert self.granted[which] - self.taken[which] > window.window - max(window.window // 2, 1)

    @rule(which=st.integers(0, 3))
    def end(self, which: int) -> None:
        which %= len(self.windows)
        self.over[which] = True
        self.windows[which].release()

    @invariant()
    def promises_are_kept(self) -> None:
        growth = 0
        for window, granted, sent, taken, over in zip(
            self.windows, self.granted, self.sent, self.taken, self.over, strict=True
        ):
            window.check(sent)
            assert window.consumed == taken
            assert self.initial <= window.window <= self.maximum
            growth += window.window - self.initial
            if not over:
                assert window.limit == granted
                assert granted - taken <= window.window, "more was promised than the window holds"
        assert growth == self.budget.used <= self.budget.limit

    def teardown(self) -> None:
        for window in getattr(self, "windows", []):
            window.release()
            assert window.window == self.initial
        assert not hasattr(self, "budget") or self.budget.used == 0


class Boxes(RuleBasedStateMachine):
    """Streams that put, get credit and end, and one ring: exact bytes, strict turns, pauses told once."""

    @initialize(count=st.integers(1, 6), credit=st.integers(0, 100_000))
    def begin(self, count: int, credit: int) -> None:
        self.scheduler = Scheduler()
        self.streams = [Stream(2 * n + 1, credit, BODY, ENDED, None) for n in range(count)]
        for stream in self.streams:
            stream.outbox = Outbox()
        self.waiting = dict.fromkeys(self.streams, b"")
        self.paused = dict.fromkeys(self.streams, False)
        self.trailers = dict.fromkeys(self.streams, False)
        self.served: dict[Stream, set[Stream]] = {}
        self.ended: set[Stream] = set()
        self.number = 0

    def ready(self, stream: Stream) -> bool:
        if stream in self.ended:
            return False
        assert stream.outbox is not None
        return (stream.credit > 0) if self.waiting[stream] else stream.outbox.ending

    @rule(
        which=st.integers(0, 5), size=st.sampled_from([1, 100, 16_384, 16_385, 40_000, 70_000]), view=st.booleans()
    )
    def put(self, which: int, size: int, view: bool) -> None:
        stream = self.streams[which % len(self.streams)]
        assert stream.outbox is not None
        if stream.outbox.ending:
            return
        self.number += 1
        data = self.number.to_bytes(4, "big") * (size // 4 + 1)
        go_on = stream.outbox.put(memoryview(data)[:size] if view else data[:size])
        self.waiting[stream] += data[:size]
        self.paused[stream] = self.paused[stream] or len(self.waiting[stream]) > SEND_HIGH
        assert go_on is not self.paused[stream]
        self.scheduler.add(stream)

    @rule(which=st.integers(0, 5), size=st.integers(1, 100_000))
    def credit(self, which: int, size: int) -> None:
        stream = self.streams[which % len(self.streams)]
        stream.credit += size
        if stream not in self.ended:
            self.scheduler.add(stream)

    @rule(which=st.integers(0, 5), trailers=st.booleans())
    def end(self, which: int, trailers: bool) -> None:
        stream = self.streams[which % len(self.streams)]
        assert stream.outbox is not None
        if not stream.outbox.ending:
            stream.outbox.ending = True
            stream.outbox.trailers = [b"a", b"b"] if trailers else None
            self.trailers[stream] = trailers
            self.scheduler.add(stream)

    @rule(which=st.integers(0, 5))
    def reset(self, which: int) -> None:
        stream = self.streams[which % len(self.streams)]
        self.scheduler.remove(stream)
        self.ended.add(stream)
        assert stream.outbox is not None
        stream.outbox.ending = True

    @precondition(lambda self: bool(self.scheduler))
    @rule()
    def frame(self) -> None:
        parts: list[Buffer] = []
        ready = [stream for stream in self.streams if self.ready(stream)]
        self.served = {stream: self.served.get(stream, set()) for stream in ready}
        stream, size, ends = self.scheduler.next_frame(parts)
        assert stream in ready
        for other, served in self.served.items():
            assert other is stream or stream not in served, "a stream went twice while another waited"
            served.add(stream)
        self.served[stream] = set()
        wire = b"".join(parts)
        assert size == len(wire)
        frame = frames_of(wire)[0]
        assert frame[1] == stream.id
        if frame[0] == frames.TRAILERS:
            assert not self.waiting[stream]
            assert ends
            assert self.trailers[stream]
        else:
            body = frame[3]
            assert len(body) <= (DATA_MAX if len(ready) == 1 else DATA_FRAME)
            assert self.waiting[stream].startswith(body)
            self.waiting[stream] = self.waiting[stream][len(body) :]
            assert body or ends
            assert bool(frame[2]) is ends
            assert not ends or not self.waiting[stream]
        assert stream.credit >= 0
        if ends:
            self.ended.add(stream)
        assert stream.outbox is not None
        resumed = stream.outbox.unblock()
        assert resumed is (self.paused[stream] and len(self.waiting[stream]) <= SEND_LOW)
        self.paused[stream] = self.paused[stream] and not resumed

    @invariant()
    def the_ring_holds_who_is_ready(self) -> None:
        if hasattr(self, "streams"):
            assert bool(self.scheduler) is any(self.ready(stream) for stream in self.streams)
            for stream in self.streams:
                assert stream.outbox is not None
                assert stream.outbox.queued == len(self.waiting[stream])


TestWindows = Windows.TestCase
TestWindows.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBoxes = Boxes.TestCase
TestBoxes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # of the machine, not of the test
@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_an_outbox_gives_back_what_was_put(pieces: list[bytes], data: st.DataObject) -> None:
    outbox, whole, got = Outbox(), b"".join(pieces), b""
    for piece in pieces:
        outbox.put(piece)
    while len(got) < len(whole):
        size = data.draw(st.integers(0, outbox.queued))
        taken = b"".join(outbox.take(size))
        assert len(taken) == size
        got += taken
        assert outbox.queued == len(whole) - len(got)
    assert got == whole
