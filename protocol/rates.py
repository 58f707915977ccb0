"""A token bucket: how many events of a kind a peer may cause."""

from __future__ import annotations


class TokenBucket:
    """Allows `rate` events a second with bursts of up to `burst` (default: two seconds' worth)."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, now: float, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = 2 * rate if burst is None else burst
        self._tokens = self._burst
        self._updated = now

    def allow(self, now: float) -> bool:
        """Take one token; False when the peer goes beyond its rate."""
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
