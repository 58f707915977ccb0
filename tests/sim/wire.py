"""One direction of the link: in order, with delay, bandwidth, a send buffer, stalls, and two ways to die."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .clock import Clock

HIGH = 128 * 1024
LOW = 32 * 1024
"""As the asyncio shell sets its transport: above HIGH the session must wait, at LOW it may go on."""


class Profile(NamedTuple):
    """delay: seconds one way; rate: bytes a second; stall: from when to when nothing leaves."""

    delay: float
    jitter: float
    rate: float
    stall: tuple[float, float]

    @property
    def worst(self) -> float:
        """The longest that a message written to an unpaused wire can take."""
        return self.delay + self.jitter + (self.stall[1] - self.stall[0]) + (HIGH + 600 * 1024) / self.rate


class Wire:
    """Carries messages to `deliver`; calls `writable` when its buffer has fallen to LOW."""

    def __init__(
        self,
        clock: Clock,
        profile: Profile,
        jitter: Callable[[], float],
        deliver: Callable[[bytes], object],
        writable: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._profile = profile
        self._jitter = jitter
        self._deliver = deliver
        self._writable = writable
        self._free = 0.0
        self._arrival = 0.0
        self.buffered = 0
        self.paused = False
        self.dead = False
        self.in_flight = 0
        self.delivered = 0

    def send(self, message: bytes) -> None:
        """Accept a message; one that finds the wire dead is never delivered, and nobody is told."""
        self.buffered += len(message)
        self.paused = self.paused or self.buffered > HIGH
        if self.dead:
            return
        profile = self._profile
        start = max(self._clock.now, self._free)
        if profile.stall[0] <= start < profile.stall[1]:
            start = profile.stall[1]
        self._free = start + len(message) / profile.rate
        self._arrival = max(self._arrival, self._free + profile.delay + profile.jitter * self._jitter())
        self.in_flight += 1
        self._clock.at(self._free, self._left, len(message))
        self._clock.at(self._arrival, self._arrive, message)

    def die(self) -> None:
        """Drop what is in flight and everything after it, silently: half of a half-open connection."""
        self.dead = True
        self.in_flight = 0

    def _left(self, size: int) -> None:
        if self.dead:
            return
        self.buffered -= size
        if self.paused and self.buffered <= LOW:
            self.paused = False
            self._writable()

    def _arrive(self, message: bytes) -> None:
        if not self.dead:
            self.in_flight -= 1
            self.delivered += len(message)
            self._deliver(message)
