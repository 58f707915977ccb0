"""The end of sessions whose agents were asked for others, when the hub stays after all.

A session that heard DRAIN serves on, but its agent has another one made. Once that is there, the old one is chosen
no more, and ends when its requests are over, within bounds. Until then it is the only one, so it stays.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from protocol.errors import SessionCode

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.aio.wheel import Timer

    from .agents import AgentListener
    from .hub import Hub

LOOK: Final = 0.5
"""Seconds between two looks."""

PATIENCE: Final = 30.0
"""Seconds that requests on an old session may still take once it has a successor."""


class Retirement:
    """`start` when agents are welcome again, `stop` when they are not."""

    def __init__(self, hub: Hub, agents: AgentListener) -> None:
        self._hub = hub
        self._agents = agents
        self._timer: Timer | None = None
        self._retiring: dict[Link, float] = {}
        """Chosen no more, and until when they may stay."""
        self._retired: Counter[bytes] = Counter()
        """How many of each instance had to go so far."""

    def start(self) -> None:
        self.stop()
        self._retired.clear()
        self._look()

    def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        hub = self._hub
        now = hub.loop.time()
        old = [link for link in self._agents.links if link.session.draining]
        for link in old:
            if link not in self._retiring and self._succeeded(link):
                self._retiring[link] = now + PATIENCE
                self._retired[link.result.instance_id] += 1
                hub.remove_session(link, link.result)
                hub.go_away(link)
        self._retiring = {link: end for link, end in self._retiring.items() if link in self._agents.links}
        for link, end in list(self._retiring.items()):
            if not link.session.outstanding or now >= end:
                link.close(SessionCode.SHUTDOWN, "another session has taken its place")
        if old:
            self._timer = hub.wheel.after(LOOK, self._look)

    def _succeeded(self, link: Link) -> bool:
        result = link.result
        instance = self._hub.instances.find(result.agent_id, result.instance_id)
        if instance is None:
            return False
        fresh = sum(not each.session.draining and not each.session.peer_draining for each in instance.links)
        return fresh > self._retired[result.instance_id]
