"""How often, and how long, something that wants to send may not: for want of credit, or because a socket is full.

One object counts for all sessions of a process. It is asked at the beginning and the end of a halt only, so what
flows costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable


class Stalls:
    """`begin` and `end` for each halt, by whoever halts. clock: monotonic seconds."""

    __slots__ = ("_clock", "_over", "count", "running")

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._over = 0.0
        self.count = 0
        """Halts so far."""
        self.running: dict[Hashable, float] = {}
        """Who halts now, and since when."""

    def begin(self, who: Hashable) -> None:
        """`who` wants to send and may not. Harmless while it halts already."""
        if who not in self.running:
            self.count += 1
            self.running[who] = self._clock()

    def end(self, who: Hashable) -> None:
        """`who` may send again, or wants to no more. Harmless if it does not halt."""
        since = self.running.pop(who, None)
        if since is not None:
            self._over += self._clock() - since

    @property
    def seconds(self) -> float:
        """Of all halts together, those that go on included; it never falls."""
        now = self._clock()
        return self._over + sum(now - since for since in self.running.values())
