"""The agent's life: what starts in which order, and how it all stops.

Start: upstreams, admin listener, sessions (the hub may be down: that is not a reason to end).
Stop (SIGTERM): two-step DRAIN to every hub, running exchanges end (bounded), sessions say goodbye, upstream
connections close.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from protocol.aio.wheel import Wheel
from protocol.flow import MemoryBudget
from protocol.limits import Limits
from protocol.ops import log, metrics, version
from protocol.ops import run as process_run
from protocol.ops.admin import AdminListener, Component, Info

from .agent import Agent
from .boundary import Boundary
from .config import AgentConfig
from .config import Service as ServiceConfig
from .dial import new_handshake, own_key
from .egress import dial as egress_dial
from .egress.timeouts import NEVER, Timeouts
from .egress.timeouts import Limits as EgressLimits
from .egress.upstream import Upstream
from .metrics import families
from .service import Service
from .supervisor import Supervisor

_HOSTS: Final = {"upstream": "{upstream}", "caller": ""}
"""The words that `host` knows; anything else is the Host value itself."""

_log = log.get("agent")


def run(config: AgentConfig, path: Path) -> int:
    """Run the agent until a signal ends it; returns the exit code."""
    log.setup(config.log.format, config.log.level)
    version.build()
    return process_run.run(partial(serve, config, path))


class Health:
    """What the admin listener shows: a hub without any session turns health down, never liveness."""

    def __init__(self, agent: Agent, supervisor: Supervisor) -> None:
        self._agent = agent
        self._supervisor = supervisor
        self.serving = False

    def components(self) -> Mapping[str, Component]:
        hubs: dict[str, Component] = {}
        for slot in self._supervisor.slots:
            name = f"hub:{slot.hub.url}"
            before = hubs.get(name, Component(False, {"sessions": 0, "last_error": ""}))
            hubs[name] = Component(
                before.up or slot.up,
                {
                    "sessions": before.detail["sessions"] + slot.up,
                    "last_error": slot.last_error or before.detail["last_error"],
                },
            )
        return {"agent": Component(self.serving, {"in_flight": self._agent.in_flight}), **hubs}

    def ready(self) -> bool:
        """Whether at least one session is up and the agent is not draining."""
        return self.serving and any(slot.up for slot in self._supervisor.slots)


async def serve(config: AgentConfig, _path: Path, process: process_run.Process) -> None:
    """Start everything, wait for the signal, stop everything."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    services = {name: _service(name, table, wheel, config) for name, table in config.services.items()}
    limits = config.limits
    wire_limits = Limits(max_streams=limits.streams_per_session)
    agent = Agent(
        config.agent.id,
        services,
        limits=wire_limits,
        budget=MemoryBudget(limits.window_memory),
        wheel=wheel,
        make_handshake=partial(
            new_handshake,
            agent_id=config.agent.id,
            instance_id=os.urandom(16),
            key=own_key(config),
            services=tuple(services),
            limits=wire_limits,
        ),
    )
    supervisor = Supervisor(agent, config.hubs, limits.reconnect_max)
    registry = CollectorRegistry()
    metrics.register(registry, lambda: families(agent, supervisor))
    lag = metrics.LoopLag(loop)
    build = version.build()
    metrics.register_process(registry, build, lag)
    health = Health(agent, supervisor)
    admin = AdminListener(Info("tunnel-agent", config.agent.id, build), health, registry)
    try:
        admin_at = await admin.start(config.admin.listen, "admin.listen")
        supervisor.start()
        health.serving = True
        _log.info("ready", agent=config.agent.id, admin=str(admin_at), version=str(build))
        process_run.tune_gc()
        await process.stop.wait()
    finally:
        health.serving = False
        await agent.drain(limits.drain_timeout)
        await supervisor.stop()
        await asyncio.gather(*(service.upstream.close() for service in services.values()))
        lag.stop()
        await admin.stop()
        wheel.close()
        _log.info("stopped")


def _service(name: str, table: ServiceConfig, wheel: Wheel, config: AgentConfig) -> Service:
    url = table.upstream
    tls = None
    if url.secure:
        tls = egress_dial.tls_context(table.ca_file, table.client_certificate, table.client_key)
    upstream = Upstream(
        url.host,
        url.port,
        wheel,
        tls=tls,
        timeouts=Timeouts(
            connect=table.connect_timeout,
            wait=table.wait_timeout,
            first_byte=table.first_byte_timeout,
            idle=table.idle_timeout,
            pipe_idle=table.upgraded_idle_timeout,
            total=NEVER if table.total_timeout is None else table.total_timeout,
            keep_idle=table.keep_idle,
        ),
        limits=EgressLimits(
            connections=table.max_connections,
            waiting=table.max_waiting,
            head_bytes=config.limits.header_bytes,
            head_fields=config.limits.headers_count,
        ),
    )
    added: list[bytes] = []
    for field, injected in table.headers.items():
        added += (field.encode("ascii"), injected.read().encode("latin-1"))
    return Service(
        name,
        boundary=Boundary.compile(table.allow, frozenset(table.allow_paths)),
        upstream=upstream,
        host={"upstream": url.authority.encode("ascii"), "caller": b""}.get(
            table.host, table.host.encode("ascii")
        ),
        added=added,
        upgrades=frozenset(token.lower().encode("ascii") for token in table.upgrades),
        enabled=table.enabled,
        path_exceptions=frozenset(table.allow_paths),
    )
