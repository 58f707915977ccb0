"""SIGHUP at the hub: services, agents, callers, key, certificates and logs change.

Nothing that runs is cut but by the kill switch, or because its caller may not any more (`lapses.py`). A file with
mistakes leaves the old configuration in force, and each mistake is logged. What cannot change without a restart is
named. Sessions that are up go on, but for those of agents and keys that are not registered any more.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from protocol.ops import log
from protocol.ops.audit import file_hash
from protocol.ops.config import ConfigError, load

from . import expiry
from .config import HubConfig
from .gateway.onward import Onward
from .gateway.openness import doubts
from .instances import UNLIMITED
from .routing import Router
from .service import Service, Settings

if TYPE_CHECKING:
    from protocol.ops.console.console import Console

    from .agents import AgentListener
    from .callers import Callers
    from .gateway.gateway import Gateway
    from .hub import Hub
    from .identity import Identity
    from .killswitch import KillSwitch

_log = log.get("reload")


def make_services(config: HubConfig, callers: Callers) -> dict[str, Service]:
    """The services of a configuration, without sessions and with counters at zero."""
    caller_queue = UNLIMITED if config.callers.queue is None else config.callers.queue
    return {
        name: Service(
            name,
            Settings(
                deadline=table.deadline,
                hold=table.hold,
                hold_limit=table.hold_limit,
                hold_bytes=table.hold_bytes,
                queue_timeout=table.queue_timeout,
                concurrency=table.concurrency or UNLIMITED,
                caller_queue=caller_queue,
                upgrades=frozenset(token.lower().encode("ascii") for token in table.upgrades),
                max_body=table.max_body,
                enabled=table.enabled,
                path_exceptions=frozenset(table.allow_paths),
                onward=Onward(table.name_header, table.rename_headers),
                server_timing=table.server_timing,
            ),
            callers,
        )
        for name, table in config.services.items()
    }


def running_limits(config: HubConfig) -> tuple[int, dict[str, int]]:
    """How many requests each caller may have at agents: all in general, and some by name."""
    named = {name: table.concurrency for name, table in config.callers.named.items() if table.concurrency}
    return config.callers.concurrency or UNLIMITED, named


def lasting(config: HubConfig) -> dict[str, object]:
    """What takes effect only at the start, by its place in the file; for authorities what their file holds now."""
    listen = {key: getattr(config.listen, key) for key in ("callers", "agents", "admin")}
    for key in ("callers_tls", "agents_tls"):
        table = getattr(config.listen, key)
        listen[key] = table is not None and (
            table.client_ca and (table.client_ca, file_hash(table.client_ca)),
            table.client_certificates,
        )
    return {
        "hub.id": config.hub.id,
        "audit.file": config.audit.file,
        "state.file": config.state.file,
        "tracing": config.tracing,
        **{f"listen.{key}": value for key, value in listen.items()},
        **{f"limits.{key}": value for key, value in msgspec.structs.asdict(config.limits).items()},
    }


class Reloader:
    """Holds the configuration in force. `reload` is what SIGHUP calls."""

    def __init__(
        self,
        config: HubConfig,
        path: Path,
        hub: Hub,
        agents: AgentListener,
        identity: Identity,
        gateway: Gateway,
        console: Console,
        kill_switch: KillSwitch,
    ) -> None:
        self.config = config
        self._console = console
        self._lasting = lasting(config)
        self._gateway = gateway
        self._identity = identity
        self._path = path
        self._hub = hub
        self._agents = agents
        self._switch = kill_switch

    def enables(self, service: str) -> bool:
        """Whether the configuration in force has the service switched on."""
        table = self.config.services.get(service)
        return table is not None and table.enabled

    async def reload(self) -> None:
        """Read the file again and apply it, or say why not."""
        try:
            config = load(self._path, HubConfig)
        except ConfigError as error:
            self._refuse(*map(str, error.problems))
            return
        try:
            gate = self._gateway.prepare(config)
            self._identity.renew(config)
        except ValueError as error:
            self._refuse(str(error))
            return
        before, self._lasting = self._lasting, lasting(config)
        for key, value in self._lasting.items():
            if value != before[key]:
                _log.warning("a change takes effect only after a restart", what=key)
        spare = self._gateway.take(gate, config)
        self._apply(config)
        self.config = config
        for doubt, what in doubts(config.callers):
            _log.warning(doubt, **what)
        self._hub.audit.write("config reloaded", sha256=file_hash(self._path))
        _log.info("configuration reloaded", services=len(config.services), agents=len(config.agents))
        await asyncio.gather(*(feed.stop() for feed in spare))

    def _refuse(self, *problems: str) -> None:
        for problem in problems:
            _log.error("the new configuration is not used", problem=problem)
        self._hub.audit.write("config refused", sha256=file_hash(self._path), problems=len(problems))

    def _apply(self, config: HubConfig) -> None:
        hub = self._hub
        hub.callers.set_limits(*running_limits(config))
        fresh = make_services(config, hub.callers)
        for name in [name for name in hub.services if name not in fresh]:
            del hub.services[name]
        for name, service in fresh.items():
            known = hub.services.get(name)
            if known is None:
                service.settings = hub.switches.settings(name, service.settings)
                hub.services[name] = service
            else:
                before, known.settings = known.settings, hub.switches.settings(name, service.settings)
                if known.settings.enabled != before.enabled:
                    self._switch.turn(known, on=known.settings.enabled)
        hub.router = Router(config.services)
        hub.gate = self._gateway.gate
        hub.proxies.replace(tuple(config.callers.trusted_proxies))
        hub.ends |= expiry.shown(config)
        hub.access.enabled = config.log.access
        hub.access.query_strings = config.log.query_strings
        log.setup(config.log.format, config.log.level)
        self._agents.register(config.agents)
        hub.inspector.look_again(config.admin.operators)
        self._console.use(config.admin)
        hub.pump()
