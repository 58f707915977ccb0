"""What operators do, on a hub without sockets: what is switched, what is said of it, and what goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from protocol.errors import SessionCode
from tests.support.slots import Noted
from tests.unit.hub.rig import Rig
from tunnel_hub.killswitch import KillSwitch
from tunnel_hub.operation import Operation, UnknownNameError
from tunnel_hub.retire import PATIENCE

WHO = ("night-shift", "ticket 17")


class Desk:
    """A rig, with what an operation needs besides the hub."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.hub = self.rig.hub
        self.hub.audit = self.audit = Noted()
        self.links: dict[Any, None] = {}
        self.told: list[str] = []
        self.enabled = True
        agents = SimpleNamespace(
            links=self.links,
            registered={"leeds-1": None, "leeds-2": None},
            send_away=self._drain_links,
            welcome=lambda: self.told.append("welcome"),
        )
        ingress = SimpleNamespace(send_away=lambda *, on: self.told.append(f"callers away {on}"))
        self.operation = Operation(
            self.hub,
            cast("Any", agents),
            cast("Any", ingress),
            KillSwitch(self.hub, cast("Any", self.links)),
            lambda _name: self.enabled,
        )

    def agent(self, agent_id: str = "leeds-1", sessions: int = 1) -> Any:
        agent = self.rig.agent(agent_id, sessions)
        for link in agent.links:
            self.adopt(link)
        return agent

    def adopt(self, link: Any) -> None:
        def close(code: SessionCode, _message: str) -> None:
            assert code is SessionCode.SHUTDOWN
            self.links.pop(link, None)
            link.lose()

        link.close = close
        self.links[link] = None

    def _drain_links(self) -> None:
        self.told.append("agents away")
        for link in self.links:
            link.session.drain(self.rig.clock.now)

    def events(self) -> list[str]:
        return [event for event, _ in self.audit.events]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_service_off_and_on(desk: Desk) -> None:
    desk.agent()
    desk.operation.switch_off("visits", *WHO)
    desk.operation.switch_off("visits", "other", "again")
    assert desk.rig.call().reply.status == 503
    assert desk.audit.events == [
        ("service switched off", {"service": "visits", "operator": "night-shift", "reason": "ticket 17"})
    ]
    switched = desk.hub.switches.services["visits"]
    assert (switched.by, switched.reason) == ("operator night-shift", "ticket 17")
    settings = desk.rig.service.settings._replace(enabled=True)
    assert not desk.hub.switches.settings("visits", settings).enabled, "what a reload would bring"
    assert desk.hub.switches.settings("money", settings).enabled
    desk.operation.switch_on("visits", *WHO)
    desk.operation.switch_on("visits", *WHO)
    assert desk.rig.service.settings.enabled
    assert desk.events() == ["service switched off", "service switched on"]
    call = desk.rig.call()
    desk.rig.settle()
    desk.rig.agents[0].visits[-1].answer()
    desk.rig.settle()
    assert call.reply.status == 200


def test_what_the_file_has_off_stays_off(desk: Desk) -> None:
    desk.enabled = False
    desk.rig.service.settings = desk.rig.service.settings._replace(enabled=False)
    desk.operation.switch_off("visits", *WHO)
    desk.operation.switch_on("visits", *WHO)
    assert not desk.rig.service.settings.enabled
    assert desk.events() == ["switch taken back"]


def test_names_must_be_known(desk: Desk) -> None:
    with pytest.raises(UnknownNameError):
        desk.operation.switch_off("money", *WHO)
    with pytest.raises(UnknownNameError):
        desk.operation.stop_agent("york-1", *WHO)
    desk.operation.switch_on("money", *WHO)
    desk.operation.resume_agent("york-1", *WHO)
    desk.operation.resume(*WHO)
    assert desk.events() == []


def test_a_stopped_agent_gets_nothing_and_the_others_do(desk: Desk) -> None:
    first, second = desk.agent("leeds-1"), desk.agent("leeds-2")
    desk.operation.stop_agent("leeds-1", *WHO)
    for _ in range(3):
        desk.rig.call()
    desk.rig.settle()
    assert (len(first.visits), len(second.visits)) == (0, 3)
    again = desk.agent("leeds-1")
    assert again.instance.stopped, "a new process of it, too"
    desk.operation.stop_agent("leeds-2", *WHO)
    waiting = desk.rig.call()
    desk.rig.settle()
    assert not waiting.visits
    assert not desk.rig.service.up
    desk.operation.resume_agent("leeds-1", *WHO)
    desk.rig.settle()
    assert len(waiting.visits) == 1, "what waited goes at once"
    assert desk.events() == ["agent stopped", "agent stopped", "agent resumed"]


def test_drain_and_resume_are_said_once(desk: Desk) -> None:
    desk.agent()
    desk.operation.drain(*WHO)
    desk.operation.drain(*WHO)
    assert desk.hub.switches.draining is not None
    assert desk.told == ["callers away True", "agents away"]
    desk.operation.resume(*WHO)
    desk.operation.resume(*WHO)
    assert desk.told[2:] == ["callers away False", "welcome"]
    assert desk.events() == ["hub drained", "hub resumed"]
    desk.operation.stop()


def test_old_sessions_go_one_for_one_with_new_ones(desk: Desk) -> None:
    agent = desk.agent(sessions=2)
    old = list(agent.links)
    call = desk.rig.call()
    desk.rig.settle()
    busy = agent.visits[0].link
    desk.operation.drain(*WHO)
    desk.operation.resume(*WHO)
    desk.rig.advance(5)
    assert all(not link.lost for link in old), "nobody has come in their place"
    desk.adopt(agent.connect())
    desk.rig.advance(1)
    assert sum(link in agent.instance.links for link in old) == 1
    desk.rig.advance(5)
    assert sum(link in agent.instance.links for link in old) == 1, "one for one"
    desk.adopt(agent.connect())
    desk.rig.advance(1)
    assert [link for link in old if not link.lost] == [busy], "it has a request still"
    agent.visits[0].answer()
    desk.rig.settle()
    desk.rig.advance(1)
    assert call.reply.status == 200
    assert all(link.lost for link in old)
    assert len(desk.links) == 2
    desk.rig.assert_nothing_left()


def test_a_request_that_never_ends_does_not_keep_its_session(desk: Desk) -> None:
    agent = desk.agent()
    (old,) = agent.links
    desk.rig.call()
    desk.rig.settle()
    agent.visits[0].answer(end=False)
    desk.rig.settle()
    desk.operation.drain(*WHO)
    desk.operation.resume(*WHO)
    desk.adopt(agent.connect())
    desk.rig.advance(PATIENCE - 1)
    assert not old.lost
    desk.rig.advance(3)
    assert old.lost


def test_a_drain_in_between_keeps_the_old_ones(desk: Desk) -> None:
    agent = desk.agent()
    (old,) = agent.links
    desk.operation.drain(*WHO)
    desk.operation.resume(*WHO)
    desk.operation.drain(*WHO)
    desk.adopt(agent.connect())
    desk.rig.advance(5)
    assert not old.lost
    desk.operation.stop()
