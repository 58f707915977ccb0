"""The ledger's memory: what arrived, what took effect."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any


class Counts:
    """Plain counters; refs and attempts are the callers' own names for them."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        """How often a transaction took effect, by its `client_unique_ref`."""
        self.duplicates: Counter[str] = Counter()
        """Transactions answered 409, by ref."""
        self.arrivals: Counter[str] = Counter()
        """Heads of requests that arrived, by attempt (the field X-Attempt), whatever became of them."""
        self.requests = 0
        self.answered = 0
        self.abandoned = 0
        """Requests whose connection was closed before they were answered."""
        self.partial_heads = 0
        """Connections that ended inside a request's head."""
        self.violations: list[str] = []
        """What an agent must never do: bytes that are not HTTP, a request before the last one's answer."""

    def summary(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "answered": self.answered,
            "abandoned": self.abandoned,
            "partial_heads": self.partial_heads,
            "violations": self.violations[:20],
            "refs": len(self.effects),
            "effects": self.effects.total(),
            "duplicates": self.duplicates.total(),
            "attempts": len(self.arrivals),
            "repeated_attempts": repeated(self.arrivals),
            "repeated_effects": repeated(self.effects),
        }

    def write(self, file: str) -> None:
        """Everything, as JSON."""
        whole = {**self.summary(), "arrivals": self.arrivals, "effects_by_ref": self.effects}
        Path(file).write_text(json.dumps(whole))


def repeated(counter: Counter[str]) -> dict[str, int]:
    """Those that occurred more than once."""
    return {name: count for name, count in counter.items() if count > 1}
