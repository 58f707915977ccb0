"""What each frame of the peer means: check its shape, step the state, report events (SPEC.md, "Frames").

One function per frame; `session.py` looks them up in `HANDLERS`. A ValueError or TypeError raised here by
unpacking is a malformed frame, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import frames
from .codec import Frame, Run, encode
from .errors import ProtocolViolation, SessionCode, StreamCode
from .events import (
    Answered,
    DataReceived,
    InterimAnswered,
    Offered,
    OfferState,
    Opened,
    PeerDraining,
    PeerGoodbye,
    ResetAnswered,
    StreamReset,
    TrailersReceived,
)
from .limits import DATA_MAX, OFFER_LIMIT_MAX, STREAM_ID_MAX
from .stream import (
    ABORTED,
    AWAIT,
    BODY,
    ENDED,
    NEXT,
    ON_DATA,
    ON_END,
    ON_HEAD,
    ON_HEAD_END,
    ON_INTERIM,
    ON_RESET,
    Stream,
)

if TYPE_CHECKING:
    from .session import Session


def on_open(session: Session, frame: Frame, now: float) -> None:
    (
        _,
        stream_id,
        flags,
        deadline_ms,
        service,
        request_id,
        method,
        authority,
        target,
        fields,
        length,
        upgrade,
        body,
    ) = frame
    if session.opener or type(stream_id) is not int or stream_id <= session.last_seen or not stream_id & 1:
        raise ProtocolViolation("OPEN with a wrong stream id")
    if stream_id > STREAM_ID_MAX or type(flags) is not int or not 0 <= flags <= 7:
        raise ProtocolViolation("OPEN with a wrong stream id or flags")
    _check_head(session, fields, length, body)
    if (
        type(service) is not str
        or type(request_id) is not bytes
        or len(request_id) > 64
        or type(method) is not bytes
        or type(authority) is not bytes
        or type(target) is not bytes
        or len(target) > session.ours.target_bytes
        or len(method) + len(authority) + len(service) > 1024
        or (upgrade is not None and (type(upgrade) is not bytes or len(upgrade) > 256))
        or (deadline_ms is not None and (type(deadline_ms) is not int or deadline_ms < 0))
    ):
        raise ProtocolViolation("a malformed OPEN frame")
    session.last_seen = stream_id
    if session.drained_at is not None and stream_id > session.drained_at:
        return
    if len(session.streams) >= session.ours.max_streams:
        raise ProtocolViolation("more streams than allowed", SessionCode.LIMIT_EXCEEDED)
    end = bool(flags & frames.END)
    stream = Stream(stream_id, session.theirs.window, AWAIT, ENDED if end else BODY, None)
    stream.received = len(body)
    if not session.streams:
        session.liveness.busy(now)
    session.streams[stream_id] = stream
    session.events.append(
        Opened(
            stream,
            end,
            bool(flags & frames.CHUNKED),
            bool(flags & frames.EXPECT),
            deadline_ms,
            service,
            request_id,
            method,
            authority,
            target,
            fields,
            length,
            upgrade,
            body,
        )
    )


def on_answer(session: Session, frame: Frame, _now: float) -> None:
    _, stream_id, flags, status, reason, fields, length, body = frame
    stream = _live(session, stream_id)
    if stream is None:
        return
    if (
        type(status) is not int
        or not (200 <= status <= 999 or status == 101)
        or type(flags) is not int
        or flags & ~1
    ):
        raise ProtocolViolation("a malformed ANSWER frame")
    if type(reason) is not bytes or len(reason) > 256:
        raise ProtocolViolation("a malformed ANSWER frame")
    _check_head(session, fields, length, body)
    _step(stream, ON_HEAD_END if flags else ON_HEAD)
    if stream.sending == ABORTED:
        session.settle(stream)
        return
    stream.received = len(body)
    session.events.append(Answered(stream, flags == frames.END, status, reason, fields, length, body))
    if flags:
        session.settle(stream)


def on_interim(session: Session, frame: Frame, _now: float) -> None:
    _, stream_id, status, fields = frame
    stream = _live(session, stream_id)
    if stream is None:
        return
    if type(status) is not int or not 100 <= status <= 199 or status == 101:
        raise ProtocolViolation("a malformed INTERIM frame")
    _check_head(session, fields, None, b"")
    stream.interims += 1
    if stream.interims > session.ours.interims:
        raise ProtocolViolation("too many INTERIM frames", SessionCode.LIMIT_EXCEEDED)
    _step(stream, ON_INTERIM)
    if stream.sending != ABORTED:
        session.events.append(InterimAnswered(stream, status, fields))


def on_data(session: Session, frame: Frame, _now: float) -> None:
    _, stream_id, flags, body = frame
    stream = _live(session, stream_id)
    if stream is None:
        return
    if (
        type(body) is not bytes
        or (len(body) > DATA_MAX and type(frame) is not Run)
        or type(flags) is not int
        or flags & ~1
        or not (body or flags)
    ):
        raise ProtocolViolation("a malformed DATA frame")
    _step(stream, ON_END if flags else ON_DATA)
    stream.received += len(body)
    window = stream.receive_window
    if stream.received > (window.limit if window is not None else session.ours.window):
        raise ProtocolViolation(f"more than its credit on stream {stream.id}", SessionCode.FLOW_CONTROL)
    if stream.sending != ABORTED:
        session.events.append(DataReceived(stream, flags == frames.END, body))
    if flags:
        session.settle(stream)


def on_trailers(session: Session, frame: Frame, _now: float) -> None:
    _, stream_id, fields = frame
    stream = _live(session, stream_id)
    if stream is None:
        return
    _check_head(session, fields, None, b"")
    _step(stream, ON_END)
    if stream.sending != ABORTED:
        session.events.append(TrailersReceived(stream, fields))
    session.settle(stream)


def on_credit(session: Session, frame: Frame, _now: float) -> None:
    _, stream_id, size = frame
    stream = _known(session, stream_id)
    if type(size) is not int or not 0 < size <= 2**31:
        raise ProtocolViolation("a malformed CREDIT frame", SessionCode.FLOW_CONTROL)
    if stream is None or stream.sending >= ENDED:
        return
    stream.credit += size
    if stream.credit > 2**31:
        raise ProtocolViolation("credit beyond 2^31", SessionCode.FLOW_CONTROL)
    session.scheduler.credited(stream)


def on_reset(session: Session, frame: Frame, now: float) -> None:
    _, stream_id, code, detail = frame
    if type(code) is not int or not 0 <= code <= 255 or type(detail) is not str or len(detail) > 256:
        raise ProtocolViolation("a malformed RESET frame")
    stream = _known(session, stream_id)
    # What we opened ourselves may be refused as fast as we open it.
    if (stream is None or not session.opener) and not session.resets.allow(now):
        raise ProtocolViolation("too many RESET frames", SessionCode.LIMIT_EXCEEDED)
    if stream is None:
        return
    _step(stream, ON_RESET)
    if stream.sending < ENDED:
        session.abort_sending(stream)
        if session.opener:  # at once: what is opened from now on counts on the end of this one
            session.control.append(encode((frames.RESET, stream.id, StreamCode.NO_ERROR, "")))
        else:
            session.resets_to_answer.append(stream)
        session.events.append(StreamReset(stream, code, detail))
    elif stream.sending == ENDED:
        session.events.append(StreamReset(stream, code, detail))
    elif stream.confirm:
        _confirm(session, stream, code)
    session.settle(stream)


def on_ping(session: Session, frame: Frame, now: float) -> None:
    _, number = frame
    if type(number) is not int or not 0 <= number < 2**63:
        raise ProtocolViolation("a malformed PING frame")
    if not session.pings.allow(now):
        raise ProtocolViolation("too many PING frames", SessionCode.LIMIT_EXCEEDED)
    session.control.append(encode((frames.PONG, number)))


def on_pong(session: Session, frame: Frame, now: float) -> None:
    _, number = frame
    if type(number) is not int or not session.liveness.pong(number, now):
        raise ProtocolViolation("a PONG without its PING")
    session.ponged(number)


def on_drain(session: Session, frame: Frame, _now: float) -> None:
    _, last = frame
    if last is not None and (type(last) is not int or not 0 <= last <= STREAM_ID_MAX):
        raise ProtocolViolation("a malformed DRAIN frame")
    if last is not None or not session.peer_draining:
        session.events.append(PeerDraining(last))
    session.peer_draining = True
    if last is None or not session.opener:
        return
    for stream in [stream for stream in session.streams.values() if stream.id > last]:
        if stream.sending != ABORTED:
            session.events.append(StreamReset(stream, StreamCode.NOT_DISPATCHED, "the agent is draining"))
        elif stream.confirm:
            _confirm(session, stream, StreamCode.NOT_DISPATCHED)
        session.abort_sending(stream)
        stream.receiving = ABORTED
        session.settle(stream)


def on_offer(session: Session, frame: Frame, now: float) -> None:
    _, service, state, limit = frame
    if not session.opener:
        raise ProtocolViolation("OFFER from a hub")
    if type(service) is not str or not 0 < len(service) <= 64 or type(state) is not int:
        raise ProtocolViolation("a malformed OFFER frame")
    if limit is not None and (type(limit) is not int or not 0 < limit <= OFFER_LIMIT_MAX):
        raise ProtocolViolation("a malformed OFFER frame")
    if not session.offers.allow(now):
        raise ProtocolViolation("too many OFFER frames", SessionCode.LIMIT_EXCEEDED)
    session.events.append(Offered(service, OfferState(state), limit))


def on_goodbye(session: Session, frame: Frame, _now: float) -> None:
    _, code, message = frame
    if type(code) is not int or type(message) is not str:
        raise ProtocolViolation("a malformed GOODBYE frame")
    session.events.append(PeerGoodbye(code, message[:512]))


def _confirm(session: Session, stream: Stream, code: int) -> None:
    """Report the answer to our own RESET: the only event of a stream that was silenced."""
    stream.silent = False
    session.events.append(ResetAnswered(stream, code))


def _known(session: Session, stream_id: Any) -> Stream | None:
    """The live stream of this id; None if it is over; a violation if it never was."""
    if type(stream_id) is not int:  # 1.0 and True would find stream 1, too
        raise TypeError(stream_id)
    stream = session.streams.get(stream_id)
    if stream is None and not (
        stream_id & 1 and 0 < stream_id <= (session.last_opened if session.opener else session.last_seen)
    ):
        raise ProtocolViolation("a frame for a stream that was never opened")
    return stream


def _live(session: Session, stream_id: Any) -> Stream | None:
    """As `_known`, for frames that may not follow the end of the peer's half.

    None only for a stream that our DRAIN told the peer we do not look at.
    """
    stream = _known(session, stream_id)
    if stream is None and (session.opener or session.drained_at is None or stream_id <= session.drained_at):
        raise ProtocolViolation("a frame for a stream that is over")
    return stream


def _check_head(session: Session, fields: Any, length: Any, body: Any) -> None:
    if type(fields) is not list or len(fields) & 1:
        raise ProtocolViolation("fields that are not pairs")
    if len(fields) > 2 * session.ours.fields_count:
        raise ProtocolViolation("too many fields", SessionCode.LIMIT_EXCEEDED)
    if fields and len(b"".join(fields)) > session.ours.fields_bytes:
        raise ProtocolViolation("fields beyond the size limit", SessionCode.LIMIT_EXCEEDED)
    if length is not None and (type(length) is not int or length < 0):
        raise ProtocolViolation("a malformed length")
    if type(body) is not bytes or len(body) > DATA_MAX:
        raise ProtocolViolation("a first body that is not bytes, or too large")
    if len(body) > session.ours.window:
        raise ProtocolViolation("a first body beyond the window", SessionCode.FLOW_CONTROL)


def _step(stream: Stream, signal: int) -> None:
    state = NEXT[stream.receiving][signal]
    if state is None:
        raise ProtocolViolation(f"a frame out of order on stream {stream.id}")
    stream.receiving = state


HANDLERS: Final[dict[int, Callable[[Session, Frame, float], None]]] = {
    frames.OPEN: on_open,
    frames.ANSWER: on_answer,
    frames.INTERIM: on_interim,
    frames.DATA: on_data,
    frames.TRAILERS: on_trailers,
    frames.CREDIT: on_credit,
    frames.RESET: on_reset,
    frames.PING: on_ping,
    frames.PONG: on_pong,
    frames.DRAIN: on_drain,
    frames.OFFER: on_offer,
    frames.GOODBYE: on_goodbye,
}
