"""Callers as the hub tells them apart, and how many requests each of them may have running.

Until callers authenticate, a caller is an address: the peer's, or what a trusted proxy says of it.
"""

from __future__ import annotations

from .instances import UNLIMITED


class Callers:
    """Running requests by caller. `limited` false: nobody need be counted, and nobody is."""

    __slots__ = ("_limit", "_running", "limited")

    def __init__(self, limit: int = UNLIMITED) -> None:
        self._running: dict[str, int] = {}
        self.set_limit(limit)

    def set_limit(self, limit: int) -> None:
        """What holds from now on. Those that run while there was no limit are not counted."""
        self._limit = limit
        self.limited = limit < UNLIMITED
        if not self.limited:
            self._running.clear()  # their ends will not be told

    def may_run(self, caller: str) -> bool:
        """Whether the caller may have one more request running."""
        return not self.limited or self._running.get(caller, 0) < self._limit

    def began(self, caller: str) -> None:
        self._running[caller] = self._running.get(caller, 0) + 1

    def ended(self, caller: str) -> None:
        left = self._running.get(caller, 0) - 1
        if left > 0:
            self._running[caller] = left
        else:
            self._running.pop(caller, None)
