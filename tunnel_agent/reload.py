"""Services from their tables, at the start and at SIGHUP.

SIGHUP changes services (boundary, kill switch, upstream, headers) and logs at once; requests that run end as they
began. A file with mistakes leaves the old configuration in force, and each mistake is logged. What cannot change
without a restart is named; a service that is new is offered when a session connects again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.aio.wheel import Wheel
from protocol.ops import log
from protocol.ops.config import ConfigError, load

from .boundary import Boundary
from .config import AgentConfig
from .config import Limits as LimitsConfig
from .config import Service as ServiceConfig
from .egress import dial as egress_dial
from .egress.timeouts import NEVER, Timeouts
from .egress.timeouts import Limits as EgressLimits
from .egress.upstream import Upstream
from .health import Watch
from .service import Service

if TYPE_CHECKING:
    from .agent import Agent

RESTART: Final = ("agent", "hubs", "admin", "limits")
"""Tables that take effect only at the start."""

QUIET_POLL: Final = 0.1
"""Seconds between two looks at whether a replaced upstream still has work."""

_log = log.get("reload")


class Reloader:
    """Holds the configuration in force. `reload` is what SIGHUP calls."""

    def __init__(self, config: AgentConfig, path: Path, agent: Agent) -> None:
        self.config = config
        self._path = path
        self._agent = agent

    async def reload(self) -> None:
        """Read the file again and apply it, or say why not; then retire what was replaced."""
        try:
            config = load(self._path, AgentConfig)
            fresh = self._changed(config)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("the new configuration is not used", problem=str(problem))
            return
        except ValueError as error:
            _log.error("the new configuration is not used", problem=str(error))
            return
        for table in RESTART:
            if getattr(config, table) != getattr(self.config, table):
                _log.warning("a change takes effect only after a restart", table=table)
        services = self._agent.services
        retired = [service for name, service in services.items() if name in fresh or name not in config.services]
        for name in [name for name in services if name not in config.services]:
            del services[name]
        services.update(fresh)
        log.setup(config.log.format, config.log.level)
        patience = self.config.limits.drain_timeout
        self.config = config
        _log.info("configuration reloaded", services=len(services), changed=sorted(fresh))
        await asyncio.gather(*(_retire(service.upstream, patience) for service in retired))

    def _changed(self, config: AgentConfig) -> dict[str, Service]:
        before = self.config.services
        return {
            name: make_service(name, table, self._agent.wheel, self.config.limits)
            for name, table in config.services.items()
            if before.get(name) != table
        }


async def _retire(upstream: Upstream, patience: float) -> None:
    """Close an upstream that gets no new requests, once those that run have ended."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while (upstream.busy or upstream.waiting) and loop.time() < end:  # noqa: ASYNC110  # bounded
        await asyncio.sleep(QUIET_POLL)
    await upstream.close()


def make_service(name: str, table: ServiceConfig, wheel: Wheel, limits: LimitsConfig) -> Service:
    """A service as its table says. Raises TlsFilesError, ValueError for a secret's file that cannot be read."""
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
            head_bytes=limits.header_bytes,
            head_fields=limits.headers_count,
        ),
    )
    # A few more than connections, so that a connection that becomes free has its next request already.
    limit = table.max_connections + min(table.max_waiting, max(1, table.max_connections // 4))
    added: list[bytes] = []
    for field, injected in table.headers.items():
        added += (field.encode("ascii"), injected.read().encode("latin-1"))
    return Service(
        name,
        boundary=Boundary.compile(table.allow, frozenset(table.allow_paths)),
        upstream=upstream,
        watch=Watch(name, table, upstream, fields=added, tls=tls),
        limit=limit,
        host={"upstream": url.authority.encode("ascii"), "caller": b""}.get(
            table.host, table.host.encode("ascii")
        ),
        added=added,
        upgrades=frozenset(token.lower().encode("ascii") for token in table.upgrades),
        enabled=table.enabled,
        path_exceptions=frozenset(table.allow_paths),
    )
