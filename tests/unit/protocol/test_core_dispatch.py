"""What is said about whether a request got anywhere: `unsent`, and what a RESET is answered with."""

from __future__ import annotations

import pytest

from protocol import frames
from protocol.errors import StreamCode
from protocol.events import Answered, Opened, ResetAnswered, StreamReset
from protocol.limits import MESSAGE_MAX, Limits
from tests.sim.pair import HEAD, Pair, frames_of, pack

NOT, YES = StreamCode.NOT_DISPATCHED, StreamCode.NO_ERROR


@pytest.mark.parametrize(("dispatched", "code"), [(False, NOT), (True, YES)])
def test_the_answer_to_a_reset_says_whether_the_stream_was_dispatched(dispatched: bool, code: StreamCode) -> None:
    pair = Pair()
    stream, far = pair.open(end=True)
    far.dispatched = dispatched
    assert pair.hub.reset(stream, StreamCode.DEADLINE, pair.now, confirm=True)
    assert stream.silent
    pair.to_agent()
    (answer,) = pair.to_hub()
    assert isinstance(answer, ResetAnswered)
    assert (answer.stream, answer.code) == (stream, code)
    assert not stream.silent, "the shell drops the events of silent streams"
    assert not pair.hub.streams


def test_what_is_dispatched_while_the_same_message_is_handled_counts() -> None:
    """OPEN and RESET come together: the application sees OPEN first, and acts on it."""
    pair = Pair()
    stream = pair.hub.open(None, pair.now, **HEAD, end=True)
    message = pair.hub.data_to_send([])
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now, confirm=True)
    opened, reset = pair.agent.receive(message + pair.hub.data_to_send([]), pair.now)
    assert isinstance(opened, Opened)
    assert isinstance(reset, StreamReset)
    assert pair.agent.has_output()
    opened.stream.dispatched = True
    (answer,) = pair.to_hub()
    assert isinstance(answer, ResetAnswered)
    assert answer.code == YES
    assert not pair.agent.has_output()


def test_the_hub_answers_in_its_place() -> None:
    """What it opens afterwards counts on the answer: it must not overtake it."""
    pair = Pair(agent=Limits(max_streams=1))
    _, far = pair.open(chunked=True)
    pair.agent.reset(far, StreamCode.OVERLOADED, pair.now)
    pair.to_hub()
    pair.hub.open(None, pair.now, **HEAD, end=True)
    (message,) = pair.take(pair.hub)
    assert [frame[0] for frame in frames_of(message)] == [frames.RESET, frames.OPEN]
    assert frames_of(message)[0][2] == StreamCode.NO_ERROR
    assert len(pair.give(pair.agent, [message])) == 1


def test_without_confirm_nothing_is_heard_of_the_answer() -> None:
    pair = Pair()
    stream, _ = pair.open(end=True)
    assert pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    pair.to_agent()
    assert pair.to_hub() == []


def test_events_made_before_a_confirmed_reset_are_silent() -> None:
    pair = Pair()
    stream, far = pair.open(end=True)
    pair.agent.answer(far, 200, b"", [], None, b"first")
    pair.agent.send(far, b"second")
    first, second = pair.to_hub()
    assert first.stream is second.stream is stream
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now, confirm=True)  # by the handler of the first
    assert stream.silent


def test_a_crossing_reset_is_the_answer_and_a_crossing_end_is_none() -> None:
    pair = Pair()
    for ending in ("reset", "end"):
        stream, far = pair.open(end=True)
        pair.hub.reset(stream, StreamCode.CANCELLED, pair.now, confirm=True)
        if ending == "reset":
            pair.agent.reset(far, StreamCode.CONNECT_FAILED, pair.now)
            (answer,) = pair.to_hub()
            assert isinstance(answer, ResetAnswered)
            assert answer.code == StreamCode.CONNECT_FAILED
        else:
            pair.agent.answer(far, 200, b"", [], None, b"", True)
            assert pair.to_hub() == []
        assert pair.hub.reset(stream, StreamCode.CANCELLED, pair.now) is False
        assert not pair.hub.streams
        pair.settle()


def test_whoever_repeats_the_reset_may_still_want_the_answer_or_not() -> None:
    for again, silent in ((True, False), (False, True)):
        pair = Pair()
        stream, _ = pair.open(end=True)
        pair.hub.reset(stream, StreamCode.DEADLINE, pair.now, confirm=True)
        pair.to_agent()
        (answer,) = pair.to_hub()
        assert isinstance(answer, ResetAnswered)
        assert not pair.hub.reset(stream, StreamCode.INTERNAL, pair.now, confirm=again)
        assert stream.silent is silent


def test_a_confirmed_reset_of_what_the_peer_reset_is_silent() -> None:
    pair = Pair()
    stream, far = pair.open(end=True)
    pair.agent.reset(far, StreamCode.UPSTREAM_CLOSED, pair.now)
    (reset,) = pair.to_hub()
    assert isinstance(reset, StreamReset)
    assert not pair.hub.reset(stream, StreamCode.CANCELLED, pair.now, confirm=True)
    assert stream.silent


def test_a_stream_is_unsent_until_its_open_is_handed_out() -> None:
    pair = Pair()
    first = pair.hub.open(None, pair.now, **HEAD, end=True)
    assert pair.hub.unsent(first)
    pair.hub.data_to_send([])
    second = pair.hub.open(None, pair.now, **HEAD, end=True)
    assert (pair.hub.unsent(first), pair.hub.unsent(second)) == (False, True)
    pair.hub.lost()
    assert (pair.hub.unsent(first), pair.hub.unsent(second)) == (False, True)


def test_an_agent_calls_nothing_unsent() -> None:
    _, far = Pair().open(end=True)
    assert not Pair().agent.unsent(far)


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("before", [0, 1, 2, 70])
def test_an_unsent_stream_that_is_reset_is_withdrawn(end: bool, confirm: bool, before: int) -> None:
    """Else what was called not delivered would leave with the next message."""
    pair = Pair()
    pair.hub.start(pair.now)
    for _ in range(before):
        pair.hub.open(None, pair.now, **HEAD, end=True)
    stream = pair.hub.open(None, pair.now, **HEAD, chunked=not end, body=b"x" * 50_000 * (not end), end=end)
    after = pair.hub.open(None, pair.now, **HEAD, end=True)
    assert pair.hub.reset(stream, StreamCode.DEADLINE, pair.now, confirm=confirm) is False
    assert stream.closed
    assert stream.silent
    events = pair.to_agent()
    ids = [event.stream.id for event in events if isinstance(event, Opened)]
    assert ids == [*range(1, 2 * before, 2), after.id]
    assert len(events) == len(ids)
    pair.agent.answer(events[-1].stream, 200, b"", [], None, b"", True)  # type: ignore[arg-type]
    (answer,) = pair.to_hub()
    assert isinstance(answer, Answered)
    assert answer.stream is after
    assert pair.hub.receive(pack([11, stream.id, 0, ""], [10, stream.id, 5]), pair.now) == []


def test_withdrawing_the_only_stream_leaves_an_idle_session() -> None:
    pair = Pair()
    stream = pair.hub.open(None, pair.now, **HEAD, end=True)
    pair.hub.reset(stream, StreamCode.DEADLINE, pair.now)
    assert not pair.hub.has_output()
    assert not pair.hub.streams
    assert pair.hub.liveness.busy_since is None


def test_a_queue_too_long_for_one_message_is_called_sent() -> None:
    """Some of it still waits, but which is not known: the safe side is to have sent it."""
    pair = Pair()
    streams = [
        pair.hub.open(None, pair.now, **{**HEAD, "fields": [b"X", b"y" * 70_000]}, end=True)
        for _ in range(MESSAGE_MAX // 2 // 70_000 + 1)
    ]
    pair.hub.data_to_send([])
    assert not any(pair.hub.unsent(stream) for stream in streams)
    assert pair.hub.reset(streams[-1], StreamCode.DEADLINE, pair.now)
    assert [type(event) for event in pair.to_agent()][-1] is StreamReset


def test_probes_that_are_asked_for_keep_their_distance() -> None:
    pair = Pair()
    for _ in range(5):
        pair.hub.probe(pair.now)
    assert frames_of(pair.hub.data_to_send([])) == [[12, 1]]
    pair.hub.receive(pack([13, 1]), pair.now)
    for _ in range(200):  # 4 seconds
        pair.now += 0.02
        pair.hub.probe(pair.now)
        pair.settle()
    assert 30 <= pair.hub.liveness.ping(pair.now, fresh=True) <= 42
