"""What a step of the story saw, against what it expected."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation."""

    what: str
    expected: str
    seen: str
    ok: bool


@dataclass(slots=True)
class Outcome:
    """One step: its call, the fact worth showing, its checks, and whose logs explain a failure."""

    number: int
    title: str
    method: str = ""
    path: str = ""
    status: int | None = None
    seconds: float = 0.0
    fact: str = ""
    suspects: tuple[str, ...] = ("hub", "agent")
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every expectation held, and there was one."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def expect(self, what: str, expected: object, seen: object) -> bool:
        """Record an expectation of equality; returns whether it held."""
        return self.require(what, seen == expected, expected, seen)

    def require(self, what: str, ok: bool, expected: object, seen: object) -> bool:
        """Record an expectation that was judged already; returns ``ok``."""
        self.checks.append(Check(what, str(expected), str(seen)[:300], ok))
        return ok


class Watcher(Protocol):
    """Told of what happens within a step, while it happens."""

    def begin(self, outcome: Outcome) -> None:
        """A step begins; nothing but its number and title is known."""

    def line(self, text: str) -> None:
        """Something arrived."""

    def download(self, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A download of ``total`` bytes begins; the function inside is told the size of each piece."""
