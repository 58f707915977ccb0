"""Agents as the hub sees them: instances (processes), their sessions, and what each offers for which service.

Two processes with one agent id are two instances: an agent that restarts, or a clone of its machine. Nothing here
does I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.aio.link import Link

UNLIMITED: Final = 1 << 30


class Offer:
    """That one instance serves one service: how many requests at once, and how many it has."""

    __slots__ = ("instance", "limit", "outstanding", "service", "up", "withdrawn")

    def __init__(self, instance: Instance, service: str) -> None:
        self.instance = instance
        self.service = service
        self.up = True
        """Its upstream answers, as far as the agent knows."""
        self.withdrawn = False
        """The agent does not serve it any more; what runs goes on, and counts if it serves it again."""
        self.limit = UNLIMITED
        self.outstanding = 0


class Instance:
    """One agent process. `limit`: requests at once over all services, by the hub's file."""

    __slots__ = ("agent_id", "id", "limit", "links", "offers", "outstanding", "stopped")

    def __init__(self, agent_id: str, instance_id: bytes, limit: int) -> None:
        self.agent_id = agent_id
        self.id = instance_id
        self.limit = limit
        self.links: list[Link] = []
        self.offers: dict[str, Offer] = {}
        """By service, registered for the agent or not."""
        self.outstanding = 0
        self.stopped = False
        """An operator keeps new requests from it."""

    @property
    def draining(self) -> bool:
        """Whether it gets nothing new on any of its sessions."""
        return self.stopped or self.leaving

    @property
    def leaving(self) -> bool:
        """Whether it wants nothing new on any of its sessions."""
        return all(link.session.peer_draining for link in self.links)

    def offer(self, service: str) -> Offer:
        offer = self.offers.get(service)
        if offer is None:
            offer = self.offers[service] = Offer(self, service)
        return offer

    def pick(self) -> Link | None:
        """The usable session with the fewest streams; of equals, the one that was not picked last."""
        if self.stopped:
            return None
        links = self.links
        best: Link | None = None
        least = 0
        for link in links:
            streams = len(link.session.streams)
            if (best is None or streams < least) and link.usable:
                best, least = link, streams
        if best is not None and best is not links[-1]:
            links.remove(best)
            links.append(best)
        return best


class Instances:
    """Every instance that has a session."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], Instance] = {}
        self.duplicates = 0
        """How often a second instance of one agent id came while the first was there and not draining."""

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._known.values())

    def of(self, agent_id: str) -> list[Instance]:
        return [instance for instance in self if instance.agent_id == agent_id]

    def others(self, agent_id: str, instance_id: bytes) -> list[Instance]:
        """Other instances of this agent id that are there to serve and to stay; `check` comes without services."""
        return [each for each in self.of(agent_id) if each.id != instance_id and each.offers and not each.leaving]

    def find(self, agent_id: str, instance_id: bytes) -> Instance | None:
        return self._known.get((agent_id, instance_id))

    def add(self, agent_id: str, instance_id: bytes, limit: int, link: Link) -> Instance:
        """A session is up."""
        key = (agent_id, instance_id)
        instance = self._known.get(key)
        if instance is None:
            instance = self._known[key] = Instance(agent_id, instance_id, limit)
        instance.links.append(link)
        return instance

    def remove(self, agent_id: str, instance_id: bytes, link: Link) -> Instance | None:
        """A session is over; the instance, if that was its last one. Idempotent."""
        key = (agent_id, instance_id)
        instance = self._known.get(key)
        if instance is None or link not in instance.links:
            return None
        instance.links.remove(link)
        if instance.links:
            return None
        del self._known[key]
        return instance
