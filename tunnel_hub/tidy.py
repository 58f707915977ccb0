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
"""Sessions more than at the last time after which the collector is told that they are here to stay."""

CLEAN_EVERY: Final = 10.0
"""Seconds between two looks at whether garbage of lost sessions can be looked for undisturbed."""

GARBAGE_MAX: Final = 2048
"""Lost sessions whose garbage may be kept by telling the collector that all is here to stay; some 15 KB each. An
agent that comes and goes as fast as it can gets there in seconds, a herd that comes back once does not."""

LOOKS_MAX: Final = 30
"""Looks after which it is looked for at a bad moment, too: what was told to stay stays till then."""


class Tidy:
    """Told of each session that comes and goes, and how many there are then. `start` once; ends with the wheel."""

    def __init__(self, wheel: Wheel, busy: Callable[[], bool]) -> None:
        self._wheel = wheel
        self._busy = busy
        self._settled = 0  # sessions there were when the collector was told last
        self._unclean = 0
        self._looks = 0

    def start(self) -> None:
        self._wheel.after(CLEAN_EVERY, self._look)

    def came(self, sessions: int) -> None:
        """Where sessions only take each other's place nothing is told, and their garbage is found as any other."""
        if sessions >= self._settled + SETTLE_EVERY and self._unclean <= GARBAGE_MAX:
            self._settled = sessions
            settle_gc()

    def went(self, sessions: int) -> None:
        self._unclean += 1
        if sessions < self._settled // 2:
            self._settled = sessions

    def _look(self) -> None:
        """A good moment is when no request runs."""
        self._looks += 1
        if self._unclean >= SETTLE_EVERY and (self._looks >= LOOKS_MAX or not self._busy()):
            self._unclean = self._looks = 0
            clean_gc()
        self.start()
