"""The hub's life: what starts in which order, and how it all stops.

Start: access log, agents' listener, callers' listener, admin listener; then ready.
Stop (SIGTERM): not ready, callers' connections told to close, running exchanges end (bounded), sessions ended,
listeners closed, access log flushed.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry

from protocol.aio.wheel import Wheel
from protocol.flow import MemoryBudget
from protocol.handshake import ANY_CERTIFICATE, Binding, HubHandshake, certificate_hash
from protocol.keys import load_private_key
from protocol.limits import Limits
from protocol.ops import log, metrics, sockets, version
from protocol.ops import run as process_run
from protocol.ops.access import AccessLog
from protocol.ops.admin import AdminListener, Component, Info
from protocol.ops.tls import server_context

from .agents import AgentListener, Lookup
from .config import HubConfig
from .forward import Forwarder
from .hub import Hub
from .ingress.limits import IngressLimits
from .ingress.server import Ingress
from .metrics import families
from .reload import Reloader, make_services
from .routing import Router

QUIET_POLL: Final = 0.02
"""Seconds between two looks at what still runs while draining."""

_log = log.get("hub")


def run(config: HubConfig, path: Path) -> int:
    """Run the hub until a signal ends it; returns the exit code."""
    log.setup(config.log.format, config.log.level)
    version.build()
    return process_run.run(partial(serve, config, path))


class Health:
    """What the admin listener shows. Losing every agent of a service turns health down, never liveness."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.serving = False

    def components(self) -> Mapping[str, Component]:
        return {
            "hub": Component(self.serving, {"in_flight": self._hub.in_flight}),
            **{
                f"service:{service.name}": Component(
                    service.up, {"sessions": len(service.links), "waiting": len(service.waiting)}
                )
                for service in self._hub.services.values()
            },
        }

    def ready(self) -> bool:
        """Whether callers can be sent here: started, and not draining.

        Agents do not count: without them callers are better off with the hub's hold and its 503 than with nobody.
        """
        return self.serving


async def serve(config: HubConfig, path: Path, process: process_run.Process) -> None:
    """Start everything, wait for the signal, stop everything."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    access = AccessLog(config.log.format, enabled=config.log.access, query_strings=config.log.query_strings)
    callers_tls = _tls(config.listen.callers_tls)
    agents_tls = _tls(config.listen.agents_tls)
    limits = config.limits
    hub = Hub(
        config.hub.id,
        services=make_services(config),
        router=Router(config.services),
        forwarder=Forwarder(config.hub.id, os.urandom(4).hex(), callers_tls is not None),
        access=access,
        limits=Limits(max_streams=limits.streams_per_session),
        budget=MemoryBudget(limits.window_memory),
        wheel=wheel,
        trusted_proxies=tuple(config.callers.trusted_proxies),
    )
    agents = AgentListener(hub, _handshakes(config, hub.limits), config.agents)
    ingress = Ingress(
        hub.start_exchange,
        loop,
        wheel,
        _ingress_limits(config),
        config.hub.id,
        make_request_id=lambda: hub.forwarder.new_id().decode("ascii"),
        on_refused=hub.record_refusal,
    )
    registry = CollectorRegistry()
    metrics.register(registry, lambda: families(hub, agents))
    lag = metrics.LoopLag(loop)
    build = version.build()
    metrics.register_process(registry, build, lag)
    health = Health(hub)
    admin = AdminListener(Info("tunnel-hub", config.hub.id, build), health, registry)

    access.start()
    try:
        agents_at = await agents.start(sockets.listen(config.listen.agents, "listen.agents"), agents_tls)
        callers_at = await ingress.start(sockets.listen(config.listen.callers, "listen.callers"), callers_tls)
        admin_at = await admin.start(config.listen.admin, "listen.admin")
        health.serving = True
        process.on_reload(Reloader(config, path, hub, agents).reload)
        _log.info(
            "ready",
            hub=config.hub.id,
            callers=str(callers_at),
            agents=str(agents_at),
            admin=str(admin_at),
            version=str(build),
        )
        if config.callers.authentication == "none":
            _log.warning("callers are not authenticated: whoever reaches listen.callers may use every service")
        if config.listen.agents_certificates == "any":
            _log.warning("agents may come through any TLS certificate: interception would not be noticed")
        process_run.tune_gc()
        await process.stop.wait()
    finally:
        health.serving = False
        await _stop(hub, ingress, agents, limits.drain_timeout)
        lag.stop()
        await admin.stop()
        await asyncio.to_thread(access.close)
        wheel.close()
        _log.info("stopped")


async def _stop(hub: Hub, ingress: Ingress, agents: AgentListener, patience: float) -> None:
    """Let what runs end within `patience` seconds, then end the rest."""
    ingress.drain()
    end = hub.loop.time() + patience
    while hub.in_flight and hub.loop.time() < end:  # noqa: ASYNC110  # bounded, and only while stopping
        await asyncio.sleep(QUIET_POLL)
    if hub.in_flight:
        _log.warning("exchanges cut off by the drain timeout", count=hub.in_flight)
    await ingress.close()
    await agents.close()


def _ingress_limits(config: HubConfig) -> IngressLimits:
    limits = config.limits
    return IngressLimits(
        target=limits.target_bytes,
        head=limits.header_bytes,
        fields=limits.headers_count,
        connections=limits.callers,
        header_timeout=limits.header_timeout,
        idle_timeout=limits.idle_timeout,
        body_idle_timeout=limits.body_idle_timeout,
        send_idle_timeout=limits.send_idle_timeout,
    )


def _tls(table: object) -> ssl.SSLContext | None:
    if table is None:
        return None
    return server_context(table.certificate, table.key, table.client_ca)  # type: ignore[attr-defined]


def _handshakes(config: HubConfig, limits: Limits) -> Callable[[Lookup], HubHandshake]:
    """What makes a handshake for each connection, with fresh random values."""
    key = load_private_key(config.hub.key_file, credentials_directory=_credentials_directory())
    binding = _binding(config)

    def make(lookup: Lookup) -> HubHandshake:
        return HubHandshake(
            hub_id=config.hub.id,
            key=key,
            nonce=os.urandom(32),
            session_id=os.urandom(16),
            lookup=lookup,
            binding=binding,
            limits=limits,
        )

    return make


def _binding(config: HubConfig) -> Binding:
    """Which TLS certificates agents may have seen: the hub's own and those that the configuration lists."""
    listed = config.listen.agents_certificates
    if listed == "any":
        return ANY_CERTIFICATE
    hashes = [*listed]
    if config.listen.agents_tls is not None:
        pem = Path(config.listen.agents_tls.certificate).read_bytes()
        hashes.append(certificate_hash(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)))
    return hashes or None


def _credentials_directory() -> Path | None:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory) if directory else None
