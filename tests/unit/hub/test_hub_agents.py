"""What strangers can make the agents' listener write."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from protocol.errors import SessionCode, SessionError
from protocol.ops.audit import Audit
from tests.support.logs import Logged, kept
from tests.unit.hub.rig import Rig
from tunnel_hub.agents import AgentListener
from tunnel_hub.hub import OFFERS_MAX
from tunnel_hub.registrar import Registrar


class Stranger:
    """A link whose handshake failed."""

    peer_address = "10.0.0.1"
    label = ""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


def test_refusals_beyond_some_a_second_are_counted_instead_of_logged() -> None:
    clock, nobody = Clock(), SimpleNamespace(use=lambda _agents: None, registered={}, on_change=None)
    hub = SimpleNamespace(
        loop=clock, wheel=None, audit=Audit(), busy=lambda: False, may_serve=lambda _services, _limits: None
    )
    with kept():
        logged = Logged()
        listener = AgentListener(cast(Any, hub), cast(Any, None), cast(Registrar, nobody), {})
        link = cast(Any, Stranger())
        for _ in range(25):
            listener.lost(link, SessionError(SessionCode.NOT_REGISTERED, "no"), [])
        clock.now = 101.0
        listener.lost(link, SessionError(SessionCode.NOT_REGISTERED, "no"), [])
    assert listener.refused == {SessionCode.NOT_REGISTERED: 26}
    lines = [line for line in logged.events if line["event"] == "agent refused"]
    assert len(lines) == 11
    assert lines[-1]["left_out"] == 15


def test_what_an_agent_names_is_bounded_over_all_its_sessions() -> None:
    rig = Rig()
    agent = rig.agent()
    for number in range(10):
        names = tuple(f"s{number}-{each}" for each in range(200))
        result = SimpleNamespace(agent_id=agent.id, instance_id=agent.instance_id, services=(), refused=names)
        rig.hub.add_session(cast("Any", agent.links[0]), cast("Any", result))
    assert len(agent.instance.offers) == OFFERS_MAX
    assert "visits" in agent.instance.offers
