"""A service at run time: its agents' sessions, the requests that wait for one, and its counters.

This is the in-memory side of the registry: `choose` decides, nothing here does I/O.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol

from protocol.ops.metrics import Histogram

if TYPE_CHECKING:
    from protocol.aio.link import Link


class Waiter(Protocol):
    """A request held until a session comes."""

    def dispatch(self, link: Link) -> None:
        """Send it down this link; called once."""


class Service:
    """One service. `hold_limit` bounds the requests that wait."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "deadline",
        "enabled",
        "hold",
        "hold_limit",
        "holds",
        "in_flight",
        "latency",
        "links",
        "max_body",
        "name",
        "outcomes",
        "path_exceptions",
        "upgrades",
        "waiting",
    )

    def __init__(
        self,
        name: str,
        *,
        deadline: float,
        hold: float,
        hold_limit: int,
        upgrades: frozenset[bytes],
        max_body: int | None,
        enabled: bool = True,
        path_exceptions: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.enabled = enabled
        self.path_exceptions = path_exceptions
        self.deadline = deadline
        self.hold = hold
        self.hold_limit = hold_limit
        self.upgrades = upgrades
        self.max_body = max_body
        self.links: list[Link] = []
        self.waiting: deque[Waiter] = deque()
        self.latency = Histogram()
        self.outcomes: Counter[tuple[int, str]] = Counter()
        self.holds = 0
        self.in_flight = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def take_settings(self, other: Service) -> None:
        """Change what the configuration says; sessions, waiting requests and counters stay."""
        self.deadline = other.deadline
        self.hold = other.hold
        self.hold_limit = other.hold_limit
        self.upgrades = other.upgrades
        self.max_body = other.max_body
        self.enabled = other.enabled
        self.path_exceptions = other.path_exceptions

    def choose(self) -> Link | None:
        """The usable link with the fewest outstanding requests; None when there is none."""
        best: Link | None = None
        least = 0
        links = self.links
        for link in links:
            outstanding = len(link.session.streams)
            if (best is None or outstanding < least) and link.usable:
                best, least = link, outstanding
        if best is not None and best is links[0]:
            links.append(links.pop(0))  # of equals, the next one first
        return best

    def add(self, link: Link) -> None:
        """A session for this service is up: requests that waited go first, in order."""
        self.links.append(link)
        waiting = self.waiting
        while waiting:
            chosen = self.choose()
            if chosen is None:
                break
            waiting.popleft().dispatch(chosen)

    def remove(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)

    @property
    def up(self) -> bool:
        """Whether any agent's session serves it."""
        return bool(self.links)
