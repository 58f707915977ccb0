"""The bounds of a caller's connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IngressLimits:
    """Times are seconds, sizes are bytes."""

    target: int = 16 * 1024
    """Longest request target: 414."""
    head: int = 64 * 1024
    """Longest request head, request line included, and longest trailer section: 431."""
    fields: int = 128
    """Most fields in a head or trailer section: 431."""
    length: int = 1 << 40
    """Largest Content-Length that is believed: 413. A service's own limit is the exchange's business."""

    early: int = 64 * 1024
    """Bytes of later requests at which reading stops until their turn comes; one read may exceed it."""

    connections: int = 10_000
    """Connections beyond this are answered 503; an eighth more (at least 16) are kept to say so."""

    header_timeout: float = 10.0
    """From the first byte of a head to its end: 408."""
    idle_timeout: float = 180.0
    """Without a request, also before the first one (balancers connect ahead). Must outlast the callers' pools."""
    body_idle_timeout: float = 30.0
    """Without a byte of a body that is wanted: 408, or an abort once the answer has begun."""
    send_idle_timeout: float = 60.0
    """Without the caller taking a byte of what is ready for it: abort."""
    min_rate: int = 256
    """Bytes per second a caller must send of a body, or take of an answer, on average while it is its turn."""
    linger_time: float = 2.0
    """How long a closing connection waits for the caller to close, so that no reset overtakes the answer."""
    linger_bytes: int = 1 << 20
    """What a closing connection reads and discards."""

    write_high_water: int = 128 * 1024
    """Unsent bytes at which an exchange is told to stop."""
    write_low_water: int = 32 * 1024

    def __post_init__(self) -> None:
        for name in ("header_timeout", "idle_timeout", "body_idle_timeout", "send_idle_timeout", "linger_time"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0 seconds")

    @property
    def shortest(self) -> float:
        """The shortest timeout: a connection that checks itself this often is never late (connection.py)."""
        return min(
            self.header_timeout,
            self.idle_timeout,
            self.body_idle_timeout,
            self.send_idle_timeout,
            self.linger_time,
        )
