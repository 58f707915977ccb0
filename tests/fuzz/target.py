"""One input, one session that receives it; only violations may come out, and nothing may grow without bound.

Layout of an input: byte 0: 1 is the hub, 2 a session with streams, 4 an application that reacts; then messages,
each behind its length in two bytes (big-endian; the last may be cut short).
"""

from __future__ import annotations

import struct

from protocol.errors import SessionError, StreamCode
from protocol.events import DataReceived, Event, Opened
from protocol.flow import MemoryBudget
from protocol.limits import MESSAGE_MAX, MIB, SEND_HIGH, Limits
from protocol.session import Session
from tests.sim.pair import HEAD, open_frame, pack

LIMITS = Limits(max_streams=16, window=32 * 1024, window_max=256 * 1024)
_OPENED = pack(open_frame(1, 2), open_frame(3, 1, body=b"x"), open_frame(5, 0))


def split(data: bytes) -> list[bytes]:
    """The messages of an input."""
    result, at = [], 1
    while at + 2 <= len(data):
        (size,) = struct.unpack_from(">H", data, at)
        result.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return result


def join(mode: int, messages: list[bytes]) -> bytes:
    """The input of these messages."""
    return bytes([mode]) + b"".join(struct.pack(">H", len(message)) + message for message in messages)


def _session(mode: int, budget: MemoryBudget) -> Session:
    session = Session(bool(mode & 1), LIMITS, LIMITS, budget, 100.0)
    if mode & 2:
        session.start(100.0)
        if session.opener:
            for end in (True, False, True):
                session.open(None, 100.0, **HEAD, end=end)
        else:
            first = next(iter(session.receive(_OPENED, 100.0)))
            assert isinstance(first, Opened)
            session.answer(first.stream, 200, b"", [], None)
        session.data_to_send([])
    return session


def _react(session: Session, event: Event, now: float) -> None:
    """As an application might, by the stream's number."""
    if isinstance(event, Opened):
        if event.stream.id % 8 == 1:
            session.answer(event.stream, 200, b"", [], None, b"a" * 20_000, event.end)
        elif event.stream.id % 8 == 3:
            session.reset(event.stream, StreamCode.BOUNDARY_REFUSED, now)
    elif isinstance(event, DataReceived):
        session.consumed(event.stream, len(event.body), now)


def run(data: bytes) -> str:
    """Feed one input; returns the code's name with which the session ended, or ""."""
    mode = data[0] if data else 0
    budget = MemoryBudget(MIB)
    session = _session(mode, budget)
    now, code = 100.0, ""
    for message in split(data):
        try:
            events = session.receive(message, now)
        except SessionError as error:
            code = error.code.name
            break
        if mode & 4:
            for event in events:
                if event.stream is None or not event.stream.silent:
                    _react(session, event, now)
        assert len(session.streams) <= LIMITS.max_streams
        assert budget.used <= budget.limit
        while sent := session.data_to_send([]):
            assert len(sent) <= MESSAGE_MAX
        for stream in session.streams.values():
            assert (
                stream.receive_window is None or stream.silent or not stream.receive_window.check(stream.received)
            )
            assert stream.outbox is None or stream.outbox.queued <= SEND_HIGH
        now += 0.01
    session.lost()
    assert budget.used == 0 or mode & 4
    return code
