"""DRAIN in two steps: nothing is lost that was accepted, nothing is done that was refused."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ProtocolViolation, SessionCode, StreamCode
from protocol.events import Answered, DataReceived, Event, Opened, PeerDraining, ResetAnswered, StreamReset
from protocol.limits import Limits
from protocol.stream import ABORTED
from tests.sim.pair import HEAD, Pair, frames_of, open_frame, pack


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_the_first_step_refuses_nothing_that_is_on_its_way() -> None:
    pair = Pair()
    _, first = pair.open(end=True)
    pair.agent.drain(pair.now)
    second = pair.hub.open(None, pair.now, **HEAD, end=True)
    (opened,) = pair.to_agent()
    assert isinstance(opened, Opened)
    (draining,) = pair.to_hub()
    assert isinstance(draining, PeerDraining)
    assert draining.last is None
    assert not pair.hub.selectable
    for stream in (first, opened.stream):
        pair.agent.answer(stream, 200, b"", [], 0, b"", True)
    assert names(pair.to_hub()) == ["Answered", "Answered"]
    assert second.closed
    assert not pair.hub.streams


def test_the_second_step_says_what_was_not_looked_at() -> None:
    pair = Pair()
    accepted, far = pair.open(chunked=True)
    pair.agent.drain(pair.now)
    pair.agent.drain_finish(pair.now)
    refused = pair.hub.open("mine", pair.now, **HEAD, chunked=True, body=b"x" * 20_000)
    assert pair.to_agent() == []
    first, second, reset = pair.to_hub()
    assert isinstance(first, PeerDraining)
    assert isinstance(second, PeerDraining)
    assert (first.last, second.last) == (None, accepted.id)
    assert isinstance(reset, StreamReset)
    assert reset.stream is refused
    assert reset.stream.owner == "mine"
    assert StreamCode(reset.code) is StreamCode.NOT_DISPATCHED
    assert refused.closed
    assert list(pair.hub.streams) == [accepted.id]
    assert pair.hub.send(refused, b"late")
    pair.hub.end(refused)
    pair.hub.reset(refused, StreamCode.CANCELLED, pair.now)
    pair.hub.consumed(refused, 5, pair.now)
    assert frames_of(pair.hub.data_to_send([])) == [[13, 1]]
    assert not pair.hub.has_output()
    pair.hub.send(accepted, b"still", True)
    (event,) = pair.to_agent()
    assert isinstance(event, DataReceived)
    pair.agent.answer(far, 200, b"", [], None, b"", True)
    (event,) = pair.to_hub()
    assert isinstance(event, Answered)
    assert not pair.hub.streams
    assert not pair.agent.streams


def test_everything_in_flight_on_refused_streams_is_ignored() -> None:
    pair = Pair()
    pair.open(end=True)
    pair.agent.drain_finish(pair.now)
    sent: list[list[Any]] = [
        open_frame(3, body=b"x"),
        [8, 3, 0, b"more"],
        [10, 3, 100],
        [9, 3, []],
        [6, 3, 0, 200, b"", [], None, b""],
        [7, 3, 100, []],
        [11, 3, 1, ""],
        open_frame(5, 1),
        [11, 5, 1, ""],
    ]
    assert pair.agent.receive(pack(*sent), pair.now) == []
    assert list(pair.agent.streams) == [1]
    assert [frame[0] for frame in frames_of(pair.agent.data_to_send([]))] == [14, 12, 14]


def test_a_malformed_open_of_a_refused_stream_is_still_a_violation() -> None:
    pair = Pair()
    pair.agent.drain_finish(pair.now)
    with pytest.raises(ProtocolViolation):
        pair.agent.receive(pack(open_frame(1, service=5)), pair.now)


def test_refused_streams_do_not_count_against_the_limit() -> None:
    pair = Pair(agent=Limits(max_streams=1))
    pair.open(end=True)
    pair.agent.drain_finish(pair.now)
    assert pair.agent.receive(pack(*(open_frame(number) for number in range(3, 31, 2))), pair.now) == []


def test_streams_up_to_the_last_keep_the_rules() -> None:
    pair = Pair()
    _, far = pair.open(end=True)
    pair.agent.answer(far, 200, b"", [], None, b"", True)
    pair.settle()
    pair.agent.drain_finish(pair.now)
    with pytest.raises(ProtocolViolation, match="over"):
        pair.agent.receive(pack([8, 1, 0, b"x"]), pair.now)
    with pytest.raises(ProtocolViolation, match="never opened"):
        pair.agent.receive(pack([8, 9, 0, b"x"]), pair.now)


def test_drain_with_nothing_seen() -> None:
    pair = Pair()
    pair.agent.drain_finish(pair.now)
    stream = pair.hub.open(None, pair.now, **HEAD, end=True)
    assert pair.to_agent() == []
    assert names(pair.to_hub()) == ["PeerDraining", "PeerDraining", "StreamReset"]
    assert stream.closed


def test_both_steps_are_idempotent() -> None:
    pair = Pair()
    for _ in range(3):
        pair.agent.drain(pair.now)
    for _ in range(3):
        pair.agent.drain_finish(pair.now)
    assert frames_of(pair.agent.data_to_send([])) == [[14, None], [12, 1], [14, 0]]


def test_a_stream_that_we_reset_is_not_reported_again_by_the_drain() -> None:
    pair = Pair()
    stream = pair.hub.open(None, pair.now, **HEAD, chunked=True)
    pair.hub.reset(stream, StreamCode.CANCELLED, pair.now)
    pair.agent.drain_finish(pair.now)
    assert names(pair.to_hub()) == ["PeerDraining", "PeerDraining"]
    assert not pair.hub.streams
    pair.now += 100
    pair.hub.liveness.heard = pair.hub.liveness.due = pair.now
    pair.hub.handle_timer(pair.now)


def test_the_hubs_drain_lets_what_runs_go_on() -> None:
    pair = Pair()
    stream, far = pair.open(chunked=True)
    pair.hub.drain(pair.now)
    pair.hub.drain_finish(pair.now)
    assert names(pair.to_agent()) == ["PeerDraining", "PeerDraining"]
    assert pair.hub.selectable, "its own drain is a wish to the agent"
    other, there = pair.open(end=True)
    pair.agent.answer(there, 200, b"", [], None, b"", True)
    assert names(pair.to_hub()) == ["Answered"]
    assert other.closed
    pair.agent.answer(far, 200, b"", [], None, b"", True)
    assert names(pair.to_hub()) == ["Answered"]
    pair.hub.end(stream)
    pair.settle()
    assert not pair.hub.streams
    assert not pair.agent.streams


@pytest.mark.parametrize("probes", [0, 1, 3])
def test_a_drain_is_heard_when_its_own_ping_is_answered(probes: int) -> None:
    pair = Pair()
    for _ in range(probes):  # all unanswered, and of one number
        pair.agent.start(pair.now)
    old = pair.take(pair.agent)
    pair.agent.drain(pair.now)
    drain = pair.take(pair.agent)
    pair.hub.open(None, pair.now, **HEAD, end=True)
    pair.give(pair.hub, old)
    assert names(pair.to_agent()) == ["Opened"]
    assert not pair.agent.drain_heard
    late = pair.hub.open(None, pair.now, **HEAD, end=True)
    assert names(pair.give(pair.hub, drain)) == ["PeerDraining"]
    assert not pair.hub.selectable
    assert names(pair.to_agent()) == ["Opened"]
    assert pair.agent.drain_heard
    assert pair.agent.last_seen == late.id
    pair.agent.drain_finish(pair.now)
    assert names(pair.to_hub()) == ["PeerDraining"], "nothing is refused after that"


def test_an_old_pong_again_does_not_show_that_the_drain_was_heard() -> None:
    pair = Pair()
    pair.agent.start(pair.now)
    pair.settle()
    pair.agent.drain(pair.now)
    pair.agent.receive(pack([13, 1]), pair.now)
    assert not pair.agent.drain_heard
    pair.agent.receive(pack([13, 2]), pair.now)
    assert pair.agent.drain_heard


def test_the_ping_after_the_drains_shows_it_too() -> None:
    pair = Pair()
    pair.agent.drain(pair.now)
    pair.agent.receive(pack([13, 1]), pair.now)
    assert pair.agent.drain_heard
    pair.hub.drain(pair.now)
    assert not pair.hub.drain_heard


def test_a_drain_that_is_repeated_is_reported_once() -> None:
    pair = Pair()
    events = pair.hub.receive(pack([14, None], [14, None], [14, None], [14, 0]), pair.now)
    assert names(events) == ["PeerDraining", "PeerDraining"]


def test_the_drain_answers_a_reset_of_a_refused_stream() -> None:
    pair = Pair()
    stream = pair.hub.open(None, pair.now, **HEAD, chunked=True)
    pair.take(pair.hub)
    assert pair.hub.reset(stream, StreamCode.DEADLINE, pair.now, confirm=True)
    pair.agent.drain_finish(pair.now)
    _, _, answer = pair.to_hub()
    assert isinstance(answer, ResetAnswered)
    assert (answer.stream, answer.code, stream.silent) == (stream, StreamCode.NOT_DISPATCHED, False)
    assert not pair.hub.streams


def test_growth_of_a_refused_streams_window_is_given_back() -> None:
    pair = Pair(hub=Limits(window=2048, window_max=8192))
    stream, far = pair.open(end=True)
    pair.agent.answer(far, 200, b"", [], None, b"x" * 2048)
    pair.to_hub()
    pair.hub.consumed(stream, 1024, pair.now)
    assert pair.hub_budget.used == 2048
    pair.hub.receive(pack([14, 0]), pair.now)
    assert pair.hub_budget.used == 0
    assert stream.sending == stream.receiving == ABORTED


def test_a_hub_that_drained_still_holds_the_agent_to_the_rules() -> None:
    """Our DRAIN excuses only frames for streams above its last id, and the agent opens none."""
    pair = Pair()
    _, far = pair.open(end=True)
    pair.agent.answer(far, 200, b"", [], None, b"", True)
    pair.settle()
    pair.hub.drain_finish(pair.now)
    with pytest.raises(ProtocolViolation) as caught:
        pair.hub.receive(pack([8, 1, 0, b"x"]), pair.now)
    assert caught.value.code is SessionCode.PROTOCOL_ERROR


def test_lost_returns_what_was_open_and_gives_everything_back() -> None:
    pair = Pair(agent=Limits(window=2048, window_max=8192))
    stream, far = pair.open(chunked=True)
    pair.open(end=True)
    pair.hub.send(stream, b"x" * 5120)
    pair.to_agent()
    pair.agent.consumed(far, 1024, pair.now)
    pair.to_hub()
    pair.to_agent()
    assert far.received == 5120
    assert pair.agent_budget.used == 2048
    assert [each.id for each in pair.agent.lost()] == [1, 3]
    assert pair.agent_budget.used == 0
    pair.agent.consumed(far, 4096, pair.now)
    assert pair.agent_budget.used == 0, "what is taken late must not make it grow again"
