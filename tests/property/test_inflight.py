"""Random links under two sessions: they stay busy, their queue stays short, and nothing ever waits for ever."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.inflight import BASE_AGE, FLOOR, LEAST_MESSAGE, SLACK, START
from protocol.limits import SEND_HIGH, Limits
from protocol.stream import Stream
from tests.sim.pair import Pair

WIDE = Limits(window=1 << 30, window_max=1 << 30)


class Narrow:
    """An agent that sends without end to a hub, over a link with a rate and a delay each way."""

    def __init__(self, rate: float, delay: float, jitter: float, seed: int, streams: int = 4) -> None:
        self.rate, self.delay, self.jitter = rate, delay, jitter
        self.rng = random.Random(seed)
        self.pair = Pair(WIDE, WIDE)
        self.now = self.pair.now
        self.free = self.last_up = self.last_down = 0.0
        self.heap: list[tuple[float, int, Callable[..., None], Any]] = []
        self.count = 0
        self.delivered: list[tuple[float, int]] = []
        self.queues: list[tuple[float, float]] = []
        """When a message was written, and how long it waited for what was written before."""
        self.pair.hub.start(self.now)
        self.pair.agent.start(self.now)
        self.sources: list[Stream] = []
        for _ in range(streams):
            _, far = self.pair.open(end=True)
            self.pair.agent.answer(far, 200, b"", [], None)
            self.sources.append(far)
        self.flush()

    def at(self, when: float, call: Callable[..., None], argument: Any) -> None:
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, call, argument))

    def flush(self) -> None:
        agent, hub = self.pair.agent, self.pair.hub
        for stream in self.sources:
            while stream.outbox is None or stream.outbox.queued < SEND_HIGH:
                agent.send(stream, b"x" * 32_000)
        while agent.has_output():
            message = agent.data_to_send([], self.now)
            assert message
            self.queues.append((self.now, max(self.free - self.now, 0.0)))
            self.free = max(self.free, self.now) + len(message) / self.rate
            self.last_up = max(self.last_up, self.free + self.delay + self.jitter * self.rng.random())
            self.at(self.last_up, self.to_hub, message)
        agent.inflight.check()
        while hub.has_output():
            self.last_down = max(self.last_down, self.now + self.delay + self.jitter * self.rng.random())
            self.at(self.last_down, self.to_agent, hub.data_to_send([], self.now))

    def to_hub(self, message: bytes) -> None:
        self.delivered.append((self.now, len(message)))
        self.pair.hub.receive(message, self.now)

    def to_agent(self, message: bytes) -> None:
        self.pair.agent.receive(message, self.now)

    def run(self, seconds: float) -> None:
        """Until then; a link that falls silent while something waits is stuck."""
        end = self.now + seconds
        while self.heap and self.heap[0][0] < end:
            self.step()
        assert self.heap or not self.pair.agent.scheduler, "stuck"
        self.now = end

    def run_until_quiet(self) -> None:
        while self.heap:
            self.step()
        assert not self.pair.agent.scheduler, "stuck"

    def step(self) -> None:
        self.now, _, call, argument = heapq.heappop(self.heap)
        call(argument)
        self.flush()

    def used(self, start: float) -> float:
        """The share of the link's rate that was delivered since `start`."""
        return sum(size for when, size in self.delivered if when >= start) / self.rate / (self.now - start)

    def queue(self, start: float, share: float) -> float:
        """A percentile of the seconds that a message waited since `start`."""
        waits = sorted(wait for when, wait in self.queues if when >= start)
        return waits[int(share * (len(waits) - 1))]


def allowed(rate: float, delay: float, jitter: float) -> float:
    """Seconds of queue: the slack, what a link at the floor cannot avoid, and what jitter hides."""
    base = 2 * (delay + jitter)
    return max(SLACK, base / 2) + jitter * 2 + (FLOOR + LEAST_MESSAGE) / rate + 0.02


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([2.5e5, 6e5, 1.25e6, 5e6]),
    delay=st.sampled_from([0.001, 0.01, 0.02, 0.04, 0.1]),
    jitter=st.sampled_from([0.0, 0.1, 0.3]),
    seed=st.integers(0, 2**20),
)
def test_a_link_stays_busy_and_its_queue_short(rate: float, delay: float, jitter: float, seed: int) -> None:
    link = Narrow(rate, delay, jitter * delay, seed)
    start = link.now + 2 * START / rate + 3 + 20 * delay
    link.run(start - link.now + 1.5 * BASE_AGE)
    assert link.used(start) >= 0.9
    assert link.queue(start, 0.95) <= allowed(rate, delay, jitter * delay)


def test_a_way_that_becomes_narrow_and_wide_again_is_followed() -> None:
    link = Narrow(1.25e7, 0.02, 0.0, 1)
    link.run(3)
    for rate, settling in ((1.25e6, 4.0), (1.25e7, 4.0)):
        link.rate = rate
        link.run(settling)
        start = link.now
        link.run(5)
        assert link.used(start) >= 0.9
        assert link.queue(start, 0.95) <= allowed(rate, 0.02, 0.0)


def test_a_way_that_becomes_longer_is_learnt() -> None:
    link = Narrow(1.25e6, 0.02, 0.0, 1)
    link.run(3)
    link.delay = 0.15
    link.run(2.5 * BASE_AGE)
    start = link.now
    link.run(BASE_AGE / 2)
    assert link.used(start) >= 0.9
    assert link.queue(start, 0.95) <= allowed(1.25e6, 0.15, 0.0)


def test_bulk_and_pauses_of_every_length_never_get_stuck() -> None:
    """What is sent in bursts, with and without time between them, arrives in full."""
    rng = random.Random(5)
    link = Narrow(1.25e6, 0.02, 0.006, 5, streams=0)
    pair, total = link.pair, 0
    _, far = pair.open(end=True)
    pair.agent.answer(far, 200, b"", [], None)
    for _ in range(300):
        size = rng.choice([100, 20_000, 150_000, 900_000])
        pair.agent.send(far, b"x" * size)
        total += size
        link.flush()
        link.run_until_quiet() if rng.random() < 0.3 else link.run(rng.choice([0.0, 0.01, 0.1, 1.5]))
    link.run_until_quiet()
    received = next(iter(pair.hub.streams.values())).received
    assert received == total
