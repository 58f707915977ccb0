"""The common case of websocket framing (RFC 6455 section 5.2), with as few copies as possible.

Whole binary messages in one frame are all that our peers send between the handshakes. `websockets` copies such a
message up to six times on its way through. Everything else (control frames, fragments, reserved bits, lengths
beyond the limit) goes to it unchanged, so that its rules stay the only ones.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from typing import Final

from protocol.limits import MESSAGE_MAX

try:
    from websockets.speedups import apply_mask as _apply_mask
except ImportError:  # a platform without the C extension
    from websockets.utils import apply_mask as _apply_mask

_apply: Callable[[bytes | memoryview, bytes | memoryview], bytes] = _apply_mask  # type: ignore[assignment]
Buffer = bytes | memoryview

_BINARY: Final = 0x82
"""FIN, no reserved bits, opcode binary."""

_MASKED: Final = 0x80
_JOIN: Final = 16 * 1024
"""Messages up to this size are copied behind their header; larger ones travel as a buffer of their own."""

_short = struct.Struct(">BBH").pack
_long = struct.Struct(">BBQ").pack


def frame(message: bytes, masked: bool) -> list[bytes]:
    """The buffers to write for one binary message; a client's are masked with a fresh key."""
    size = len(message)
    mask_bit = _MASKED if masked else 0
    if size < 126:
        head = bytes((_BINARY, mask_bit | size))
    elif size < 65536:
        head = _short(_BINARY, mask_bit | 126, size)
    else:
        head = _long(_BINARY, mask_bit | 127, size)
    if masked:
        key = _fresh_key()
        head += key
        message = _apply(message, key)
    return [head + message] if size <= _JOIN else [head, message]


class _Keys:
    """Masking keys from the system's generator, which is asked once for many (RFC 6455 section 10.3)."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def fresh(self) -> bytes:
        at = self._at
        if at >= len(self._pool):
            self._pool = secrets.token_bytes(4096)
            at = 0
        self._at = at + 4
        return self._pool[at : at + 4]


_fresh_key = _Keys().fresh


class FrameReader:
    """Cuts what arrives into messages. `masked`: whether the peer's frames are, i.e. it is the client."""

    __slots__ = ("_held", "_held_size", "_masked", "_needed")

    def __init__(self, masked: bool) -> None:
        self._masked = masked
        self._held: list[bytes] = []
        self._held_size = 0
        self._needed = 2

    def feed(self, data: bytes, deliver: Callable[[Buffer], None]) -> bytes:
        """Call `deliver` with each message that `data` completes; it must not keep the buffer.

        Returns b"", or, from the first frame on that is not the common case, the bytes that `websockets` must get.
        """
        if self._held:
            self._held.append(data)
            self._held_size += len(data)
            if self._held_size < self._needed:
                return b""
            data = b"".join(self._held)
            self._held.clear()
        at = 0
        end = len(data)
        view = memoryview(data)
        while end - at >= 2:
            size = data[at + 1]
            if data[at] != _BINARY or (size >= _MASKED) is not self._masked:
                return data[at:]
            size &= 0x7F
            body = at + 2
            if size == 126:
                body += 2
                size = int.from_bytes(view[at + 2 : body], "big")
            elif size == 127:
                body += 8
                size = int.from_bytes(view[at + 2 : body], "big")
            if size > MESSAGE_MAX and body <= end:
                return data[at:]
            if self._masked:
                body += 4
            if body > end or body + size > end:
                self._needed = body + size - at if body <= end else 14
                break
            if self._masked:
                deliver(_apply(view[body : body + size], view[body - 4 : body]))
            else:
                deliver(view[body : body + size])
            at = body + size
        else:
            self._needed = 2
        if at < end:
            self._held.append(data[at:] if at else data)
            self._held_size = end - at
        return b""
