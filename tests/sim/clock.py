"""Virtual time: a heap of calls. Nothing here, or above it, reads a real clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """`now` moves only when the next call is due."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        """Call at `when`; calls for the same time happen in the order in which they were asked for."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, call, args))

    def after(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        self.at(self.now + delay, call, *args)

    def step(self) -> bool:
        """Make the next call; False when there is none."""
        if not self._heap:
            return False
        when, _, call, args = heapq.heappop(self._heap)
        self.now = max(self.now, when)
        call(*args)
        return True
