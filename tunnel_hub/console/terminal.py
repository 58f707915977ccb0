"""`tunnel-hub status`: the snapshot as lines and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from protocol.ops import sheet
from protocol.ops.console.words import duration, latency, percent, rate, size
from protocol.ops.look import Reading
from protocol.ops.words import count, first, some

from ..failures import Failure
from .shapes import AgentStatus, InstanceStatus, ServiceStatus, SessionStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from protocol.ops.console.switched import Switched

SESSIONS_SHOWN: Final = 40
"""Above it agents are shown, one in a line, instead of sessions."""

AGENTS_SHOWN: Final = 40
FAILURES_SHOWN: Final = 10

_FAILING: Final = frozenset({"without agent", "down at every agent"})


def read(answer: bytes) -> Reading:
    """From the hub's JSON. Raises ValueError."""
    status = msgspec.json.decode(answer, type=Status)
    return Reading(standing(status) == "up", lambda width: parts(status, width))


def standing(status: Status) -> str:
    """In one word: up while the hub serves and every service that is not switched off has an agent that works."""
    if status.state != "serving":
        return status.state
    return "down" if any(service.state in _FAILING for service in status.services) else "up"


def parts(status: Status, width: int) -> Sequence[RenderableType]:
    """What is printed, from above to below."""
    facts = [
        f"{sheet.version(status.version, status.revision)} for {duration(status.uptime)}",
        f"{status.agents_up} of {count(len(status.agents), 'agent')}",
        count(status.sessions, "session"),
        f"{status.in_flight} in flight" + (f" ({status.waiting} waiting)" if status.waiting else ""),
    ]
    return [
        sheet.headline("tunnel-hub", status.hub, standing(status), facts),
        *sheet.problems(list(problems(status))),
        _services(status.services, width),
        _sessions(status, width) if status.sessions <= SESSIONS_SHOWN else _agents(status, width),
        *_latest(status, width),
    ]


def problems(status: Status) -> Iterator[str]:
    """What is not as it should be, a sentence each."""
    if status.switched is not None:
        yield f"the hub is drained{_by(status.switched, status.now)}"
    for service in status.services:
        if service.switched is not None:
            yield f"{service.name} is switched off{_by(service.switched, status.now)}"
        elif service.state == "degraded":
            yield f"{service.name} is up at {service.agents_up} of {count(service.agents, 'agent')} only"
        elif service.state != "up":
            yield f"{service.name} is {service.state}"
    by_state: dict[str, list[AgentStatus]] = {}
    for agent in status.agents:
        by_state.setdefault(agent.state, []).append(agent)
    for agent in by_state.get("stopped", []):
        yield f"{agent.id} gets no requests{'' if agent.switched is None else _by(agent.switched, status.now)}"
    if away := by_state.get("away"):
        yield f"no session with {some([agent.id for agent in away])}"
    if failing := by_state.get("upstream down"):
        yield f"upstreams fail at {some([f'{agent.id} ({_failing(agent)})' for agent in failing])}"
    if draining := by_state.get("draining"):
        yield f"{some([agent.id for agent in draining])} takes nothing new"
    yield from first([concern.text for concern in status.concerns])


def _failing(agent: AgentStatus) -> str:
    """The services whose upstreams the agent cannot use."""
    offers = (offer for instance in agent.instances for offer in instance.offers)
    return some(sorted({offer.service for offer in offers if not (offer.upstream_up or offer.withdrawn)}))


def _by(switched: Switched, now: float) -> str:
    since = "" if switched.at is None else f" since {duration(now - switched.at)}"
    return f" by the {switched.by}{since}" + (f": {switched.reason}" if switched.reason else "")


def _services(services: Sequence[ServiceStatus], width: int) -> RenderableType:
    columns = [
        sheet.Column("service", prose=10),
        sheet.Column("state", prose=10),
        sheet.Column("agents up", 2),
        sheet.Column("in flight", 1, number=True),
        sheet.Column("waiting", 3, number=True),
        sheet.Column("a second", number=True),
        sheet.Column("failing", number=True),
        sheet.Column("p50", 4, number=True),
        sheet.Column("p95", 1, number=True),
        sheet.Column("p99", 4, number=True),
        sheet.Column("in", 7, number=True),
        sheet.Column("out", 7, number=True),
        sheet.Column("requests", 6, number=True),
        sheet.Column("failed", 5, number=True),
    ]
    rows = [
        sheet.cells(
            service.name,
            sheet.state(service.state),
            f"{service.agents_up} of {service.agents}",
            service.in_flight,
            service.waiting or None,
            rate(service.recent.requests_per_second),
            percent(service.recent.error_ratio) if service.recent.requests else None,
            _latency(service.recent.p50),
            _latency(service.recent.p95),
            _latency(service.recent.p99),
            size(service.bytes_in),
            size(service.bytes_out),
            service.requests,
            service.errors or None,
        )
        for service in services
    ]
    span = max((service.recent.seconds for service in services), default=0.0)
    title = f"Services (rates and percentiles of the last {span:.0f} s)" if span else "Services"
    return sheet.table(title, columns, rows, width)


def _latency(seconds: float | None) -> str | None:
    return None if seconds is None else latency(seconds)


def _sessions(status: Status, width: int) -> RenderableType:
    columns = [
        sheet.Column("agent", prose=10),
        sheet.Column("state", prose=10),
        sheet.Column("software", 5),
        sheet.Column("instance", 6),
        sheet.Column("from", 3),
        sheet.Column("round trip", 2, number=True),
        sheet.Column("age", 1, number=True),
        sheet.Column("in flight", number=True),
        sheet.Column("in", 4, number=True),
        sheet.Column("out", 4, number=True),
        sheet.Column("window", 7, number=True),
        sheet.Column("unsent", 7, number=True),
        sheet.Column("id", 8),
    ]
    rows: list[list[Text]] = []
    for agent in status.agents:
        lines = [(instance, session) for instance in agent.instances for session in instance.sessions]
        rows += [_session(agent, *line, first=not at) for at, line in enumerate(lines)]
        if not lines:
            rows.append(sheet.cells(agent.id, sheet.state(agent.state), *[None] * (len(columns) - 2)))
    return sheet.table("Agents", columns, rows, width)


def _session(agent: AgentStatus, instance: InstanceStatus, session: SessionStatus, *, first: bool) -> list[Text]:
    state = "draining" if session.draining else agent.state if first else ""
    return sheet.cells(
        agent.id if first else "",
        sheet.state(state),
        instance.software.rpartition("/")[2],
        instance.id,
        session.peer,
        sheet.round_trip(session.round_trip or 0.0),
        duration(session.age),
        session.outstanding,
        size(session.bytes_in),
        size(session.bytes_out),
        size(session.window) if session.window else None,
        size(session.unsent) if session.unsent else None,
        session.id,
    )


def _agents(status: Status, width: int) -> RenderableType:
    """For many: those that are not up first."""
    columns = [
        sheet.Column("agent", prose=10),
        sheet.Column("state", prose=10),
        sheet.Column("services", 4, prose=16),
        sheet.Column("sessions", 1, number=True),
        sheet.Column("round trip", 2, number=True),
        sheet.Column("in flight", number=True),
        sheet.Column("in", 3, number=True),
        sheet.Column("out", 3, number=True),
    ]
    agents = sorted(status.agents, key=lambda agent: (agent.state == "up", -agent.outstanding))
    rows = [
        sheet.cells(
            agent.id,
            sheet.state(agent.state),
            some(agent.services),
            agent.sessions,
            sheet.round_trip(agent.round_trip or 0.0) if agent.sessions else None,
            agent.outstanding,
            size(agent.bytes_in),
            size(agent.bytes_out),
        )
        for agent in agents[:AGENTS_SHOWN]
    ]
    more = len(agents) - len(rows)
    return sheet.table(f"Agents{f' ({more} more with --json)' if more else ''}", columns, rows, width)


def _latest(status: Status, width: int) -> Iterable[RenderableType]:
    """The latest failures, those that are alike in one line."""
    alike: dict[tuple[object, ...], list[Failure]] = {}
    for each in status.failures:
        key = (each.origin, each.code, each.status, each.service, each.method, each.path, each.agent)
        alike.setdefault(key, []).append(each)
    columns = [
        sheet.Column("last", number=True),
        sheet.Column("times", 3, number=True),
        sheet.Column("origin", 4),
        sheet.Column("status", 5),
        sheet.Column("code"),
        sheet.Column("service", 2),
        sheet.Column("request", 1, prose=20),
        sheet.Column("caller", 7),
        sheet.Column("agent", 6),
        sheet.Column("took", 8, number=True),
        sheet.Column("last request id", 2),
    ]
    rows = [
        sheet.cells(
            f"{duration(status.now - last.at)} ago",
            len(every),
            last.origin,
            str(last.status),
            last.code or str(last.status),
            last.service,
            f"{last.method} {last.path}",
            last.caller,
            last.agent,
            latency(last.seconds),
            last.request_id,
        )
        for every in list(alike.values())[:FAILURES_SHOWN]
        for last in every[:1]
    ]
    if rows:
        more = len(alike) - len(rows)
        yield sheet.table(
            f"Latest failures{f' ({more} kinds more with --json)' if more else ''}", columns, rows, width
        )
