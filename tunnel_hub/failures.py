"""The latest requests that failed, for whoever looks for one or for a pattern. Nothing is kept of the others.

What went wrong at hub, tunnel, agent or upstream has a ring of its own, so that a flood of requests which were
the callers' own fault does not push it out. Of a path only its shape is kept (`protocol.http.shape`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import merge
from typing import Final

import msgspec

FAULTS_KEPT: Final = 300
DENIALS_KEPT: Final = 100


class Failure(msgspec.Struct, frozen=True):
    """One exchange that failed, or that the tunnel answered itself."""

    at: float
    """Seconds since the epoch, at its end."""
    request_id: str
    service: str
    """"" when it belonged to none."""
    caller: str
    """The verified name, "" for none; never an address."""
    method: str
    path: str
    """Its shape."""
    status: int
    """What the caller got; with a `code` and a status below 400 the answer was cut off."""
    origin: str
    """Who answered: caller, hub, tunnel, agent or upstream; "upstream" also when the answer is its own."""
    code: str
    """Of `tunnel_hub.problems`; "" when the upstream itself answered so."""
    delivered: str
    agent: str
    """The agent that had it, "" for none."""
    seconds: float
    """From its head to its end."""


def is_fault(status: int, code: str) -> bool:
    """Whether the tunnel or the upstream failed, and not the caller: what error ratios count."""
    return status >= 500 or (bool(code) and status < 400)


class Failures:
    """`add` each failure; the latest are kept."""

    __slots__ = ("_denials", "_faults")

    def __init__(self) -> None:
        self._faults: deque[Failure] = deque(maxlen=FAULTS_KEPT)
        self._denials: deque[Failure] = deque(maxlen=DENIALS_KEPT)

    def add(self, failure: Failure) -> None:
        (self._faults if is_fault(failure.status, failure.code) else self._denials).append(failure)

    def latest(self) -> Iterator[Failure]:
        """All that are kept, the latest first."""
        return merge(reversed(self._faults), reversed(self._denials), key=lambda each: -each.at)
