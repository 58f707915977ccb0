"""What operators do to a running hub, and take back: switch a service, keep requests from an agent, drain the hub.

Each is audited and logged with the operator's name and reason, holds over reloads (`switches.py`), and ends with
the process. Draining is what SIGTERM does first, except that the hub stays: it is not ready, callers' connections
are told to close, agents are asked to look for another hub and new sessions are refused. What comes is served.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocol.ops import log

from .retire import Retirement
from .switches import Switched

if TYPE_CHECKING:
    from .agents import AgentListener
    from .hub import Hub
    from .ingress.server import Ingress
    from .killswitch import KillSwitch

_log = log.get("operators")


class UnknownNameError(LookupError):
    """There is no such service or agent."""


class Operation:
    """Every method may be called again: what is so already stays, and is not audited again."""

    def __init__(
        self,
        hub: Hub,
        agents: AgentListener,
        ingress: Ingress,
        kill_switch: KillSwitch,
        file_enables: Callable[[str], bool],
    ) -> None:
        """file_enables: whether the configuration in force has the service switched on."""
        self._hub = hub
        self._file_enables = file_enables
        self._agents = agents
        self._ingress = ingress
        self._kill_switch = kill_switch
        self._retirement = Retirement(hub, agents)

    def switch_off(self, name: str, operator: str, reason: str) -> None:
        """Refuse the service's requests, and cut what runs within a second. Raises UnknownNameError."""
        service = self._hub.services.get(name)
        if service is None:
            raise UnknownNameError(name)
        if name in self._hub.switches.services:
            return
        self._hub.switches.services[name] = _switched(operator, reason)
        if service.settings.enabled:
            service.settings = service.settings._replace(enabled=False)
            self._kill_switch.turn(service, on=False, operator=operator, reason=reason)

    def switch_on(self, name: str, operator: str, reason: str) -> None:
        """Take `switch_off` back; the file's own switch stays as it is."""
        switched = self._hub.switches.services.pop(name, None)
        if switched is None:
            return
        service = self._hub.services.get(name)
        if service is not None and self._file_enables(name):
            service.settings = service.settings._replace(enabled=True)
            self._kill_switch.turn(service, on=True, operator=operator, reason=reason)
        else:
            self._say("switch taken back", service=name, operator=operator, reason=reason)

    def stop_agent(self, agent_id: str, operator: str, reason: str) -> None:
        """Give the agent no more requests; what it has goes on. Raises UnknownNameError."""
        hub = self._hub
        if agent_id not in self._agents.registered:
            raise UnknownNameError(agent_id)
        if agent_id in hub.switches.agents:
            return
        hub.switches.agents[agent_id] = _switched(operator, reason)
        for instance in hub.instances.of(agent_id):
            instance.stopped = True
            for link in instance.links:
                hub.go_away(link)
        self._say("agent stopped", agent=agent_id, operator=operator, reason=reason)
        hub.pump()  # who was only the second choice is the first now

    def resume_agent(self, agent_id: str, operator: str, reason: str) -> None:
        """Take `stop_agent` back."""
        hub = self._hub
        if hub.switches.agents.pop(agent_id, None) is None:
            return
        for instance in hub.instances.of(agent_id):
            instance.stopped = False
        self._say("agent resumed", agent=agent_id, operator=operator, reason=reason)
        hub.pump()

    def drain(self, operator: str, reason: str) -> None:
        """Send callers and agents elsewhere."""
        hub = self._hub
        if hub.switches.draining is not None:
            return
        hub.switches.draining = _switched(operator, reason)
        self._say("hub drained", operator=operator, reason=reason)
        self._retirement.stop()
        self._ingress.send_away(on=True)
        self._agents.send_away()
        hub.go_away()

    def resume(self, operator: str, reason: str) -> None:
        """Take `drain` back. Agents come within their longest pause; then the sessions told to go end."""
        hub = self._hub
        if hub.switches.draining is None:
            return
        hub.switches.draining = None
        self._say("hub resumed", operator=operator, reason=reason)
        self._ingress.send_away(on=False)
        self._agents.welcome()
        self._retirement.start()

    def stop(self) -> None:
        """The process ends."""
        self._retirement.stop()

    def _say(self, event: str, **what: Any) -> None:
        _log.warning(event, **what)
        self._hub.audit.write(event, **what)


def _switched(operator: str, reason: str) -> Switched:
    return Switched(by=f"operator {operator}", at=time.time(), reason=reason)
