"""The agent's metrics, read from plain counters when somebody asks. `families.py` says what each is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from protocol.ops.metrics import EXPIRES

from . import families as shown

if TYPE_CHECKING:
    from .agent import Agent
    from .service import Service
    from .supervisor import Supervisor

Values = dict[tuple[str, ...], float]


def families(agent: Agent, supervisor: Supervisor) -> Iterator[Metric]:
    """Every family of `tunnel_agent_*`. Other work runs at each `yield`, so no iteration goes on over one."""
    yield from _requests(agent)
    yield from _upstreams({(service.name,): service for service in agent.services.values()})
    yield from _sessions(agent, supervisor)
    yield shown.CREDIT_STALLS.one(agent.credit_stalls.count)
    yield shown.CREDIT_STALL_SECONDS.one(agent.credit_stalls.seconds)
    yield shown.STALLED.one(len(agent.credit_stalls.running))
    yield shown.WRITE_PAUSES.one(agent.write_pauses.count)
    yield shown.WRITE_PAUSE_SECONDS.one(agent.write_pauses.seconds)
    yield shown.WINDOW_MEMORY.one(agent.budget.used)
    yield shown.ACCESS_DROPPED.one(agent.records.access.dropped)
    yield shown.ACCESS_FAILED.one(agent.records.access.failed)
    yield shown.AUDIT_LOST.one(agent.audit.lost)
    yield EXPIRES({(what,): end for what, end in agent.ends.items()})


def _requests(agent: Agent) -> Iterator[Metric]:
    services = {(service.name,): service for service in agent.services.values()}
    yield shown.REQUESTS({name: service.requests for name, service in services.items()})
    yield shown.REFUSALS({(name, code.name.lower()): count for (name, code), count in agent.refusals.items()})
    yield shown.FAILURES(
        {
            (*name, code.name.lower()): count
            for name, service in services.items()
            for code, count in service.failures.items()
        }
    )
    yield shown.ANSWERS(
        {
            (*name, f"{digit}xx"): count
            for name, service in services.items()
            for digit, count in enumerate(service.answers)
            if count or 2 <= digit <= 5
        }
    )
    yield shown.STREAMS.one(agent.in_flight)


def _upstreams(services: dict[tuple[str], Service]) -> Iterator[Metric]:
    upstreams = {name: service.upstream for name, service in services.items()}
    yield shown.UP({name: float(not service.watch.down) for name, service in services.items()})
    yield shown.CHECKS(
        {
            (*name, result): count
            for name, service in services.items()
            for result, count in (("passed", service.watch.passed), ("failed", service.watch.refuted))
        }
    )
    yield shown.CONNECTIONS(
        {
            (*name, state): getattr(upstream, state)
            for name, upstream in upstreams.items()
            for state in ("idle", "busy", "opening")
        }
    )
    yield shown.CONNECTS({name: upstream.connects for name, upstream in upstreams.items()})
    yield shown.CONNECT_FAILURES(
        {
            (*name, code.name.lower()): count
            for name, upstream in upstreams.items()
            for code, count in upstream.connect_failures.items()
        }
    )
    yield shown.REUSES({name: upstream.reuse for name, upstream in upstreams.items()})
    yield shown.WAITING({name: upstream.waiting for name, upstream in upstreams.items()})
    yield shown.QUEUE({name: upstream.waits for name, upstream in upstreams.items()})


def _sessions(agent: Agent, supervisor: Supervisor) -> Iterator[Metric]:
    now = agent.loop.time()
    hubs = [str(slot.hub.url) for slot in supervisor.slots]
    sessions: Counter[tuple[str, ...]] = Counter(dict.fromkeys([(hub,) for hub in hubs], 0))
    round_trips: Values = {}
    ages: Values = {}
    skews: Values = {}
    for hub, slot in zip(hubs, supervisor.slots, strict=True):
        link = slot.link
        if link is None:
            continue
        sessions[hub,] += 1
        round_trips[hub,] = max(round_trips.get((hub,), 0.0), link.session.liveness.round_trip)
        ages[hub,] = max(ages.get((hub,), 0.0), now - link.established_at)
        if link.skew is not None:
            skews[hub,] = link.skew
    yield shown.SESSIONS(sessions)
    yield shown.ESTABLISHED({(hub,): agent.sessions_established[hub] for hub in hubs})
    yield shown.ENDED({(hub, code.name.lower()): count for (hub, code), count in agent.sessions_ended.items()})
    yield shown.RECONNECTS({(hub, cause): count for (hub, cause), count in agent.reconnects.items()})
    yield shown.ROUND_TRIP(round_trips)
    yield shown.SESSION_AGE(ages)
    yield shown.SKEW(skews)
