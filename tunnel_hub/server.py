"""The hub's life: what starts in which order, and how it all stops.

Start: audit, access log, agents' listener, callers' listener, admin listener; then ready.
Stop (SIGTERM, or a successor has taken over): not ready, callers' connections told to close, agents asked to look
for another session, running exchanges end (bounded), sessions ended, listeners closed, access log flushed, audit
closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from protocol.aio.wheel import Wheel
from protocol.flow import MemoryBudget
from protocol.limits import Limits
from protocol.ops import log, metrics, sockets, tracing, version
from protocol.ops import run as process_run
from protocol.ops.access import AccessLog
from protocol.ops.admin import AdminListener, Component, Info
from protocol.ops.audit import file_hash
from protocol.ops.audit import make as make_audit
from protocol.ops.console.console import Console
from protocol.ops.console.live import Live
from protocol.ops.expiry import Reminder
from protocol.ops.values import Address

from . import expiry
from .agents import AgentListener
from .callers import Callers
from .config import HubConfig
from .console.pages import NAVIGATION, TEMPLATES, HubConsole
from .console.sampler import Sampler
from .console.snapshot import Source, service_state
from .forward import Forwarder
from .gateway.gateway import Gateway
from .gateway.openness import doubts
from .handover import Handover, Predecessor, available, take_over
from .hub import Hub
from .identity import Identity
from .ingress.limits import IngressLimits
from .ingress.server import Ingress
from .killswitch import KillSwitch
from .lapses import Lapses
from .metrics import families
from .operation import Operation
from .proxies import TrustedProxies
from .registrar import Registrar
from .reload import Reloader, make_services, running_limits
from .routing import Router
from .spans import Spans
from .state import StateError
from .status import Standing
from .watching import Watching

QUIET_POLL: Final = 0.02
"""Seconds between two looks at what still runs while draining."""

_log = log.get("hub")


def run(config: HubConfig, path: Path) -> int:
    """Run the hub until a signal ends it; returns the exit code."""
    log.setup(config.log.format, config.log.level)
    version.build()
    return process_run.run(partial(serve, config, path))


class Health:
    """What the admin listener shows. Losing every agent of a service turns health down, never liveness.

    A service that is switched off needs no agent.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.serving = False

    def components(self) -> Mapping[str, Component]:
        return {
            "hub": Component(self.serving, {"in_flight": self._hub.in_flight}),
            **{
                f"service:{service.name}": Component(
                    service.up or not service.settings.enabled,
                    {
                        "state": service_state(service),
                        "sessions": service.sessions,
                        "waiting": len(service.queue),
                    },
                )
                for service in self._hub.services.values()
            },
        }

    def ready(self) -> bool:
        """Whether callers can be sent here: started, and not draining.

        Agents do not count: without them callers are better off with the hub's hold and its 503 than with nobody.
        """
        return self.serving and self._hub.switches.draining is None


async def serve(config: HubConfig, path: Path, process: process_run.Process) -> None:
    """Start everything, wait for the signal or a successor, stop everything."""
    audit = make_audit(config.audit.file)
    audit.start()
    predecessor = take_over(config.hub.id, config.listen.callers)
    replaced = asyncio.Event()
    listeners = _listeners(config, predecessor)
    handover = Handover(config.hub.id, config.listen.callers, replaced.set)
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    access = AccessLog(config.log.format, enabled=config.log.access, query_strings=config.log.query_strings)
    build = version.build()
    tracer = _tracer(config, str(build))
    limits = config.limits
    wire_limits = Limits(max_streams=limits.streams_per_session)
    identity = Identity(config, wire_limits)
    callers = Callers(*running_limits(config))
    hub = Hub(
        config.hub.id,
        services=make_services(config, callers),
        router=Router(config.services),
        forwarder=Forwarder(config.hub.id, os.urandom(4).hex(), identity.callers_tls is not None),
        access=access,
        limits=wire_limits,
        budget=MemoryBudget(limits.window_memory),
        wheel=wheel,
        proxies=TrustedProxies(tuple(config.callers.trusted_proxies)),
        callers=callers,
        audit=audit,
        spans=None if tracer is None else Spans(tracer),
    )
    gateway = Gateway(config)
    registrar = Registrar(config.hub.id, config.state.path(path), wheel, audit=audit)
    agents = AgentListener(
        hub, identity.handshakes(), registrar, config.agents, handshakes_per_second=float(limits.handshakes)
    )
    lapses = Lapses(hub, agents.links)
    reminder = Reminder(loop, lambda: expiry.known(hub, time.time()))
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
    metrics.register(registry, lambda: families(hub, agents, gateway, ingress))
    hub.ends = {**expiry.shown(config), **expiry.trusted(config)}
    lag = metrics.LoopLag(loop)
    if tracer is not None:
        metrics.register(registry, tracer.families)
    metrics.register_process(registry, build, lag, lambda: process.unexpected)
    health = Health(hub)
    sampler = Sampler(lambda: hub.services, loop.time)
    source = Source(hub, agents, sampler, build, loop.time())
    console = Console("tunnel-hub", config.hub.id, config.admin, audit, templates=TEMPLATES, navigation=NAVIGATION)
    kill_switch = KillSwitch(hub, agents.links)
    reloader = Reloader(config, path, hub, agents, identity, gateway, console, kill_switch)
    operation = Operation(hub, agents, ingress, kill_switch, reloader.enables)
    live = Live()
    pages = HubConsole(console, source, operation, live)
    watching = Watching(hub, console, secure=identity.callers_tls is not None)
    routes = [*pages.routes(), *watching.routes]
    admin = AdminListener(Info("tunnel-hub", config.hub.id, build), health, registry, routes=routes)

    access.start()
    if tracer is not None:
        tracer.start()
    try:
        await gateway.start(config)
        hub.gate = gateway.gate
        audit.write(
            "start",
            hub=config.hub.id,
            version=str(build),
            config_sha256=file_hash(path),
            took_over=predecessor is not None,
            switched_off=[name for name, table in config.services.items() if not table.enabled],
        )
        _start_registrar(registrar)
        agents_at = await agents.start(listeners["agents"], identity.agents_tls)
        callers_at = await ingress.start(listeners["callers"], identity.callers_tls)
        admin_at = await admin.start_on(listeners["admin"])
        lapses.start()
        reminder.start()
        sampler.start(wheel)
        health.serving = source.serving = True
        standing = Standing(hub, agents, {"callers": ingress, "agents": agents, "admin": admin})
        process.reporter.start(standing.status, standing.fault)
        process.on_reload(partial(_reload, reloader, reminder))
        if predecessor is not None:
            predecessor.release()
        if available(config.listen.callers):
            process.spawn(handover.serve(listeners), "handover")
        _log.info(
            "ready",
            hub=config.hub.id,
            callers=str(callers_at),
            agents=str(agents_at),
            admin=str(admin_at),
            version=str(build),
            took_over=predecessor is not None,
        )
        for doubt, what in doubts(config.callers):
            _log.warning(doubt, **what)
        if config.listen.agents_certificates == "any":
            _log.warning("agents may come through any TLS certificate: interception would not be noticed")
        process_run.tune_gc()
        await _stopped(process, replaced)
    finally:
        health.serving = False
        source.stopping = True
        process.reporter.stopping(limits.drain_timeout)
        if predecessor is not None:
            predecessor.close()
        handover.close()
        if replaced.is_set():
            watching.close()
            _log.info("replaced by another process of this hub; draining")
            live.stop()
            await admin.stop()
        await _stop(hub, ingress, agents, limits.drain_timeout)
        lapses.stop()
        reminder.stop()
        sampler.stop()
        operation.stop()
        live.stop()
        await gateway.stop()
        registrar.stop()
        lag.stop()
        watching.close()
        await admin.stop()
        audit.write("stop", hub=config.hub.id)
        await asyncio.to_thread(access.close)
        await asyncio.to_thread(audit.close)
        if tracer is not None:
            await asyncio.to_thread(tracer.close)
        wheel.close()
        _log.info("stopped")


async def _reload(reloader: Reloader, reminder: Reminder) -> None:
    await reloader.reload()
    reminder.start()  # what was replaced may end soon as well


def _tracer(config: HubConfig, build: str) -> tracing.Tracer | None:
    try:
        return tracing.make(config.tracing, "tunnel-hub", config.hub.id, build)
    except ValueError as error:
        raise sockets.StartError(str(error)) from None


def _start_registrar(registrar: Registrar) -> None:
    try:
        registrar.start()
    except StateError as error:
        raise sockets.StartError(str(error)) from None


def _listeners(config: HubConfig, predecessor: Predecessor | None) -> dict[str, socket.socket]:
    """The listening sockets by name: a predecessor's or systemd's where they have the wanted address, else new."""
    wanted: dict[str, Address] = {name: getattr(config.listen, name) for name in ("callers", "agents", "admin")}
    given = [*(predecessor.listeners.values() if predecessor is not None else ()), *sockets.activated()]
    found: dict[str, socket.socket] = {}
    for listener in given:
        names = [name for name, address in wanted.items() if sockets.listens_at(listener, address)]
        if names and names[0] not in found:
            found[names[0]] = listener
            continue
        if not names:
            _log.warning("a listening socket is not used: no address in [listen] is its", at=_place(listener))
        listener.close()
    return {name: found.get(name) or sockets.listen(at, f"listen.{name}") for name, at in wanted.items()}


def _place(listener: socket.socket) -> str:
    name = listener.getsockname()
    return str(Address(*name[:2])) if isinstance(name, tuple) else str(name)


async def _stopped(process: process_run.Process, replaced: asyncio.Event) -> None:
    """Return at the signal, or when a successor has taken over."""
    waits = [asyncio.ensure_future(event.wait()) for event in (process.stop, replaced)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _stop(hub: Hub, ingress: Ingress, agents: AgentListener, patience: float) -> None:
    """Let what runs end within `patience` seconds, then end the rest."""
    ingress.drain()
    agents.drain()
    hub.go_away()
    end = hub.loop.time() + patience
    while (hub.in_flight or ingress.busy or agents.telling) and hub.loop.time() < end:  # noqa: ASYNC110  # bounded, while stopping
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
        min_rate=limits.min_rate,
    )
