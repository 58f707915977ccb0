"""A service at run time: who serves it, what runs, what waits for its turn, and its counters.

This is the in-memory side of the registry: `choose` decides, nothing here does I/O.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from protocol.ops.metrics import Histogram

from .fairqueue import FairQueue
from .gateway.onward import Onward
from .instances import UNLIMITED
from .phases import PhaseCounts

if TYPE_CHECKING:
    from protocol.aio.link import Link

    from .callers import Callers
    from .inspector.recorder import Recorder
    from .instances import Offer

NOBODY: Final[frozenset[Offer]] = frozenset()


Chosen = tuple["Offer", "Link"]
"""Who gets a request, and on which session."""


class Waiter(Protocol):
    """A request that waits."""

    caller: str

    def dispatch(self, offer: Offer, link: Link) -> None:
        """Send it; called once for each time that it waited."""

    def give_way(self) -> None:
        """It was taken out of the queue, which was full or which nobody may wait in any more."""


class Settings(NamedTuple):
    """What the configuration says of a service. Times are seconds, sizes bytes; `protocol.ops` has the words."""

    deadline: float
    hold: float
    hold_limit: int
    upgrades: frozenset[bytes]
    max_body: int | None
    hold_bytes: int = 16 * 1024 * 1024
    queue_timeout: float = 5.0
    concurrency: int = UNLIMITED
    caller_queue: int = UNLIMITED
    enabled: bool = True
    path_exceptions: frozenset[str] = frozenset()
    onward: Onward = Onward()
    server_timing: bool = False


class Service:
    """One service."""

    __slots__ = (
        "_callers",
        "bytes_in",
        "bytes_out",
        "evictions",
        "failing",
        "holds",
        "in_flight",
        "inspector",
        "latency",
        "name",
        "offers",
        "outcomes",
        "phases",
        "pumped_at",
        "queue",
        "repeats",
        "running",
        "settings",
        "waits",
    )

    def __init__(self, name: str, settings: Settings, callers: Callers) -> None:
        """callers: how many requests each may have running, whatever the service."""
        self.name = name
        self.settings = settings
        self._callers = callers
        self.offers: list[Offer] = []
        self.queue: FairQueue[Waiter] = FairQueue()
        self.latency = Histogram()
        self.waits = Histogram()
        """Of requests that had to wait for a session or their turn."""
        self.phases = PhaseCounts()
        self.outcomes: Counter[tuple[int, str]] = Counter()
        self.repeats: Counter[str] = Counter()
        self.failing = False
        """Some agents' upstreams do not answer."""
        self.pumped_at = 0.0
        self.holds = 0
        self.evictions = 0
        self.inspector: Recorder | None = None
        """Records what this service's exchanges look like, while an operator asks for it."""
        self.in_flight = 0
        """Exchanges that are not over, waiting ones included."""
        self.running = 0
        """Exchanges that an agent has."""
        self.bytes_in = 0
        self.bytes_out = 0

    # -- Who serves it --------------------------------------------------------------------------------

    def add(self, offer: Offer) -> None:
        """An instance serves it, or serves more of it: requests that wait go first, in turn."""
        if offer not in self.offers:
            self.offers.append(offer)
        self.look_at_offers()
        self.pump()

    def remove(self, offer: Offer) -> None:
        if offer in self.offers:
            self.offers.remove(offer)
        self.look_at_offers()
        self.pump()

    def look_at_offers(self) -> None:
        """Something has changed about who serves it."""
        self.failing = any(not offer.up for offer in self.offers)

    def others(self, avoid: frozenset[Offer]) -> bool:
        """Whether anybody else is there whose upstream answers, be it busy."""
        return any(offer.up and offer not in avoid and not offer.instance.draining for offer in self.offers)

    @property
    def up(self) -> bool:
        """Whether any agent is there that takes requests, be it busy."""
        return any(not offer.instance.draining for offer in self.offers)

    @property
    def sessions(self) -> int:
        return sum(len(offer.instance.links) for offer in self.offers)

    def choose(self, avoid: frozenset[Offer] = NOBODY) -> Chosen | None:
        """Who has the fewest requests of this service, of those whose upstream answers.

        The others are chosen only where there is nobody else: who is merely busy is worth waiting for.
        """
        best: Offer | None = None
        failing = self.failing and not any(offer.up and not offer.instance.draining for offer in self.offers)
        best_link: Link | None = None
        offers = self.offers
        for offer in offers:
            instance = offer.instance
            if offer.outstanding >= offer.limit or instance.outstanding >= instance.limit:
                continue
            if not (offer.up or failing) or (avoid and offer in avoid):
                continue
            if best is not None and offer.outstanding >= best.outstanding:
                continue
            link = instance.pick()
            if link is not None:
                best, best_link = offer, link
        if best is None or best_link is None:
            return None
        if best is not offers[-1]:
            offers.remove(best)  # of equals, who was not chosen last
            offers.append(best)
        return best, best_link

    # -- What runs and what waits ---------------------------------------------------------------------

    def admit(self, caller: str) -> Chosen | None:
        """Who gets a request of this caller now; None: it has to wait.

        Those that wait go first; who still waits then, with room left, is a caller at its own limit.
        """
        if self.queue.size:
            self.pump()
        if self.running >= self.settings.concurrency:
            return None
        if self._callers.limited and not self._callers.may_run(caller):
            return None
        return self.choose()

    def wait(self, waiter: Waiter, size: int, *, first: bool = False) -> bool:
        """Let a request of `size` bytes wait. False: the queue is full and the caller has its share of it."""
        settings, queue = self.settings, self.queue
        if size > settings.hold_bytes or not settings.hold_limit:
            return False
        while len(queue) >= settings.hold_limit or queue.bytes + size > settings.hold_bytes:
            victim = queue.make_room(waiter.caller)
            if victim is None:
                return False
            self.evictions += 1
            victim.give_way()
        queue.push(waiter.caller, waiter, size, first=first)
        return True

    def dismiss(self) -> None:
        """The service is switched off: nobody waits for it any more."""
        while (waiter := self.queue.pop(lambda _: True)) is not None:
            waiter.give_way()

    def pump(self) -> None:
        """Capacity may have become free: send what waits, the callers in turn."""
        queue = self.queue
        while queue.size and self.running < self.settings.concurrency:
            chosen = self.choose()
            if chosen is None:
                return
            waiter = queue.pop(self._callers.may_run)
            if waiter is None:
                return
            waiter.dispatch(*chosen)
