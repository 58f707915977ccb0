"""How the hub stands in one line, for `systemctl status`, and what only a restart could mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from protocol.ops.words import count, some

if TYPE_CHECKING:
    from .agents import AgentListener
    from .hub import Hub
    from .service import Service


class Listener(Protocol):
    @property
    def listening(self) -> bool:
        """Whether somebody who connects is served."""
        ...


class Standing:
    """What `protocol.ops.notify` asks for."""

    def __init__(self, hub: Hub, agents: AgentListener, listeners: Mapping[str, Listener]) -> None:
        """listeners: by their keys in [listen]."""
        self._hub = hub
        self._agents = agents
        self._listeners = listeners

    def status(self) -> str:
        """As "2 agents, 4 sessions; visits up, money without agent; 12 requests running"."""
        links = self._agents.links
        agents = len({link.label for link in links})
        services = some([f"{name} {_state(service)}" for name, service in self._hub.services.items()])
        running = f"{count(self._hub.in_flight, 'request')} running"
        waiting = sum(len(service.queue) for service in self._hub.services.values())
        if waiting:
            running += f", {waiting} of them waiting"
        drained = self._hub.switches.draining
        lead = "" if drained is None else f"drained by {drained.by}; "
        return f"{lead}{count(agents, 'agent')}, {count(len(links), 'session')}; {services}; {running}"

    def fault(self) -> str:
        """Empty while all listeners serve. Agents that are missing are no fault of the hub."""
        closed = [name for name, listener in self._listeners.items() if not listener.listening]
        return f"closed, though it should serve: {', '.join(closed)}" if closed else ""


def _state(service: Service) -> str:
    if not service.settings.enabled:
        return "switched off"
    if not service.up:
        return "without agent"
    return "up" if any(offer.up for offer in service.offers) else "down at every agent"
