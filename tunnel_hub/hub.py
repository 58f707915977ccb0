"""The hub at run time: what its callers' requests, its agents' sessions and its operators share."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from protocol.aio.link import Link
from protocol.aio.wheel import Wheel
from protocol.events import Offered, OfferState
from protocol.flow import MemoryBudget
from protocol.http.names import Kind
from protocol.http.shape import shape_of
from protocol.http.target import BadTarget, check_target
from protocol.limits import Limits
from protocol.ops.access import AccessLog, AccessRecord
from protocol.ops.audit import Audit
from protocol.stalls import Stalls

from .callers import Callers
from .deadline import BadDeadline, stated_deadline
from .denials import Denials
from .exchange import Exchange
from .failures import Failure, Failures
from .forward import Forwarder
from .gateway.gate import Denied
from .inspector.recorder import Inspector
from .instances import UNLIMITED, Instance, Instances
from .phases import asks
from .problems import HUB_PROBLEMS
from .proxies import TrustedProxies
from .routing import Router, take_service
from .service import Service
from .switches import Switches

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.errors import SessionCode
    from protocol.handshake import HubResult
    from protocol.phases import Phases

    from .gateway.gate import Gate
    from .ingress.request import Reply, Request
    from .spans import Spans

KEPT_BYTES: Final = 16 * 1024 * 1024
"""Request bodies that all exchanges together may keep for a repetition."""

BUSY_FOR: Final = 1.0
"""Seconds after its last request for which the hub counts as busy."""

OFFERS_MAX: Final = 256
"""Services of one agent that are remembered."""


class Hub:
    """Owns the services and joins ingress to sessions."""

    def __init__(
        self,
        hub_id: str,
        *,
        services: dict[str, Service],
        router: Router,
        forwarder: Forwarder,
        access: AccessLog,
        limits: Limits,
        budget: MemoryBudget,
        wheel: Wheel,
        proxies: TrustedProxies | None = None,
        callers: Callers | None = None,
        audit: Audit | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.id = hub_id
        self.loop = asyncio.get_running_loop()
        self.services = services
        self.router = router
        self.forwarder = forwarder
        self.access = access
        self.proxies = proxies or TrustedProxies()
        self.audit = audit or Audit()
        self._denials = Denials(self.audit)
        self.limits = limits
        self.budget = budget
        self.wheel = wheel
        self.callers = callers or Callers()
        self.spans = spans
        """None: nothing is traced."""
        self.gate: Gate | None = None
        """None: callers need not authenticate."""
        self.taps: list[Callable[[AccessRecord], None]] = []
        """Told of each request that is over, at once, so they must be quick; none may raise."""
        self.kept = MemoryBudget(KEPT_BYTES)
        self.instances = Instances()
        self.websockets: set[Exchange] = set()
        """Upgraded connections that can be told when hub or agent go away."""
        self.registered: dict[str, frozenset[str]] = {}
        """The services that each agent may serve."""
        self.agent_limits: dict[str, int] = {}
        """Requests at once of each agent, where the configuration says so."""
        self.in_flight = 0
        self.unrouted = 0
        self.refused: Counter[tuple[int, str]] = Counter()
        self.failures = Failures()
        self.inspector = Inspector(self)
        self.switches = Switches()
        self.sessions_established = 0
        self.sessions_ended: Counter[tuple[str, SessionCode]] = Counter()
        """By agent and why."""
        self.last_ends: dict[str, SessionCode] = {}
        """By agent, why its latest session ended, where none has come since."""
        self.credit_stalls = Stalls(self.loop.time)
        """Request bodies that wait for an agent's credit."""
        self.write_pauses = Stalls(self.loop.time)
        """Sessions whose sockets take nothing for a while."""
        self.ends: dict[str, float] = {}
        """When the certificates that are in use end (time.time()), by their places in the file."""
        self._ended = 0
        self._busy_at = -BUSY_FOR

    # -- Callers --------------------------------------------------------------------------------------

    def start_exchange(self, request: Request, reply: Reply) -> Exchange:
        """Route one request and start its exchange (`tunnel_hub.ingress.request.StartExchange`)."""
        exchange = Exchange(self, request, reply)
        self.in_flight += 1
        denied: Denied | None = None
        if self.gate is not None:
            try:
                admitted = self.gate.authenticate(request, reply.certificate, time.time())
                exchange.admitted = admitted
            except Denied as error:
                denied = error
        kinds = request.kinds
        named = deadline = None
        misfit = ""
        if kinds & Kind.TUNNEL:
            exchange.timed = asks(request.fields)
            named = take_service(request.fields)
            try:
                deadline = stated_deadline(request.fields)
            except BadDeadline as error:
                misfit = str(error)
        peer = reply.peer
        forwarded = self.forwarder.request(
            request.fields,
            kinds,
            peer.encode("ascii"),
            request.authority,
            trusted=self.proxies.has(peer),
        )
        exchange.request_id = forwarded.request_id or self.forwarder.new_id()
        if forwarded.trace is not None:
            exchange.trace_id = forwarded.trace.trace_id
        fields = forwarded.fields
        if self.spans is not None:
            fields = self.spans.begin(exchange, fields, forwarded.trace)
        if exchange.admitted is not None:
            exchange.caller = exchange.admitted.policy.name
        elif forwarded.caller:
            exchange.caller = forwarded.caller
        if denied is not None:
            self._denials.deny(exchange, denied, self.loop.time())
            return exchange
        name = self.router.route(request.authority, request.target, named)
        if name is None:
            self.unrouted += 1
            exchange.refuse(HUB_PROBLEMS["no_such_service"])
        elif forwarded.looped:
            exchange.refuse(HUB_PROBLEMS["loop_detected"])
        elif misfit:
            exchange.refuse(HUB_PROBLEMS["malformed_request"], misfit)
        else:
            self._admit(exchange, self.services[name], fields, deadline)
        return exchange

    def _admit(self, exchange: Exchange, service: Service, fields: list[bytes], deadline: float | None) -> None:
        """Start the exchange if the path policy and the caller's rules have nothing against it."""
        request, admitted = exchange.request, exchange.admitted
        if service.inspector is not None:
            service.inspector.attach(exchange)
        exceptions = service.settings.path_exceptions
        if self.gate is None:
            try:
                check_target(request.target, exceptions)
            except BadTarget as error:
                exchange.refuse(HUB_PROBLEMS["malformed_request"], str(error))
                return
            exchange.start(service, service.settings.onward.tell(fields, b""), deadline)
            return
        assert admitted is not None
        try:
            self.gate.authorise(
                admitted, service.name, request.method, request.target, exceptions, request.received
            )
        except Denied as error:
            exchange.service = service
            service.in_flight += 1
            self._denials.deny(exchange, error, request.received)
            return
        exchange.start(service, service.settings.onward.tell(fields, admitted.policy.header), deadline)

    def record(self, exchange: Exchange, origin: str, code: str, delivered: str) -> None:
        """An exchange is over: count it and write its access-log line."""
        self.in_flight -= 1
        request = exchange.request
        service = exchange.service
        reply = exchange.reply
        status = exchange.status
        now = time.monotonic()
        took = now - exchange.arrived_at
        bytes_out = reply.bytes_sent
        name = ""
        phases: Phases | None = None
        if service is not None:
            name = service.name
            service.in_flight -= 1
            service.outcomes[status, code] += 1
            service.latency.observe(took)
            phases = exchange.phases
            if phases is not None:
                service.phases.observe(phases)
            else:
                waited = (exchange.sent_at - exchange.arrived_at) if exchange.sent_at else took
                phases = (int(waited * 1e6), 0, 0, 0, 0)
                service.phases.observe_queue(waited)
            service.bytes_in += exchange.bytes_in
            service.bytes_out += bytes_out
        link = exchange.link
        admitted = exchange.admitted
        if admitted is not None:
            policy = admitted.policy
            policy.outcomes[status] += 1
            policy.latency.observe(took)
        if exchange.span is not None and self.spans is not None:
            self.spans.ended(exchange, exchange.span, origin, code, now)
            if service is not None:
                service.latency.name(took, exchange.trace_id.decode("ascii"))
        if code or status >= 500:
            self._keep_failure(exchange, origin, code, delivered, took)
        record = (
            time.time(),
            exchange.request_id.decode("ascii"),
            request.method,
            request.target,
            name,
            link.label if link is not None else "",
            status,
            origin,
            code,
            delivered,
            exchange.bytes_in,
            bytes_out,
            took,
            reply.peer,
            request.authority,
            exchange.repeats,
            "" if admitted is None else admitted.policy.name,
            phases,
            exchange.trace_id,
            "",
        )
        self.access.write(record)
        if self.taps:
            self._tell(record)
        if exchange.tape is not None:
            exchange.tape.finish(exchange, record)

    def _keep_failure(self, exchange: Exchange, origin: str, code: str, delivered: str, took: float) -> None:
        request, link = exchange.request, exchange.link
        self.failures.add(
            Failure(
                time.time(),
                exchange.request_id.decode("ascii"),
                "" if exchange.service is None else exchange.service.name,
                "" if exchange.admitted is None else exchange.admitted.policy.name,
                request.method.decode("ascii", "backslashreplace"),
                shape_of(request.target),
                exchange.status,
                origin if code else "upstream",
                code,
                delivered,
                "" if link is None else link.label,
                took,
            )
        )

    def record_refusal(self, peer: str, status: int, code: str, delivered: str, request_id: str) -> None:
        """The ingress answered by itself, before there was an exchange."""
        self.refused[status, code] += 1
        self.failures.add(
            Failure(time.time(), request_id, "", "", "-", "-", status, "hub", code, delivered, "", 0.0)
        )
        nothing = (code, delivered, 0, 0, 0.0, peer, b"", 0, "", None, b"", "")
        record: AccessRecord = (time.time(), request_id, b"-", b"-", "", "", status, "hub", *nothing)
        self.access.write(record)
        if self.taps:
            self._tell(record)

    def _tell(self, record: AccessRecord) -> None:
        for tap in self.taps:
            tap(record)

    # -- Agents ---------------------------------------------------------------------------------------

    def may_serve(self, registered: dict[str, frozenset[str]], limits: dict[str, int]) -> None:
        """Which services each agent may serve, and how many requests it may have, from now on."""
        self.registered = registered
        self.agent_limits = limits
        for instance in self.instances:
            instance.limit = limits.get(instance.agent_id, UNLIMITED)
            for name in list(instance.offers):
                self._match(instance, name)

    def add_session(self, link: Link, result: HubResult) -> None:
        """A session is established: it may be chosen from now on."""
        limit = self.agent_limits.get(result.agent_id, UNLIMITED)
        instance = self.instances.add(result.agent_id, result.instance_id, limit, link)
        instance.stopped = result.agent_id in self.switches.agents
        for name in (*result.services, *result.refused):
            if len(instance.offers) < OFFERS_MAX:  # with each session a hostile agent may name others
                instance.offer(name)
        for name in list(instance.offers):
            self._match(instance, name)

    def remove_session(self, link: Link, result: HubResult) -> None:
        """A session is over, or must not be chosen any more. Idempotent."""
        gone = self.instances.remove(result.agent_id, result.instance_id, link)
        if gone is not None:
            for name, offer in gone.offers.items():
                service = self.services.get(name)
                if service is not None:
                    service.remove(offer)

    def on_offered(self, result: HubResult, event: Offered) -> None:
        """An agent says how it serves one of its services from now on."""
        instance = self.instances.find(result.agent_id, result.instance_id)
        name = event.service
        if instance is None or (name not in instance.offers and len(instance.offers) >= OFFERS_MAX):
            return
        offer = instance.offer(name)
        offer.up = event.state is OfferState.UP
        offer.withdrawn = event.state is OfferState.WITHDRAWN
        offer.limit = event.limit or UNLIMITED
        self._match(instance, name)

    def go_away(self, link: Link | None = None) -> None:
        """Tell the callers of upgraded websockets, all or those on `link`, to look for another connection."""
        for exchange in list(self.websockets):
            if link is None or exchange.link is link:
                exchange.go_away()

    def on_draining(self, link: Link) -> None:
        """An agent takes nothing new on this session."""
        self.go_away(link)
        self.pump()  # where the others were only the second choice, they are the first now

    def busy(self) -> bool:
        """Whether requests are being served: an agent has one, or had one within the last second."""
        now = self.loop.time()
        ended = sum(sum(service.latency.counts) for service in self.services.values())
        if ended != self._ended or any(service.running for service in self.services.values()):
            self._ended = ended
            self._busy_at = now
        return now - self._busy_at < BUSY_FOR

    def pump(self, behind: Service | None = None) -> None:
        """Send what waits, of any service, as far as there is room now; those after `behind` first, then round."""
        services = list(self.services.values())
        at = services.index(behind) + 1 if behind in services else 0
        for service in services[at:] + services[:at]:
            if service.queue.size:
                service.pump()

    def _match(self, instance: Instance, name: str) -> None:
        """Let a service have the offer, or not, as the agent's registration says."""
        service = self.services.get(name)
        if service is None:
            return
        offer = instance.offers[name]
        if name in self.registered.get(instance.agent_id, ()) and not offer.withdrawn:
            service.add(offer)
        else:
            service.remove(offer)
