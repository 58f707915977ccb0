"""Bytes to frames and back, with explicit msgpack limits.

Every websocket message holds whole frames, so nothing is kept between messages and one codec serves all the
sessions of a process: its buffers are not paid for per session.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack  # type: ignore[import-untyped]

from . import frames
from .errors import ProtocolViolation, SessionCode
from .limits import MESSAGE_MAX

Frame = list[Any]

_DATA_HEAD = struct.Struct(">BBBIBBH")
_ARRAY_4, _UINT32, _BIN16 = 0x94, 0xCE, 0xC5

_packer = msgpack.Packer(use_bin_type=True, autoreset=True)
encode = _packer.pack
"""encode(sequence) -> bytes: one frame. Fields must be bytes, names of services str."""


def encode_data_head(stream_id: int, flags: int, size: int) -> bytes:
    """The bytes of a DATA frame before its body of `size` bytes (at most 65,535): bodies are not packed."""
    return _DATA_HEAD.pack(_ARRAY_4, frames.DATA, _UINT32, stream_id, flags, _BIN16, size)


class Decoder:
    """Turns messages into frames; refuses maps, extensions, deep nesting and anything beyond its limits."""

    def __init__(self, max_message: int = MESSAGE_MAX) -> None:
        self._max_message = max_message
        self._fed = 0
        self._unpacker = self._fresh()

    def _fresh(self) -> Any:
        self._fed = 0
        return msgpack.Unpacker(
            raw=False,
            use_list=True,
            strict_map_key=True,
            max_buffer_size=self._max_message,
            max_bin_len=self._max_message,
            max_str_len=1024,
            max_array_len=1024,
            max_map_len=0,
            max_ext_len=0,
        )

    def decode(self, message: bytes) -> list[Frame]:
        """All frames of one message.

        Raises:
            ProtocolViolation: the message is empty, too large, or not a sequence of whole msgpack arrays.
        """
        size = len(message)
        if not 0 < size <= self._max_message:
            raise ProtocolViolation(f"a message of {size} bytes", SessionCode.LIMIT_EXCEEDED)
        unpacker = self._unpacker
        try:
            unpacker.feed(message)
            self._fed += size
            result = list(unpacker)
            if unpacker.tell() == self._fed:
                return result
        except Exception as error:  # msgpack raises many types for bad input; each is the peer's fault
            self._unpacker = self._fresh()
            raise ProtocolViolation(f"a message that is not msgpack ({type(error).__name__})") from None
        self._unpacker = self._fresh()
        raise ProtocolViolation("a message that ends inside a frame")
