"""What becomes of one request: held, sent, sent again or refused, and what its caller is told of that."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import StreamCode
from tests.unit.hub.caller import Call
from tests.unit.hub.rig import SETTINGS, Rig
from tunnel_hub.delivery import EXPECT_PATIENCE, LOOK_AGAIN


def told(call: Call) -> tuple[int, str]:
    return call.reply.status, call.reply.delivered


def test_an_exchange_leaves_nothing() -> None:
    rig = Rig()
    agent = rig.agent()
    call = rig.call(body=b"")
    rig.settle()
    agent.visits[0].answer(body=b"fine")
    rig.settle()
    assert (call.reply.status, call.reply.content, call.reply.ending) == (200, b"fine", "end")
    rig.assert_nothing_left()


def test_a_held_request_goes_to_the_first_session() -> None:
    rig = Rig()
    call = rig.call(b"POST", body=b"a", pieces=[b"b", b"c"])
    call.send_piece()
    assert call.reply.paused
    agent = rig.agent()
    call.send_piece()
    rig.settle()
    assert not call.reply.paused
    assert [(visit.body, visit.whole) for visit in agent.visits] == [(b"abc", True)]
    agent.visits[0].answer()
    rig.settle()
    assert told(call) == (200, "")
    rig.assert_nothing_left()


def test_hold_ends() -> None:
    rig = Rig()
    call = rig.call(b"POST", body=b"a")
    rig.advance(SETTINGS.hold - 0.3)
    assert not call.reply.over
    rig.advance(0.5)
    assert told(call) == (503, "no")
    rig.assert_nothing_left()


@pytest.mark.parametrize(
    ("method", "again"), [(b"GET", True), (b"PUT", True), (b"DELETE", True), (b"POST", False), (b"PATCH", False)]
)
def test_a_session_is_lost_with_a_request_on_it(method: bytes, again: bool) -> None:
    rig = Rig()
    first, second = rig.agent("leeds-1"), rig.agent("leeds-2")
    call = rig.call(method, body=b"body")
    rig.settle()
    lost, other = (first, second) if first.visits else (second, first)
    lost.visits[0].dispatch()
    lost.die()
    rig.settle()
    assert len(other.visits) == again
    if again:
        assert other.visits[0].body == b"body"
        other.visits[0].answer()
        rig.settle()
    assert told(call) == ((200, "") if again else (502, "unknown"))
    rig.assert_nothing_left()


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_what_never_left_the_hub_is_sent_again(method: bytes) -> None:
    """The session dies before the writer has taken anything."""
    rig = Rig()
    agent = rig.agent()
    call = rig.call(method, body=b"body")
    agent.die()
    assert not call.reply.over
    successor = rig.agent()
    rig.settle()
    successor.visits[0].answer()
    rig.settle()
    assert told(call) == (200, "")
    rig.assert_nothing_left()


def test_a_lost_request_is_not_called_undelivered() -> None:
    """It was sent, repeated, and then nobody came any more: 503 with `no` would be a lie."""
    rig = Rig()
    agent = rig.agent()
    call = rig.call(b"PUT", body=b"body")
    rig.settle()
    agent.visits[0].dispatch()
    agent.die()
    rig.advance(SETTINGS.hold + 1)
    assert told(call) == (502, "unknown")
    rig.assert_nothing_left()


@pytest.mark.parametrize("code", [StreamCode.OVERLOADED, StreamCode.CONNECT_FAILED, StreamCode.NOT_DISPATCHED])
def test_another_agent_may_do_better(code: StreamCode) -> None:
    rig = Rig()
    agents = [rig.agent("leeds-1"), rig.agent("leeds-2")]
    call = rig.call(b"POST", body=b"body")
    rig.settle()
    for _ in agents:
        next(agent for agent in agents if agent.waiting).waiting[0].fail(code)
        rig.settle()
    assert [len(agent.visits) for agent in agents] == [1, 1]
    assert told(call) == (503, "no")
    rig.assert_nothing_left()


def test_a_boundarys_refusal_is_an_answer() -> None:
    rig = Rig()
    agents = [rig.agent("leeds-1"), rig.agent("leeds-2")]
    call = rig.call()
    rig.settle()
    next(agent for agent in agents if agent.waiting).waiting[0].fail(StreamCode.BOUNDARY_REFUSED)
    rig.settle()
    assert sum(len(agent.visits) for agent in agents) == 1
    assert told(call) == (403, "no")
    rig.assert_nothing_left()


def test_a_post_that_a_draining_agent_had_not_looked_at_waits_for_its_successor() -> None:
    rig = Rig()
    agent = rig.agent()
    agent.drain()  # on its way to the hub
    agent.links[0].leave()
    call = rig.call(b"POST", body=b"body")
    rig.settle()
    assert not call.reply.over
    assert not agent.visits
    successor = rig.agent()
    rig.settle()
    successor.visits[0].answer()
    rig.settle()
    assert told(call) == (200, "")
    rig.assert_nothing_left()


def test_a_repeat_takes_the_place_that_it_leaves() -> None:
    """The only agent's only place is free as soon as the lost request has let go of it."""
    rig = Rig()
    agent = rig.agent(sessions=2)
    agent.offer(1)
    call = rig.call()
    rig.settle()
    agent.visits[0].link.lose()
    rig.settle()
    assert len(agent.visits) == 2, "it waits though there is room"
    agent.visits[1].answer()
    rig.settle()
    assert told(call) == (200, "")
    rig.assert_nothing_left()


@pytest.mark.parametrize(("method", "said"), [(b"GET", (502, "unknown")), (b"POST", (502, "unknown"))])
def test_nothing_is_sent_again_once_the_service_is_switched_off(method: bytes, said: tuple[int, str]) -> None:
    rig = Rig()
    agents = [rig.agent("leeds-1"), rig.agent("leeds-2")]
    lost, refused = rig.call(method), rig.call(method)
    rig.settle()
    rig.service.settings = SETTINGS._replace(enabled=False)
    refused.visits[0].fail(StreamCode.OVERLOADED)
    rig.settle()
    lost.visits[0].agent.die()
    rig.settle()
    assert sum(len(agent.visits) for agent in agents) == 2
    assert told(refused) == (503, "no")
    assert told(lost) == said, "it may have been delivered"
    rig.assert_nothing_left()


def test_a_draining_session_speaks_for_itself_only() -> None:
    """An agent that replaces its sessions refuses on the old one and serves on the new one."""
    rig = Rig()
    agent = rig.agent()
    agent.offer(1)
    agent.drain()
    agent.links[0].leave()
    call = rig.call(b"POST", body=b"body")
    agent.connect()
    rig.settle()
    assert len(agent.visits) == 1
    agent.visits[0].answer()
    rig.settle()
    assert told(call) == (200, "")
    rig.assert_nothing_left()


def test_the_hubs_own_100_is_not_sent_while_a_repeat_waits() -> None:
    rig = Rig()
    agent = rig.agent()
    call = rig.call(b"PUT", expect=True)
    rig.settle()
    agent.die()
    rig.advance(EXPECT_PATIENCE + 0.1)
    assert call.reply.interims == [], "nobody reads the body yet"
    successor = rig.agent()
    rig.settle()
    rig.advance(EXPECT_PATIENCE + 0.1)
    assert call.reply.interims == [100]
    call.send_piece()
    rig.settle()
    successor.visits[0].answer()
    rig.settle()
    assert told(call) == (200, "")
    rig.assert_nothing_left()


def test_the_deadline_of_what_never_left_the_hub() -> None:
    rig = Rig()
    rig.agent()
    call = rig.call(b"POST", b"Tunnel-Deadline", b"500ms")
    rig.advance(1.0)
    assert told(call) == (504, "no")
    rig.assert_nothing_left()


@pytest.mark.parametrize("dispatched", [True, False])
def test_the_agent_says_whether_it_had_dispatched_at_the_deadline(dispatched: bool) -> None:
    rig = Rig()
    agent = rig.agent()
    call = rig.call(b"POST", b"Tunnel-Deadline", b"500ms")
    rig.settle()
    deadline_ms = agent.visits[0].deadline_ms
    assert deadline_ms is not None
    assert 400 < deadline_ms <= 500
    if dispatched:
        agent.visits[0].dispatch()
    while not call.exchange._expired:
        rig.advance(0.01)
    rig.settle()
    assert told(call) == (504, "unknown" if dispatched else "no")
    rig.assert_nothing_left()


def test_what_waited_at_the_agent_until_the_deadline_goes_nowhere_else() -> None:
    """The agent's word may be here before the hub's own timer fires."""
    rig = Rig()
    agents = [rig.agent("leeds-1"), rig.agent("leeds-2")]
    call = rig.call(b"POST", b"Tunnel-Deadline", b"500ms")
    rig.settle()
    rig.advance(0.49)
    call.visits[0].fail(StreamCode.OVERLOADED)
    rig.settle()
    assert told(call) == (504, "no")
    assert sum(len(agent.visits) for agent in agents) == 1
    rig.assert_nothing_left()


def test_a_deadline_without_the_agents_word_is_unknown() -> None:
    rig = Rig()
    agent = rig.agent()
    call = rig.call(b"POST", b"Tunnel-Deadline", b"500ms")
    rig.settle()
    rig.advance(1.0)
    assert told(call) == (504, "unknown")
    agent.settle()
    assert agent.visits[0].over, "the agent is told to stop"
    rig.assert_nothing_left()


def test_a_deadline_cannot_be_raised() -> None:
    rig = Rig(SETTINGS._replace(deadline=1.0))
    rig.agent()
    call = rig.call(b"GET", b"Tunnel-Deadline", b"20s")
    rig.advance(1.2)
    assert call.reply.status == 504
    rig.assert_nothing_left()


@pytest.mark.parametrize("values", [(b"soon",), (b"1s", b"1s"), (b"0s",)])
def test_a_malformed_deadline(values: tuple[bytes, ...]) -> None:
    rig = Rig()
    call = rig.call(b"GET", *(part for value in values for part in (b"Tunnel-Deadline", value)))
    assert told(call) == (400, "no")
    rig.assert_nothing_left()


def test_who_waits_looks_again() -> None:
    """Room that nobody reports is found within LOOK_AGAIN."""
    rig = Rig()
    agent = rig.agent()
    agent.offer(1)
    first = rig.call()
    second = rig.call()
    rig.service.offers[0].limit = 2
    rig.advance(LOOK_AGAIN + 0.1)
    rig.settle()
    assert second.visits
    for call in (first, second):
        call.visits[0].answer()
    rig.settle()
    rig.assert_nothing_left()


def test_what_services_share_is_given_back_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(agent_limit=1)
    agent = rig.agent()
    call = rig.call()
    rig.settle()
    pumped: list[Any] = []
    monkeypatch.setattr(type(rig.hub), "pump", lambda _hub, behind=None: pumped.append(behind))
    agent.waiting[0].answer()
    rig.settle()
    assert call.reply.status == 200
    assert pumped == [rig.service]
