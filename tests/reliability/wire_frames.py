"""Finds the ends of the tunnel's frames in what an agent sends over plain `ws://`, byte for byte as they pass."""

from __future__ import annotations

from typing import Any

import msgpack

from protocol.frames import ANSWER, DATA, TRAILERS

COUNTED = frozenset({ANSWER, DATA, TRAILERS})
BINARY = 2


def _apply_mask(data: bytes, mask: bytes, offset: int) -> bytes:
    size = len(data)
    turned = mask[offset % 4 :] + mask[: offset % 4]
    repeated = (turned * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


class FrameEnds:
    """Feed it a connection's bytes from its first one on."""

    def __init__(self) -> None:
        self._head = b""
        """Bytes of the opening handshake, or of a websocket frame's header, that are not whole yet."""
        self._opened = False
        self._at = 0
        self._left = 0
        self._taken = 0
        self._mask = b""
        self._binary = False
        self._unpacker: Any = msgpack.Unpacker(raw=False, max_buffer_size=0)
        self._unpacked = 0
        """Payload bytes given to the unpacker so far."""

    def feed(self, data: bytes) -> list[int]:
        """The positions behind each ANSWER, DATA and TRAILERS frame that became complete with these bytes."""
        ends: list[int] = []
        while data:
            if not self._opened:
                data = self._opening(data)
            elif self._left:
                payload, data = data[: self._left], data[self._left :]
                ends += self._payload(payload)
            else:
                data = self._header(data)
        return ends

    def _opening(self, data: bytes) -> bytes:
        whole = self._head + data
        end = whole.find(b"\r\n\r\n")
        if end < 0:
            self._at += len(data)
            self._head = whole
            return b""
        used = end + 4 - len(self._head)
        self._at += used
        self._head = b""
        self._opened = True
        return data[used:]

    def _header(self, data: bytes) -> bytes:
        """Take one byte of a websocket frame's header."""
        self._head += data[:1]
        self._at += 1
        head = self._head
        if len(head) >= 2:
            size = head[1] & 127
            wide = {126: 2, 127: 8}.get(size, 0)
            masked = 4 if head[1] & 128 else 0
            if len(head) == 2 + wide + masked:
                self._left = int.from_bytes(head[2 : 2 + wide], "big") if wide else size
                self._mask = head[2 + wide :] or b"\0\0\0\0"
                self._binary = head[0] & 15 == BINARY
                self._taken = 0
                self._head = b""
        return data[1:]

    def _payload(self, payload: bytes) -> list[int]:
        begins = self._at
        self._at += len(payload)
        self._left -= len(payload)
        offset, self._taken = self._taken, self._taken + len(payload)
        if not self._binary:
            return []
        self._unpacker.feed(_apply_mask(payload, self._mask, offset))
        before, self._unpacked = self._unpacked, self._unpacked + len(payload)
        return [begins + self._unpacker.tell() - before for frame in self._unpacker if frame[0] in COUNTED]
