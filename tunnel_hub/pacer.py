"""Spreads a herd: how many handshakes the hub takes up per second, so that requests do not wait behind them."""

from __future__ import annotations

import asyncio
from typing import Final

BURST: Final = 20
"""Handshakes that need not wait after a quiet moment."""

LONGEST: Final = 8.0
"""Seconds that a handshake may be put off; the agent's own patience ends at 10."""


class Pacer:
    """Gives out turns, `rate` a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: float) -> None:
        self._loop = loop
        self._gap = 1 / rate
        self._next = 0.0

    async def turn(self) -> bool:
        """Wait for a turn. False: too many wait, come back later."""
        now = self._loop.time()
        at = max(self._next, now - BURST * self._gap)
        if at - now > LONGEST:
            return False
        self._next = at + self._gap
        if at > now:
            await asyncio.sleep(at - now)
        return True
