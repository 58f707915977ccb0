"""Tries everything the agent needs, from where it runs: names, proxy, TLS, handshake, clock, upstreams.

Each target is tried step by step until one fails, all targets at once. Nothing is changed anywhere; an upstream
gets a request only where its service has a `health` path.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from protocol.aio.websocket import AgentSocket
from protocol.errors import SessionCode, SessionError, TunnelError
from protocol.ops.tls import client_context
from protocol.ops.urls import Url
from tunnel_agent import clock, dial, shown
from tunnel_agent.config import AgentConfig, Hub, Service
from tunnel_agent.firewall import Connection
from tunnel_agent.reach import Seen, straight, to_hub, unverified, way_out
from tunnel_agent.remedies import ExplainedError, Trouble, explain

HUB_TIMEOUT: Final = 10.0
"""Seconds for a step towards a hub; an upstream's `connect_timeout` holds for upstreams."""

HANDSHAKE_TIMEOUT: Final = 25.0
"""Seconds for `dial.probe`, which has bounds of its own."""

Action = Callable[[], Awaitable[str]]
Reach = Callable[[ssl.SSLContext], Awaitable[Seen]]


class Result(msgspec.Struct, frozen=True):
    """One step towards one target. remedy is "" when it is fine."""

    target: str
    step: str
    ok: bool
    detail: str
    remedy: str
    milliseconds: float


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

    def __init__(self, target: str, purpose: str, why: str, seconds: float) -> None:
        self.target = target
        self.connections: list[Connection] = []
        self._purpose = purpose
        self._why = why
        self._seconds = seconds
        self._place = ""
        self._shown: shown.Shown | None = None

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

    def _way(self, url: Url) -> Iterator[tuple[str, float, Action]]:
        """The steps to a host of ours or to a proxy."""
        self._place = f"{url.host}:{url.port}"
        yield "dns", self._seconds, lambda: self._resolve(url)
        yield "connect", self._seconds, lambda: _connect(url)

    async def _resolve(self, url: Url) -> str:
        connection = Connection(url.host, url.port, self._purpose, self._why, [], [])
        self.connections.append(connection)
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        connection.addresses.extend(dict.fromkeys(str(info[4][0]) for info in infos))
        connection.sources.extend(dict.fromkeys(filter(None, map(_own_address, infos))))
        return ", ".join(connection.addresses)

    async def _secure(self, trusted: ssl.SSLContext, reach: Reach, host: str, ca_file: Path | None) -> str:
        """TLS; when the certificate is refused, whose it is. Without trust nothing is sent."""
        try:
            seen = await reach(trusted)
        except ssl.SSLCertVerificationError as error:
            try:
                self._shown = shown.read((await reach(unverified())).certificate)
            except (OSError, ExplainedError):
                self._shown = None  # the other end has changed its mind: what is known will do
            trouble = shown.refused(error, self._shown, shown.expected(ca_file), host, time.time())
            raise ExplainedError(trouble) from None
        except ConnectionError:
            raise ExplainedError(
                Trouble(
                    f"the connection to {host} was cut off as TLS began",
                    "check that the port speaks TLS; firewalls that filter by name do so too: have it allowed",
                )
            ) from None
        self._shown = shown.read(seen.certificate)
        return f"{seen.tls}; {self._shown}" if self._shown else seen.tls


class _HubProbe(_Probe):
    def __init__(self, config: AgentConfig, hub: Hub) -> None:
        self._proxy = way_out(hub)
        place = f"{hub.url.host}:{hub.url.port}"
        if self._proxy is None:
            purpose = "hub"
            why = "The agent's sessions with its hub: websocket connections that stand for days. "
        else:
            purpose = f"proxy to {hub.url.authority}"
            why = (
                f"The agent's way to its hub. Please allow this machine CONNECT to {place} at the proxy as well. "
            )
        why += "Please cut none that was silent for less than a minute"
        why += f", and exempt {hub.url.host} from TLS inspection." if hub.url.secure else "."
        super().__init__(f"hub {hub.url}", purpose, why, HUB_TIMEOUT)
        self._config = config
        self._hub = hub
        self._heard: tuple[str, float] | None = None

    def steps(self) -> Iterator[tuple[str, float, Action]]:
        hub = self._hub
        yield from self._way(self._proxy or hub.url)
        if self._proxy is not None:
            yield "proxy", HUB_TIMEOUT, self._pass_proxy
        if hub.url.secure:
            tls = client_context(hub.ca_file, hub.client_certificate, hub.client_key)
            yield "tls", HUB_TIMEOUT, partial(self._secure, tls, partial(to_hub, hub), hub.url.host, hub.ca_file)
        yield "handshake", HANDSHAKE_TIMEOUT, self._handshake

    async def run(self) -> list[Result]:
        """The clock besides, as soon as the hub has said its time, even if it refuses the agent."""
        results = await super().run()
        found = clock.judge(*self._heard, float(self._config.limits.signature_window)) if self._heard else None
        if found is not None:
            fine, trouble = found
            results.append(Result(self.target, "clock", fine, trouble.detail, trouble.remedy, 0.0))
        return results

    async def _pass_proxy(self) -> str:
        await to_hub(self._hub, None)
        return f"lets this machine connect to {self._hub.url.host}:{self._hub.url.port}"

    async def _handshake(self) -> str:
        try:
            return await dial.probe(self._config, self._hub, self._hear)
        except SessionError as error:
            if error.code is not SessionCode.CHANNEL_BINDING or self._shown is None:
                raise
            trouble = explain(error, self._place, HANDSHAKE_TIMEOUT)
            seen = f'{trouble.detail}. It is issued by "{self._shown.issuer}"'
            raise ExplainedError(Trouble(seen, trouble.remedy)) from None

    def _hear(self, websocket: AgentSocket) -> None:
        """The hub's answer to the upgrade says what time it is there."""
        dates = websocket.response.headers.get_all("Date") if websocket.response else []
        if dates:
            self._heard = dates[0], time.time()


class _UpstreamProbe(_Probe):
    def __init__(self, name: str, service: Service) -> None:
        why = f"The API that the agent calls for the service {name}, in {service.upstream.scheme.upper()}."
        super().__init__(f"service {name}", f"upstream of {name}", why, service.connect_timeout)
        self._service = service

    def steps(self) -> Iterator[tuple[str, float, Action]]:
        service = self._service
        url = service.upstream
        tls: ssl.SSLContext | None = None
        yield from self._way(url)
        if url.secure:
            tls = client_context(service.ca_file, service.client_certificate, service.client_key)
            reach: Reach = partial(straight, url)
            yield "tls", self._seconds, partial(self._secure, tls, reach, url.host, service.ca_file)
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


async def _connect(url: Url) -> str:
    return f"connected to {(await straight(url, None)).address}"


def _own_address(info: tuple[Any, ...]) -> str:
    """The address from which this machine would go there; "" when there is no way. Nothing is sent."""
    try:
        with socket.socket(info[0], socket.SOCK_DGRAM) as probe:
            probe.connect(info[4])
            return str(probe.getsockname()[0])
    except OSError:
        return ""
