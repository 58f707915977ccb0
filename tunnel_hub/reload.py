"""SIGHUP at the hub: services, agents, trusted proxies and logs change at once; nothing that runs is cut.

A file with mistakes leaves the old configuration in force, and each mistake is logged. What cannot change without
a restart is named. Sessions that are up keep what their handshake gave them until they connect again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.ops import log
from protocol.ops.config import ConfigError, load

from .config import HubConfig
from .routing import Router
from .service import Service

if TYPE_CHECKING:
    from .agents import AgentListener
    from .hub import Hub

RESTART: Final = ("hub", "listen", "limits")
"""Tables that take effect only at the start."""

_log = log.get("reload")


def make_services(config: HubConfig) -> dict[str, Service]:
    """The services of a configuration, without sessions and with counters at zero."""
    return {
        name: Service(
            name,
            deadline=table.deadline,
            hold=table.hold,
            hold_limit=table.hold_limit,
            upgrades=frozenset(token.lower().encode("ascii") for token in table.upgrades),
            max_body=table.max_body,
            enabled=table.enabled,
            path_exceptions=frozenset(table.allow_paths),
        )
        for name, table in config.services.items()
    }


class Reloader:
    """Holds the configuration in force. `reload` is what SIGHUP calls."""

    def __init__(self, config: HubConfig, path: Path, hub: Hub, agents: AgentListener) -> None:
        self.config = config
        self._path = path
        self._hub = hub
        self._agents = agents

    def reload(self) -> None:
        """Read the file again and apply it, or say why not."""
        try:
            config = load(self._path, HubConfig)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("the new configuration is not used", problem=str(problem))
            return
        for table in RESTART:
            if getattr(config, table) != getattr(self.config, table):
                _log.warning("a change takes effect only after a restart", table=table)
        self._apply(config)
        self.config = config
        _log.info("configuration reloaded", services=len(config.services), agents=len(config.agents))

    def _apply(self, config: HubConfig) -> None:
        hub = self._hub
        fresh = make_services(config)
        for name in [name for name in hub.services if name not in fresh]:
            del hub.services[name]
        for name, service in fresh.items():
            known = hub.services.get(name)
            if known is None:
                hub.services[name] = service
            else:
                known.take_settings(service)
        hub.router = Router(config.services)
        hub.trust(tuple(config.callers.trusted_proxies))
        hub.access.enabled = config.log.access
        hub.access.query_strings = config.log.query_strings
        log.setup(config.log.format, config.log.level)
        self._agents.register(config.agents)
