"""Which signed requests have been let through: each nonce of a signer counts once.

A nonce is remembered until its signature is too old to be accepted anyway. Whatever is forgotten stays refused,
though the clock be set back: nothing created at or before the newest one forgotten is taken any more.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

NONCES_MAX: Final = 200_000
"""Nonces remembered at once, some 150 bytes each: 660 requests a second at a window of 5 minutes."""


class Replayed(ValueError):
    """The nonce was used, or it cannot be told any more that it was not. The message is a sentence."""


class MemoryFull(Exception):
    """No more nonces can be remembered just now."""


class Nonces:
    """The memory of one agent, for all its services."""

    __slots__ = ("_forgotten", "_limit", "_used", "_window")

    def __init__(self, window: float, limit: int = NONCES_MAX) -> None:
        """window: how long after its creation a signature is accepted at the most, in seconds."""
        self._window = window
        self._limit = limit
        self._used: OrderedDict[bytes, int] = OrderedDict()  # when it was created
        self._forgotten = 0

    def use(self, signer: str, nonce: str, created: int, now: float) -> bytes:
        """Note the nonce, once its signature was found good; returns what `free` takes.

        created: the signature's; now: the wall clock. Both in seconds since 1970.

        Raises:
            Replayed: it is known, or its signature is not younger than one already forgotten.
            MemoryFull: at the limit.
        """
        used = self._used
        while used:
            key, oldest = next(iter(used.items()))
            if oldest + self._window >= now:
                break
            del used[key]
            self._forgotten = max(self._forgotten, oldest)
        key = hashlib.blake2b(f"{signer}\n{nonce}".encode(), digest_size=16).digest()
        if key in used:
            raise Replayed("the nonce was used before: sign every request, and every repetition, anew")
        if created <= self._forgotten:
            raise Replayed("the signature is older than others that are forgotten already: sign the request anew")
        if len(used) >= self._limit:
            raise MemoryFull
        used[key] = created
        return key

    def free(self, key: bytes) -> None:
        """The request got nowhere: the same signed request may come again. Idempotent."""
        self._used.pop(key, None)

    def __len__(self) -> int:
        return len(self._used)
