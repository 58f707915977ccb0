"""What a hostile peer may put on the wire in the middle of a run, and the code that must end its session."""

from __future__ import annotations

import random
from collections.abc import Callable

from protocol import frames
from protocol.codec import encode
from protocol.errors import SessionCode
from protocol.limits import DATA_MAX, MESSAGE_MAX, STREAM_ID_MAX
from protocol.session import Session
from protocol.stream import AWAIT, BODY, ENDED, Stream

Forged = tuple[bytes, SessionCode] | None
"""A message and the code it deserves; None when the session has no stream in the needed state."""


def _pick(session: Session, rng: random.Random, wanted: Callable[[Stream], bool]) -> Stream | None:
    found = [stream for stream in session.streams.values() if wanted(stream)]
    return rng.choice(found) if found else None


def _over(session: Session) -> list[int]:
    last = session.last_opened if session.opener else session.last_seen
    return [number for number in range(1, last + 1, 2) if number not in session.streams]


def _data(stream_id: int, size: int) -> bytes:
    return encode((frames.DATA, stream_id, 0, b"?" * size))


def overrun(session: Session, rng: random.Random) -> Forged:
    """One byte more than the credit."""
    stream = _pick(session, rng, lambda stream: stream.receiving == BODY)
    if stream is None:
        return None
    window = stream.receive_window
    left = (window.limit if window else session.ours.window) - stream.received + 1
    if left > MESSAGE_MAX - 40_000:
        return None
    parts = [_data(stream.id, min(DATA_MAX, left - at)) for at in range(0, left, DATA_MAX)]
    return b"".join(parts), SessionCode.FLOW_CONTROL


def data_after_end(session: Session, rng: random.Random) -> Forged:
    stream = _pick(session, rng, lambda stream: stream.receiving == ENDED)
    return (_data(stream.id, 1), SessionCode.PROTOCOL_ERROR) if stream else None


def data_before_answer(session: Session, rng: random.Random) -> Forged:
    stream = _pick(session, rng, lambda stream: stream.receiving == AWAIT)
    return (_data(stream.id, 1), SessionCode.PROTOCOL_ERROR) if stream else None


def second_answer(session: Session, rng: random.Random) -> Forged:
    stream = _pick(session, rng, lambda stream: stream.receiving in {BODY, ENDED})
    frame = (frames.ANSWER, stream.id if stream else 0, 0, 200, b"", [], None, b"")
    return (encode(frame), SessionCode.PROTOCOL_ERROR) if stream else None


def data_for_a_stream_that_is_over(session: Session, rng: random.Random) -> Forged:
    over = _over(session)
    if not over or session.drained_at is not None:
        return None
    return _data(rng.choice(over), 1), SessionCode.PROTOCOL_ERROR


def never_opened(session: Session, rng: random.Random) -> Forged:
    return _data(STREAM_ID_MAX, 1), SessionCode.PROTOCOL_ERROR


def credit_flood(session: Session, rng: random.Random) -> Forged:
    stream = _pick(session, rng, lambda stream: stream.sending < ENDED and stream.credit > 0)
    return (encode((frames.CREDIT, stream.id, 2**31)), SessionCode.FLOW_CONTROL) if stream else None


def torn(session: Session, rng: random.Random) -> Forged:
    whole = encode((frames.PING, 70_000))
    return whole[: rng.randint(1, len(whole) - 1)], SessionCode.PROTOCOL_ERROR


def too_many_streams(session: Session, rng: random.Random) -> Forged:
    if session.opener or session.drained_at is not None or session.ours.max_streams > 10:
        return None
    first = session.last_seen + 2
    parts = [
        encode((frames.OPEN, first + 2 * n, 1, None, "s", b"", b"GET", b"", b"/", [], None, None, b""))
        for n in range(session.ours.max_streams - len(session.streams) + 1)
    ]
    return b"".join(parts), SessionCode.LIMIT_EXCEEDED


def reset_flood(session: Session, rng: random.Random) -> Forged:
    over = _over(session)
    many = int(3 * session.ours.resets_per_second)
    return (encode((frames.RESET, over[0], 0, "")) * many, SessionCode.LIMIT_EXCEEDED) if over else None


def offer_flood(session: Session, rng: random.Random) -> Forged:
    if not session.opener:
        return None
    return encode((frames.OFFER, "s", 2, None)) * int(
        3 * session.ours.offers_per_second
    ), SessionCode.LIMIT_EXCEEDED


def offer_from_a_hub(session: Session, rng: random.Random) -> Forged:
    return None if session.opener else (encode((frames.OFFER, "s", 2, None)), SessionCode.PROTOCOL_ERROR)


def malformed_offer(session: Session, rng: random.Random) -> Forged:
    good: list[object] = [frames.OFFER, "s", 2, 5]
    place, values = rng.choice(
        [(1, [b"s", "", "s" * 65, None]), (2, [3, -1, True, None]), (3, [0, -1, 2**31, True])]
    )
    good[place] = rng.choice(values)
    return encode(good), SessionCode.PROTOCOL_ERROR


def early_pong(session: Session, rng: random.Random) -> Forged:
    """The answer to a PING that was never sent."""
    return encode((frames.PONG, 2**40)), SessionCode.PROTOCOL_ERROR


CHEATS: tuple[Callable[[Session, random.Random], Forged], ...] = (
    overrun,
    data_after_end,
    data_before_answer,
    second_answer,
    data_for_a_stream_that_is_over,
    never_opened,
    credit_flood,
    torn,
    too_many_streams,
    reset_flood,
    offer_flood,
    offer_from_a_hub,
    malformed_offer,
    early_pong,
)
