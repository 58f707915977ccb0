"""Keeps the collector of garbage from scanning sessions that live, and lets it look for those that do not.

A thousand sessions are a hundred thousand objects. Scans that find them all alive would stop every request for
tens of milliseconds, and the more often the more agents connect at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.ops.run import clean_gc, settle_gc

if TYPE_CHECKING:
    from protocol.aio.wheel import Wheel

SETTLE_EVERY: Final = 16
"""Sessions after which the collector is told that they are here to stay."""

CLEAN_EVERY: Final = 60.0
"""Seconds between two looks at whether garbage of lost sessions can be looked for undisturbed."""


class Tidy:
    """Told of each session that comes and goes. `start` once; it ends with the wheel."""

    def __init__(self, wheel: Wheel, busy: Callable[[], bool]) -> None:
        self._wheel = wheel
        self._busy = busy
        self._unsettled = 0
        self._unclean = 0

    def start(self) -> None:
        self._wheel.after(CLEAN_EVERY, self._look)

    def came(self) -> None:
        self._unsettled += 1
        if self._unsettled >= SETTLE_EVERY:
            self._unsettled = 0
            settle_gc()

    def went(self) -> None:
        self._unclean += 1

    def _look(self) -> None:
        """A good moment is when no request runs."""
        if self._unclean >= SETTLE_EVERY and not self._busy():
            self._unclean = 0
            clean_gc()
        self.start()
