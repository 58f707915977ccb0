"""What SIGHUP changes at the agent: everything but its id, the admin listener and the limits.

Requests that run end as they began, on the sessions and upstreams that they use. A file with mistakes leaves the
old configuration in force, and each mistake is logged; what needs a restart is named.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.ops import log
from protocol.ops.audit import file_hash
from protocol.ops.config import ConfigError, load

from .assembly import Ingredients, ingredients, make_service, make_signing, make_upstream
from .config import AgentConfig
from .config import Service as ServiceConfig
from .enrolling import own_key_or_new
from .killswitch import KillSwitch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .agent import Agent
    from .dial import Identity
    from .egress.upstream import Upstream
    from .service import Service
    from .supervisor import Supervisor

QUIET_POLL: Final = 0.1
"""Seconds between two looks at whether a replaced upstream still has work."""

_log = log.get("reload")


class Reloader:
    """Holds the configuration in force. `reload` is what SIGHUP calls; `stop` at the end."""

    def __init__(
        self, config: AgentConfig, path: Path, agent: Agent, supervisor: Supervisor, identity: Identity
    ) -> None:
        self.config = config
        self._started = config
        self._path = path
        self._agent = agent
        self._supervisor = supervisor
        self._identity = identity
        self._made_of = _made_of(config)
        self._retiring: set[asyncio.Task[None]] = set()
        self._switch = KillSwitch(agent)

    async def reload(self) -> None:
        """Read the file again and apply it, or say why not; what was replaced ends in the background."""
        if self._agent.draining:
            return
        try:
            config = load(self._path, AgentConfig)
            key = own_key_or_new(config)
            made_of = _made_of(config)
            fresh = self._changed(config, made_of)
        except ConfigError as error:
            self._refuse(*map(str, error.problems))
            return
        except ValueError as error:
            self._refuse(str(error))
            return
        log.setup(config.log.format, config.log.level)
        self._agent.records.follow(config.log)
        for name in self._restart(config):
            _log.warning("a change takes effect only after a restart", what=name)
        renew = False
        if config.agent.id == self._started.agent.id:  # a key belongs to its id
            renew = key.public != self._identity.key.public
            self._identity.key = key
        before = self.config.services
        self.config, self._made_of = config, made_of
        gone = [name for name in self._agent.services if name not in config.services]
        await self._replace(fresh, gone, before)
        if self._agent.draining:
            return  # it was told to end meanwhile
        self._supervisor.apply(config.hubs, self._started.limits.drain_timeout, renew=renew)
        self._agent.audit.write("config reloaded", sha256=file_hash(self._path))
        _log.info(
            "configuration reloaded", services=len(config.services), changed=sorted(fresh), withdrawn=sorted(gone)
        )

    async def stop(self) -> None:
        """Close what was replaced, whatever it does. Bounded."""
        for task in self._retiring:
            task.cancel()
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=5.0)

    def _refuse(self, *problems: str) -> None:
        for problem in problems:
            _log.error("the new configuration is not used", problem=problem)
        self._agent.audit.write("config refused", sha256=file_hash(self._path), problems=len(problems))

    def _restart(self, config: AgentConfig) -> Iterator[str]:
        """What differs from the start and cannot change before the next one."""
        if config.agent.id != self._started.agent.id:
            yield "agent.id"
        for table in ("admin", "limits", "audit", "tracing"):
            if getattr(config, table) != getattr(self._started, table):
                yield table

    def _changed(self, config: AgentConfig, made_of: dict[str, Ingredients]) -> dict[str, Service]:
        """The services that are new or differ. One whose upstream does not differ goes on with its connections."""
        before, running = self.config.services, self._agent.services
        fresh: dict[str, Service] = {}
        for name, table in config.services.items():
            if before.get(name) == table and self._made_of[name] == made_of[name]:
                continue
            if name in before and self._made_of[name].upstream == made_of[name].upstream:
                upstream = running[name].upstream
            else:
                upstream = make_upstream(table, self._agent.wheel, self._started.limits)
            signing = make_signing(table, config.signers, self._started.limits, self._agent.nonces)
            fresh[name] = make_service(name, table, upstream, signing)
        return fresh

    async def _replace(self, fresh: dict[str, Service], gone: list[str], before: dict[str, ServiceConfig]) -> None:
        """Put `fresh` in place, take `gone` away, tell the hubs, and let what was replaced end."""
        agent, after = self._agent, self.config.services
        old = {name: agent.services.pop(name) for name in (*fresh, *gone) if name in agent.services}
        agent.services.update(fresh)
        for name, service in fresh.items():
            down = ""
            if name in old:
                service.requests, service.failures = old[name].requests, old[name].failures
                if before[name].upstream == after[name].upstream:
                    down = old[name].watch.down
            service.watch.start(agent.announce, down)
        for name in (*fresh, *gone):
            agent.announce(name)
        for name in fresh:
            enabled = after[name].enabled
            if enabled != (before[name].enabled if name in before else True):
                self._switch.turn(name, on=enabled)
        kept = {service.upstream for service in agent.services.values()}
        for service in old.values():
            if service.upstream not in kept:
                task = asyncio.create_task(self._retire(service.upstream), name=f"retire {service.name}")
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
        await asyncio.gather(*(service.watch.stop() for service in old.values()))

    async def _retire(self, upstream: Upstream) -> None:
        """Close an upstream that gets no new requests, once those that run have ended."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._started.limits.drain_timeout
        try:
            while (upstream.busy or upstream.waiting) and loop.time() < end:  # noqa: ASYNC110  # bounded
                await asyncio.sleep(QUIET_POLL)
        finally:
            await upstream.close()


def _made_of(config: AgentConfig) -> dict[str, Ingredients]:
    return {name: ingredients(table, config.signers) for name, table in config.services.items()}
