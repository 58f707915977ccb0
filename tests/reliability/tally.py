"""What a load saw: answers by kind, waiting times, and everything that must not have happened."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

from tests.reliability.plan import UNSAFE, Request

KEPT = 200
"""Failures and mix-ups that are kept with their details; all are counted."""


class Tally:
    """Filled by the callers of one load."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[int, str, str]] = Counter()
        """By status and, for the tunnel's own answers, code and Tunnel-Delivered."""
        self.failures: Counter[str] = Counter()
        """Requests without a valid answer, by what happened instead."""
        self.cancelled = 0
        self.connects = 0
        self.closed_idle = 0
        """Connections that the hub closed before a request was sent on them: no failure."""
        self.told_to_close = 0
        """Connections closed because an answer said so."""
        self.details: list[dict[str, Any]] = []
        self.mixed: list[dict[str, Any]] = []
        self.mixed_count = 0
        self.claims: list[tuple[str, int, str, str]] = []
        """What the tunnel said of each tracked attempt that it did not serve: attempt, status, code, delivered."""
        self.lost: list[dict[str, Any]] = []
        """Every lost connection with a request on it: when, where, which attempt."""
        self.served: list[str] = []
        """Attempts of POST and PATCH that were answered 200."""
        self.finished = array("d")
        """When each right answer was complete, on the monotonic clock, and how long it took."""
        self.latency = array("d")

    def right(self, request: Request, status: int, now: float) -> None:
        self.answers[status, "", ""] += 1
        self.finished.append(now)
        self.latency.append(now - (request.due or request.sent_at))
        if status == 200 and request.method in UNSAFE:
            self.served.append(request.ident.decode())

    def refused(self, request: Request, status: int, code: str, delivered: str) -> None:
        """An answer of the tunnel itself."""
        self.answers[status, code, delivered] += 1
        self.claims.append((request.ident.decode(), status, code, delivered))

    def wrong(self, request: Request, status: int, ident: bytes, body: bytes, target: int) -> None:
        """An upstream's answer that is not this request's."""
        self.mixed_count += 1
        if len(self.mixed) < KEPT:
            self.mixed.append(
                {
                    "asked": request.ident.decode(),
                    "status": status,
                    "got": ident.decode("latin-1"),
                    "body": body[:80].decode("latin-1"),
                    "length": len(body),
                    "target": target,
                }
            )

    def failed(self, kind: str, request: Request | None, target: int, now: float, **detail: Any) -> None:
        """A connection or an answer that never came, or not whole."""
        self.failures[kind] += 1
        entry = {"kind": kind, "target": target, "at": now, **detail}
        if request is not None:
            entry |= {"attempt": request.ident.decode(), "sent_at": request.sent_at}
            self.lost.append(entry)
        if len(self.details) < KEPT:
            self.details.append(entry)

    @property
    def complete(self) -> int:
        """Answers, right ones and the tunnel's own."""
        return self.answers.total()

    def by_status(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for (status, _code, _delivered), count in self.answers.items():
            found[str(status)] += count
        return dict(sorted(found.items()))

    def summary(self) -> dict[str, Any]:
        return {
            "answers": {" ".join(map(str, key)).strip(): count for key, count in sorted(self.answers.items())},
            "by_status": self.by_status(),
            "complete": self.complete,
            "failures": dict(self.failures),
            "details": self.details[:20],
            "mixed": self.mixed_count,
            "mixed_details": self.mixed[:20],
            "cancelled": self.cancelled,
            "connects": self.connects,
            "closed_idle": self.closed_idle,
            "told_to_close": self.told_to_close,
        }

    def dump(self, file: Path) -> None:
        """Everything, as JSON."""
        whole = {
            **self.summary(),
            "claims": self.claims,
            "lost": self.lost,
            "served": self.served,
            "finished": list(self.finished),
            "latency": list(self.latency),
        }
        file.write_text(json.dumps(whole))
