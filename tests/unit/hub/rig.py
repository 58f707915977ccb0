"""A hub without sockets: its own objects, the protocol's real sessions, and clock, callers and agents by hand.

What an agent received, dispatched and was told to stop is written down, so that what callers are told can be
compared with what happened.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import patch

from protocol.aio.link import Link
from protocol.aio.wheel import Wheel
from protocol.errors import StreamCode
from protocol.events import DataReceived, Offered, OfferState, Opened, PeerDraining, StreamReset, TrailersReceived
from protocol.flow import MemoryBudget
from protocol.http.names import KINDS
from protocol.limits import Limits
from protocol.session import Session
from protocol.stream import Stream
from tests.unit.hub.caller import Call, FakeReply
from tests.unit.ingress.scripted import Clock
from tunnel_hub.callers import Callers
from tunnel_hub.exchange import Exchange
from tunnel_hub.forward import Forwarder
from tunnel_hub.guest import STREAM_HANDLERS
from tunnel_hub.hub import Hub
from tunnel_hub.ingress.request import Request
from tunnel_hub.instances import UNLIMITED, Instance
from tunnel_hub.routing import Router
from tunnel_hub.service import Service, Settings

HOST: Final = b"visits.internal"
SETTINGS: Final = Settings(deadline=30.0, hold=2.0, hold_limit=100, upgrades=frozenset({b"echo"}), max_body=None)


class Visit:
    """One arrival of a request at an agent."""

    def __init__(self, call: Call, agent: HandAgent, link: HandLink, opened: Opened) -> None:
        self.call = call
        self.agent = agent
        self.link = link
        self.stream: Stream = opened.stream
        self.deadline_ms = opened.deadline_ms
        self.body = opened.body
        self.whole = opened.end
        self.dispatched = False
        self.answering = False
        self.over = False

    def dispatch(self) -> None:
        """Pass it on to the upstream."""
        if not self.over:
            self.dispatched = self.stream.dispatched = True

    def answer(self, status: int = 200, body: bytes = b"ok", *, end: bool = True) -> None:
        self.dispatch()
        if self.over:
            return
        self.answering = True
        length = len(body) if end else None
        self.link.agent_side.answer(self.stream, status, b"OK", [], length, body, end)
        self.over = end

    def interim(self, status: int) -> None:
        self.dispatch()
        if not self.over and not self.answering:
            self.link.agent_side.interim(self.stream, status, [])

    def finish(self, body: bytes = b"") -> None:
        """End an answer that has begun."""
        if not self.over:
            self.link.agent_side.send(self.stream, body, True)
            self.over = True

    def fail(self, code: StreamCode) -> None:
        if not self.over:
            self.link.agent_side.reset(self.stream, code, self.agent.rig.clock.now)
            self.over = True


class HandLink:
    """Stands in for a `Link` at the hub; messages travel when the test says so."""

    label = ""

    def __init__(self, agent: HandAgent) -> None:
        rig = agent.rig
        limits = Limits()
        self.agent = agent
        self.loop = rig.clock
        self.session = Session(True, limits, limits, rig.hub.budget, rig.clock.now)
        self.agent_side = Session(False, limits, limits, MemoryBudget(0), rig.clock.now)
        self.result = SimpleNamespace(
            agent_id=agent.id, instance_id=agent.instance_id, services=("visits",), refused=()
        )
        self.lost = False
        self.to_agent: deque[bytes] = deque()
        self.to_hub: deque[bytes] = deque()

    @property
    def usable(self) -> bool:
        return not self.lost and self.session.selectable

    def wake(self) -> None:
        """The messages wait for `leave`."""

    def leave(self) -> None:
        """What either side has to say is on its way from now on."""
        if self.lost:
            return
        writable: list[Any] = []
        while message := self.session.data_to_send(writable, self.loop.now):
            self.to_agent.append(message)
        self._hear(writable)
        while message := self.agent_side.data_to_send([], self.loop.now):
            self.to_hub.append(message)

    def arrive(self, *, at_agent: bool) -> None:
        """One message arrives; at the agent also when the hub has lost the session meanwhile."""
        if at_agent and self.to_agent:
            self.agent.hear(self, self.agent_side.receive(self.to_agent.popleft(), self.loop.now))
        elif not at_agent and self.to_hub and not self.lost:
            self._hear(self.session.receive(self.to_hub.popleft(), self.loop.now))

    def settle(self) -> None:
        """Carry everything until both sides are silent."""
        while not self.lost:
            self.leave()
            if not self.to_agent and not self.to_hub:
                return
            while self.to_agent:
                self.arrive(at_agent=True)
            while self.to_hub:
                self.arrive(at_agent=False)

    def lose(self) -> None:
        """The session dies as the hub sees it, in the order of `AgentListener.lost`."""
        if self.lost:
            return
        self.lost = True
        hub = self.agent.rig.hub
        self.agent.links.remove(self)
        streams = self.session.lost()
        hub.remove_session(cast("Link", self), cast("Any", self.result))
        for stream in streams:
            if not stream.silent:
                cast("Exchange", stream.owner).on_session_lost()

    def _hear(self, events: Iterable[Any]) -> None:
        for event in events:
            if isinstance(event, Offered):
                self.agent.rig.hub.on_offered(cast("Any", self.result), event)
            elif isinstance(event, PeerDraining):
                self.agent.rig.hub.on_draining(cast("Any", self))
            elif event.stream is None or not event.stream.silent:
                STREAM_HANDLERS[type(event)](event)


class HandAgent:
    """An agent process that does what the test says."""

    def __init__(self, rig: Rig, agent_id: str, sessions: int = 1) -> None:
        self.rig = rig
        self.id = agent_id
        self.instance_id = b"instance-%08d" % len(rig.agents)
        self.links: list[HandLink] = []
        self.ever: list[HandLink] = []
        """The lost ones, too: what had left the hub may still arrive."""
        self.visits: list[Visit] = []
        for _ in range(sessions):
            self.connect()

    @property
    def instance(self) -> Instance:
        found = self.rig.hub.instances.find(self.id, self.instance_id)
        assert found is not None
        return found

    @property
    def waiting(self) -> list[Visit]:
        """What it has received and not ended."""
        return [visit for visit in self.visits if not visit.over]

    def connect(self) -> HandLink:
        link = HandLink(self)
        self.links.append(link)
        self.ever.append(link)
        self.rig.hub.add_session(cast("Link", link), cast("Any", link.result))
        for offer in self.instance.offers.values():
            if offer not in self.rig.offers:
                self.rig.offers.append(offer)
        return link

    def offer(self, limit: int | None, state: OfferState = OfferState.UP) -> None:
        for link in self.links[:1]:
            link.agent_side.offer("visits", state, limit)
            link.settle()

    def drain(self) -> None:
        """Both steps: what it has not looked at is not dispatched."""
        for link in self.links:
            link.agent_side.drain_finish(self.rig.clock.now)

    def settle(self) -> None:
        for link in list(self.links):
            link.settle()

    def die(self) -> None:
        for link in list(self.links):
            link.lose()

    def hear(self, link: HandLink, events: Iterable[Any]) -> None:
        for event in events:
            if isinstance(event, Opened):
                visit = Visit(self.rig.calls[event.target.decode()], self, link, event)
                visit.call.visits.append(visit)
                self.visits.append(visit)
            elif event.stream is not None:
                visit = next(each for each in self.visits if each.stream is event.stream)
                self._more(visit, event)

    @staticmethod
    def _more(visit: Visit, event: Any) -> None:
        if isinstance(event, DataReceived):
            visit.body += event.body
            visit.whole = event.end
            visit.link.agent_side.consumed(visit.stream, len(event.body), visit.link.loop.now)
        elif isinstance(event, TrailersReceived):
            visit.whole = True
        elif isinstance(event, StreamReset):
            visit.over = True
        else:
            assert isinstance(event, PeerDraining)


class Rig:
    """A hub with the service `visits`."""

    def __init__(
        self, settings: Settings = SETTINGS, *, caller_limit: int = UNLIMITED, agent_limit: int | None = None
    ) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock)  # type: ignore[arg-type]
        self.log: list[tuple[Any, ...]] = []
        self.calls: dict[str, Call] = {}
        self.agents: list[HandAgent] = []
        self.offers: list[Any] = []
        callers = Callers(caller_limit)
        self.service = Service("visits", settings, callers)
        with patch("tunnel_hub.hub.asyncio.get_running_loop", lambda: self.clock):
            self.hub = Hub(
                "hub-1",
                services={"visits": self.service},
                router=Router({"visits": SimpleNamespace(hosts=(HOST.decode(),), paths=())}),
                forwarder=Forwarder("hub-1", "cafe", secure=False),
                access=cast("Any", SimpleNamespace(write=self.log.append)),
                limits=Limits(),
                budget=MemoryBudget(1 << 20),
                wheel=self.wheel,
                callers=callers,
            )
        limits = {} if agent_limit is None else {"leeds-1": agent_limit, "leeds-2": agent_limit}
        self.hub.may_serve({"leeds-1": frozenset({"visits"}), "leeds-2": frozenset({"visits"})}, limits)

    def agent(self, agent_id: str = "leeds-1", sessions: int = 1) -> HandAgent:
        made = HandAgent(self, agent_id, sessions)
        self.agents.append(made)
        return made

    def call(
        self,
        method: bytes = b"GET",
        *fields: bytes,
        body: bytes = b"",
        pieces: Iterable[bytes] = (),
        caller: str = "192.0.2.1",
        expect: bool = False,
        upgrade: bytes | None = None,
    ) -> Call:
        """A request; `body` comes with its head, each of `pieces` when the test says so."""
        name = f"/{len(self.calls)}"
        later = list(pieces)
        kinds = 0
        for field in fields[::2]:
            kinds |= KINDS[field]
        request = Request(
            *(method, name.encode(), HOST, 1, list(fields), kinds, None, bool(later)),
            *(expect, upgrade, True, self.clock.now),
        )
        request.body = body
        request.complete = not later and not expect
        call = Call(name, method, FakeReply(caller), body + b"".join(later), later)
        call.finished_sending = request.complete and upgrade is None
        self.calls[name] = call
        call.exchange = self.hub.start_exchange(request, call.reply)
        return call

    def settle(self) -> None:
        """Carry every message of every agent."""
        for agent in self.agents:
            agent.settle()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def assert_nothing_left(self) -> None:
        """Every request had one answer and nothing is held for any."""
        hub, service = self.hub, self.service
        assert all(call.over for call in self.calls.values())
        assert Counter(line[3].decode() for line in self.log) == Counter(list(self.calls))
        assert (hub.in_flight, service.in_flight, service.running) == (0, 0, 0)
        assert (len(service.queue), service.queue.bytes) == (0, 0)
        assert [offer.outstanding for offer in self.offers] == [0] * len(self.offers)
        assert [offer.instance.outstanding for offer in self.offers] == [0] * len(self.offers)
        assert (hub.kept.used, hub.budget.used) == (0, 0)
        assert all(hub.callers.may_run(call.reply.peer) for call in self.calls.values())
        assert not hub.callers._running
        assert len(self.wheel) == 0, "a timer is left"
