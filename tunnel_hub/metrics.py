"""The hub's metrics, read from plain counters when somebody asks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from protocol.ops.metrics import counter, gauge, histogram

if TYPE_CHECKING:
    from .agents import AgentListener
    from .gateway.feed import Feed
    from .gateway.gateway import Gateway
    from .hub import Hub


def families(hub: Hub, agents: AgentListener, gateway: Gateway) -> Iterable[Metric]:
    """Every family of `tunnel_hub_*`; labels are names from the configuration only."""
    services = hub.services.values()
    by_service = ("service",)
    outcomes: dict[tuple[str, ...], float] = {}
    for service in services:
        for (status, code), count in service.outcomes.items():
            outcomes[service.name, str(status), code] = count
    yield counter(
        "tunnel_hub_requests",
        "Exchanges ended, by status and, where the tunnel itself answered, its code",
        ("service", "status", "code"),
        outcomes,
    )
    yield counter("tunnel_hub_requests_unrouted", "Requests for no service", (), {(): hub.unrouted})
    yield counter(
        "tunnel_hub_requests_refused",
        "Requests and connections that the callers' listener itself refused",
        ("status", "code"),
        {(str(status), code): count for (status, code), count in hub.refused.items()},
    )
    yield histogram(
        "tunnel_hub_request_seconds",
        "From a request's head to the end of its answer",
        by_service,
        {(service.name,): service.latency for service in services},
    )
    yield histogram(
        "tunnel_hub_phase_seconds",
        "Where the time up to an answer's head went, by phase (docs/observability.md)",
        ("service", "phase"),
        {(service.name, phase): counts for service in services for phase, counts in service.phases},
    )
    yield gauge(
        "tunnel_hub_requests_in_flight",
        "Exchanges that run now",
        by_service,
        {(service.name,): service.in_flight for service in services},
    )
    yield gauge(
        "tunnel_hub_requests_held",
        "Requests that wait for a session or their turn now",
        by_service,
        {(service.name,): len(service.queue) for service in services},
    )
    yield counter(
        "tunnel_hub_holds",
        "Requests that had to wait for a session or their turn",
        by_service,
        {(service.name,): service.holds for service in services},
    )
    repeats: dict[tuple[str, ...], float] = {}
    for service in services:
        for reason, count in service.repeats.items():
            repeats[service.name, reason] = count
    yield counter(
        "tunnel_hub_repeats",
        "Requests sent again because that was safe, by what had failed",
        ("service", "reason"),
        repeats,
    )
    yield counter(
        "tunnel_hub_evictions",
        "Requests that gave their place in a full queue to another caller's",
        by_service,
        {(service.name,): service.evictions for service in services},
    )
    yield counter(
        "tunnel_hub_received_bytes",
        "Request body bytes from callers",
        by_service,
        {(service.name,): service.bytes_in for service in services},
    )
    yield counter(
        "tunnel_hub_sent_bytes",
        "Answer body bytes to callers",
        by_service,
        {(service.name,): service.bytes_out for service in services},
    )
    yield gauge(
        "tunnel_hub_service_sessions",
        "Sessions that serve it now",
        by_service,
        {(service.name,): service.sessions for service in services},
    )
    yield gauge(
        "tunnel_hub_service_agents",
        "Agents that serve it now, by whether their upstream answers",
        ("service", "upstream"),
        {
            (service.name, state): sum(offer.up is (state == "up") for offer in service.offers)
            for service in services
            for state in ("up", "down")
        },
    )
    yield from _callers(gateway)
    yield from _sessions(hub, agents)
    yield counter(
        "tunnel_hub_access_lines_dropped",
        "Access-log lines lost because their reader is too slow",
        (),
        {(): hub.access.dropped},
    )
    yield counter("tunnel_hub_audit_lines_lost", "Audit lines that could not be written", (), {(): hub.audit.lost})


def _callers(gateway: Gateway) -> Iterator[Metric]:
    gate = gateway.gate
    if gate is None:
        return
    outcomes: dict[tuple[str, ...], float] = {}
    for policy in gate.directory:
        for status, count in policy.outcomes.items():
            outcomes[policy.name, str(status)] = count
    yield counter("tunnel_hub_caller_requests", "Requests ended, by caller", ("caller", "status"), outcomes)
    yield counter(
        "tunnel_hub_credentials_verified",
        "Credentials verified, by means; remembered ones are not counted",
        ("means",),
        {(means,): count for means, count in gate.verified.items()},
    )
    yield counter(
        "tunnel_hub_gate_refusals",
        "Requests that the gate refused, by code",
        ("code",),
        {(code,): count for code, count in gate.refused.items()},
    )
    now = time.monotonic()
    feeds: dict[tuple[str, ...], Feed[Any]] = {
        (f"keys of {name}",): keys for name, keys in gateway.key_sets.items()
    }
    if gateway.revocations is not None:
        feeds["revocations",] = gateway.revocations
        yield gauge(
            "tunnel_hub_revoked_credentials",
            "Fingerprints in the revocation feed",
            (),
            {(): gateway.revocations.count},
        )
    yield gauge(
        "tunnel_hub_feed_age_seconds",
        "Since revocations or an issuer's keys were last fetched well; alarm when it rises",
        ("feed",),
        {feed: source.stale_for(now) for feed, source in feeds.items()},
    )
    yield counter(
        "tunnel_hub_feed_failures",
        "Fetches of revocations or of an issuer's keys that failed",
        ("feed",),
        {feed: source.failures for feed, source in feeds.items()},
    )


def _sessions(hub: Hub, agents: AgentListener) -> Iterator[Metric]:
    sessions: dict[tuple[str, ...], float] = {(agent,): 0 for agent in agents.registered}
    outstanding = dict(sessions)
    for link in agents.links:
        key = (link.label,)
        sessions[key] = sessions.get(key, 0) + 1
        outstanding[key] = outstanding.get(key, 0) + link.session.outstanding
    yield gauge("tunnel_hub_sessions", "Sessions that are up, by agent", ("agent",), sessions)
    yield gauge("tunnel_hub_streams", "Streams that are open, by agent", ("agent",), outstanding)
    instances: dict[tuple[str, ...], float] = {(agent,): 0 for agent in agents.registered}
    for instance in hub.instances:
        instances[(instance.agent_id,)] = instances.get((instance.agent_id,), 0) + 1
    yield gauge("tunnel_hub_agent_instances", "Processes with this agent id", ("agent",), instances)
    yield counter(
        "tunnel_hub_agent_duplicates", "Second processes with one agent id", (), {(): hub.instances.duplicates}
    )
    yield counter("tunnel_hub_sessions_lost", "Sessions that ended", (), {(): hub.sessions_lost})
    yield counter("tunnel_hub_agents_refused", "Handshakes that failed", (), {(): agents.refused})
    yield gauge("tunnel_hub_window_memory_bytes", "Memory that grown windows hold now", (), {(): hub.budget.used})
