"""The agent's life: what starts in which order, and how it all stops.

Start: audit, upstreams, admin listener, sessions (the hub may be down: that is not a reason to end).
Stop (SIGTERM): two-step DRAIN to every hub, running exchanges end (bounded), sessions say goodbye, upstream
connections close, audit closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from protocol.aio.wheel import Wheel
from protocol.flow import MemoryBudget
from protocol.keys import KeyFileError, PrivateKey
from protocol.limits import Limits
from protocol.ops import log, metrics, tracing, version
from protocol.ops import run as process_run
from protocol.ops.access import AccessLog
from protocol.ops.admin import AdminListener, Component, Info
from protocol.ops.audit import file_hash
from protocol.ops.audit import make as make_audit
from protocol.ops.console.console import Console
from protocol.ops.console.live import Live
from protocol.ops.expiry import Reminder
from protocol.ops.sockets import StartError
from protocol.signatures.nonces import Nonces

from . import expiry
from .agent import Agent
from .assembly import make_service, make_signing, make_upstream
from .config import AgentConfig
from .console import snapshot
from .console.pages import PAGES_MAX, TEMPLATES, AgentConsole
from .dial import Identity
from .enrolling import own_key_or_new
from .killswitch import KillSwitch
from .learning import Learning
from .metrics import families
from .operation import Operation
from .records import Records
from .reload import Reloader
from .spans import Spans
from .status import Standing
from .supervisor import Supervisor

_log = log.get("agent")


def run(config: AgentConfig, path: Path, learn_file: Path | None = None) -> int:
    """Run the agent until a signal ends it; returns the exit code. learn_file: where shapes are recorded."""
    log.setup(config.log.format, config.log.level)
    version.build()
    return process_run.run(partial(serve, config, path, learn_file=learn_file))


class Health:
    """What the admin listener shows: a hub without any session turns health down, never liveness.

    So does an upstream that fails; a service that is switched off does not.
    """

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
        upstreams = {
            f"upstream:{name}": Component(
                service.standing != "down", {"state": service.standing, "problem": service.watch.down}
            )
            for name, service in self._agent.services.items()
        }
        return {"agent": Component(self.serving, {"in_flight": self._agent.in_flight}), **hubs, **upstreams}

    def ready(self) -> bool:
        """Whether at least one session is up and the agent is not draining."""
        return self.serving and self._agent.reachable


async def serve(
    config: AgentConfig, path: Path, process: process_run.Process, *, learn_file: Path | None = None
) -> None:
    """Start everything, wait for the signal, stop everything."""
    loop = asyncio.get_running_loop()
    audit = make_audit(config.audit.file)
    audit.start()
    learning = None if learn_file is None else Learning(learn_file)
    wheel = Wheel(loop)
    limits = config.limits
    nonces = Nonces(limits.signature_window)
    services = {
        name: make_service(
            name,
            table,
            make_upstream(table, wheel, limits),
            make_signing(table, config.signers, limits, nonces),
        )
        for name, table in config.services.items()
    }
    build = version.build()
    tracer = _tracer(config, str(build))
    records = Records(AccessLog(config.log.format), None if tracer is None else Spans(tracer))
    records.follow(config.log)
    wire_limits = Limits(max_streams=limits.streams_per_session)
    identity = Identity(config.agent.id, _key(config), services, wire_limits)
    agent = Agent(
        config.agent.id,
        services,
        limits=wire_limits,
        budget=MemoryBudget(limits.window_memory),
        wheel=wheel,
        make_handshake=identity.enrolling,
        audit=audit,
        nonces=nonces,
        records=records,
    )
    supervisor = Supervisor(agent, config.hubs, limits.reconnect_max)
    console = Console("tunnel-agent", config.agent.id, config.admin, audit, templates=TEMPLATES)
    kill_switch = KillSwitch(agent)
    reloader = Reloader(config, path, agent, supervisor, identity, console, kill_switch)
    registry = CollectorRegistry()
    metrics.register(registry, lambda: families(agent, supervisor))
    agent.ends = expiry.of(config)
    reminder = Reminder(loop, lambda: agent.ends)
    lag = metrics.LoopLag(loop)
    if tracer is not None:
        metrics.register(registry, tracer.families)
    metrics.register_process(registry, build, lag, lambda: process.unexpected)
    health = Health(agent, supervisor)
    live = Live(listeners_max=PAGES_MAX)
    pages = AgentConsole(
        console,
        lambda: snapshot.take(agent, supervisor, build, time.time(), serving=health.serving),
        Operation(agent, kill_switch, reloader.enables),
        live,
    )
    admin = AdminListener(Info("tunnel-agent", config.agent.id, build), health, registry, routes=pages.routes())
    records.access.start()
    if tracer is not None:
        tracer.start()
    try:
        if learning is not None:
            learning.start()
            agent.learner = learning.learner
            process.spawn(learning.run(), "learn")
        audit.write(
            "start",
            agent=config.agent.id,
            version=str(build),
            key=identity.key.public.fingerprint,
            config_sha256=file_hash(path),
            switched_off=[name for name, table in config.services.items() if not table.enabled],
        )
        admin_at = await admin.start(config.admin.listen, "admin.listen")
        for service in services.values():
            service.watch.start(agent.announce)
        supervisor.start()
        reminder.start()
        health.serving = True
        standing = Standing(agent, supervisor)
        process.reporter.start(standing.status, standing.fault)
        process.on_reload(partial(_reload, reloader, reminder))
        _log.info("ready", agent=config.agent.id, admin=str(admin_at), version=str(build))
        process_run.tune_gc()
        await process.stop.wait()
    finally:
        health.serving = False
        process.reporter.stopping(limits.drain_timeout)
        supervisor.end()
        await agent.drain(limits.drain_timeout)
        await supervisor.stop()
        await reloader.stop()
        await asyncio.gather(*(service.watch.stop() for service in services.values()))
        await asyncio.gather(*(service.upstream.close() for service in services.values()))
        lag.stop()
        reminder.stop()
        live.stop()
        await admin.stop()
        if learning is not None:
            await learning.finish()
        audit.write("stop", agent=config.agent.id)
        await asyncio.to_thread(records.access.close)
        await asyncio.to_thread(audit.close)
        if tracer is not None:
            await asyncio.to_thread(tracer.close)
        wheel.close()
        _log.info("stopped")


async def _reload(reloader: Reloader, reminder: Reminder) -> None:
    await reloader.reload()
    reminder.start()  # what was replaced may end soon as well


def _tracer(config: AgentConfig, build: str) -> tracing.Tracer | None:
    try:
        return tracing.make(config.tracing, "tunnel-agent", config.agent.id, build)
    except ValueError as error:
        raise StartError(str(error)) from None


def _key(config: AgentConfig) -> PrivateKey:
    try:
        return own_key_or_new(config)
    except KeyFileError as error:
        raise StartError(str(error)) from None
