"""How much a receiver lets its peer send: credit windows that follow round-trip time and rate.

Policy, in prose. A stream starts with a small window, enough for nearly every exchange. Credit goes back only
for bytes that the far socket took, an eighth of the window at a time (at least `GRANT_MIN`), so that a sender
far away is never without. Whenever half a window has been taken faster than in two round trips (or `QUICK`,
where a round trip is shorter than the scheduling of two processes), the window and not the reader was the
limit, so it doubles, up to a maximum and as long as the process's memory budget lasts. A reader that stalls
never earns growth and costs at most its window.

Invariants (asserted by `check`, held by tests):
  received <= limit                     the peer never sends more than was granted
  consumed <= received                  nothing is handed on twice
  limit <= consumed + window            credit is returned only after consumption
  sum(window - initial) <= budget       growth of all streams together stays within the process's budget
"""

from __future__ import annotations

GRANT_MIN = 128 * 1024
"""Bytes: a CREDIT frame for less would not pay."""

QUICK = 0.002
"""Seconds: half a window taken in less time is limited by the window even at a tiny round trip."""


class MemoryBudget:
    """How much all streams of one process may grow their windows by, together, in bytes."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> bool:
        """Reserve `size` bytes, or none; every True must be followed by a `give` of the same size."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Return what `take` reserved."""
        self.used -= size
        assert self.used >= 0


class ReceiveWindow:
    """The receiving side's credit of one stream. Call `release` once the stream's bytes are all gone."""

    __slots__ = ("_budget", "_grown_at", "_initial", "_maximum", "_since", "consumed", "limit", "window")

    def __init__(self, initial: int, maximum: int, budget: MemoryBudget, now: float) -> None:
        self._initial = initial
        self._maximum = maximum
        self._budget = budget
        self._since = now
        self._grown_at = 0
        self.window = initial
        self.limit = initial
        self.consumed = 0

    def consume(self, size: int, now: float, round_trip: float) -> int:
        """Note that the far socket took `size` bytes; returns the credit to send now, 0 for none yet."""
        self.consumed += size
        window = self.window
        if self.consumed - self._grown_at >= window // 2:
            if now - self._since < max(2 * round_trip, QUICK):
                growth = min(window, self._maximum - window)
                if growth > 0 and self._budget.take(growth):
                    window = self.window = window + growth
            self._since = now
            self._grown_at = self.consumed
        grant = self.consumed + window - self.limit
        if grant < min(window // 2, max(window // 8, GRANT_MIN)):
            return 0
        self.limit += grant
        return grant

    def release(self) -> None:
        """Give the growth back to the budget; idempotent."""
        growth, self.window = self.window - self._initial, self._initial
        if growth:
            self._budget.give(growth)

    def check(self, received: int) -> None:
        """Assert the invariants of this module."""
        assert received <= self.limit
        assert self.consumed <= received
        assert self.limit <= self.consumed + self.window or self.window == self._initial
        assert self._budget.used <= self._budget.limit
