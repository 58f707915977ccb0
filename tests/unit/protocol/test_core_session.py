"""A session's commands: what leaves, in what order, and what the owner may rely on."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import frames
from protocol.errors import ProtocolViolation, SessionCode, SessionError, StreamCode
from protocol.events import (
    Answered,
    DataReceived,
    InterimAnswered,
    Opened,
    PeerGoodbye,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from protocol.flow import MemoryBudget
from protocol.limits import (
    DATA_FRAME,
    KIB,
    MESSAGE_MAX,
    MESSAGE_TARGET,
    SEND_HIGH,
    SEND_LOW,
    STREAM_ID_MAX,
    Limits,
)
from protocol.session import Session
from protocol.stream import ABORTED, BODY, ENDED
from tests.sim.pair import HEAD, Pair, frames_of, open_frame, pack


def kinds(messages: list[bytes]) -> list[int]:
    return [frame[0] for message in messages for frame in frames_of(message)]


# -- A small exchange --------------------------------------------------------------------------------------


def test_a_small_exchange_is_one_frame_each_way() -> None:
    pair = Pair()
    stream = pair.hub.open("owner", pair.now, **HEAD, length=4, body=b"body", end=True, deadline_ms=900)
    messages = pair.take(pair.hub)
    assert [frames_of(message) for message in messages] == [
        [
            [
                5,
                1,
                1,
                900,
                "visits",
                b"r1",
                b"POST",
                b"visits.internal",
                b"/v1?q=%20",
                HEAD["fields"],
                4,
                None,
                b"body",
            ]
        ]
    ]
    (opened,) = pair.give(pair.agent, messages)
    assert isinstance(opened, Opened)
    assert opened.end
    assert (opened.body, opened.length, opened.deadline_ms) == (b"body", 4, 900)
    assert (opened.service, opened.method, opened.authority) == ("visits", b"POST", b"visits.internal")
    assert (opened.target, opened.fields, opened.request_id) == (b"/v1?q=%20", HEAD["fields"], b"r1")
    assert (opened.chunked, opened.expect, opened.upgrade) == (False, False, None)
    assert pair.agent.answer(opened.stream, 200, b"OK", [b"X", b"1"], 2, b"hi", True)
    messages = pair.take(pair.agent)
    assert [frames_of(message) for message in messages] == [[[6, 1, 1, 200, b"OK", [b"X", b"1"], 2, b"hi"]]]
    (answered,) = pair.give(pair.hub, messages)
    assert isinstance(answered, Answered)
    assert (answered.status, answered.reason, answered.fields) == (200, b"OK", [b"X", b"1"])
    assert (answered.length, answered.body, answered.end) == (2, b"hi", True)
    assert answered.stream is stream
    assert stream.owner == "owner"
    assert stream.closed
    assert opened.stream.closed
    assert pair.hub.outstanding == pair.agent.outstanding == 0
    assert pair.hub.bytes_sent == pair.agent.bytes_received > 0
    assert pair.agent.bytes_sent == pair.hub.bytes_received > 0


def test_flags_of_open() -> None:
    pair = Pair()
    for chunked in (False, True):
        for expect in (False, True):
            pair.hub.open(None, pair.now, **HEAD, chunked=chunked, expect=expect, upgrade=b"websocket")
            (opened,) = pair.to_agent()
            assert isinstance(opened, Opened)
            assert (opened.chunked, opened.expect, opened.end) == (chunked, expect, False)
            assert opened.upgrade == b"websocket"


def test_interims_come_before_the_answer() -> None:
    pair = Pair()
    _, stream = pair.open()
    pair.agent.interim(stream, 103, [b"Link", b"</a>"])
    pair.agent.interim(stream, 100, [])
    pair.agent.answer(stream, 204, b"", [], None, b"", True)
    first, second, third = pair.to_hub()
    assert isinstance(first, InterimAnswered)
    assert (first.status, first.fields) == (103, [b"Link", b"</a>"])
    assert isinstance(second, InterimAnswered)
    assert isinstance(third, Answered)
    with pytest.raises(AssertionError):
        pair.agent.interim(stream, 100, [])


def test_trailers_end_a_half_after_its_bytes() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * 100)
    pair.hub.end(stream, [b"X-Sum", b"1"])
    data, trailers = pair.to_agent()
    assert isinstance(data, DataReceived)
    assert not data.end
    assert isinstance(trailers, TrailersReceived)
    assert trailers.fields == [b"X-Sum", b"1"]
    assert far.receiving == ENDED
    pair.hub.end(stream)
    assert not pair.hub.has_output()


def test_empty_trailers_are_a_plain_end() -> None:
    pair = Pair()
    stream, _ = pair.open(chunked=True)
    pair.hub.end(stream, [])
    (event,) = pair.to_agent()
    assert isinstance(event, DataReceived)
    assert event.end
    assert event.body == b""


def test_a_pipe_after_101_half_closes_each_way() -> None:
    pair = Pair()
    stream, far = pair.open(upgrade=b"echo")
    pair.agent.answer(far, 101, b"", [b"Upgrade", b"echo"], None)
    pair.to_hub()
    pair.hub.send(stream, b"ping")
    assert [event.body for event in pair.to_agent() if isinstance(event, DataReceived)] == [b"ping"]
    pair.hub.end(stream)
    pair.to_agent()
    pair.agent.send(far, b"pong", True)
    pair.to_hub()
    assert stream.closed
    assert far.closed


# -- First body bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1 * KIB, DATA_FRAME, 256 * KIB])
@pytest.mark.parametrize("size", [0, 1, 1024, 1025, DATA_FRAME, DATA_FRAME + 1, 40_000])
@pytest.mark.parametrize("end", [False, True])
def test_the_first_body_stays_within_frame_and_credit(window: int, size: int, end: bool) -> None:
    pair = Pair(Limits(window=window), Limits(window=window))
    body = bytes(range(256)) * (size // 256 + 1)
    stream = pair.hub.open(None, pair.now, **HEAD, chunked=True, body=body[:size], end=end)
    events = pair.to_agent()
    opened = events[0]
    assert isinstance(opened, Opened)
    pair.agent.answer(opened.stream, 200, b"", [], None, body[:size], end)
    answered = pair.to_hub()
    for seen, near, far in ((events, stream, opened.stream), (answered, opened.stream, stream)):
        got = b"".join(event.body for event in seen)  # type: ignore[attr-defined]
        assert got == body[: min(size, window)]
        assert near.credit == window - len(got)
        assert far.received == len(got)
        assert (near.sending == ENDED) is (end and size <= window)


def test_answer_says_whether_to_pause() -> None:
    pair = Pair(Limits(window=1 * KIB))
    _, far = pair.open(end=True)
    assert not pair.agent.answer(far, 200, b"", [], None, b"x" * (SEND_HIGH + 1))
    _, other = pair.open(end=True)
    assert pair.agent.answer(other, 200, b"", [], None, b"x" * SEND_HIGH)


# -- Sending -----------------------------------------------------------------------------------------------


def test_control_goes_first_and_data_fills_the_message() -> None:
    pair = Pair()
    streams = [pair.open(chunked=True)[0] for _ in range(3)]
    for stream in streams:
        pair.hub.send(stream, b"x" * 60_000)
    pair.hub.reset(streams[0], StreamCode.CANCELLED, pair.now)
    pair.hub.drain(pair.now)
    pair.hub.inflight.allowance = 1 << 30
    control, *messages = pair.take(pair.hub)
    assert kinds([control]) == [frames.RESET, frames.DRAIN, frames.PING]
    pings = [message for message in messages if kinds([message]) == [frames.PING]]
    messages = [message for message in messages if message not in pings]
    assert set(kinds(messages)) == {frames.DATA}
    assert all(MESSAGE_TARGET <= len(message) < MESSAGE_TARGET + DATA_FRAME + 16 for message in messages[:-1])


def test_a_ping_leaves_without_data_and_control_frames_with_it() -> None:
    """A message is read as a whole: DATA behind a PING would lengthen the round trip that it measures."""
    pair = Pair()
    stream, _ = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * 1000)
    pair.hub.start(pair.now)
    assert [kinds([message]) for message in pair.take(pair.hub)[:2]] == [[frames.PING], [frames.DATA]]
    pair.to_agent()
    pair.to_hub()
    pair.now += 1
    pair.hub.send(stream, b"x" * 1000)
    pair.hub.reset(pair.open(end=True)[0], StreamCode.CANCELLED, pair.now)
    pair.hub.send(stream, b"x" * 1000)
    assert kinds(pair.take(pair.hub)[:1]) == [frames.RESET, frames.DATA]


def test_messages_stay_below_the_maximum_whatever_waits() -> None:
    pair = Pair()
    for _ in range(40):
        pair.hub.open(
            None, pair.now, **{**HEAD, "fields": [b"X", b"y" * 70_000]}, body=b"z" * DATA_FRAME, chunked=True
        )
    streams = list(pair.hub.streams.values())
    for stream in streams:
        pair.hub.send(stream, b"d" * 20_000)
        pair.hub.end(stream, [b"X-Trailer", b"t" * 75_000])
    messages = pair.take(pair.hub)
    events = pair.give(pair.agent, messages)
    while pair.hub.inflight.marks:
        pair.to_hub()
        messages += (more := pair.take(pair.hub))
        events += pair.give(pair.agent, more)
    assert max(map(len, messages)) <= MESSAGE_MAX
    assert sum(isinstance(event, Opened) for event in events) == 40
    assert sum(isinstance(event, TrailersReceived) for event in events) == 40


def test_control_frames_of_a_long_queue_keep_their_order() -> None:
    pair = Pair(Limits(max_streams=10_000), Limits(max_streams=10_000))
    for _ in range(100):
        pair.hub.open(None, pair.now, **{**HEAD, "fields": [b"X", b"y" * 9_000]})
    pair.hub.drain(pair.now)
    messages = pair.take(pair.hub)
    assert kinds(messages) == [frames.OPEN] * 100 + [frames.DRAIN, frames.PING]
    ids = [frame[1] for message in messages for frame in frames_of(message)]
    assert ids == [*range(1, 200, 2), None, 1]


def test_a_single_byte_of_credit_moves_a_single_byte() -> None:
    pair = Pair(agent=Limits(window=1 * KIB))
    stream, far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * (1 * KIB + 1))
    pair.to_agent()
    assert not pair.hub.has_output()
    pair.give(pair.hub, [pack([10, 1, 1])])
    assert [len(frame[3]) for frame in frames_of(pair.take(pair.hub)[0])] == [1]
    assert far.received == 1 * KIB


def test_the_source_is_told_to_pause_and_to_go_on() -> None:
    pair = Pair(agent=Limits(window=1 << 20))
    stream, _ = pair.open(chunked=True)
    assert pair.hub.send(stream, b"x" * SEND_HIGH)
    assert not pair.hub.send(stream, b"x")
    assert not pair.hub.send(stream, b"")
    events: list[Any] = []
    while not events:
        assert pair.hub.data_to_send(events)
    assert [type(event) for event in events] == [StreamWritable]
    assert events[0].stream is stream
    assert stream.outbox is not None
    assert stream.outbox.queued <= SEND_LOW
    pair.take(pair.hub, events)
    assert len(events) == 1


def test_the_end_of_a_paused_source_brings_no_writable() -> None:
    pair = Pair(agent=Limits(window=1 << 20))
    stream, _ = pair.open(chunked=True)
    assert not pair.hub.send(stream, b"x" * (SEND_HIGH + 1), True)
    events: list[Any] = []
    pair.take(pair.hub, events)
    assert all(event.stream is stream for event in events)
    assert stream.sending == ENDED


def test_sending_out_of_order_is_a_programming_error() -> None:
    pair = Pair()
    stream, far = pair.open(end=True)
    with pytest.raises(AssertionError, match="cannot send"):
        pair.hub.send(stream, b"x")
    with pytest.raises(AssertionError, match="cannot send"):
        pair.agent.send(far, b"x")
    with pytest.raises(AssertionError):
        pair.agent.end(far)
    pair.agent.answer(far, 200, b"", [], None)
    with pytest.raises(AssertionError, match="cannot send"):
        pair.agent.answer(far, 200, b"", [], None)
    pair.agent.send(far, b"x", True)
    with pytest.raises(AssertionError):
        pair.agent.send(far, b"x")
    with pytest.raises(AssertionError):
        pair.agent.end(far)


# -- Which sessions may open -------------------------------------------------------------------------------


def test_selectable_until_the_peer_is_full() -> None:
    pair = Pair(agent=Limits(max_streams=2))
    first, far = pair.open(end=True)
    assert pair.hub.selectable
    pair.open(end=True)
    assert not pair.hub.selectable
    with pytest.raises(AssertionError):
        pair.hub.open(None, pair.now, **HEAD)
    pair.agent.answer(far, 200, b"", [], 0, b"", True)
    pair.to_hub()
    assert first.closed
    assert pair.hub.selectable


@pytest.mark.parametrize("why", ["goodbye", "peer drains", "ids"])
def test_not_selectable(why: str) -> None:
    pair = Pair()
    assert pair.hub.selectable
    if why == "goodbye":
        pair.hub.goodbye(SessionCode.SHUTDOWN, "bye")
    elif why == "peer drains":
        pair.agent.drain(pair.now)
        pair.to_hub()
    else:
        pair.hub.last_opened = STREAM_ID_MAX - 2
    assert not pair.hub.selectable


def test_the_last_ids() -> None:
    pair = Pair()
    pair.hub.last_opened = STREAM_ID_MAX - 4
    stream = pair.hub.open(None, pair.now, **HEAD, end=True)
    assert stream.id == STREAM_ID_MAX - 2
    assert not pair.hub.selectable
    assert isinstance(pair.to_agent()[0], Opened)
    pair.agent.receive(pack(open_frame(STREAM_ID_MAX)), pair.now)
    assert pair.agent.last_seen == STREAM_ID_MAX


# -- Credit ------------------------------------------------------------------------------------------------


def test_credit_follows_what_was_consumed() -> None:
    pair = Pair(agent=Limits(window=4 * KIB, window_max=4 * KIB))
    stream, far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * 100_000)
    pair.to_agent()
    assert far.received == 4 * KIB
    pair.to_hub()
    pair.agent.consumed(far, 2 * KIB - 1, pair.now)
    assert not pair.agent.has_output()
    pair.agent.consumed(far, 1, pair.now)
    pair.to_hub()
    assert stream.credit == 2 * KIB
    pair.to_agent()
    assert far.received == 6 * KIB


def test_windows_grow_with_the_rate_and_the_growth_comes_back() -> None:
    pair = Pair(agent=Limits(window=64 * KIB, window_max=256 * KIB))
    stream, far = pair.open(chunked=True)
    while pair.agent_budget.used < 192 * KIB:
        pair.hub.send(stream, b"x" * 60_000)
        for event in pair.to_agent():
            assert isinstance(event, DataReceived)
            pair.agent.consumed(far, len(event.body), pair.now)
        pair.to_hub()
    assert far.receive_window is not None
    assert far.receive_window.window == 256 * KIB
    pair.hub.end(stream)
    while far.receiving == BODY:
        assert pair.agent_budget.used == 192 * KIB
        for event in pair.to_agent():
            assert isinstance(event, DataReceived)
            pair.agent.consumed(far, len(event.body), pair.now)
        pair.to_hub()
    assert far.receive_window.consumed == far.received
    assert pair.agent_budget.used == 0


@pytest.mark.parametrize("how", ["consumed late", "reset by us", "reset by the peer", "ended then reset"])
def test_growth_is_given_back_in_every_end(how: str) -> None:
    pair = Pair(agent=Limits(window=8 * KIB, window_max=64 * KIB))
    stream, far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * 8 * KIB)
    pair.to_agent()
    pair.agent.consumed(far, 4 * KIB, pair.now)
    assert pair.agent_budget.used == 8 * KIB
    pair.to_hub()
    if how == "consumed late":
        pair.hub.end(stream)
        pair.to_agent()
        assert pair.agent_budget.used == 8 * KIB, "the bytes are still held"
        pair.agent.consumed(far, 1 * KIB, pair.now)
        assert pair.agent_budget.used == 8 * KIB
        pair.agent.consumed(far, 3 * KIB, pair.now)
    elif how == "reset by us":
        pair.agent.reset(far, StreamCode.INTERNAL, pair.now)
        pair.agent.consumed(far, 4 * KIB, pair.now)
        assert pair.agent_budget.used == 0
        assert not [frame for frame in frames_of(b"".join(pair.take(pair.agent))) if frame[0] == frames.CREDIT]
    elif how == "reset by the peer":
        pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
        pair.to_agent()
        pair.agent.consumed(far, 4 * KIB, pair.now)
    else:
        pair.agent.answer(far, 200, b"", [], None, b"", True)
        pair.hub.end(stream)
        pair.settle()
        assert far.closed
        assert pair.agent_budget.used == 8 * KIB
        pair.agent.reset(far, StreamCode.INTERNAL, pair.now)
        assert not pair.agent.has_output()
    assert pair.agent_budget.used == 0


def test_consumed_after_a_clean_end_sends_nothing() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * 200_000, True)
    pair.to_agent()
    pair.to_hub()
    pair.agent.consumed(far, 200_000, pair.now)
    assert not pair.agent.has_output()
    assert far.receive_window is None
    assert stream.sending == ENDED


# -- Timers and ends ---------------------------------------------------------------------------------------


def test_start_measures_the_round_trip() -> None:
    pair = Pair()
    pair.hub.start(pair.now)
    messages = pair.take(pair.hub)
    assert kinds(messages) == [frames.PING]
    pair.give(pair.agent, messages)
    pair.now += 0.08
    assert pair.to_hub() == []
    assert pair.hub.liveness.round_trip == pytest.approx(0.08)


def test_a_silent_peer_is_probed_then_condemned() -> None:
    pair = Pair()
    pair.hub.start(pair.now)
    pair.settle()
    pair.hub.open(None, pair.now, **HEAD)
    began, pings = pair.now, 0
    condemned: SessionError | None = None
    for _ in range(20):
        pair.now = max(pair.hub.due, pair.now)
        try:
            pair.hub.handle_timer(pair.now)
        except SessionError as error:
            condemned = error
            break
        pings += kinds(pair.take(pair.hub)).count(frames.PING)
        assert pair.hub.due > pair.now
    assert condemned is not None
    assert condemned.code is SessionCode.SILENT
    assert not isinstance(condemned, ProtocolViolation)
    assert pings >= 2
    assert pair.now - began <= 3.0


def test_a_ping_is_answered_first_of_all() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.agent.answer(far, 200, b"", [], None)
    pair.agent.send(far, b"x" * 60_000)
    pair.give(pair.agent, [pack([12, 99])])
    assert [frame[0] for frame in frames_of(pair.take(pair.agent)[0])][:2] == [frames.ANSWER, frames.PONG]
    assert stream.id == 1


def test_goodbye_carries_code_and_a_bounded_message() -> None:
    for text in ("bye", "x" * 2000, "é" * 2000, "€" * 2000, "\U0001f600" * 2000, "\ud800 half a character"):
        pair = Pair()
        pair.agent.goodbye(SessionCode.REPLACED, text)
        pair.agent.goodbye(SessionCode.INTERNAL, "not this one")
        (event,) = pair.to_hub()
        assert isinstance(event, PeerGoodbye)
        assert event.code == SessionCode.REPLACED
        assert len(event.message.encode()) <= 512
        assert event.message
        assert event.message.startswith(text[:1].encode("utf-8", "replace").decode())
        assert pair.agent.closed is not None
        assert pair.agent.closed.code is SessionCode.REPLACED


@pytest.mark.parametrize("detail", ["", "short", "d" * 1000, "é" * 1000, "\U0001f600" * 1000, "\udc80 surrogate"])
def test_the_detail_of_a_reset_always_arrives(detail: str) -> None:
    pair = Pair()
    stream, far = pair.open()
    pair.agent.reset(far, StreamCode.CONNECT_FAILED, pair.now, detail)
    (event,) = pair.to_hub()
    assert isinstance(event, StreamReset)
    assert event.code == StreamCode.CONNECT_FAILED
    assert len(event.detail) <= 256
    assert event.stream is stream


def test_a_session_without_output_sends_nothing() -> None:
    session = Session(True, Limits(), Limits(), MemoryBudget(0), 5.0)
    assert not session.has_output()
    assert session.data_to_send([]) == b""
    assert session.bytes_sent == 0
    assert session.due == 5.0


def test_commands_on_a_stream_that_the_peer_reset_do_nothing() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    pair.to_agent()
    pair.take(pair.agent)
    assert pair.agent.answer(far, 200, b"", [], None, b"x", True)
    assert pair.agent.send(far, b"x" * 100_000)
    pair.agent.interim(far, 100, [])
    pair.agent.end(far)
    pair.agent.reset(far, StreamCode.INTERNAL, pair.now)
    pair.agent.consumed(far, 10, pair.now)
    assert not pair.agent.has_output()
    assert far.sending == ABORTED
