"""Who watches: a bounded queue for each, fed by the hub's tap and emptied at a bounded pace.

A reader that is slow, or wants more than it can have, loses lines and is told how many; the hub waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from protocol.ops.access import Formatter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from protocol.ops.access import AccessRecord
    from tunnel_hub.hub import Hub

    from .filters import Filter

LISTENERS_MAX: Final = 8
"""Readers at once."""

QUEUE_MAX: Final = 1000
"""Lines that wait for one reader."""

PIECE: Final = 200
"""Lines formatted at once, some 1 ms of the event loop."""

GATHER: Final = 0.1
"""Seconds between two pieces: at most 2,000 lines a second for each reader."""

HEARTBEAT: Final = 10.0
"""Seconds without a line after which the stream says that it lives."""

_encode_lines: Any = msgspec.json.Encoder().encode_lines


class TooManyError(Exception):
    """All places are taken."""


class Listener:
    """One reader."""

    def __init__(self, wanted: Filter, operator: str) -> None:
        self.operator = operator
        self.dropped = 0
        """Lines lost since the last one that was queued."""
        self.woken = asyncio.Event()
        self.queue: deque[AccessRecord | int] = deque()
        """Lines that wait; a number stands for so many that were lost at this place."""
        self._matches = wanted.matches

    def offer(self, record: AccessRecord) -> None:
        """One request is over."""
        if not self._matches(record):
            return
        if len(self.queue) >= QUEUE_MAX:
            self.dropped += 1
            return
        if self.dropped:
            self.queue.append(self.dropped)
            self.dropped = 0
        self.queue.append(record)
        self.woken.set()

    def take(self) -> list[AccessRecord | int]:
        """The next piece; what was lost behind it is told at the end."""
        queue = self.queue
        piece = [queue.popleft() for _ in range(min(PIECE, len(queue)))]
        if queue:
            self.woken.set()
        elif self.dropped:
            piece.append(self.dropped)
            self.dropped = 0
        return piece


class Tail:
    """The readers of one hub. `close` at the end."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._listeners: list[Listener] = []
        self._closing = False

    def __len__(self) -> int:
        return len(self._listeners)

    def listen(self, wanted: Filter, operator: str) -> Listener:
        """A new reader, from now on; `leave` must follow. Raises TooManyError."""
        if len(self._listeners) >= LISTENERS_MAX or self._closing:
            raise TooManyError
        listener = Listener(wanted, operator)
        self._listeners.append(listener)
        self._hub.taps.append(listener.offer)
        return listener

    def leave(self, listener: Listener) -> None:
        """The reader is gone. Idempotent."""
        if listener in self._listeners:
            self._listeners.remove(listener)
            self._hub.taps.remove(listener.offer)
            listener.queue.clear()

    async def lines(
        self, listener: Listener, allowed: Callable[[], bool] = lambda: True, heartbeat: float = HEARTBEAT
    ) -> AsyncIterator[bytes]:
        """JSON lines: access-log lines, and those with `tail`, which say something about the stream itself.

        allowed: whether the reader still is an operator; asked before each piece, and at heartbeats.
        """
        line, access = Formatter().line, self._hub.access
        yield _about("begins", hub=self._hub.id)
        while True:
            try:
                async with asyncio.timeout(heartbeat):
                    await listener.woken.wait()
            except TimeoutError:
                if allowed():
                    yield _about("heartbeat")
                    continue
            if not allowed():
                yield _about("ends", reason="its operator has left the configuration")
                return
            listener.woken.clear()
            shown = access.query_strings
            piece: list[object] = [
                {"tail": "dropped", "lines": taken} if isinstance(taken, int) else line(shown, *taken)
                for taken in listener.take()
            ]
            if piece:
                yield _encode_lines(piece)
            if self._closing and not listener.queue:
                yield _about("ends", reason="the hub stops")
                return
            await asyncio.sleep(0 if self._closing else GATHER)

    def close(self) -> None:
        """Let every stream say what it has and end."""
        self._closing = True
        for listener in self._listeners:
            listener.woken.set()


def _about(what: str, **values: object) -> bytes:
    return msgspec.json.encode({"tail": what, **values}) + b"\n"
