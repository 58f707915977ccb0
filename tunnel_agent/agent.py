"""The agent at run time: its services, its links, and what it does with each event of a session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from protocol.aio.link import Link
from protocol.aio.wheel import Wheel
from protocol.errors import SessionCode, StreamCode
from protocol.events import (
    Answered,
    DataReceived,
    Event,
    InterimAnswered,
    OfferState,
    Opened,
    PeerDraining,
    PeerGoodbye,
    StreamReset,
    StreamWritable,
    TrailersReceived,
)
from protocol.flow import MemoryBudget
from protocol.handshake import AgentHandshake
from protocol.http import trace
from protocol.http.query import names_of
from protocol.limits import Limits
from protocol.ops import log
from protocol.ops.access import AccessLog
from protocol.ops.audit import Audit
from protocol.ops.seldom import Seldom
from protocol.signatures.nonces import Nonces
from protocol.stream import Stream

from .egress.call import UpstreamRequest
from .exchange import Exchange, Refusal, admit
from .records import Records
from .service import Service
from .signed import SignedExchange

if TYPE_CHECKING:
    from .config import Hub as HubConfig
    from .learn import Learner
    from .slot import Attempt

HEARD_TIMEOUT: Final = 3.0
"""Seconds after which the second step of DRAIN is taken though the hub has not confirmed the first."""

CLOSE_TIMEOUT: Final = 2.5
"""Seconds for the end of the websocket, which aborts by itself somewhat earlier."""

QUIET_POLL: Final = 0.01
"""Seconds between two looks at what still runs while draining."""

_STOPPING: Final = "the agent is shutting down"

_log = log.get("boundary")


class Agent:
    """Everything the sessions of one agent share."""

    def __init__(
        self,
        agent_id: str,
        services: dict[str, Service],
        *,
        limits: Limits,
        budget: MemoryBudget,
        wheel: Wheel,
        make_handshake: Callable[[HubConfig, bytes | None], AgentHandshake],
        nonces: Nonces,
        records: Records | None = None,
        audit: Audit | None = None,
    ) -> None:
        self.id = agent_id
        self.loop = asyncio.get_running_loop()
        self.services = services
        self.limits = limits
        self.budget = budget
        self.wheel = wheel
        self.make_handshake = make_handshake
        self.audit = audit or Audit()
        self.records = records or Records(AccessLog(enabled=False, fd=1))
        self.learner: Learner | None = None
        """Records the shapes of requests, where that is asked for."""
        self._on_malformed = self._malformed
        self.nonces = nonces
        """Of signed requests; a reload keeps them, or what came before it could come again."""
        self.links: dict[Link, Attempt] = {}
        self.refusals = 0
        self._seldom = Seldom()
        self.draining = False
        """The agent takes nothing new and ends soon."""
        self.handlers: Mapping[type[Event], Callable[[Any], None]] = {
            DataReceived: lambda event: event.stream.owner.on_data(event),
            TrailersReceived: lambda event: event.stream.owner.on_trailers(event),
            StreamReset: lambda event: event.stream.owner.on_reset(event),
            StreamWritable: lambda event: event.stream.owner.on_writable(event),
            PeerGoodbye: lambda _event: None,
        }

    def handlers_of(self, link: Link, attempt: Attempt) -> Mapping[type[Event], Callable[[Any], None]]:
        """The handlers for the events of one link."""
        return {
            **self.handlers,
            Opened: lambda event: self.on_opened(link, event),
            PeerDraining: lambda _event: attempt.hub_drains(),
            Answered: _never,
            InterimAnswered: _never,
        }

    def link_established(self, link: Link, attempt: Attempt) -> None:
        """Take streams from the link, and tell the hub how each service stands, unless the hub refused it."""
        self.links[link] = attempt
        offered: tuple[str, ...] = link.result.services
        for name in (*offered, *(name for name in self.services if name not in offered)):
            if name not in link.result.refused:
                self._offer(link, name)

    def announce(self, name: str) -> None:
        """Tell every hub how the service stands now. Silent on links that drain."""
        for link in self.links:
            if not (link.session.draining or link.session.peer_draining):
                self._offer(link, name)
                link.wake()

    def _offer(self, link: Link, name: str) -> None:
        service = self.services.get(name)
        if service is None:
            link.session.offer(name, OfferState.WITHDRAWN)
        else:
            link.session.offer(name, service.state, service.limit)

    def link_lost(self, link: Link, streams: list[Stream]) -> None:
        """Every upstream request of the link's streams is cancelled: nobody can hear its answer."""
        self.links.pop(link, None)
        for stream in streams:
            owner: Any = stream.owner
            if owner is not None:
                owner.cancel()

    def on_opened(self, link: Link, event: Opened) -> None:
        """A request from the hub: past the boundary or back with the reason."""
        service = self.services.get(event.service)
        try:
            request = admit(service, event)
            assert service is not None
            if service.signing is not None:
                refuse = partial(self._refuse, link, event)
                signed = SignedExchange(
                    link,
                    event,
                    service,
                    service.signing,
                    self.wheel,
                    self.budget,
                    refuse,
                    self.records,
                    self._on_malformed,
                )
                signed.begin(request, event)
                self._learn(event, allowed=True)
                return
        except Refusal as refusal:
            self._refuse(link, event, refusal)
            return
        self._learn(event, allowed=True)
        Exchange(link, event, service, self.records, self._on_malformed).start(request, event.deadline_ms)

    def _refuse(self, link: Link, event: Opened, refusal: Refusal) -> None:
        self.refusals += 1
        what = {
            "request_id": event.request_id.decode("ascii", "replace"),
            "service": event.service,
            "method": event.method.decode("ascii", "replace"),
            "path": event.target.partition(b"?")[0].decode("ascii", "replace"),
            "code": refusal.code.name,
            "reason": refusal.detail,
        }
        left_out = self._seldom.leftover(refusal.code.name, self.loop.time())
        if left_out is not None:
            _log.warning("refused", **what, **({"left_out": left_out} if left_out else {}))
        keys = {"query_keys": names_of(event.target)} if refusal.by_query else {}
        self.audit.write("boundary refused", hub=link.label, **what, **keys)
        self.records.refused(link, event, trace.read(event.fields), refusal.code)
        self._learn(event, allowed=False)
        link.session.reset(event.stream, refusal.code, self.loop.time(), refusal.detail)
        link.wake()

    def _learn(self, event: Opened, *, allowed: bool) -> None:
        if self.learner is not None and event.service in self.services:
            self.learner.note(event.service, event.method, event.target, allowed=allowed)

    def _malformed(self, link: Link, service: Service, request: UpstreamRequest, reason: str) -> None:
        """What no caller's HTTP becomes at a sound hub: a field or a length that is not one."""
        self.refusals += 1
        self.audit.write(
            "boundary refused",
            hub=link.label,
            service=service.name,
            method=request.method.decode("ascii", "replace"),
            path=request.target.partition(b"?")[0].decode("ascii", "replace"),
            code=StreamCode.INVALID_REQUEST.name,
            reason=reason,
        )

    @property
    def in_flight(self) -> int:
        return sum(link.session.outstanding for link in self.links)

    @property
    def reachable(self) -> bool:
        """Whether a hub may send requests."""
        return any(not (link.session.draining or link.session.peer_draining) for link in self.links)

    async def drain(self, patience: float) -> None:
        """`drain_link` for every link at once."""
        self.draining = True
        await asyncio.gather(*(self.drain_link(link, patience) for link in list(self.links)))

    async def drain_link(self, link: Link, patience: float, reason: str = _STOPPING) -> None:
        """Two-step DRAIN, then goodbye once what runs on the link has ended, at the latest `patience` s from now.

        Whatever still runs then is reset.
        """
        now = self.loop.time()
        end = now + patience
        session = link.session
        session.drain(now)
        link.wake()
        await self._until(link, lambda: session.drain_heard, min(end, now + HEARD_TIMEOUT))
        if link in self.links:
            session.drain_finish(self.loop.time())
            link.wake()
        await self._until(link, lambda: not (session.streams or session.has_output() or link.unsent), end)
        if link in self.links:
            for stream in list(session.streams.values()):
                session.reset(stream, StreamCode.CANCELLED, self.loop.time(), reason)
                owner: Any = stream.owner
                if owner is not None:
                    owner.cancel(StreamCode.CANCELLED)
            link.wake()
            link.close(SessionCode.SHUTDOWN, reason)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(link.wait_closed(), CLOSE_TIMEOUT)

    async def _until(self, link: Link, condition: Callable[[], object], end: float) -> None:
        """Poll until `condition()`, the link's loss or `end`; only while stopping."""
        while link in self.links and not condition() and self.loop.time() < end:  # noqa: ASYNC110  # bounded
            await asyncio.sleep(QUIET_POLL)


def _never(event: Event) -> None:
    """The session never reports this at the agent; its state table forbids the frame."""
    raise AssertionError(f"{type(event).__name__} at the agent")
