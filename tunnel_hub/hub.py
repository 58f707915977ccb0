"""The hub at run time: what its callers' requests, its agents' sessions and its operators share."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from protocol.aio.link import Link
from protocol.aio.wheel import Wheel
from protocol.errors import Delivered, SessionError
from protocol.flow import MemoryBudget
from protocol.http.names import Kind
from protocol.http.target import BadTarget, check_target
from protocol.limits import Limits
from protocol.ops.access import AccessLog

from .exchange import Exchange
from .forward import Forwarder
from .problems import HUB_PROBLEMS
from .routing import Router, take_service
from .service import Service

if TYPE_CHECKING:
    from protocol.handshake import HubResult

    from .ingress.request import Reply, Request

_TRUST_CACHE: Final = 10_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self.id = hub_id
        self.loop = asyncio.get_running_loop()
        self.services = services
        self.router = router
        self.forwarder = forwarder
        self.access = access
        self.limits = limits
        self.budget = budget
        self.wheel = wheel
        self.in_flight = 0
        self.unrouted = 0
        self.refused: Counter[tuple[int, str]] = Counter()
        self.sessions_lost = 0
        self._trusted_proxies = trusted_proxies
        self._trust: dict[str, bool] = {}

    # -- Callers --------------------------------------------------------------------------------------

    def start_exchange(self, request: Request, reply: Reply) -> Exchange:
        """Route one request and start its exchange (`tunnel_hub.ingress.request.StartExchange`)."""
        exchange = Exchange(self, request, reply)
        self.in_flight += 1
        kinds = request.kinds
        named = take_service(request.fields) if kinds & Kind.TUNNEL else None
        name = self.router.route(request.authority, request.target, named)
        peer = reply.peer
        forwarded = self.forwarder.request(
            request.fields,
            kinds,
            peer.encode("ascii"),
            request.authority,
            trusted=bool(self._trusted_proxies) and self._trusts(peer),
        )
        exchange.request_id = forwarded.request_id or self.forwarder.new_id()
        if name is None:
            self.unrouted += 1
            exchange.refuse(HUB_PROBLEMS["no_such_service"])
        elif forwarded.looped:
            exchange.refuse(HUB_PROBLEMS["loop_detected"])
        else:
            service = self.services[name]
            try:
                check_target(request.target, service.path_exceptions)
            except BadTarget as error:
                exchange.refuse(HUB_PROBLEMS["malformed_request"], str(error))
            else:
                exchange.start(service, forwarded.fields)
        return exchange

    def record(self, exchange: Exchange, origin: str, code: str, delivered: str) -> None:
        """An exchange is over: count it and write its access-log line."""
        self.in_flight -= 1
        request = exchange.request
        service = exchange.service
        reply = exchange.reply
        status = exchange.status
        took = self.loop.time() - request.received
        bytes_out = reply.bytes_sent
        name = ""
        if service is not None:
            name = service.name
            service.in_flight -= 1
            service.outcomes[status, code] += 1
            service.latency.observe(took)
            service.bytes_in += exchange.bytes_in
            service.bytes_out += bytes_out
        link = exchange.link
        self.access.write(
            (
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
            )
        )

    def record_refusal(self, peer: str, status: int, code: str, request_id: str) -> None:
        """The ingress answered by itself, before there was an exchange."""
        self.refused[status, code] += 1
        self.access.write(
            (time.time(), request_id, b"-", b"-", "", "", status, "hub", code, Delivered.NO, 0, 0, 0.0, peer, b"")
        )

    def trust(self, proxies: tuple[Network, ...]) -> None:
        """Believe the forwarding fields of callers in these networks from now on."""
        self._trusted_proxies = proxies
        self._trust.clear()

    def _trusts(self, peer: str) -> bool:
        known = self._trust.get(peer)
        if known is None:
            if len(self._trust) >= _TRUST_CACHE:
                self._trust.clear()
            try:
                address = ipaddress.ip_address(peer)
            except ValueError:
                return False
            known = self._trust[peer] = any(address in network for network in self._trusted_proxies)
        return known

    # -- Agents ---------------------------------------------------------------------------------------

    def add_session(self, link: Link, result: HubResult) -> None:
        """A session is established: it may be chosen from now on."""
        for name in result.services:
            service = self.services.get(name)
            if service is not None:
                service.add(link)

    def remove_session(self, link: Link, _error: SessionError) -> None:
        """A session is over."""
        self.sessions_lost += 1
        for service in self.services.values():
            service.remove(link)
