"""RESET: answered while the other half is open, silent afterwards, and safe in every crossing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from protocol import frames
from protocol.errors import ProtocolViolation, SessionCode, StreamCode
from protocol.events import Answered, DataReceived, InterimAnswered, StreamReset, TrailersReceived
from protocol.limits import Limits
from protocol.session import Session
from protocol.stream import ABORTED, Stream
from tests.sim.pair import Pair, frames_of, pack


def resets(messages: list[bytes]) -> list[list[Any]]:
    return [frame for message in messages for frame in frames_of(message) if frame[0] == frames.RESET]


def test_a_reset_is_answered_when_the_other_half_is_open() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now, "caller gone")
    assert stream.id in pair.hub.streams, "it counts until the peer has answered"
    (event,) = pair.to_agent()
    assert isinstance(event, StreamReset)
    assert (event.code, event.detail, event.stream) == (StreamCode.CANCELLED, "caller gone", far)
    messages = pair.take(pair.agent)
    assert resets(messages) == [[11, 1, StreamCode.NOT_DISPATCHED, ""]]
    assert pair.give(pair.hub, messages) == []
    assert not pair.hub.streams
    assert not pair.agent.streams


def test_a_reset_is_not_answered_when_the_other_half_has_ended() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.agent.answer(far, 200, b"", [], None, b"", True)
    pair.to_hub()
    pair.hub.reset(stream, StreamCode.NO_ERROR, pair.now)
    assert not pair.hub.streams
    (event,) = pair.to_agent()
    assert isinstance(event, StreamReset)
    assert not pair.agent.has_output()
    assert not pair.agent.streams


def test_reset_is_idempotent_and_does_nothing_to_a_stream_that_is_over() -> None:
    pair = Pair()
    _, far = pair.open(end=True)
    pair.agent.reset(far, StreamCode.CONNECT_FAILED, pair.now)
    pair.agent.reset(far, StreamCode.INTERNAL, pair.now)
    assert resets(pair.take(pair.agent)) == [[11, 1, StreamCode.CONNECT_FAILED, ""]]
    other, far = pair.open(end=True)
    pair.agent.answer(far, 200, b"", [], None, b"", True)
    pair.settle()
    for session, each in ((pair.hub, other), (pair.agent, far)):
        session.reset(each, StreamCode.INTERNAL, pair.now)
        assert not session.has_output()
        assert each.silent


def test_what_was_queued_is_dropped() -> None:
    pair = Pair()
    stream, _ = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * 200_000)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    assert stream.outbox is None
    assert [frame[0] for frame in frames_of(b"".join(pair.take(pair.hub)))] == [frames.RESET]


def test_nothing_is_reported_after_our_reset() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    pair.agent.interim(far, 100, [])
    pair.agent.answer(far, 200, b"", [], None, b"first")
    pair.agent.send(far, b"x" * 50_000)
    assert pair.to_hub() == []
    assert stream.id in pair.hub.streams
    pair.agent.end(far, [b"T", b"1"])
    assert pair.to_hub() == []
    assert not pair.hub.streams
    assert pair.to_agent() != []
    pair.settle()
    assert not pair.agent.streams


@pytest.mark.parametrize("ending", ["answer", "data", "trailers", "reset"])
def test_the_peers_end_of_any_kind_ends_the_waiting(ending: str) -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    if ending == "reset":
        pair.agent.reset(far, StreamCode.INTERNAL, pair.now)
    else:
        pair.agent.answer(far, 200, b"", [], None, b"", ending == "answer")
        if ending != "answer":
            pair.agent.end(far, [b"T", b"1"] if ending == "trailers" else None)
    assert pair.to_hub() == []
    assert not pair.hub.streams
    pair.hub.handle_timer(pair.now)
    pair.settle()
    pair.now += 1000
    pair.hub.handle_timer(pair.now)


def test_a_peer_that_does_not_answer_a_reset_loses_the_session() -> None:
    pair = Pair(hub=Limits(reset_timeout=5.0))
    first, _ = pair.open(chunked=True)
    second, _ = pair.open(chunked=True)
    pair.hub.reset(first, StreamCode.CANCELLED, pair.now)
    pair.now += 1
    pair.hub.reset(second, StreamCode.CANCELLED, pair.now)
    pair.take(pair.hub)
    for _ in range(8):
        pair.now += 0.5
        pair.hub.liveness.heard = pair.now
        pair.hub.handle_timer(pair.now) if pair.now < first.reset_deadline else None
    pair.now = first.reset_deadline
    pair.hub.liveness.heard = pair.now
    with pytest.raises(ProtocolViolation, match="stream 1") as caught:
        pair.hub.handle_timer(pair.now)
    assert caught.value.code is SessionCode.PROTOCOL_ERROR
    pair.hub.receive(pack([11, 1, 0, ""]), pair.now)
    pair.hub.handle_timer(pair.now)
    pair.now = second.reset_deadline
    pair.hub.liveness.heard = pair.now
    with pytest.raises(ProtocolViolation, match="stream 3"):
        pair.hub.handle_timer(pair.now)


def test_a_stream_being_reset_still_counts_against_the_limit() -> None:
    pair = Pair(agent=Limits(max_streams=1))
    stream, _ = pair.open(chunked=True)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    assert not pair.hub.selectable
    pair.to_agent()
    assert not pair.hub.selectable
    pair.to_hub()
    assert pair.hub.selectable


# -- Every crossing ----------------------------------------------------------------------------------------

Step = Callable[[Pair, Stream, Stream], None]


def _hub_end(pair: Pair, near: Stream, _far: Stream) -> None:
    if near.sending == 1 and (near.outbox is None or not near.outbox.ending):
        pair.hub.end(near)


def _hub_data(pair: Pair, near: Stream, _far: Stream) -> None:
    if near.sending == 1 and (near.outbox is None or not near.outbox.ending):
        pair.hub.send(near, b"request")


def _hub_reset(pair: Pair, near: Stream, _far: Stream) -> None:
    pair.hub.reset(near, StreamCode.CANCELLED, pair.now)


def _agent_answer(pair: Pair, _near: Stream, far: Stream) -> None:
    if far.sending == 0:
        pair.agent.answer(far, 200, b"", [], None, b"answer")


def _agent_end(pair: Pair, _near: Stream, far: Stream) -> None:
    if far.sending == 1 and (far.outbox is None or not far.outbox.ending):
        pair.agent.end(far, [b"T", b"1"])


def _agent_reset(pair: Pair, _near: Stream, far: Stream) -> None:
    pair.agent.reset(far, StreamCode.UPSTREAM_CLOSED, pair.now)


HUB_STEPS = (_hub_data, _hub_end, _hub_reset)
AGENT_STEPS = (_agent_answer, _agent_end, _agent_reset)


class Watch:
    """What one side was told, held against what a stream may tell."""

    def __init__(self) -> None:
        self.reset = 0
        self.ended = 0
        self.told: list[type] = []

    def tell(self, events: list[Any], silent: bool) -> None:
        for event in events:
            assert not silent, f"{type(event).__name__} after our reset"
            assert not self.reset, f"{type(event).__name__} after StreamReset"
            self.told.append(type(event))
            if isinstance(event, StreamReset):
                self.reset += 1
            elif isinstance(event, TrailersReceived) or getattr(event, "end", False):
                assert not self.ended
                self.ended += 1
            else:
                assert not self.ended
                assert isinstance(event, (Answered, DataReceived, InterimAnswered))


def _plays() -> list[tuple[str, ...]]:
    """Orders of: three steps a side, and two deliveries each way, wherever they may fall."""
    tokens = ["h1", "h2", "a1", "a2", ">", "<"]
    return list(itertools.permutations(tokens))


@pytest.mark.parametrize(
    "hub_steps", list(itertools.permutations(HUB_STEPS, 2)), ids=lambda s: "+".join(f.__name__ for f in s)
)
@pytest.mark.parametrize(
    "agent_steps", list(itertools.permutations(AGENT_STEPS, 2)), ids=lambda s: "+".join(f.__name__ for f in s)
)
def test_every_order_of_steps_and_deliveries(hub_steps: tuple[Step, ...], agent_steps: tuple[Step, ...]) -> None:
    for play in _plays():
        if play.index("h1") > play.index("h2") or play.index("a1") > play.index("a2"):
            continue
        pair = Pair()
        near, far = pair.open(chunked=True)
        at_hub, at_agent = Watch(), Watch()
        for token in play:
            if token == ">":
                at_agent.tell(pair.to_agent(), far.silent)
            elif token == "<":
                at_hub.tell(pair.to_hub(), near.silent)
            else:
                steps = hub_steps if token[0] == "h" else agent_steps
                steps[int(token[1]) - 1](pair, near, far)
        for _ in range(4):
            at_agent.tell(pair.to_agent(), far.silent)
            at_hub.tell(pair.to_hub(), near.silent)
        some_reset = near.silent or far.silent
        for session, stream in ((pair.hub, near), (pair.agent, far)):
            assert stream.closed or not some_reset, (play, stream)
            assert bool(session.streams) is not stream.closed
            assert not session.has_output()
        _check(near, far, at_hub, at_agent)
        pair.now += 100
        for session in (pair.hub, pair.agent):
            session.liveness.heard = session.liveness.due = pair.now
            session.handle_timer(pair.now)


def _check(near: Stream, far: Stream, at_hub: Watch, at_agent: Watch) -> None:
    """A reset by one side is known to the other, unless that one's both halves were over already."""
    for silent, watch, mine, other in ((near.silent, at_agent, far, near), (far.silent, at_hub, near, far)):
        if silent and not mine.silent and other.sending == ABORTED:
            assert watch.reset or watch.ended
        if not silent:
            assert not watch.reset


def test_a_late_reset_for_a_stream_that_is_over_is_no_fault() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.agent.answer(far, 200, b"", [], None)
    pair.to_hub()
    pair.hub.end(stream)
    held = pair.take(pair.hub)
    pair.agent.end(far)
    pair.give(pair.agent, held)
    late = pair.take(pair.agent)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    reset = pair.take(pair.hub)
    assert pair.give(pair.hub, late) == []
    assert pair.give(pair.agent, reset) == []
    assert not pair.hub.streams
    assert not pair.agent.streams


def test_late_credit_is_no_fault() -> None:
    pair = Pair(agent=Limits(window=1024, window_max=1024))
    stream, far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * 1024)
    pair.to_agent()
    pair.agent.consumed(far, 1024, pair.now)
    credit = pair.take(pair.agent)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    assert pair.give(pair.hub, credit) == []
    pair.settle()
    assert pair.give(pair.hub, credit) == []
    assert isinstance(pair.hub, Session)
