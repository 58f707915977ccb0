"""All sessions of the agent: so many `Slot`s for each hub."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .slot import Slot

if TYPE_CHECKING:
    from .agent import Agent
    from .config import Hub as HubConfig


class Supervisor:
    """The slots of one agent. `start`, then `end` when draining begins, then `stop`."""

    def __init__(self, agent: Agent, hubs: tuple[HubConfig, ...], longest_wait: float) -> None:
        self._agent = agent
        self._longest_wait = longest_wait
        self.slots = [self._slot(hub, number) for hub in hubs for number in range(hub.sessions)]

    def start(self) -> None:
        for slot in self.slots:
            slot.start()

    def end(self) -> None:
        """Dial no more. Sessions that are up stay."""
        for slot in self.slots:
            slot.end()

    async def stop(self) -> None:
        """End every slot; what links they have say goodbye."""
        await asyncio.gather(*(slot.stop() for slot in self.slots))

    def _slot(self, hub: HubConfig, number: int) -> Slot:
        return Slot(self._agent, hub, number, self._longest_wait)
