"""What operators do to a running agent, and take back: switch a service off.

It is audited and logged with the operator's name and reason. A service runs while both the file (`enabled`) and
the operators let it: an operator cannot switch on what the file switches off, and a reload does not take an
operator's switch back. A restart does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from protocol.ops import log
from protocol.ops.console.switched import by_operator

if TYPE_CHECKING:
    from .agent import Agent
    from .killswitch import KillSwitch

_log = log.get("operators")


class Operation:
    """Both methods may be called again: what is so already stays, and is not audited again."""

    def __init__(self, agent: Agent, kill_switch: KillSwitch, file_enables: Callable[[str], bool]) -> None:
        """file_enables: whether the configuration in force has the service switched on."""
        self._agent = agent
        self._kill_switch = kill_switch
        self._file_enables = file_enables

    def switch_off(self, name: str, operator: str, reason: str) -> None:
        """Let none of the service's requests in, and cut what runs within a second. An unknown name is ignored."""
        service = self._agent.services.get(name)
        if service is None or name in self._agent.switches:
            return
        self._agent.switches[name] = by_operator(operator, reason)
        if service.enabled:
            self._turn(name, operator, reason, on=False)

    def switch_on(self, name: str, operator: str, reason: str) -> None:
        """Take `switch_off` back; the file's own switch stays as it is."""
        if self._agent.switches.pop(name, None) is None:
            return
        if self._file_enables(name):
            self._turn(name, operator, reason, on=True)
        else:
            what = {"service": name, "operator": operator, "reason": reason}
            _log.warning("switch taken back", **what)
            self._agent.audit.write("switch taken back", **what)

    def _turn(self, name: str, operator: str, reason: str, *, on: bool) -> None:
        self._agent.services[name].enabled = on
        self._kill_switch.turn(name, on=on, operator=operator, reason=reason)
        self._agent.announce(name)
