"""What one exchange is going to do, drawn from the seed before it begins."""

from __future__ import annotations

import random
from typing import NamedTuple

from protocol.errors import StreamCode

from .ledger import POOL

DEADLINE = 12.0
"""Seconds after which the hub resets whatever has not ended: stalled readers have no other end."""

_CODES = [code for code in StreamCode if code is not StreamCode.SESSION_LOST]


class Source(NamedTuple):
    """How a body is produced. pauses: whether it stops when told to; gap: seconds between chunks."""

    base: int
    total: int
    chunk: int
    gap: float
    pauses: bool
    with_head: int
    finish: str
    trailers: list[bytes]


class Reader(NamedTuple):
    """How received bytes are taken. gap 0: at once; chunk 0: never (a stalled reader)."""

    chunk: int
    gap: float


class Script(NamedTuple):
    """One exchange. Times are seconds after it began (hub) or was seen (agent); None: never."""

    at: float
    request: Source
    request_reader: Reader
    answer: Source
    answer_reader: Reader
    upgrade: bool
    chunked: bool
    expect: bool
    interims: list[int]
    answer_when: str
    think: float
    unwanted: str
    hub_reset: float | None
    agent_reset: float | None
    agent_code: StreamCode
    hub_code: StreamCode
    late_consumed: bool
    large_head: int
    regretted: bool
    """The hub resets at once: nothing has left."""
    hub_refuses: bool
    """The hub resets when it sees the answer's head, whatever has come behind that."""
    confirm: bool
    dispatch: float | str | None
    """Seconds, or with the next event of another stream, or never."""

    def seconds(self, windows: tuple[int, int], round_trip: float) -> float:
        """A generous guess of how long the exchange takes by itself; infinite with a stalled reader."""
        parts = ((self.request, self.request_reader, windows[0]), (self.answer, self.answer_reader, windows[1]))
        result = self.think + 2 * round_trip + 1
        for source, reader, window in parts:
            if not reader.chunk:
                return float("inf")
            result += source.gap * (source.total / source.chunk + 1)
            result += (reader.gap + 0.001) * (source.total / min(reader.chunk, window / 2, 16_384) + 2)
            result += (round_trip + 0.002) * (source.total / (window / 2) + 2)
        return result


def _size(rng: random.Random, large: int) -> int:
    kind = rng.random()
    if kind < 0.25:
        return 0
    if kind < 0.5:
        return rng.randint(1, 200)
    if kind < 0.75:
        return rng.randint(200, 20_000)
    if kind < 0.95:
        return rng.choice([16_384, 32_768, 32_769, 65_536, rng.randint(20_000, 120_000)])
    return rng.randint(100_000, large)


def _source(rng: random.Random, large: int) -> Source:
    total = _size(rng, large)
    gap = rng.choice([0.0, 0.0, 0.0, 0.001, 0.02, 0.1]) if total < 100_000 else rng.choice([0.0, 0.0, 0.005])
    chunk = rng.choice([total, total, 65_536, 16_384, 4_000, max(1, total // 7)]) or 1
    chunk = max(chunk, total // 40)
    finish = rng.choice(["flag", "flag", "end", "trailers", "late"])
    trailers = [b"X-Sum", b"%d" % total] if finish == "trailers" or rng.random() < 0.1 else []
    if finish == "flag":
        trailers = []
    if rng.random() < 0.02 and trailers:
        trailers = [b"X-Large", b"t" * 60_000]
    with_head = rng.choice([0, 1, 1, 1]) and min(total, rng.choice([1, 300, 5_000, 16_384, 16_385, 60_000]))
    return Source(
        rng.randrange(len(POOL) - total), total, chunk, gap, rng.random() < 0.8, with_head, finish, trailers
    )


def _reader(rng: random.Random) -> Reader:
    kind = rng.random()
    if kind < 0.55:
        return Reader(1 << 30, 0.0)
    if kind < 0.75:
        return Reader(1 << 30, rng.choice([0.0005, 0.01, 0.2]))
    if kind < 0.95:
        return Reader(rng.choice([700, 5_000, 20_000, 100_000]), rng.choice([0.0005, 0.005, 0.02]))
    return Reader(0, 0.0)


def draw(rng: random.Random, at: float, large: int, large_head: int) -> Script:
    """A script. large: the most bytes of a body; large_head: bytes of a header field of each head."""
    upgrade = rng.random() < 0.08
    hub_reset = rng.choice([rng.random() * 0.05, rng.random(), rng.random() * 5]) if rng.random() < 0.12 else None
    agent_reset = rng.choice([0.0, rng.random() * 0.1, rng.random() * 3]) if rng.random() < 0.12 else None
    return Script(
        at=at,
        request=_source(rng, large),
        request_reader=_reader(rng),
        answer=_source(rng, large),
        answer_reader=_reader(rng),
        upgrade=upgrade,
        chunked=rng.random() < 0.5,
        expect=rng.random() < 0.1,
        interims=[rng.choice([100, 102, 103]) for _ in range(rng.choice([0, 0, 0, 1, 2, 16]))],
        answer_when=rng.choice(["at once", "after request", "after request", "echo"]),
        think=rng.choice([0.0, 0.0, 0.005, 0.3]),
        unwanted=rng.choice(["read on", "reset"]),
        hub_reset=hub_reset,
        agent_reset=agent_reset,
        agent_code=rng.choice(_CODES),
        hub_code=rng.choice(_CODES),
        late_consumed=rng.random() < 0.5,
        large_head=large_head,
        regretted=rng.random() < 0.02,
        hub_refuses=rng.random() < 0.04,
        confirm=rng.random() < 0.7,
        dispatch=rng.choice([0.0, 0.0, 0.02, rng.random(), "pool", "pool", None]),
    )
