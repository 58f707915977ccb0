"""The ids of bearers that were used already, each kept for as long as the bearer could be used again."""

from __future__ import annotations

import math
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Final

from tunnel_hub.gateway.grant import Unverifiable

IDS: Final = 200_000
SWEEP: Final = 16
"""Expired ids that one call forgets, so that none of them waits for all of them to go."""

_DIGEST_BYTES: Final = 16


class Replay:
    """A bounded window of ids. Expired ones go a few at each call, never by a scan."""

    __slots__ = ("_ends", "_limit", "_seen")

    def __init__(self, limit: int = IDS) -> None:
        self._limit = limit
        self._seen: dict[bytes, float] = {}  # through when it is used
        self._ends: list[tuple[float, bytes]] = []

    @property
    def held(self) -> int:
        """How many ids it remembers."""
        return len(self._seen)

    def first_use(self, owner: str, name: str, until: float, now: float) -> bool:
        """Whether `owner` uses the id `name` for the first time; from now on, through `until`, it is used.

        Raises:
            Unverifiable: the window is full, so that a later use could not be told from the first.
        """
        self._sweep(now)
        key = blake2b(f"{owner} {name}".encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
        if self._seen.get(key, -math.inf) >= now:
            return False
        if len(self._seen) >= self._limit:
            raise Unverifiable("The gateway remembers as many bearer ids (jti) as it can; repeat a little later.")
        self._seen[key] = until
        heappush(self._ends, (until, key))
        return True

    def _sweep(self, now: float) -> None:
        ends, seen = self._ends, self._seen
        for _ in range(SWEEP):
            if not ends or ends[0][0] >= now:
                return
            end, key = heappop(ends)
            if seen.get(key) == end:  # else it was used again since
                del seen[key]
