"""Spreads a herd: how many handshakes the hub takes up per second, so that requests do not wait behind them.

While no requests are served there is nothing to protect, and perhaps somebody waits for the very agent that is
last in line: then turns follow each other as fast as the machine allows, within reason.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

BURST: Final = 20
"""Handshakes that need not wait after a quiet moment."""

FASTEST: Final = 1000.0
"""Turns per second while no requests are served."""

LONGEST: Final = 8.0
"""Seconds that a handshake may be put off; an agent gives an attempt up after 8."""


class Pacer:
    """Gives out turns in order of arrival, `rate` a second while `busy()`. Owns at most one handle of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: float, busy: Callable[[], bool]) -> None:
        self._loop = loop
        self._rate = rate
        self._busy = busy
        self._next = 0.0  # when the next turn is due
        self._line: deque[asyncio.Future[None]] = deque()
        self._handle: asyncio.TimerHandle | None = None

    async def turn(self) -> bool:
        """Wait for a turn. False: too many wait, come back later."""
        now = self._loop.time()
        gap = self._gap()
        due = max(self._next, now - BURST * gap)
        if not self._line and due <= now:
            self._next = due + gap
            return True
        if len(self._line) * gap >= LONGEST:
            return False
        place = self._loop.create_future()
        self._line.append(place)
        if self._handle is None:
            self._handle = self._loop.call_at(due, self._call)
        await place  # whoever is cancelled here is passed over when the turn comes
        return True

    def _call(self) -> None:
        """The next in line has its turn."""
        self._handle = None
        line = self._line
        while line:
            place = line.popleft()
            if not place.done():
                place.set_result(None)
                break
        self._next = self._loop.time() + self._gap()
        if line:
            self._handle = self._loop.call_at(self._next, self._call)

    def _gap(self) -> float:
        return 1 / (self._rate if self._busy() else max(FASTEST, self._rate))
