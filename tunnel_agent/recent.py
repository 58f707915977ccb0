"""The last requests that failed at an upstream or were refused by the boundary, for whoever looks for the reason.

A path is kept as its shape, without query: identifiers in it may be personal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from protocol.errors import StreamCode
from protocol.http.shape import shape_of
from protocol.ops.words import safe

KEPT: Final = 50
"""Entries that are kept, and at most taken in one second: a flood of failures costs next to nothing."""

_WORD_MAX: Final = 64
"""Characters of each word of the hub's."""


class Trouble(NamedTuple):
    """One request that did not go well. at: seconds of the wall clock. refused: by the boundary."""

    at: float
    refused: bool
    service: str
    method: str
    path: str
    code: StreamCode
    reason: str
    hub: str
    request_id: str


class Recent:
    """The newest `KEPT` troubles."""

    __slots__ = ("_clock", "_second", "_taken", "_troubles", "left_out")

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: the wall clock."""
        self._clock = clock
        self._troubles: deque[Trouble] = deque(maxlen=KEPT)
        self._second = 0
        self._taken = 0
        self.left_out = 0
        """Troubles that came too fast to be kept."""

    def note(
        self,
        service: str,
        method: bytes,
        target: bytes,
        code: StreamCode,
        reason: str,
        *,
        hub: str,
        request_id: bytes,
        refused: bool = False,
    ) -> None:
        """Keep one, unless this second has brought enough of them."""
        at = self._clock()
        if int(at) != self._second:
            self._second, self._taken = int(at), 0
        if self._taken >= KEPT:
            self.left_out += 1
            return
        self._taken += 1
        # A hostile hub's words may be long, and may be meant for a terminal.
        identity = safe(request_id[:_WORD_MAX].decode("ascii", "replace"))
        words = safe(method[:_WORD_MAX].decode("ascii", "replace")), shape_of(target)
        self._troubles.append(Trouble(at, refused, safe(service[:_WORD_MAX]), *words, code, reason, hub, identity))

    def newest(self) -> list[Trouble]:
        """The newest first."""
        return list(reversed(self._troubles))
