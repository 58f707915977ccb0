"""A timer for something that is put off again and again, as timeouts of a busy connection are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .timeouts import NEVER

if TYPE_CHECKING:
    from protocol.aio.wheel import Timer, Wheel


class LazyTimer:
    """Calls `check(now)` at the time asked for by `by`, or somewhat earlier; check answers when to look again.

    Moving the time forward costs one comparison: the wheel is touched only when the time comes nearer, and once
    each time it has passed. Times are the loop's; call `cancel` at the end.
    """

    __slots__ = ("_at", "_check", "_loop", "_timer", "_wheel")

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel, check: Callable[[float], float]) -> None:
        self._loop = loop
        self._wheel = wheel
        self._check = check
        self._timer: Timer | None = None
        self._at = NEVER

    def by(self, at: float) -> None:
        """See that `check` is called at `at` or before."""
        if at < self._at:
            if self._timer is not None:
                self._timer.cancel()
            self._at = at
            self._timer = self._wheel.after(at - self._loop.time(), self._fired)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = NEVER

    def _fired(self) -> None:
        self._timer = None
        self._at = NEVER
        self.by(self._check(self._loop.time()))
