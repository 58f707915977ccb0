"""What `systemctl status` says of a hub."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tunnel_hub.status import Standing
from tunnel_hub.switches import Switched, Switches


def service(offers: list[bool], waiting: int = 0, *, enabled: bool = True) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(enabled=enabled),
        up=bool(offers),
        offers=[SimpleNamespace(up=up) for up in offers],
        queue=[None] * waiting,
    )


def standing(services: dict[str, Any], agents: list[str], listeners: dict[str, bool] | None = None) -> Standing:
    hub: Any = SimpleNamespace(services=services, in_flight=12, switches=Switches())
    sessions: Any = SimpleNamespace(links=[SimpleNamespace(label=agent) for agent in agents])
    listening = {name: SimpleNamespace(listening=up) for name, up in (listeners or {}).items()}
    return Standing(hub, sessions, listening)


def test_in_one_line() -> None:
    said = standing({"visits": service([True]), "money": service([])}, ["a", "a", "b", "b"]).status()
    assert said == "2 agents, 4 sessions; visits up, money without agent; 12 requests running"


def test_drained_by_an_operator() -> None:
    drained = standing({}, [])
    drained._hub.switches.draining = Switched(by="operator anna", at=0.0, reason="new kernel")
    assert drained.status().startswith("drained by operator anna; 0 agents, ")


def test_services() -> None:
    services = {
        "a": service([False, True]),
        "b": service([False, False], waiting=2),
        "c": service([True], waiting=1, enabled=False),
    }
    said = standing(services, ["a"]).status()
    assert said == (
        "1 agent, 1 session; a up, b down at every agent, c switched off; 12 requests running, 3 of them waiting"
    )


def test_only_what_a_restart_mends_is_a_fault() -> None:
    assert standing({"visits": service([])}, [], {"callers": True, "admin": True}).fault() == ""
    closed = standing({}, [], {"callers": False, "agents": True, "admin": False}).fault()
    assert closed == "closed, though it should serve: callers, admin"
