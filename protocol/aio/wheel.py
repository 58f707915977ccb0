"""One timer wheel for all the coarse timeouts of a process.

A deadline per request as a loop handle costs more than proxying the request; here it is one dict entry.
Times are monotonic seconds of the loop's clock; a timer fires at most two ticks late and never early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK = 0.025


class Timer:
    """One pending call. `cancel` is idempotent and safe after firing."""

    __slots__ = ("_bucket", "callback")

    def __init__(self, callback: Callable[[], object], bucket: dict[Timer, None]) -> None:
        self.callback = callback
        self._bucket: dict[Timer, None] | None = bucket

    def cancel(self) -> None:
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self._bucket = None


class Wheel:
    """Buckets of timers by tick, driven by a single loop handle. Call `close` at the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: float = TICK) -> None:
        self._loop = loop
        self._tick = tick
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0
        self._firing: dict[Timer, None] = {}

    def after(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call `callback()` once, `delay` seconds from now or up to two ticks later."""
        slot = int((self._loop.time() + delay) / self._tick) + 1
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = {}
            if self._handle is None or slot < self._due:
                self._arm(slot)
        timer = Timer(callback, bucket)
        bucket[timer] = None
        return timer

    def close(self) -> None:
        """Drop every timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._firing.clear()
        self._buckets.clear()

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def _arm(self, slot: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = slot
        self._handle = self._loop.call_at(slot * self._tick, self._fire)

    def _fire(self) -> None:
        self._handle = None
        current = int(self._loop.time() / self._tick + 1e-6)
        for slot in sorted(s for s in self._buckets if s <= current):
            # Out of the table first: what a callback adds to this slot gets a bucket of its own.
            self._firing = bucket = self._buckets.pop(slot, {})
            for timer in list(bucket):
                if timer in bucket:  # an earlier callback of this turn may have cancelled it
                    timer._bucket = None
                    del bucket[timer]
                    self._call(timer)
        if self._buckets:
            earliest = min(self._buckets)
            if self._handle is None or earliest < self._due:
                self._arm(earliest)

    def _call(self, timer: Timer) -> None:
        try:
            timer.callback()
        except Exception as error:
            self._loop.call_exception_handler({"message": "timer callback failed", "exception": error})
