"""What one caller may do: its rules and limits, and its counters."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from protocol.http.allow import AllowList
from protocol.http.target import NONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunnel_hub.config import Service

    from .config import Named, Rules

NOTHING: Final[Mapping[str, AllowList]] = {}


class Policy:
    """One caller. `take` once for each of its requests."""

    __slots__ = (
        "_at",
        "_burst",
        "_left",
        "_rate",
        "allow",
        "deadline",
        "enabled",
        "header",
        "max_body",
        "name",
        "outcomes",
        "server_timing",
    )

    def __init__(
        self,
        name: str,
        allow: Mapping[str, AllowList] = NOTHING,
        *,
        enabled: bool = True,
        rate: int | None = None,
        burst: int | None = None,
        max_body: int | None = None,
        deadline: float | None = None,
        server_timing: bool = False,
    ) -> None:
        """rate: requests per second, None without limit; burst: that many at once, by default twice the rate."""
        self.name = name
        self.header = name.encode("ascii")
        self.allow = allow
        self.enabled = enabled
        self.max_body = max_body
        self.deadline = deadline
        self.server_timing = server_timing
        self.outcomes: Counter[int] = Counter()
        """Requests ended, by status."""
        self._rate = rate
        self._burst = float(burst or 2 * (rate or 0))
        self._left = self._burst
        self._at = -math.inf

    def take(self, now: float) -> bool:
        """Whether one more request is within the rate; now: seconds of a monotonic clock."""
        rate = self._rate
        if rate is None:
            return True
        left = min(self._burst, self._left + (now - self._at) * rate)
        self._at = now
        self._left = left - 1.0 if left >= 1.0 else left
        return left >= 1.0

    def follow(self, other: Policy) -> None:
        """Go on where `other`, this caller's policy before a reload, stands: its counters and what it has used."""
        self.outcomes = other.outcomes
        if self._rate is not None and other._rate is not None:
            self._left, self._at = min(other._left, self._burst), other._at


def compile_rules(rules: Rules, services: Mapping[str, Service]) -> dict[str, AllowList]:
    """The allow list of each service; rules and services were checked."""
    return {
        name: AllowList.compile(lines, frozenset(services[name].allow_paths) if name in services else NONE)
        for name, lines in rules.items()
    }


def make_policy(name: str, table: Named, services: Mapping[str, Service]) -> Policy:
    """The policy that [callers.named.NAME] says."""
    return Policy(
        name,
        compile_rules(table.allow, services),
        enabled=table.enabled,
        rate=table.rate,
        burst=table.burst,
        max_body=table.max_body,
        deadline=table.deadline,
        server_timing=table.server_timing,
    )
