"""The parts of the hub's pages that renew themselves, as HTML by their ids: the same for everybody who looks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from protocol.ops.words import first

from .charts import chart
from .snapshot import failure_counts

if TYPE_CHECKING:
    from protocol.ops.console.console import Console

    from ..failures import Failure
    from .shapes import AgentState, ServiceStatus
    from .snapshot import Source

AGENTS_SHOWN: Final = 20
"""Agents on the front page: first those with trouble, then by name."""

FAILURES_SHOWN: Final = 15
COUNTS_SHOWN: Final = 8

AGENTS_PER_PAGE: Final = 100


class Views:
    """Makes the parts."""

    def __init__(self, console: Console, source: Source) -> None:
        self._console = console
        self._source = source

    def overview(self) -> Mapping[str, str]:
        """The front page."""
        source, hub = self._source, self._source.hub
        states = source.states()
        agents = list(source.agents(_with_trouble_first(states)[:AGENTS_SHOWN]))
        status = source.status(time.time(), agents, FAILURES_SHOWN)
        charts = {name: chart(source.sampler.course(service)) for name, service in hub.services.items()}
        return self._parts(
            ("headline", "tiles", "services", "agents", "failures"),
            status=status,
            services=status.services,
            charts=charts,
            agents=agents,
            agents_total=len(states),
            failures=status.failures,
            failure_counts=status.failure_counts[:COUNTS_SHOWN],
            rate=sum(service.recent.requests_per_second for service in status.services),
            error_ratio=error_ratio(status.services),
            trouble=[*trouble(status.services, states), *first([each.text for each in status.concerns])],
        )

    def agent(self, agent_id: str) -> Mapping[str, str]:
        """One agent's page."""
        agent = self._source.agent(agent_id)
        return {} if agent is None else self._parts(("agent",), agent=agent)

    def agents(self, page: int, wanted: str) -> Mapping[str, str]:
        """One page of the list of agents; `wanted` stands in their names."""
        found = [name for name in _with_trouble_first(self._source.states()) if wanted.lower() in name.lower()]
        shown = found[(page - 1) * AGENTS_PER_PAGE : page * AGENTS_PER_PAGE]
        return self._parts(("agents",), agents=list(self._source.agents(shown)), agents_total=len(shown))

    def page_count(self, wanted: str) -> int:
        count = sum(wanted.lower() in name.lower() for name in self._source.states())
        return max(1, -(-count // AGENTS_PER_PAGE))

    def failures(self, wanted: str, code: str) -> Mapping[str, str]:
        """The failures that are kept, as far as they match."""
        kept = list(self._source.hub.failures.latest())
        found = [each for each in kept if matches(each, wanted, code)]
        return self._parts(
            ("failures",),
            failures=found,
            failure_counts=failure_counts(found),
            kept=len(kept),
        )

    def _parts(self, names: Sequence[str], **values: object) -> dict[str, str]:
        shared = {"operators": self._console.operators.configured, "hub_id": self._source.hub.id}
        return {name: self._console.fragment(f"_{name}.html", **(shared | values)) for name in names}


def matches(failure: Failure, wanted: str, code: str) -> bool:
    """Whether a search for `wanted` finds it; `code` must be the same unless it is empty, "-" is the empty one."""
    if code and failure.code != ("" if code == "-" else code):
        return False
    texts = (failure.request_id, failure.service, failure.agent, failure.caller, failure.path)
    return not wanted or any(wanted.lower() in text.lower() for text in texts)


def error_ratio(services: Sequence[ServiceStatus]) -> float | None:
    """Of all services together."""
    requests = sum(service.recent.requests for service in services)
    errors = sum(service.recent.errors for service in services)
    return errors / requests if requests else None


def _with_trouble_first(states: Mapping[str, AgentState]) -> list[str]:
    return sorted(states, key=lambda name: (states[name] == "up", name))


def trouble(services: Sequence[ServiceStatus], states: Mapping[str, AgentState]) -> list[str]:
    """What is not as it should be, in a few words that change only when something does: they are read aloud."""
    found = [f"{service.name} is {service.state}" for service in services if service.state != "up"]
    for state, words in (
        ("away", "away"),
        ("upstream down", "without upstream"),
        ("draining", "draining"),
        ("stopped", "stopped by an operator"),
    ):
        names = [name for name, each in states.items() if each == state]
        if len(names) > 3:
            found.append(f"{len(names)} agents are {words}")
        elif names:
            found.append(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {words}")
    return found
