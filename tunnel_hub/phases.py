"""The phases of the hub's exchanges: put together with what the agent says of its own, counted and shown.

The names, and what each means, are in `protocol.phases`.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from protocol.ops.metrics import Histogram
from protocol.phases import FIELD, NAMES, Malformed, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.phases import Phases

BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds: phases are shorter than exchanges."""

_BOUNDS: Final = [round(bound * 1e6) for bound in BOUNDS]

DRIFT: Final = 1000
"""Two clocks' seconds differ by one in so many at most; an agent that claims more is not believed."""

TOGETHER: Final = 256
"""Exchanges counted at once: sorting so many takes 0.1 ms, counting them one by one four times that."""

ASKED: Final = b"tunnel-server-timing"
"""The request field by which a caller that may asks for Server-Timing."""


def asks(fields: list[bytes]) -> bool:
    """Whether a request wants Server-Timing: `Tunnel-Server-Timing: 1`."""
    return any(fields[index].lower() == ASKED and fields[index + 1] == b"1" for index in range(0, len(fields), 2))


def take(fields: list[bytes], arrived: float, sent: float, now: float) -> Phases:
    """The phases of an exchange whose answer begins now; takes the agent's word for its own out of `fields`.

    arrived, sent, now: by time.monotonic(). An agent that says nothing, or more than there was time for, leaves
    everything after `sent` open.
    """
    if len(fields) > 1 and fields[-2] == FIELD:
        value = fields.pop()
        fields.pop()
        try:
            queue, connect, first_byte = decode(value)
        except Malformed:
            pass
        else:
            took = int((now - sent) * 1e6)
            tunnel = took - queue - connect - first_byte
            if tunnel * -DRIFT <= took:
                return (int((sent - arrived) * 1e6), tunnel if tunnel > 0 else 0, queue, connect, first_byte)
    return (int((sent - arrived) * 1e6), 0, 0, 0, 0)


class PhaseCounts:
    """The histograms of one service. Not for use from several threads."""

    __slots__ = ("_by_phase", "_waiting")

    def __init__(self) -> None:
        self._by_phase = [Histogram(BOUNDS) for _ in NAMES]
        self._waiting: list[Phases] = []

    def observe(self, phases: Phases) -> None:
        """Count an exchange that an agent answered."""
        waiting = self._waiting
        waiting.append(phases)
        if len(waiting) >= TOGETHER:
            self._count()

    def observe_queue(self, seconds: float) -> None:
        """Count an exchange without an answer: only how long it waited at the hub is known."""
        self._by_phase[0].observe(seconds)

    def __iter__(self) -> Iterator[tuple[str, Histogram]]:
        self._count()
        return iter(zip(NAMES, self._by_phase, strict=True))

    def _count(self) -> None:
        waiting, self._waiting = self._waiting, []
        for histogram, column in zip(self._by_phase, zip(*waiting, strict=True), strict=False):
            histogram.total += sum(column) / 1e6
            ordered = sorted(column)
            before = 0
            for place, bound in enumerate(_BOUNDS):
                upto = bisect_right(ordered, bound)
                histogram.counts[place] += upto - before
                before = upto
                if upto == len(ordered):
                    break
            else:
                histogram.counts[-1] += len(ordered) - before
