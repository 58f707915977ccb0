"""How the hub stands, as plain data: what `GET /api/status` serves as JSON, the page shows and `status` prints.

Pure: everything is read from the hub's objects when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from protocol.ops.console.switched import BY_FILE

from ..instances import UNLIMITED
from .concerns import concerns
from .shapes import (
    AgentState,
    AgentStatus,
    FailureCount,
    HubState,
    InstanceStatus,
    OfferStatus,
    Pacing,
    ServiceState,
    ServiceStatus,
    SessionStatus,
    Status,
)

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.ops.version import Build

    from ..agents import AgentListener
    from ..failures import Failure
    from ..hub import Hub
    from ..instances import Instance
    from ..service import Service
    from .sampler import Pace, Sampler

FAILURES_SHOWN: Final = 100


class Source:
    """Makes snapshots of one hub."""

    def __init__(self, hub: Hub, agents: AgentListener, sampler: Sampler, build: Build, started: float) -> None:
        """started: the loop's time at the start."""
        self.hub = hub
        self.listener = agents
        self.sampler = sampler
        self._build = build
        self._started = started
        self.serving = False
        """Set by who starts and stops the hub."""
        self.stopping = False

    @property
    def state(self) -> HubState:
        if self.stopping:
            return "stopping"
        if not self.serving:
            return "starting"
        return "draining" if self.hub.switches.draining is not None else "serving"

    def status(self, now: float, agents: list[AgentStatus], failures: int = FAILURES_SHOWN) -> Status:
        """now: since the epoch; agents: what `agents` gave."""
        hub = self.hub
        kept = list(hub.failures.latest())
        return Status(
            hub=hub.id,
            version=self._build.version,
            revision=self._build.revision,
            now=now,
            uptime=hub.loop.time() - self._started,
            state=self.state,
            switched=hub.switches.draining,
            in_flight=hub.in_flight,
            waiting=sum(len(service.queue) for service in hub.services.values()),
            sessions=len(self.listener.links),
            agents_up=sum(state == "up" for state in self.states().values()),
            sessions_lost=hub.sessions_ended.total(),
            agents_refused=self.listener.refused.total(),
            unrouted=hub.unrouted,
            window_memory=hub.budget.used,
            services=[self.service(service) for service in hub.services.values()],
            agents=agents,
            failures=list(islice(kept, failures)),
            failure_counts=failure_counts(kept),
            concerns=list(concerns(hub, now)),
        )

    def service(self, service: Service) -> ServiceStatus:
        hub = self.hub
        switched = None
        if not service.settings.enabled:
            switched = hub.switches.services.get(service.name) or BY_FILE
        recent = self.sampler.pace(service)
        sampled = self.sampler.now(service)
        return ServiceStatus(
            name=service.name,
            state=service_state(service),
            switched=switched,
            sessions=service.sessions,
            agents=len(service.offers),
            agents_up=sum(offer.up and not offer.instance.draining for offer in service.offers),
            in_flight=service.in_flight,
            waiting=len(service.queue),
            holds=service.holds,
            repeats=sum(service.repeats.values()),
            requests=sampled.requests,
            errors=sampled.errors,
            bytes_in=service.bytes_in,
            bytes_out=service.bytes_out,
            recent=pacing(recent),
        )

    def states(self) -> dict[str, AgentState]:
        """Every agent of the file, and any other that still has a session."""
        return {agent_id: _agent_state(agent_id, found, self.hub) for agent_id, found in self._found().items()}

    def agents(self, names: Iterable[str] | None = None) -> Iterator[AgentStatus]:
        """Those agents, or all: one after the other, for a thousand take a while. With their sessions if all."""
        found = self._found()
        for agent_id in found if names is None else names:
            yield self._agent(agent_id, found[agent_id], details=names is None)

    def agent(self, agent_id: str) -> AgentStatus | None:
        """One agent with its sessions; None when it is unknown."""
        instances = self._found().get(agent_id)
        return None if instances is None else self._agent(agent_id, instances, details=True)

    def _found(self) -> dict[str, list[Instance]]:
        found: dict[str, list[Instance]] = {agent_id: [] for agent_id in self.listener.registered}
        for instance in self.hub.instances:
            found.setdefault(instance.agent_id, []).append(instance)
        return found

    def _agent(self, agent_id: str, instances: list[Instance], *, details: bool) -> AgentStatus:
        links = [link for instance in instances for link in instance.links]
        known = self.listener.registered.get(agent_id)
        ended = self.hub.last_ends.get(agent_id)
        trips = [each.session.liveness.round_trip for each in links if each.session.liveness.measured]
        return AgentStatus(
            id=agent_id,
            state=_agent_state(agent_id, instances, self.hub),
            switched=self.hub.switches.agents.get(agent_id),
            services=sorted(known.services) if known is not None else [],
            ended=ended.name.lower() if ended is not None else "",
            sessions=len(links),
            outstanding=sum(instance.outstanding for instance in instances),
            bytes_in=sum(link.session.bytes_received for link in links),
            bytes_out=sum(link.session.bytes_sent for link in links),
            round_trip=max(trips, default=None),
            instances=[self._instance(instance) for instance in instances] if details else [],
        )

    def _instance(self, instance: Instance) -> InstanceStatus:
        hub = self.hub
        may = hub.registered.get(instance.agent_id, frozenset())
        return InstanceStatus(
            id=instance.id.hex()[:8],
            software=instance.links[0].result.software if instance.links else "",
            outstanding=instance.outstanding,
            limit=_limit(instance.limit),
            draining=instance.draining,
            offers=[
                OfferStatus(
                    service=name,
                    upstream_up=offer.up,
                    withdrawn=offer.withdrawn,
                    registered=name in may,
                    outstanding=offer.outstanding,
                    limit=_limit(offer.limit),
                )
                for name, offer in sorted(instance.offers.items())
            ],
            sessions=[
                session_status(link, hub.loop.time())
                for link in sorted(instance.links, key=lambda each: each.established_at)
            ],
        )


def service_state(service: Service) -> ServiceState:
    """In one word or two what callers of the service meet."""
    if not service.settings.enabled:
        return "switched off"
    if not service.up:
        return "without agent"
    ups = sum(offer.up and not offer.instance.draining for offer in service.offers)
    if not ups:
        return "down at every agent"
    return "up" if ups == len(service.offers) else "degraded"


def _agent_state(agent_id: str, instances: list[Instance], hub: Hub) -> AgentState:
    if not instances:
        return "away"
    if agent_id in hub.switches.agents:
        return "stopped"
    taking = [instance for instance in instances if not instance.draining]
    if not taking:
        return "draining"
    down = [name for each in taking for name, offer in each.offers.items() if not offer.up and not offer.withdrawn]
    return "upstream down" if down else "up"


def session_status(link: Link, now: float) -> SessionStatus:
    """now: the loop's time."""
    session = link.session
    window = 0
    for stream in session.streams.values():
        if stream.receive_window is not None:
            window += stream.receive_window.window
    return SessionStatus(
        id=link.result.session_id.hex()[:8],
        peer=link.peer_address,
        age=now - link.established_at,
        round_trip=session.liveness.round_trip if session.liveness.measured else None,
        silent_for=max(0.0, now - session.liveness.heard),
        outstanding=session.outstanding,
        window=window,
        unsent=link.unsent,
        bytes_in=session.bytes_received,
        bytes_out=session.bytes_sent,
        draining=session.draining or session.peer_draining,
    )


def failure_counts(failures: Iterable[Failure]) -> list[FailureCount]:
    """By origin, code and status, the most frequent first. failures: the latest first."""
    counts: Counter[tuple[str, str, int]] = Counter()
    last: dict[tuple[str, str, int], float] = {}
    for each in failures:
        key = each.origin, each.code, each.status
        counts[key] += 1
        last.setdefault(key, each.at)
    return [
        FailureCount(origin=key[0], code=key[1], status=key[2], count=count, last=last[key])
        for key, count in counts.most_common()
    ]


def pacing(pace: Pace) -> Pacing:
    p50, p95, p99 = pace.percentiles
    return Pacing(
        seconds=pace.seconds,
        requests=pace.requests,
        errors=pace.errors,
        requests_per_second=pace.requests_per_second,
        bytes_in_per_second=pace.bytes_in_per_second,
        bytes_out_per_second=pace.bytes_out_per_second,
        error_ratio=pace.error_ratio,
        p50=p50,
        p95=p95,
        p99=p99,
    )


def _limit(limit: int) -> int | None:
    return None if limit >= UNLIMITED else limit
