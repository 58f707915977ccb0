"""The hub's metrics, read from plain counters when somebody asks. `families.py` says what each is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from protocol.ops.metrics import EXPIRES

from . import expiry
from . import families as shown

if TYPE_CHECKING:
    from .agents import AgentListener
    from .gateway.feed import Feed
    from .gateway.gateway import Gateway
    from .hub import Hub
    from .ingress.server import Ingress

Values = dict[tuple[str, ...], float]


def families(hub: Hub, agents: AgentListener, gateway: Gateway, ingress: Ingress) -> Iterator[Metric]:
    """Every family of `tunnel_hub_*`. Other work runs at each `yield`, so no iteration goes on over one."""
    yield from _requests(hub)
    yield shown.CONNECTIONS.one(ingress.connections)
    yield shown.KEPT.one(hub.kept.used)
    yield from _callers(gateway)
    yield from _sessions(hub, agents)
    yield shown.CREDIT_STALLS.one(hub.credit_stalls.count)
    yield shown.CREDIT_STALL_SECONDS.one(hub.credit_stalls.seconds)
    yield shown.STALLED.one(len(hub.credit_stalls.running))
    yield shown.WRITE_PAUSES.one(hub.write_pauses.count)
    yield shown.WRITE_PAUSE_SECONDS.one(hub.write_pauses.seconds)
    yield shown.WINDOW_MEMORY.one(hub.budget.used)
    yield shown.ACCESS_DROPPED.one(hub.access.dropped)
    yield shown.ACCESS_FAILED.one(hub.access.failed)
    yield shown.AUDIT_LOST.one(hub.audit.lost)
    yield EXPIRES({(what,): end for what, end in expiry.known(hub, time.time()).items()})


def _requests(hub: Hub) -> Iterator[Metric]:
    services = {(service.name,): service for service in hub.services.values()}
    yield shown.REQUESTS(
        {
            (*name, str(status), code): count
            for name, service in services.items()
            for (status, code), count in service.outcomes.items()
        }
    )
    yield shown.UNROUTED.one(hub.unrouted)
    yield shown.REFUSED({(str(status), code): count for (status, code), count in hub.refused.items()})
    yield shown.LATENCY({name: service.latency for name, service in services.items()})
    yield shown.PHASES(
        {(*name, phase): counts for name, service in services.items() for phase, counts in service.phases}
    )
    yield shown.IN_FLIGHT({name: service.in_flight for name, service in services.items()})
    yield shown.HELD({name: len(service.queue) for name, service in services.items()})
    yield shown.HOLDS({name: service.holds for name, service in services.items()})
    yield shown.QUEUE({name: service.waits for name, service in services.items()})
    yield shown.REPEATS(
        {(*name, reason): count for name, service in services.items() for reason, count in service.repeats.items()}
    )
    yield shown.EVICTIONS({name: service.evictions for name, service in services.items()})
    yield shown.RECEIVED({name: service.bytes_in for name, service in services.items()})
    yield shown.SENT({name: service.bytes_out for name, service in services.items()})
    yield shown.SERVICE_SESSIONS({name: service.sessions for name, service in services.items()})
    yield shown.SERVICE_AGENTS(
        {
            (*name, state): sum(offer.up is (state == "up") for offer in service.offers)
            for name, service in services.items()
            for state in ("up", "down")
        }
    )
    yield shown.SWITCHED_OFF({name: not service.settings.enabled for name, service in services.items()})
    yield shown.STOPPED.one(len(hub.switches.agents))
    yield shown.DRAINED.one(hub.switches.draining is not None)


def _callers(gateway: Gateway) -> Iterator[Metric]:
    gate = gateway.gate
    if gate is None:
        return
    yield shown.CALLER_REQUESTS(
        {
            (policy.name, str(status)): count
            for policy in gate.directory
            for status, count in policy.outcomes.items()
        }
    )
    yield shown.CALLER_LATENCY({(name,): latency for name, latency in gate.directory.latencies()})
    yield shown.VERIFIED({(means,): count for means, count in gate.verified.items()})
    yield shown.GATE_REFUSALS({(code,): count for code, count in gate.refused.items()})
    feeds: dict[tuple[str, ...], Feed[Any]] = {
        (f"keys of {name}",): keys for name, keys in gateway.key_sets.items()
    }
    if gateway.revocations is not None:
        feeds["revocations",] = gateway.revocations
        yield shown.REVOKED.one(gateway.revocations.count)
    now = time.monotonic()
    yield shown.FEED_AGE({feed: source.stale_for(now) for feed, source in feeds.items()})
    yield shown.FEED_FAILURES({feed: source.failures for feed, source in feeds.items()})


def _sessions(hub: Hub, agents: AgentListener) -> Iterator[Metric]:
    """Counted in one go, so that they agree with each other."""
    now = hub.loop.time()
    sessions: Counter[tuple[str, ...]] = Counter(dict.fromkeys([(agent,) for agent in agents.registered], 0))
    streams = sessions.copy()
    instances = sessions.copy()
    round_trips: Values = {}
    ages: Values = {}
    skews: Values = {}
    for link in agents.links:  # the newest last
        key = (link.label,)
        session = link.session
        sessions[key] += 1
        streams[key] += session.outstanding
        round_trips[key] = max(round_trips.get(key, 0.0), session.liveness.round_trip)
        ages.setdefault(key, now - link.established_at)
        if link.skew is not None:
            skews[key] = link.skew
    for instance in hub.instances:
        instances[instance.agent_id,] += 1
    yield shown.SESSIONS(sessions)
    yield shown.STREAMS(streams)
    yield shown.INSTANCES(instances)
    yield shown.ROUND_TRIP(round_trips)
    yield shown.SESSION_AGE(ages)
    yield shown.SKEW(skews)
    yield shown.ESTABLISHED.one(hub.sessions_established)
    yield shown.ENDED({(agent, code.name.lower()): count for (agent, code), count in hub.sessions_ended.items()})
    yield shown.AGENTS_REFUSED({(code.name.lower(),): count for code, count in agents.refused.items()})
    yield shown.DUPLICATES({(agent,): count for agent, count in hub.instances.duplicates.items()})
