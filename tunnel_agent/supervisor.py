"""All sessions of the agent: so many `Slot`s for each hub, and what becomes of them when the hubs change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from .dial import dial
from .slot import STOP_TIMEOUT, Dial, Slot

if TYPE_CHECKING:
    from .agent import Agent
    from .config import Hub as HubConfig

REPLACED_POLL: Final = 0.1
"""Seconds between two looks at whether a new session can take over."""

STUCK_AFTER: Final = 15.0
"""Seconds that a slot's next step may be late: a machine under load, or one that stood still, is no fault."""


class Supervisor:
    """The slots of one agent. `start`, then `end` when draining begins, then `stop`."""

    def __init__(self, agent: Agent, hubs: tuple[HubConfig, ...], longest_wait: float, dial: Dial = dial) -> None:
        self._agent = agent
        self._longest_wait = longest_wait
        self._dial = dial
        self._leaving: set[asyncio.Task[None]] = set()
        self.slots = [self._slot(hub, number) for hub in hubs for number in range(hub.sessions)]
        """Those of the hubs in force."""

    def start(self) -> None:
        for slot in self.slots:
            slot.start()

    def apply(self, hubs: tuple[HubConfig, ...], patience: float, *, renew: bool = False) -> None:
        """Other hubs from now on. Sessions of those that are the same stay; the others drain, within `patience` s.

        A hub whose table changed is dialled anew first, and the old sessions serve until a new one does. So is
        every hub with `renew`: the agent's key has changed.
        """
        before: dict[str, list[Slot]] = {}
        for slot in self.slots:
            before.setdefault(str(slot.hub.url), []).append(slot)
        self.slots = []
        leaving: list[Slot] = []
        for hub in hubs:
            old = before.pop(str(hub.url), [])
            same = [slot for slot in old if _alike(slot.hub, hub) and not renew][: hub.sessions]
            for slot in same:
                slot.hub = hub
            taken = {slot.number for slot in same}
            fresh = [self._slot(hub, number) for number in range(hub.sessions) if number not in taken]
            fresh = fresh[: hub.sessions - len(same)]
            for slot in fresh:
                slot.start()
            self.slots += (*same, *fresh)
            leaving += (slot for slot in old if slot not in same)
        for slot in (*leaving, *(slot for slots in before.values() for slot in slots)):
            slot.end()
            task = asyncio.create_task(self._leave(slot, patience), name=f"leave {slot.hub.url}#{slot.number}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def end(self) -> None:
        """Dial no more. Sessions that are up stay."""
        for slot in self.slots:
            slot.end()

    async def stop(self) -> None:
        """End every slot; what links they have say goodbye. Bounded."""
        leaving = list(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*(slot.stop() for slot in self.slots))
        if leaving:
            await asyncio.wait(leaving, timeout=STOP_TIMEOUT)

    def stuck(self, now: float) -> bool:
        """Whether no session is up, and none will ever be: what should have been tried long ago was not.

        Attempts are bounded, and so are the waits between them: this is a fault of the program, not of a hub.
        """
        slots = self.slots
        return bool(slots) and all(not slot.up and now - slot.due > STUCK_AFTER for slot in slots)

    def _slot(self, hub: HubConfig, number: int) -> Slot:
        return Slot(self._agent, hub, number, self._longest_wait, self._dial)

    async def _leave(self, slot: Slot, patience: float) -> None:
        """Let the session of a slot that is ending serve while it must, then drain it."""
        try:
            while slot.link is not None and self._needed(slot):  # noqa: ASYNC110  # while the operator mends it
                await asyncio.sleep(REPLACED_POLL)
            if slot.link is not None:
                await self._agent.drain_link(slot.link, patience, "the agent's configuration changed")
        finally:
            await slot.stop()

    def _needed(self, slot: Slot) -> bool:
        """Whether the hub still stands in the file, yet under its new table no session is up."""
        rivals = [other for other in self.slots if other.hub.url == slot.hub.url]
        if not rivals or any(other.up for other in rivals):
            return False
        return slot.link is not None and slot.link.result.key in rivals[0].hub.public_keys


def _alike(one: HubConfig, other: HubConfig) -> bool:
    """Whether a session under one table would be the same under the other."""
    return msgspec.structs.replace(one, sessions=1) == msgspec.structs.replace(other, sessions=1)
