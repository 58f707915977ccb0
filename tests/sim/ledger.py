"""What was really handed over at each end of each half, and what may be claimed about it.

The ledger is the independent witness: it never asks the session what it sent or received.
"""

from __future__ import annotations

import random

POOL = random.Random(20250101).randbytes(4 << 20)
"""Bodies are slices of it: bytes lost, repeated or moved between streams do not compare equal."""


class Broken(AssertionError):
    """An invariant does not hold."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise Broken(message)


class Half:
    """One direction of one exchange, as its two applications see it."""

    __slots__ = (
        "aborted",
        "base",
        "end_seen",
        "ended",
        "got",
        "got_trailers",
        "head",
        "head_seen",
        "interims",
        "interims_seen",
        "name",
        "put",
        "total",
        "trailers",
    )

    def __init__(self, name: str, base: int, total: int) -> None:
        self.name = name
        self.base = base
        self.total = total
        self.head: tuple[object, ...] | None = None
        self.put = 0
        self.ended = False
        self.trailers: list[bytes] = []
        self.aborted = False
        self.interims: list[int] = []
        self.interims_seen: list[int] = []
        self.head_seen = False
        self.got = 0
        self.end_seen = False
        self.got_trailers: list[bytes] = []

    # -- The sender's side

    def begin(self, head: tuple[object, ...]) -> None:
        self.head = head

    def take(self, size: int) -> bytes:
        """The next bytes to send."""
        start = self.base + self.put
        size = min(size, self.total - self.put)
        self.put += size
        return POOL[start : start + size]

    def end(self, trailers: list[bytes]) -> None:
        require(not self.ended, f"{self.name}: the simulation ended a half twice")
        self.ended = True
        self.trailers = trailers

    # -- The receiver's side

    def on_interim(self, status: int) -> None:
        require(not self.head_seen, f"{self.name}: an interim answer after the final one")
        self.interims_seen.append(status)
        require(
            self.interims_seen == self.interims[: len(self.interims_seen)],
            f"{self.name}: interim answers changed: {self.interims_seen} of {self.interims}",
        )

    def on_head(self, head: tuple[object, ...]) -> None:
        require(not self.head_seen, f"{self.name}: two heads")
        require(head == self.head, f"{self.name}: a head that was not sent: {head} for {self.head}")
        require(self.interims_seen == self.interims, f"{self.name}: an interim answer was lost")
        self.head_seen = True

    def on_bytes(self, data: bytes) -> None:
        require(self.head_seen, f"{self.name}: a body without a head")
        require(not self.end_seen, f"{self.name}: bytes after the end")
        start = self.base + self.got
        self.got += len(data)
        require(self.got <= self.put, f"{self.name}: {self.got} bytes received, {self.put} sent")
        require(POOL[start : start + len(data)] == data, f"{self.name}: wrong bytes at {self.got - len(data)}")

    def on_end(self, trailers: list[bytes]) -> None:
        """A clean end may only be seen when all bytes of a cleanly ended half are there."""
        require(self.head_seen, f"{self.name}: an end without a head")
        require(not self.end_seen, f"{self.name}: two ends")
        require(self.ended, f"{self.name}: a clean end of a half that did not end")
        require(not self.aborted, f"{self.name}: a clean end of a half that its sender reset")
        require(self.got == self.put == self.total, f"{self.name}: an end after {self.got} of {self.put}")
        require(trailers == self.trailers, f"{self.name}: trailers {trailers} for {self.trailers}")
        self.end_seen = True
