"""Bytes to frames and back, with explicit msgpack limits.

Every websocket message holds whole frames, so nothing is kept between messages and one codec serves all the
sessions of a process: its buffers are not paid for per session.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]

from . import frames
from .errors import ProtocolViolation, SessionCode
from .limits import DATA_MAX, MESSAGE_MAX

Frame = list[Any]
Buffer = bytes | memoryview

_DATA_HEAD = struct.Struct(">BBBIBBH")
_ARRAY_4, _UINT32, _BIN16 = 0x94, 0xCE, 0xC5
_DATA_START = bytes((_ARRAY_4, frames.DATA, _UINT32))
_NIL = b"\xc0"
_NOTHING: tuple[()] = ()

_packer = msgpack.Packer(use_bin_type=True, autoreset=True)
encode = _packer.pack
"""encode(sequence) -> bytes: one frame. Fields must be bytes, names of services str."""


def encode_data_head(stream_id: int, flags: int, size: int) -> bytes:
    """The bytes of a DATA frame before its body of `size` bytes (at most 65,535): bodies are not packed."""
    return _DATA_HEAD.pack(_ARRAY_4, frames.DATA, _UINT32, stream_id, flags, _BIN16, size)


class Decoder:
    """Turns messages into frames; refuses maps, extensions, deep nesting and anything beyond its limits."""

    __slots__ = ("_fed", "_max_message", "_unpacker")

    def __init__(self, max_message: int = MESSAGE_MAX) -> None:
        self._max_message = max_message
        self._unpacker = self._fresh()

    def _fresh(self) -> Any:
        self._fed = 0
        return msgpack.Unpacker(
            raw=False,
            use_list=True,
            strict_map_key=True,
            max_buffer_size=self._max_message + 1,
            max_bin_len=self._max_message,
            max_str_len=1024,
            max_array_len=512,
            max_map_len=0,
            max_ext_len=0,
        )

    def decode(self, message: Buffer, handle: Callable[[Frame], None]) -> None:
        """Call `handle` with each frame of one message, in order; frames are arrays whose first element is an int.

        Lazily: a message full of rubbish costs one frame. `handle` may raise ValueError, TypeError, KeyError or
        AttributeError for a malformed frame. It must not call `decode` again.

        Raises:
            ProtocolViolation: the message is empty, too large, or not a sequence of whole and proper frames.
        """
        if not 0 < len(message) <= self._max_message:
            raise ProtocolViolation(f"a message of {len(message)} bytes", SessionCode.LIMIT_EXCEEDED)
        if message[:3] == _DATA_START:
            message = self._decode_data(message, handle)
            if not message:
                return
        unpacker = self._unpacker
        frame: Any = _NOTHING
        try:
            unpacker.feed(message)
            self._fed += len(message) + 1
            # A nil that comes out as a frame of its own shows that the message did not end inside one.
            unpacker.feed(_NIL)
            for frame in unpacker:
                if type(frame) is not list:
                    break
                handle(frame)
            if frame is None and unpacker.tell() == self._fed:
                return
        except ProtocolViolation:
            del unpacker  # the traceback would keep it, and its buffer of half a megabyte
            self._unpacker = self._fresh()
            raise
        except Exception as error:  # msgpack raises many types for bad input; each is the peer's fault
            del unpacker
            self._unpacker = self._fresh()
            raise ProtocolViolation(f"a malformed {_name(frame)} frame ({type(error).__name__})") from None
        del unpacker
        self._unpacker = self._fresh()
        raise ProtocolViolation("a message that does not hold whole frames")

    @staticmethod
    def _decode_data(message: Buffer, handle: Callable[[Frame], None]) -> Buffer:
        """Handle the DATA frames that a message begins with, in the layout of `encode_data_head`; return the rest.

        Bulk messages hold nothing else, and msgpack would copy each body twice. Neighbours of one stream become
        one `Run`, so that the next socket is written to once.
        """
        at = 0
        end = len(message)
        run_id, run_flags = 0, 0
        bodies: list[Buffer] = []
        while end - at >= _DATA_HEAD.size and message[at : at + 3] == _DATA_START:
            _, _, _, stream_id, flags, bin16, size = _DATA_HEAD.unpack_from(message, at)
            body = at + _DATA_HEAD.size
            if bin16 != _BIN16 or flags > 1 or size > DATA_MAX or not (size or flags) or body + size > end:
                break
            if bodies and (stream_id != run_id or run_flags):
                _handle_run(run_id, run_flags, bodies, handle)
                bodies = []
            run_id, run_flags = stream_id, flags
            at = body + size
            bodies.append(message[body:at])
        if bodies:
            _handle_run(run_id, run_flags, bodies, handle)
        return message[at:] if at else message


class Run(list[Any]):
    """A DATA frame that stands for several in a row, each of which was within DATA_MAX."""

    __slots__ = ()


def _handle_run(stream_id: int, flags: int, bodies: list[Buffer], handle: Callable[[Frame], None]) -> None:
    try:
        handle(Run((frames.DATA, stream_id, flags, b"".join(bodies))))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ProtocolViolation(f"a malformed DATA frame ({type(error).__name__})") from None


def _name(frame: Any) -> str:
    """The frame's name for an error message, if it has one."""
    kind = frame[0] if type(frame) is list and frame else None
    return frames.NAMES.get(kind, "unknown") if type(kind) is int else "unknown"
