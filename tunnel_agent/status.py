"""How the agent stands in one line, for `systemctl status`, and what only a restart could mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.ops.words import count, some

if TYPE_CHECKING:
    from .agent import Agent
    from .slot import Slot
    from .supervisor import Supervisor


class Standing:
    """What `protocol.ops.notify` asks for."""

    def __init__(self, agent: Agent, supervisor: Supervisor) -> None:
        self._agent = agent
        self._supervisor = supervisor

    def status(self) -> str:
        """As "2 sessions at 1 hub; visits up; 3 requests running"."""
        running = f"{count(self._agent.in_flight, 'request')} running"
        return "; ".join([*self._sessions(), self._services(), running])

    def fault(self) -> str:
        """Empty while a session is up or honestly sought. A hub that is not there is no fault of the agent."""
        stuck = self._supervisor.stuck(self._agent.loop.time())
        return "no session, and nothing looks for one any more" if stuck else ""

    def _sessions(self) -> list[str]:
        hubs: dict[str, list[Slot]] = {}
        for slot in self._supervisor.slots:
            hubs.setdefault(str(slot.hub.url), []).append(slot)
        up = [sum(slot.up for slot in slots) for slots in hubs.values()]
        lines = [f"{count(sum(up), 'session')} at {count(sum(map(bool, up)), 'hub')}"] if any(up) else []
        missing = [self._missing(url, slots) for url, slots in hubs.items() if not any(slot.up for slot in slots)]
        return lines + ([f"no session: {some(missing, '; no session: ')}"] if missing else [])

    def _missing(self, url: str, slots: list[Slot]) -> str:
        reason = next((f": {slot.last_error}" for slot in slots if slot.last_error), "")
        if any(slot.dialling for slot in slots):
            return f"{url}{reason}, trying"
        wait = max(0.0, min(slot.due for slot in slots) - self._agent.loop.time())
        return f"{url}{reason}, next try in {wait:.0f} s"

    def _services(self) -> str:
        return some(
            [
                f"{name} switched off"
                if not service.enabled
                else f"{name} down ({service.watch.down})"
                if service.watch.down
                else f"{name} up"
                for name, service in self._agent.services.items()
            ]
        )
