"""What is up but not well, in sentences."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from protocol.errors import SessionCode
from protocol.ops.expiry import DAY
from tunnel_hub.console.concerns import concerns

NOW = 1_700_000_000.0


def instance(agent: str = "leeds-1", *skews: float | None, offers: bool = True, leaving: bool = False) -> Any:
    links = [SimpleNamespace(skew=skew) for skew in skews]
    return SimpleNamespace(agent_id=agent, offers={"visits": 1} if offers else {}, leaving=leaving, links=links)


def said(
    *instances: Any,
    last_ends: dict[str, SessionCode] | None = None,
    ends: dict[str, float] | None = None,
    gate: Any = None,
) -> list[str]:
    hub: Any = SimpleNamespace(
        instances=instances,
        last_ends=last_ends or {},
        ends=ends or {},
        gate=gate,
        registered={"leeds-1": frozenset(), "leeds-2": frozenset()},
    )
    return [each.text for each in concerns(hub, NOW)]


def test_nothing_while_all_is_well() -> None:
    assert said(instance("leeds-1", 0.4, None), instance("leeds-2", -59.0), ends={"x": NOW + 31 * DAY}) == []


@pytest.mark.parametrize(("skew", "words"), [(299.0, "4 min 59 s ahead"), (-7200.0, "2 h behind")])
def test_a_clock(skew: float, words: str) -> None:
    assert said(instance("leeds-1", 0.0, skew)) == [f"the clock of leeds-1 is {words}"]


def test_two_processes_with_one_id() -> None:
    assert said(instance(), instance(), instance("leeds-2")) == ["2 processes have the agent id leeds-1"]


@pytest.mark.parametrize("other", [instance(leaving=True), instance(offers=False)], ids=["leaves", "a check"])
def test_who_leaves_or_only_checks_is_no_second_process(other: Any) -> None:
    assert said(instance(), other) == []


def test_silence_of_agents_that_the_file_knows() -> None:
    ended = {"leeds-1": SessionCode.SILENT, "leeds-2": SessionCode.SHUTDOWN, "gone-1": SessionCode.SILENT}
    assert said(last_ends=ended) == ["leeds-1 went silent"]


def test_certificates_and_callers_credentials_that_end() -> None:
    policy = SimpleNamespace(name="booking", ends={"token": NOW + 2.5 * DAY, "certificate": NOW - 2 * DAY})
    assert said(
        ends={"listen.agents_tls.certificate": NOW + 9.5 * DAY}, gate=SimpleNamespace(directory=[policy])
    ) == [
        "token of booking ends in 2 days",
        "listen.agents_tls.certificate ends in 9 days",
    ]
