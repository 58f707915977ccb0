"""Reads every message between the two ends with its own eyes and holds it against the rules of the wire.

It keeps its own state of every stream and its own account of credit; nothing is asked of the session except
which streams could send (for the fairness rule).
"""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

from protocol import frames
from protocol.limits import DATA_MAX, MESSAGE_MAX, MESSAGE_TARGET
from protocol.session import Session
from protocol.stream import BODY

from .ledger import require

Ready = dict[int, list[int]]
"""By stream: the bytes that wait, and whether trailers follow them."""

_BULK = {frames.DATA, frames.TRAILERS}
OVERHEAD = 8
"""Bytes by which two packings of one DATA frame may differ."""

_HEADS = {frames.OPEN: (2, 12), frames.ANSWER: (2, 7)}


class Sender:
    """One stream's half on the wire, as its sender wrote it."""

    __slots__ = ("ended", "granted", "head", "reset", "sent")

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.sent = 0
        self.head = False
        self.ended = False
        self.reset = False


class Monitor:
    """Watches one direction.

    Args:
        window: what the receiver of this direction grants each stream at first.
    """

    def __init__(self, name: str, window: int, opener: bool) -> None:
        self.name = name
        self._window = window
        self._opener = opener
        self.senders: dict[int, Sender] = {}
        self.messages = 0
        self.frames = 0
        self.goodbye = False
        self.pings = 0
        self._asks = False
        self.granted: dict[int, int] = {}
        self._served: dict[int, set[int]] = {}

    def sender(self, stream_id: int) -> Sender:
        found = self.senders.get(stream_id)
        if found is None:
            found = self.senders[stream_id] = Sender(self._window)
        return found

    @staticmethod
    def parse(message: bytes) -> list[list[Any]]:
        unpacker = msgpack.Unpacker(raw=False, max_buffer_size=4 * MESSAGE_MAX)
        unpacker.feed(message)
        return list(unpacker)

    # -- When a message leaves ------------------------------------------------------------------------

    @staticmethod
    def ready(session: Session) -> Ready:
        """The streams that could send a DATA or TRAILERS frame now: call before `data_to_send`."""
        result: Ready = {}
        for stream in session.streams.values():
            outbox = stream.outbox
            if outbox is None or stream.sending != BODY:
                continue
            if (outbox.queued and stream.credit > 0) or (outbox.ending and not outbox.queued):
                result[stream.id] = [outbox.queued, outbox.trailers is not None]
        return result

    def sent(self, message: bytes, ready: Ready) -> None:
        """Hold one message against the rules. `ready` is what `ready` returned just before."""
        require(len(message) <= MESSAGE_MAX, f"{self.name}: a message of {len(message)} bytes")
        require(not self.goodbye, f"{self.name}: a message after GOODBYE")
        self.messages += 1
        bulk = alone = False
        frame: list[Any] = []
        self._served = {stream_id: self._served.get(stream_id, set()) for stream_id in ready}
        for frame in self.parse(message):
            self.frames += 1
            kind = frame[0]
            if kind in _BULK:
                bulk = True
                require(frame[1] in ready, f"{self.name}: stream {frame[1]} sent without being ready")
            else:
                alone = alone or kind == frames.PING
                require(not bulk, f"{self.name}: {frames.NAMES[kind]} behind DATA")
            self._frame(kind, frame)
            require(not (bulk and alone), f"{self.name}: DATA behind a PING")
            if bulk:
                self._fair(frame[1], len(frame[3]) if kind == frames.DATA else 0, ready)
        if len(message) > MESSAGE_TARGET:
            before = len(message) - len(msgpack.packb(frame)) - OVERHEAD
            most = MESSAGE_TARGET if bulk else MESSAGE_MAX // 2
            require(before < most, f"{self.name}: {len(message)} bytes and a frame more than needed")

    def _fair(self, stream_id: int, size: int, ready: Ready) -> None:
        """No stream goes twice while another that could send goes not at all."""
        for other, served in self._served.items():
            if other != stream_id:
                require(stream_id not in served, f"{self.name}: stream {other} starves beside {stream_id}")
                served.add(stream_id)
        half, state = self.senders[stream_id], ready[stream_id]
        state[0] -= size
        if not half.ended and (half.sent < half.granted if state[0] else state[1]):
            self._served[stream_id] = set()
        else:
            del self._served[stream_id]

    def _frame(self, kind: int, frame: list[Any]) -> None:
        name = self.name
        if kind == frames.GOODBYE:
            self.goodbye = True
        require(kind == frames.PING or not self._asks, f"{name}: DRAIN is not followed by PING")
        self._asks = kind == frames.DRAIN and frame[1] is None
        if kind == frames.PING:
            self.pings += 1
        if kind == frames.OFFER:
            require(not self._opener, f"{name}: OFFER from the hub")
        if kind in {frames.PING, frames.PONG, frames.DRAIN, frames.OFFER, frames.GOODBYE}:
            return
        stream_id = frame[1]
        if kind == frames.CREDIT:
            require(not self.sender(stream_id).reset, f"{name}: CREDIT after RESET on {stream_id}")
            require(frame[2] > 0, f"{name}: an empty CREDIT on {stream_id}")
            self.granted[stream_id] = self.granted.get(stream_id, 0) + frame[2]
            return
        half = self.sender(stream_id)
        require(not half.reset, f"{name}: {frames.NAMES[kind]} after RESET on {stream_id}")
        if kind == frames.RESET:
            half.reset = True
            return
        require(not half.ended, f"{name}: {frames.NAMES[kind]} after the end of {stream_id}")
        if kind in _HEADS:
            require((kind == frames.OPEN) is self._opener, f"{name}: {frames.NAMES[kind]} from the wrong side")
            require(not half.head, f"{name}: two heads on {stream_id}")
            half.head = True
            flags_at, body_at = _HEADS[kind]
            self._bytes(half, stream_id, frame[flags_at], frame[body_at])
        elif kind == frames.INTERIM:
            require(not self._opener and not half.head, f"{name}: INTERIM out of order on {stream_id}")
        elif kind == frames.DATA:
            require(half.head, f"{name}: DATA before the head on {stream_id}")
            require(frame[3] or frame[2], f"{name}: an empty DATA frame on {stream_id}")
            self._bytes(half, stream_id, frame[2], frame[3])
        else:
            require(kind == frames.TRAILERS and half.head, f"{name}: an unexpected frame {kind}")
            half.ended = True

    def _bytes(self, half: Sender, stream_id: int, flags: int, body: bytes) -> None:
        require(len(body) <= DATA_MAX, f"{self.name}: {len(body)} bytes in a frame")
        half.sent += len(body)
        require(
            half.sent <= half.granted,
            f"{self.name}: stream {stream_id} sent {half.sent} of {half.granted} granted",
        )
        half.ended = bool(flags & frames.END)

    # -- When a message arrives -----------------------------------------------------------------------

    def arrived(self, message: bytes) -> None:
        """A message of the other direction came: the credit in it may be used from now on."""
        for frame in self.parse(message):
            if frame[0] == frames.CREDIT:
                self.sender(frame[1]).granted += frame[2]
