"""Which call gets which connection: decided here, carried out by `upstream`. No input or output, no clock.

`C` is a connection, `W` a call that waits for one. Every method leaves these true:

- open + opening connections never exceed `limit`, closing ones included until they are gone;
- at most `max_waiting` calls wait beyond those for which a connection may still be opened;
- calls that wait are served in order; an idle connection is used last in, first out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)
W = TypeVar("W", bound=Hashable)


class Slots(Generic[C, W]):
    """The bookkeeping of one upstream's connections. After any call that may free or need one: `advance`."""

    __slots__ = ("_limit", "_max_waiting", "closing", "idle", "open", "opening", "waiting")

    def __init__(self, limit: int, max_waiting: int) -> None:
        self._limit = limit
        self._max_waiting = max_waiting
        self.idle: dict[C, float] = {}
        """Unused connections and since when; the last one in comes first out."""
        self.waiting: OrderedDict[W, bool] = OrderedDict()
        """Calls without a connection, oldest first; True: only a newly opened one will do."""
        self.open = 0
        """Established connections: idle, busy and closing."""
        self.closing = 0
        """Those of `open` that are being closed."""
        self.opening = 0

    def take(self, idle_after: float) -> C | None:
        """The last used idle connection, provided that it became idle at `idle_after` or later."""
        if not self.idle:
            return None
        connection, since = self.idle.popitem()
        if since >= idle_after:
            return connection
        self.idle[connection] = since
        return None

    def wait(self, waiter: W) -> bool:
        """Queue a call for which `take` had nothing. False: too many wait already."""
        busy = self.open - self.closing - len(self.idle)
        if len(self.waiting) >= self._max_waiting + self._limit - busy:
            return False
        self.waiting[waiter] = False
        return True

    def wait_again(self, waiter: W) -> None:
        """Queue a call whose reused connection turned out to be closed: first in line, for a new one only."""
        self.waiting[waiter] = True
        self.waiting.move_to_end(waiter, last=False)

    def withdraw(self, waiter: W) -> None:
        """The call does not wait any more."""
        self.waiting.pop(waiter, None)

    def advance(self) -> tuple[int, list[C]]:
        """How many connections to open, booked already, and which idle ones to close first to make room."""
        needed = len(self.waiting) - self.opening
        if needed <= 0:
            return 0, []
        opened = min(needed, self._limit - self.open - self.opening)
        self.opening += opened
        short = needed - opened - self.closing
        return opened, list(self.idle)[:short] if short > 0 else []  # longest idle first

    def opened(self, connection: C, now: float) -> W | None:
        """A connection was opened: the call to serve with it, or None and it is idle."""
        self.opening -= 1
        self.open += 1
        if self.waiting:
            return self.waiting.popitem(last=False)[0]
        self.idle[connection] = now
        return None

    def open_failed(self) -> W | None:
        """A connection could not be opened: the call that fails with it, if one depended on it."""
        self.opening -= 1
        if len(self.waiting) > self.opening:
            return self.waiting.popitem(last=False)[0]
        return None

    def released(self, connection: C, now: float) -> W | None:
        """A busy connection finished its exchange: the call to serve with it, or None and it is idle."""
        for waiter, new_only in self.waiting.items():
            if not new_only:
                del self.waiting[waiter]
                return waiter
        self.idle[connection] = now
        return None

    def discarded(self, connection: C) -> None:
        """A connection, idle or busy, is being closed. Call once, and `gone` later."""
        self.idle.pop(connection, None)
        self.closing += 1

    def gone(self) -> None:
        """A discarded connection is closed."""
        self.open -= 1
        self.closing -= 1
