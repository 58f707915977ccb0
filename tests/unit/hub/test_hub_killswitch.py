"""The kill switch at the hub: what each request is told, by how far it had come."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import StreamCode
from tests.support.slots import Noted
from tests.unit.hub.rig import SETTINGS, Rig
from tunnel_hub.killswitch import CUT_AFTER, KillSwitch


class Switched:
    """A rig, its switch, and what was audited."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.audit = self.rig.hub.audit = Noted()
        self._links: dict[Any, None] = {}
        self.switch = KillSwitch(self.rig.hub, self._links)

    def turn(self, *, on: bool) -> None:
        self._links.clear()
        self._links.update({link: None for agent in self.rig.agents for link in agent.links})
        self.rig.service.settings = SETTINGS._replace(enabled=on)
        self.switch.turn(self.rig.service, on=on)

    def pass_by(self) -> None:
        self.rig.settle()
        self.rig.advance(CUT_AFTER + 0.1)
        self.rig.settle()


@pytest.fixture
def switched() -> Switched:
    return Switched()


def test_what_waits_is_told_at_once(switched: Switched) -> None:
    call = switched.rig.call(b"POST", body=b"a")
    switched.turn(on=False)
    assert (call.reply.status, call.reply.delivered) == (503, "no")
    assert switched.rig.call().reply.status == 503
    switched.pass_by()
    switched.rig.assert_nothing_left()


@pytest.mark.parametrize("dispatched", [False, True])
def test_what_an_agent_has_is_cut(switched: Switched, dispatched: bool) -> None:
    """The hub does not know whether it was dispatched, and does not send it again."""
    agent = switched.rig.agent()
    call = switched.rig.call()
    switched.rig.settle()
    if dispatched:
        agent.visits[0].dispatch()
    switched.turn(on=False)
    assert not call.reply.over
    switched.pass_by()
    assert (call.reply.status, call.reply.delivered) == (502, "unknown")
    assert b'"cut_off"' in call.reply.content
    assert agent.visits[0].over, "the agent is told"
    assert len(agent.visits) == 1
    assert switched.audit.events == [
        ("service switched off", {"service": "visits"}),
        ("exchanges cut", {"service": "visits", "count": 1}),
    ]
    switched.rig.assert_nothing_left()


def test_what_has_not_left_the_hub_is_not_delivered(switched: Switched) -> None:
    agent = switched.rig.agent()
    call = switched.rig.call(b"POST", body=b"a")
    switched.turn(on=False)
    switched.rig.advance(CUT_AFTER + 0.1)
    assert (call.reply.status, call.reply.delivered) == (503, "no")
    switched.rig.settle()
    assert not agent.visits
    switched.rig.assert_nothing_left()


@pytest.mark.parametrize("status", [200, 101])
def test_an_answer_that_has_begun_is_aborted(switched: Switched, status: int) -> None:
    agent = switched.rig.agent()
    call = switched.rig.call(upgrade=b"echo" if status == 101 else None)
    switched.rig.settle()
    agent.visits[0].answer(status, b"half", end=False)
    switched.rig.settle()
    switched.turn(on=False)
    switched.pass_by()
    assert (call.reply.status, call.reply.ending) == (status, "abort")
    switched.rig.assert_nothing_left()


def test_what_ends_in_time_is_not_cut(switched: Switched) -> None:
    agent = switched.rig.agent()
    call = switched.rig.call()
    switched.rig.settle()
    switched.turn(on=False)
    agent.visits[0].answer()
    switched.pass_by()
    assert call.reply.status == 200
    assert [event for event, _ in switched.audit.events] == ["service switched off"]
    switched.rig.assert_nothing_left()


def test_what_would_be_sent_again_is_not(switched: Switched) -> None:
    agent = switched.rig.agent()
    switched.rig.agent("leeds-2")
    call = switched.rig.call()
    switched.rig.settle()
    visit = next(visit for each in switched.rig.agents for visit in each.visits)
    switched.turn(on=False)
    visit.fail(StreamCode.OVERLOADED)
    switched.rig.settle()
    assert (call.reply.status, call.reply.delivered) == (503, "no")
    assert b'"switched_off"' in call.reply.content
    assert sum(len(each.visits) for each in switched.rig.agents) == 1
    del agent
    switched.pass_by()
    switched.rig.assert_nothing_left()


def test_on_again_before_the_cut(switched: Switched) -> None:
    agent = switched.rig.agent()
    call = switched.rig.call()
    switched.rig.settle()
    switched.turn(on=False)
    switched.rig.advance(CUT_AFTER - 0.2)
    switched.turn(on=True)
    switched.rig.advance(CUT_AFTER * 2)
    assert not call.reply.over
    switched.turn(on=False)
    switched.rig.advance(CUT_AFTER - 0.2)
    assert not call.reply.over, "the time counts from the last switch"
    switched.turn(on=True)
    agent.visits[0].answer()
    switched.rig.settle()
    assert call.reply.status == 200
    switched.rig.assert_nothing_left()


def test_a_deadline_that_passed_meanwhile_is_told_as_such(switched: Switched) -> None:
    switched.rig.agent()
    call = switched.rig.call()
    switched.rig.settle()
    switched.rig.advance(SETTINGS.deadline - CUT_AFTER)
    switched.turn(on=False)
    switched.rig.advance(CUT_AFTER + 0.2)
    assert call.reply.status in (502, 504)
    switched.rig.settle()
    switched.rig.assert_nothing_left()
