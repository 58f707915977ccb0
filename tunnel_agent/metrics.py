"""The agent's metrics, read from plain counters when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from protocol.ops.metrics import counter, gauge

if TYPE_CHECKING:
    from .agent import Agent
    from .supervisor import Supervisor


def families(agent: Agent, supervisor: Supervisor) -> Iterable[Metric]:
    """Every family of `tunnel_agent_*`; labels are names from the configuration only."""
    services = agent.services.values()
    by_service = ("service",)
    yield counter(
        "tunnel_agent_requests",
        "Requests let through the boundary",
        by_service,
        {(service.name,): service.requests for service in services},
    )
    failures: dict[tuple[str, ...], float] = {}
    for service in services:
        for code, count in service.failures.items():
            failures[service.name, code.name.lower()] = count
    yield counter("tunnel_agent_failures", "Requests that failed at the upstream", ("service", "code"), failures)
    yield counter("tunnel_agent_refusals", "Requests the boundary refused", (), {(): agent.refusals})
    yield counter(
        "tunnel_agent_audit_lines_lost", "Audit lines that could not be written", (), {(): agent.audit.lost}
    )
    yield gauge(
        "tunnel_agent_upstream_up",
        "1 while the service's upstream works, as far as is known",
        by_service,
        {(service.name,): float(not service.watch.down) for service in services},
    )
    yield counter(
        "tunnel_agent_access_lines_dropped",
        "Access-log lines lost because their reader is too slow",
        (),
        {(): agent.records.access.dropped},
    )
    sessions: dict[tuple[str, ...], float] = {}
    reconnects: dict[tuple[str, ...], float] = {}
    for slot in supervisor.slots:
        key = (slot.hub.url,)
        sessions[key] = sessions.get(key, 0) + slot.up
        reconnects[key] = reconnects.get(key, 0) + slot.reconnects
    yield gauge("tunnel_agent_sessions", "Sessions that are up, by hub", ("hub",), sessions)
    yield counter("tunnel_agent_reconnects", "Attempts after a failure, by hub", ("hub",), reconnects)
    yield gauge("tunnel_agent_streams", "Streams that are open", (), {(): agent.in_flight})
    yield gauge(
        "tunnel_agent_window_memory_bytes", "Memory that grown windows hold now", (), {(): agent.budget.used}
    )
