"""How the agent stands at one moment: what `GET /api/status` answers, `status` prints and the page shows.

Read from plain counters when somebody asks. Times of day are seconds since the epoch, durations are seconds, sizes
are bytes; counters begin with the agent's start.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import msgspec

from protocol.ops import expiry
from protocol.ops.console.switched import BY_FILE, Switched
from tunnel_agent.exchange import Exchange

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.ops.version import Build
    from tunnel_agent.agent import Agent
    from tunnel_agent.recent import Recent
    from tunnel_agent.service import Service as RunningService
    from tunnel_agent.slot import Slot
    from tunnel_agent.supervisor import Supervisor

State = Literal["up", "down", "starting", "draining"]
SessionState = Literal["up", "draining", "dialling", "waiting"]
ServiceState = Literal["up", "down", "switched off"]


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session, or the attempts to have one."""

    number: int
    """From 0, of those to the same hub."""
    state: SessionState
    """draining: it ends what runs. waiting: for the next attempt."""
    id: str = ""
    """The same in the logs of both ends."""
    age: float | None = None
    round_trip: float | None = None
    """0.0: below the millisecond that the clock can tell, or not measured yet."""
    outstanding: int = 0
    window: int = 0
    """What the hub may send at most before the upstreams have taken some of it."""
    unsent: int = 0
    """What waits for the network."""
    bytes_in: int = 0
    bytes_out: int = 0
    next_try: float | None = None
    last_error: str = ""
    """Why there is no session, or why the last attempt failed."""


class Hub(msgspec.Struct, frozen=True, kw_only=True):
    """One [[hubs]] table."""

    url: str
    id: str
    """As the hub says, "" before the first session."""
    wanted: int
    """Sessions that the file asks for; 0: the hub was taken out and its sessions end."""
    up: int
    reconnects: dict[str, int]
    """Further attempts, by the stage or code at which the one before failed or ended."""
    sessions: tuple[Session, ...]


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """Those to one upstream."""

    busy: int
    idle: int
    opened: int
    """Since the start."""
    failed: int
    reused: int


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service of the file."""

    name: str
    state: ServiceState
    switched: Switched | None
    """Set when it is switched off."""
    reason: str
    """Why it is down, without host names."""
    upstream: str
    read_only: bool
    limit: int
    """Requests at once that the hubs may send."""
    requests: int
    """Those that the boundary let through."""
    failures: dict[str, int]
    """Those of them that failed at the upstream, by code."""
    refusals: dict[str, int]
    """What the boundary refused, by code."""
    in_flight: int
    waiting: int
    """For a connection."""
    connections: Connections


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One request that failed or was refused. at: seconds since the epoch. path: its shape, without query."""

    at: float
    origin: Literal["boundary", "upstream"]
    service: str
    method: str
    path: str
    code: str
    reason: str
    hub: str
    request_id: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole."""

    agent: str
    version: str
    revision: str | None
    state: State
    """down: a hub without session or an upstream that fails, as /health says."""
    now: float
    uptime: float
    in_flight: int
    refusals: int
    """Of the boundary, those for services that this agent does not have included."""
    window_memory: int
    audit_lines_lost: int
    hubs: tuple[Hub, ...]
    services: tuple[Service, ...]
    failures: tuple[Failure, ...]
    """Failures and refusals, the newest first."""
    failures_left_out: int
    ends: tuple[str, ...] = ()
    """What ends within 30 days or has ended, a sentence each."""


def take(agent: Agent, supervisor: Supervisor, build: Build, at: float, *, serving: bool) -> Snapshot:
    """The agent as it stands now. at: since the epoch; serving: as /health has it."""
    now = agent.loop.time()
    hubs = tuple(_hubs(agent, supervisor, now))
    running = _running(agent)
    services = tuple(_service(agent, service, running[name]) for name, service in agent.services.items())
    return Snapshot(
        agent=agent.id,
        version=build.version,
        revision=build.revision,
        state=_state(agent, hubs, services, serving),
        now=at,
        uptime=now - agent.started,
        in_flight=agent.in_flight,
        refusals=agent.refusals.total(),
        window_memory=agent.budget.used,
        audit_lines_lost=agent.audit.lost,
        hubs=hubs,
        services=services,
        failures=tuple(_latest(agent.recent)),
        failures_left_out=agent.recent.left_out,
        ends=tuple(expiry.in_words(what, end, at) for what, end in expiry.soon(agent.ends, at)),
    )


def _state(agent: Agent, hubs: tuple[Hub, ...], services: tuple[Service, ...], serving: bool) -> State:
    if agent.draining:
        return "draining"
    if not serving:
        return "starting"
    whole = all(hub.up for hub in hubs if hub.wanted) and all(service.state != "down" for service in services)
    return "up" if whole else "down"


def _hubs(agent: Agent, supervisor: Supervisor, now: float) -> Iterable[Hub]:
    """Those of the file in its order, then those that were taken out and still have sessions."""
    slots: dict[str, list[Slot]] = {}
    for slot in supervisor.slots:
        slots.setdefault(str(slot.hub.url), []).append(slot)
    links: dict[str, list[tuple[Link, Slot]]] = {}
    for link, attempt in agent.links.items():
        if attempt.slot.link is not link or attempt.slot not in supervisor.slots:
            links.setdefault(str(attempt.slot.hub.url), []).append((link, attempt.slot))
    for url in {**slots, **links}:
        own = slots.get(url, [])
        leaving = links.get(url, [])
        sessions = [_slot(slot, now, draining=agent.draining) for slot in own]
        sessions += [_linked(link, slot.number, now, "draining") for link, slot in leaving]
        names = [slot.link.label for slot in own if slot.link is not None] + [link.label for link, _ in leaving]
        yield Hub(
            url=url,
            id=next(filter(None, names), ""),
            wanted=len(own),
            up=sum(slot.up for slot in own),
            reconnects={cause: times for (hub, cause), times in agent.reconnects.items() if hub == url},
            sessions=tuple(sessions),
        )


def _slot(slot: Slot, now: float, *, draining: bool) -> Session:
    if slot.link is not None:
        return _linked(slot.link, slot.number, now, "draining" if draining else "up")
    waits = not slot.dialling and math.isfinite(slot.due)
    return Session(
        number=slot.number,
        state="dialling" if slot.dialling else "waiting",
        next_try=max(0.0, slot.due - now) if waits else None,
        last_error=slot.last_error,
    )


def _linked(link: Link, number: int, now: float, state: SessionState) -> Session:
    session = link.session
    windows = [stream.receive_window.window for stream in session.streams.values() if stream.receive_window]
    return Session(
        number=number,
        state=state,
        id=link.result.session_id.hex()[:8],
        age=now - link.established_at,
        round_trip=session.liveness.round_trip,
        outstanding=session.outstanding,
        window=sum(windows),
        unsent=link.unsent,
        bytes_in=session.bytes_received,
        bytes_out=session.bytes_sent,
    )


def _running(agent: Agent) -> Counter[str]:
    """Streams by service: those whose exchange has begun."""
    owners = (stream.owner for link in agent.links for stream in link.session.streams.values())
    return Counter(owner.service.name for owner in owners if isinstance(owner, Exchange))


def _service(agent: Agent, service: RunningService, in_flight: int) -> Service:
    upstream = service.upstream
    return Service(
        name=service.name,
        state=service.standing,
        switched=None if service.enabled else agent.switches.get(service.name, BY_FILE),
        reason=service.watch.down,
        upstream=upstream.url,
        read_only=service.read_only,
        limit=service.limit,
        requests=service.requests,
        failures={code.name.lower(): count for code, count in service.failures.most_common()},
        refusals={
            code.name.lower(): count
            for (name, code), count in agent.refusals.most_common()
            if name == service.name
        },
        in_flight=in_flight,
        waiting=upstream.waiting,
        connections=Connections(
            busy=upstream.busy,
            idle=upstream.idle,
            opened=upstream.connects,
            failed=upstream.connect_failures.total(),
            reused=upstream.reuse,
        ),
    )


def _latest(recent: Recent) -> Iterable[Failure]:
    for trouble in recent.newest():
        yield Failure(
            at=trouble.at,
            origin="boundary" if trouble.refused else "upstream",
            service=trouble.service,
            method=trouble.method,
            path=trouble.path,
            code=trouble.code.name.lower(),
            reason=trouble.reason,
            hub=trouble.hub,
            request_id=trouble.request_id,
        )
