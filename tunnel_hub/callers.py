"""Callers as the hub tells them apart, and how many requests each of them may have running.

A caller is the name that it proved to have, or, where callers need not authenticate, an address: the peer's, or
what a trusted proxy says of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from .instances import UNLIMITED


class Callers:
    """Running requests by caller. `limited` false: nobody need be counted, and nobody is."""

    __slots__ = ("_limit", "_limits", "_running", "limited")

    def __init__(self, limit: int = UNLIMITED, limits: Mapping[str, int] | None = None) -> None:
        self._running: dict[str, int] = {}
        self.set_limits(limit, limits or {})

    def set_limits(self, limit: int, limits: Mapping[str, int]) -> None:
        """What holds from now on, for each of `limits` and for all others.

        Those that run while there was no limit are not counted.
        """
        self._limit = limit
        self._limits = dict(limits)
        self.limited = limit < UNLIMITED or bool(limits)
        if not self.limited:
            self._running.clear()  # their ends will not be told

    def may_run(self, caller: str) -> bool:
        """Whether the caller may have one more request running."""
        return not self.limited or self._running.get(caller, 0) < self._limits.get(caller, self._limit)

    def began(self, caller: str) -> None:
        self._running[caller] = self._running.get(caller, 0) + 1

    def ended(self, caller: str) -> None:
        left = self._running.get(caller, 0) - 1
        if left > 0:
            self._running[caller] = left
        else:
            self._running.pop(caller, None)
