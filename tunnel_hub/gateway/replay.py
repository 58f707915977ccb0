"""The ids of bearers that were used already, each kept for as long as the bearer could be used again."""

from __future__ import annotations

from hashlib import blake2b
from heapq import heappop, heappush
from typing import Final

from tunnel_hub.gateway.grant import Unverifiable

IDS: Final = 200_000
_DIGEST_BYTES: Final = 16


class Replay:
    """A bounded window of ids. Expired ones go a few at each call, never by a scan."""

    __slots__ = ("_ends", "_limit", "_seen")

    def __init__(self, limit: int = IDS) -> None:
        self._limit = limit
        self._seen: set[bytes] = set()
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
        while self._ends and self._ends[0][0] < now:
            self._seen.discard(heappop(self._ends)[1])
        key = blake2b(f"{owner} {name}".encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
        if key in self._seen:
            return False
        if len(self._seen) >= self._limit:
            raise Unverifiable("The gateway remembers as many bearer ids (jti) as it can; repeat a little later.")
        self._seen.add(key)
        heappush(self._ends, (until, key))
        return True
