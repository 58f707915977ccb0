"""A service at run time: what may pass the boundary, where it goes, and its counters."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from protocol.errors import StreamCode
from protocol.events import OfferState
from protocol.http.names import plain

if TYPE_CHECKING:
    from protocol.http.allow import AllowList

    from .egress.upstream import Upstream
    from .health import Watch
    from .signing import Signing


class Service:
    """One service of the agent's file.

    limit: requests at once that the hubs may send. host: the Host value for the upstream; b"" keeps the caller's.
    signing: what it demands of requests' signatures; None: nothing.
    added: fields that only the agent knows, e.g. the upstream's credentials; a caller's copies are dropped.
    """

    __slots__ = (
        "_added",
        "_replaced",
        "answers",
        "boundary",
        "enabled",
        "failures",
        "host",
        "limit",
        "name",
        "path_exceptions",
        "read_only",
        "requests",
        "signing",
        "upgrades",
        "upstream",
        "watch",
    )

    def __init__(
        self,
        name: str,
        *,
        boundary: AllowList,
        upstream: Upstream,
        watch: Watch,
        limit: int,
        host: bytes,
        added: list[bytes],
        upgrades: frozenset[bytes],
        path_exceptions: frozenset[str] = frozenset(),
        enabled: bool = True,
        read_only: bool = False,
        signing: Signing | None = None,
    ) -> None:
        self.name = name
        self.boundary = boundary
        self.upstream = upstream
        self.watch = watch
        self.limit = limit
        self.host = host
        self.upgrades = upgrades
        self.path_exceptions = path_exceptions
        self.enabled = enabled
        self.read_only = read_only
        self.signing = signing
        self.requests = 0
        self.failures: Counter[StreamCode] = Counter()
        self.answers = [0] * 10
        """Answers of the upstream by the first digit of their status; 1 is the upgrades."""
        self._added = added
        self._replaced = frozenset(map(plain, added[::2]))

    def follow(self, before: Service) -> None:
        """Go on counting where `before`, this service until a reload, stands."""
        self.requests, self.failures, self.answers = before.requests, before.failures, before.answers
        self.watch.passed, self.watch.refuted = before.watch.passed, before.watch.refuted

    @property
    def state(self) -> OfferState:
        """What the hubs are told."""
        return OfferState.DOWN if self.watch.down or not self.enabled else OfferState.UP

    @property
    def standing(self) -> Literal["up", "down", "switched off"]:
        """The same in words for those who run the agent."""
        if not self.enabled:
            return "switched off"
        return "down" if self.watch.down else "up"

    def own_fields(self, fields: list[bytes]) -> list[bytes]:
        """The caller's fields with this service's own put in place of any copies."""
        return self.without_own(fields) + self._added if self._added else fields

    def without_own(self, fields: list[bytes]) -> list[bytes]:
        """Fields or trailers less any copies, under whatever spelling, of this service's own."""
        replaced = self._replaced
        if not replaced:
            return fields
        kept: list[bytes] = []
        for index in range(0, len(fields), 2):
            if plain(fields[index]) not in replaced:
                kept += fields[index : index + 2]
        return kept
