"""What a load asks for: its mix of requests, their ids, and what each answer must be."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.reliability.bodies import DUPLICATE, HOST, body_of

MIXED = {"GET": 40.0, "HEAD": 5.0, "OPTIONS": 5.0, "POST": 30.0, "PUT": 8.0, "PATCH": 6.0, "DELETE": 6.0}
UNSAFE = frozenset({"POST", "PATCH"})
"""Methods that the tunnel must never send twice."""


@dataclass(frozen=True)
class Plan:
    """One load. Times are in seconds unless their name says otherwise."""

    targets: list[int]
    """Callers' ports of the hubs; connections are spread over them."""
    prefix: str
    """In every id; makes those of one load differ from those of another."""
    connections: int = 16
    count: int | None = None
    """Requests to send, retries not counted; None: until `stop`."""
    rate: float | None = None
    """Requests a second over all connections; None: as fast as the answers come."""
    mix: dict[str, float] = field(default_factory=lambda: dict(MIXED))
    retries: int = 0
    """How often a POST is sent again, with the same ref, after an answer of 500 or more or a lost connection."""
    timeout: float = 40.0
    """After which the caller gives up; an answer that late is a failure."""
    cancel: float = 0.0
    """Share of requests that the caller abandons, within `cancel_within`."""
    cancel_within: float = 0.05
    deadline: float = 0.0
    """Share with a Tunnel-Deadline of `deadline_ms`."""
    deadline_ms: tuple[int, int] = (5, 200)
    delay: float = 0.0
    """Share that the upstream answers only after `delay_ms`."""
    delay_ms: tuple[int, int] = (1, 200)
    track_all: bool = False
    """Have the ledger count every attempt, not only those that must not be repeated."""
    size: int | None = None
    """Bytes of every answer's body; None: drawn from the id."""
    seed: int = 1


@dataclass(slots=True)
class Request:
    """One attempt, ready to be sent."""

    number: int
    attempt: int
    method: str
    ident: bytes
    raw: bytes
    size: int | None
    cancel_after: float | None
    due: float = 0.0
    sent_at: float = 0.0

    def is_right(self, status: int, ident: bytes, body: bytes) -> bool:
        """Whether an upstream's answer is this request's own."""
        if ident != self.ident:
            return False
        if status == 409:
            return self.method == "POST" and self.attempt > 1 and body == DUPLICATE
        return status == 200 and body == (b"" if self.method == "HEAD" else body_of(self.ident, self.size))


class Source:
    """Makes the requests of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._methods = list(plan.mix)
        self._weights = list(plan.mix.values())
        self.made = 0

    @property
    def exhausted(self) -> bool:
        return self._plan.count is not None and self.made >= self._plan.count

    def next(self) -> Request:
        """The first attempt of another request."""
        self.made += 1
        method = self._random.choices(self._methods, self._weights)[0]
        return self._make(self.made, 1, method)

    def again(self, request: Request) -> Request | None:
        """The next attempt of a request that failed, or None when its caller gives up."""
        if request.method != "POST" or request.attempt > self._plan.retries:
            return None
        return self._make(request.number, request.attempt + 1, request.method)

    def _make(self, number: int, attempt: int, method: str) -> Request:
        plan, chance = self._plan, self._random
        ref = f"{plan.prefix}.{number}"
        ident = f"{method}.{ref}.{attempt}"
        query = []
        fields = [f"Host: {HOST}"]
        if method == "POST":
            path = "/transactions"
            fields.append(f"X-Ref: {ref}")
        else:
            path = f"/{'item' if method in {'GET', 'HEAD', 'OPTIONS'} else 'counter'}/{ident}"
        if plan.track_all or method in UNSAFE:
            fields.append(f"X-Attempt: {ident}")
        if plan.delay and chance.random() < plan.delay:
            query.append(f"delay_ms={chance.randint(*plan.delay_ms)}")
        if plan.size is not None:
            query.append(f"size={plan.size}")
        if plan.deadline and chance.random() < plan.deadline:
            fields.append(f"Tunnel-Deadline: {chance.randint(*plan.deadline_ms)}ms")
        body = b""
        if method in {"POST", "PUT", "PATCH"}:
            body = b'{"type":"MTDS","amount":1634,"client_unique_ref":"%b"}' % ref.encode()
            fields += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        target = path + ("?" + "&".join(query) if query else "")
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in fields) + "\r\n"
        cancelled = plan.cancel and chance.random() < plan.cancel
        return Request(
            number,
            attempt,
            method,
            ident.encode(),
            head.encode() + body,
            plan.size,
            chance.uniform(0, plan.cancel_within) if cancelled else None,
        )
