"""How long the egress waits for what, and how much it takes from an upstream."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from protocol.errors import StreamCode

NEVER: Final = inf

DETAILS: Final = {
    StreamCode.DEADLINE: "the deadline passed before the answer began",
    StreamCode.FIRST_BYTE_TIMEOUT: "no answer in time",
    StreamCode.IDLE_TIMEOUT: "no byte moved for too long",
    StreamCode.TOTAL_TIMEOUT: "the exchange took too long",
}
"""What to say when a timeout ends an exchange."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All in seconds; `NEVER` switches one off. Each is exact to the timer wheel's two ticks, never early."""

    connect: float = 5.0
    """Name look-up, TCP and TLS together."""
    wait: float = 10.0
    """For a connection when all are busy."""
    first_byte: float = 60.0
    """From the whole request written to the answer's complete head; each interim answer starts it anew."""
    idle: float = 300.0
    """No byte either way in a body, unless the answer is paused by us."""
    pipe_idle: float = 3600.0
    """The same after an upgrade."""
    total: float = NEVER
    """From `Upstream.start` to the end of the answer; not for upgraded connections."""
    keep_idle: float = 15.0
    """How long an unused connection is kept. Keep it below the upstream's own keep-alive timeout."""
    fresh_for: float = 1.0
    """How long an unused connection is trusted with a request that could not be sent a second time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that hold for one upstream."""

    connections: int = 64
    """Open and opening ones together, idle ones included."""
    waiting: int = 1024
    """Requests that wait for a connection while all are busy; the next one is refused."""
    head_bytes: int = 64 * 1024
    """Status line and fields of one answer; also its trailers and what chunk headers exceed a fair share."""
    head_fields: int = 256
    interims: int = 16
    """1xx answers before the final one."""
