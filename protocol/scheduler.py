"""Whose body bytes go next: round-robin, one frame a turn, over streams that have bytes and credit.

Control frames never pass here: the session sends them first, so nothing queued can delay a RESET or a PONG.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from . import frames
from .codec import encode, encode_data_head
from .limits import DATA_FRAME, DATA_MAX, SEND_HIGH, SEND_LOW
from .stalls import Stalls

if TYPE_CHECKING:
    from .stream import Stream

Buffer = bytes | memoryview


class Outbox:
    """Body bytes of one stream that wait for credit and their turn, and how the half is to end."""

    __slots__ = ("blocked", "buffers", "ending", "queued", "trailers")

    def __init__(self) -> None:
        self.buffers: deque[Buffer] = deque()
        self.queued = 0
        self.ending = False
        self.trailers: list[bytes] | None = None
        self.blocked = False

    def put(self, data: Buffer) -> bool:
        """Queue bytes; False asks the source to pause until the stream is writable again."""
        self.buffers.append(data)
        self.queued += len(data)
        if self.queued > SEND_HIGH:
            self.blocked = True
        return not self.blocked

    def take(self, size: int) -> list[Buffer]:
        """Remove exactly `size` bytes (at most `queued`), as slices of what was put."""
        self.queued -= size
        parts: list[Buffer] = []
        buffers = self.buffers
        while size:
            head = buffers[0]
            length = len(head)
            if length <= size:
                parts.append(buffers.popleft())
                size -= length
            else:
                view = memoryview(head)
                parts.append(view[:size])
                buffers[0] = view[size:]
                size = 0
        return parts

    def unblock(self) -> bool:
        """True once after the source was paused and the queue has fallen low enough."""
        if self.blocked and self.queued <= SEND_LOW:
            self.blocked = False
            return True
        return False


class Scheduler:
    """The ring of streams that can send a DATA frame now."""

    __slots__ = ("_ring", "_stalls")

    def __init__(self, stalls: Stalls | None = None) -> None:
        """stalls: told of streams that have bytes and no credit."""
        self._ring: dict[Stream, None] = {}
        self._stalls = stalls or Stalls()

    def __bool__(self) -> bool:
        return bool(self._ring)

    def add(self, stream: Stream) -> None:
        """Enter `stream` at the end of the ring if it has something to send; harmless if it is in already."""
        outbox = stream.outbox
        if outbox is None:
            return
        if outbox.queued:
            if stream.credit > 0:
                self._ring[stream] = None
            else:
                self._stalls.begin(stream)
        elif outbox.ending:
            self._ring[stream] = None

    def credited(self, stream: Stream) -> None:
        """`stream` has credit again, or more of it."""
        self._stalls.end(stream)
        self.add(stream)

    def clear(self) -> None:
        """Nothing more is sent."""
        self._ring.clear()

    def remove(self, stream: Stream) -> None:
        """The stream sends no more."""
        self._ring.pop(stream, None)
        self._stalls.end(stream)

    def next_frame(self, parts: list[Buffer], most: int = DATA_MAX) -> tuple[Stream, int, bool]:
        """Append one frame of the next stream to `parts`, of at most `most` body bytes.

        Returns the stream, the frame's bytes on the wire, and whether it ended the stream's sending half.
        The ring must not be empty.
        """
        ring = self._ring
        stream = next(iter(ring))
        del ring[stream]
        outbox = stream.outbox
        assert outbox is not None
        size = min(outbox.queued, stream.credit, DATA_FRAME if ring else DATA_MAX, most)
        last = outbox.ending and size == outbox.queued
        if size == 0 and outbox.trailers is not None:
            frame = encode((frames.TRAILERS, stream.id, outbox.trailers))
            parts.append(frame)
            return stream, len(frame), True
        ends = last and outbox.trailers is None
        head = encode_data_head(stream.id, frames.END if ends else 0, size)
        parts.append(head)
        if size:
            parts.extend(outbox.take(size))
            stream.credit -= size
        if not ends:
            self.add(stream)
        return stream, len(head) + size, ends
