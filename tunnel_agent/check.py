"""Tries everything the agent needs, from where it runs: names, proxy, TLS, the hub's handshake, the upstreams.

Each target is tried step by step until one fails, all targets at once. Nothing is changed anywhere; an upstream
gets a request only where its service has a `health` path.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

from protocol.errors import TunnelError
from protocol.ops.tls import client_context
from protocol.ops.urls import Url
from tunnel_agent.config import AgentConfig, Hub, Service
from tunnel_agent.remedies import Trouble, explain

HUB_TIMEOUT: Final = 10.0
"""Seconds for a step towards a hub; an upstream's `connect_timeout` holds for upstreams."""

HANDSHAKE_TIMEOUT: Final = 25.0
"""Seconds for `dial.probe`, which has bounds of its own."""

Action = Callable[[], Awaitable[str]]


class Result(msgspec.Struct, frozen=True):
    """One step towards one target. remedy is "" when it is fine."""

    target: str
    step: str
    ok: bool
    detail: str
    remedy: str
    milliseconds: float


class Connection(msgspec.Struct, frozen=True, order=True):
    """A connection that this machine has to be allowed to open: the firewall request."""

    host: str
    port: int
    purpose: str
    addresses: list[str]


class Outcome(msgspec.Struct, frozen=True):
    """Everything that was found."""

    ok: bool
    results: list[Result]
    connections: list[Connection]


async def check(config: AgentConfig) -> Outcome:
    """Try every hub and every service. Never raises for what may be wrong out there."""
    probes: list[_Probe] = [_HubProbe(config, hub) for hub in config.hubs]
    probes += [_UpstreamProbe(name, service) for name, service in config.services.items()]
    results = [result for group in await asyncio.gather(*(probe.run() for probe in probes)) for result in group]
    connections = {(c.host, c.port, c.purpose): c for probe in probes for c in probe.connections}
    return Outcome(all(result.ok for result in results), results, sorted(connections.values()))


class _Probe:
    """One target: its steps in order, each a sentence when it is fine and an exception when not."""

    def __init__(self, target: str, purpose: str, seconds: float) -> None:
        self.target = target
        self.connections: list[Connection] = []
        self._purpose = purpose
        self._seconds = seconds
        self._place = ""

    def steps(self) -> Iterator[tuple[str, float, Action]]:
        """Name, seconds and action; not asked for the next while one fails."""
        raise NotImplementedError  # pragma: no cover

    async def run(self) -> list[Result]:
        results: list[Result] = []
        for step, seconds, action in self.steps():
            start = time.perf_counter()
            try:
                async with asyncio.timeout(seconds):
                    found = Trouble(await action(), "")
                fine = True
            except Exception as error:
                found = explain(error, self._place, seconds)
                fine = False
            took = round((time.perf_counter() - start) * 1000, 1)
            results.append(Result(self.target, step, fine, found.detail, found.remedy, took))
            if not fine:
                break
        return results

    def _way(self, url: Url, tls: ssl.SSLContext | None) -> Iterator[tuple[str, float, Action]]:
        """The steps to a host of ours or to a proxy."""
        self._place = f"{url.host}:{url.port}"
        yield "dns", self._seconds, lambda: self._resolve(url)
        yield "connect", self._seconds, lambda: _connect(url, None)
        if tls is not None:
            yield "tls", self._seconds, lambda: _connect(url, tls)

    async def _resolve(self, url: Url) -> str:
        connection = Connection(url.host, url.port, self._purpose, [])
        self.connections.append(connection)
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        connection.addresses.extend(dict.fromkeys(str(info[4][0]) for info in infos))
        return ", ".join(connection.addresses)


class _HubProbe(_Probe):
    def __init__(self, config: AgentConfig, hub: Hub) -> None:
        super().__init__(f"hub {hub.url}", "hub", HUB_TIMEOUT)
        self._config = config
        self._hub = hub

    def steps(self) -> Iterator[tuple[str, float, Action]]:
        proxy = way_out(self._hub)
        if proxy is not None:
            self._purpose = f"proxy to {self._hub.url.authority}"
            yield from self._way(proxy, None)
        else:
            yield from self._way(self._hub.url, self._tls())
        yield "handshake", HANDSHAKE_TIMEOUT, self._handshake

    def _tls(self) -> ssl.SSLContext | None:
        hub = self._hub
        return client_context(hub.ca_file, hub.client_certificate, hub.client_key) if hub.url.secure else None

    async def _handshake(self) -> str:
        from tunnel_agent.dial import probe  # noqa: PLC0415 - websockets, when it comes to it

        return await probe(self._config, self._hub)


class _UpstreamProbe(_Probe):
    def __init__(self, name: str, service: Service) -> None:
        super().__init__(f"service {name}", f"upstream of {name}", service.connect_timeout)
        self._service = service

    def steps(self) -> Iterator[tuple[str, float, Action]]:
        service = self._service
        tls: ssl.SSLContext | None = None
        if service.upstream.secure:
            tls = client_context(service.ca_file, service.client_certificate, service.client_key)
        yield from self._way(service.upstream, tls)
        if service.health is not None:
            yield "health", service.first_byte_timeout, lambda: self._ask(tls)

    async def _ask(self, tls: ssl.SSLContext | None) -> str:
        import httpx  # noqa: PLC0415 - for this one request

        service = self._service
        headers = {name: injected.read() for name, injected in service.headers.items()}
        if service.host not in ("upstream", "caller"):
            headers["Host"] = service.host
        verify = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=service.first_byte_timeout) as client:
            answer = await client.get(f"{service.upstream}{service.health}", headers=headers)
        if answer.status_code >= 400:
            raise BadHealthError(f"GET {service.health} was answered with {answer.status_code}")
        return f"GET {service.health}: {answer.status_code}"


class BadHealthError(TunnelError):
    """The upstream's own health check says no."""

    stage = "health"


def way_out(hub: Hub) -> Url | None:
    """The proxy that leads to the hub: the configured one or the environment's, None when there is none."""
    if isinstance(hub.proxy, Url):
        return hub.proxy
    if hub.proxy == "":
        return None
    from websockets.proxy import get_proxy  # noqa: PLC0415 - the same rules as when the agent dials
    from websockets.uri import parse_uri  # noqa: PLC0415

    found = get_proxy(parse_uri(hub.url))
    if found is None:
        return None
    parts = urlsplit(found)
    return Url(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


async def _connect(url: Url, tls: ssl.SSLContext | None) -> str:
    _, writer = await asyncio.open_connection(url.host, url.port, ssl=tls)
    try:
        peer = writer.get_extra_info("peername")
        session = writer.get_extra_info("ssl_object")
        return f"{session.version()}, {session.cipher()[0]}" if session is not None else f"connected to {peer[0]}"
    finally:
        writer.transport.abort()
