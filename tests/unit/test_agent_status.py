"""What `systemctl status` says of an agent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tunnel_agent.status import Standing

NOW = 100.0


def slot(url: str = "ws://hub:8081/tunnel", **values: Any) -> Any:
    fields = {"up": True, "dialling": False, "due": NOW + 4.2, "last_error": "", **values}
    return SimpleNamespace(hub=SimpleNamespace(url=url), **fields)


def down(url: str = "ws://hub:8081/tunnel", **values: Any) -> Any:
    return slot(url, up=False, **values)


def service(down: str = "", *, enabled: bool = True) -> Any:
    return SimpleNamespace(enabled=enabled, watch=SimpleNamespace(down=down))


def standing(slots: list[Any], services: dict[str, Any] | None = None, *, stuck: bool = False) -> Standing:
    agent: Any = SimpleNamespace(
        in_flight=3,
        services=services or {"visits": service()},
        loop=SimpleNamespace(time=lambda: NOW),
    )
    supervisor: Any = SimpleNamespace(slots=slots, stuck=lambda now: stuck and now == NOW)
    return Standing(agent, supervisor)


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        ([slot(), slot()], "2 sessions at 1 hub"),
        ([slot(), down(last_error="connect: refused")], "1 session at 1 hub"),
        ([slot("a"), slot("b"), slot("b")], "3 sessions at 2 hubs"),
        ([down(), down(dialling=True)], "no session: ws://hub:8081/tunnel, trying"),
        (
            [down(due=NOW + 9), down(last_error="connect: refused")],
            "no session: ws://hub:8081/tunnel: connect: refused, next try in 4 s",
        ),
        ([down(due=NOW - 3)], "no session: ws://hub:8081/tunnel, next try in 0 s"),
        ([slot("a"), down("b")], "1 session at 1 hub; no session: b, next try in 4 s"),
        ([down("a"), down("b")], "no session: a, next try in 4 s; no session: b, next try in 4 s"),
    ],
)
def test_sessions(slots: list[Any], text: str) -> None:
    assert standing(slots).status() == f"{text}; visits up; 3 requests running"


def test_services() -> None:
    services = {"visits": service(), "money": service("connection refused"), "chat": service(enabled=False)}
    said = standing([slot()], services).status().split("; ")[1]
    assert said == "visits up, money down (connection refused), chat switched off"


def test_only_what_a_restart_mends_is_a_fault() -> None:
    assert standing([down(last_error="connect: refused")]).fault() == ""
    assert standing([down()], stuck=True).fault() == "no session, and nothing looks for one any more"
