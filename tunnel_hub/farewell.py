"""Tells the far end of an upgraded websocket that this hub or its agent goes away (RFC 6455 section 7.4.1, 1001).

The hub does not speak websocket, it passes bytes on. To say goodbye it must know where a frame ends; behind that
it writes a close frame of its own and passes nothing more on. The caller's answer to it ends the upstream's side.
"""

from __future__ import annotations

from typing import Final

GOING_AWAY: Final = b"\x88\x02" + (1001).to_bytes(2, "big")
"""A server's close frame: FIN, opcode 8, not masked, status 1001."""

_HEAD_MAX: Final = 14


class Frames:
    """Follows the frames in one direction of a websocket; lengths only, nothing is kept of them."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # of a frame whose header is not complete
        self._left = 0  # bytes of the present frame that are still to come

    @property
    def between(self) -> bool:
        """Whether the last byte ended a frame, or nothing has come yet."""
        return not self._left and not self._head

    def advance(self, data: bytes, *, to_boundary: bool = False) -> int:
        """Take `data`, or, with `to_boundary`, only up to the first end of a frame; how many bytes were taken."""
        at, end = 0, len(data)
        while at < end:
            if to_boundary and self.between:
                break
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            known = len(self._head)
            head = self._head + data[at : at + _HEAD_MAX - known]
            size = _header_size(head)
            if size > len(head):
                self._head = head
                return end
            self._head = b""
            self._left = _payload_size(head)
            at += size - known
        return at


def _header_size(head: bytes) -> int:
    """Bytes of the header that begins with `head`; at least 2 (RFC 6455 section 5.2)."""
    if len(head) < 2:
        return 2
    length = head[1] & 0x7F
    return 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if head[1] & 0x80 else 0)


def _payload_size(head: bytes) -> int:
    length = head[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(head[2:4] if length == 126 else head[2:10], "big")


class Farewell:
    """The answer's side of one upgraded websocket."""

    __slots__ = ("_frames", "_leaving", "said")

    def __init__(self) -> None:
        self._frames = Frames()
        self._leaving = False
        self.said = False
        """The close frame was given out; nothing may follow it."""

    def say(self) -> bytes:
        """We go away: what to write now; empty when a frame must end first."""
        self._leaving = True
        if self.said or not self._frames.between:
            return b""
        self.said = True
        return GOING_AWAY

    def passing(self, data: bytes) -> bytes:
        """What to write for bytes of the upstream."""
        if self.said:
            return b""
        if not self._leaving:
            self._frames.advance(data)
            return data
        taken = self._frames.advance(data, to_boundary=True)
        return data[:taken] + self.say()
