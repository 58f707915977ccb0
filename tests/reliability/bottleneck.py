"""The narrow place of a long link: one router with a rate, a bounded queue, and a way to go behind it.

All connections through it share the rate, first come, first served. While the queue is full nothing is read, so
what does not fit waits at the senders, which are read again in turn. That is what TCP does when a router drops:
the sender keeps the bytes. Not modelled: loss itself, slow start, recovery.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TICK = 0.001
PACKET = 1448
"""Bytes taken at once from one sender."""


class Bottleneck:
    """One direction. `rate` in bytes/s, `delay` in seconds one way, `queue` in bytes."""

    def __init__(self, rate: float, delay: float, queue: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._rate = rate
        self._delay = delay
        self._limit = queue
        self._queued = 0
        self._free_at = 0.0
        self._queue: deque[tuple[float, int]] = deque()
        self._flying: deque[tuple[float, Callable[[], None]]] = deque()
        self._blocked: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.peak = 0

    @property
    def full(self) -> bool:
        return self._queued + PACKET > self._limit

    def offer(self, size: int, arrive: Callable[[], None]) -> None:
        """Queue `size` bytes; `arrive` is called once they are at the far end."""
        now = self._loop.time()
        self._free_at = max(now, self._free_at) + size / self._rate
        self._queued += size
        self.peak = max(self.peak, self._queued)
        self._queue.append((self._free_at, size))
        self._flying.append((self._free_at + self._delay, arrive))
        self._arm()

    def when_free(self, resume: Callable[[], None]) -> None:
        """Call `resume` once there is room; those that wait take turns."""
        self._blocked.append(resume)
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and (self._flying or self._blocked):
            self._timer = self._loop.call_later(TICK, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._queue and self._queue[0][0] <= now:
            self._queued -= self._queue.popleft()[1]
        while self._flying and self._flying[0][0] <= now:
            self._flying.popleft()[1]()
        # each of those called reads one packet, or nothing, before the next tick
        room = (self._limit - self._queued) // PACKET
        for _ in range(min(room, len(self._blocked))):
            self._blocked.popleft()()
        self._arm()
