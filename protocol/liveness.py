"""When to probe a silent peer and when to call it dead (SPEC.md, "Liveness").

Any received byte counts as life. With work waiting, the peer is probed every `PROBE_BUSY`, which also keeps the
round-trip time true, and silence is fatal after `DEAD_BUSY`; an idle session is probed slowly. Time is an
argument; a timer that fires late (this process was suspended or starved) never condemns the peer: what it sent
meanwhile has not been read yet.
"""

from __future__ import annotations

from typing import Final

PROBE_BUSY: Final = 1.0
DEAD_BUSY: Final = 2.9
PROBE_IDLE: Final = 10.0
DEAD_IDLE: Final = 15.0
PROBE_APART: Final = 0.1
"""Probes that somebody asks for come no closer together: the peer allows 20 PINGs a second."""

LATE: Final = 0.5
"""A timer that fires this much after its due time shows that we, not the peer, were absent."""

NOTHING: Final = 0
PROBE: Final = 1
DEAD: Final = 2


class Liveness:
    """Silence of one peer, and the round-trip time that its PONGs show. `due` is the next time to `check`."""

    __slots__ = (
        "_asked",
        "_number",
        "_probed",
        "_sent",
        "_wanted",
        "busy_since",
        "due",
        "heard",
        "round_trip",
        "sample",
    )

    def __init__(self, now: float) -> None:
        self.heard = now
        self.busy_since: float | None = None
        self.due = now
        self.round_trip = 0.0
        """Seconds; falls at once, rises slowly; 0.0 until the first PONG."""
        self.sample = 0.0
        """Seconds: the round trip that the last PONG showed; 0.0 if none."""
        self._number = 0
        self._asked = 0
        self._wanted = False
        self._sent: float | None = None
        self._probed = now - PROBE_IDLE

    @property
    def measured(self) -> bool:
        """Whether a PONG has come, so that `round_trip` says something, though it be 0.0."""
        return self._number > 1 or (self._number == 1 and self._sent is None)

    def busy(self, now: float) -> None:
        """Work begins to wait."""
        self.busy_since = now
        self.due = min(self.due, now + PROBE_BUSY)

    def idle(self) -> None:
        """No work waits any more."""
        self.busy_since = None

    def check(self, now: float) -> int:
        """What to do at a timer: NOTHING, PROBE (send `ping`) or DEAD. Sets the next `due`."""
        if self.busy_since is None:
            probe, dead, since = PROBE_IDLE, DEAD_IDLE, self.heard
        else:
            probe, dead, since = PROBE_BUSY, DEAD_BUSY, max(self.heard, self.busy_since)
        if now - self.due > LATE:
            self.heard = since = max(since, now - probe)
        if now >= since + dead:
            return DEAD
        if self._wanted or now >= self._probed + probe or now >= since + probe:
            self.due = min(now + probe, since + dead)
            return PROBE
        self.due = min(since, self._probed) + probe
        return NOTHING

    def want(self, now: float) -> bool:
        """Whether a probe that somebody asks for may leave now; else one is on its way, or soon due."""
        if now - self._probed >= PROBE_APART:
            return True
        if self._sent is None:
            self._wanted = True
            self.due = min(self.due, self._probed + PROBE_APART)
        return False

    def ping(self, now: float, *, fresh: bool = False) -> int:
        """The number for a PING that leaves now. fresh: one that no earlier PING has, whatever is unanswered."""
        self._probed = now
        self._wanted = False
        if fresh or self._sent is None:
            self._number += 1
            self._asked = self._number
            self._sent = now
        return self._asked

    def mark(self) -> int:
        """The number for a PING that is no probe: its PONG says nothing here."""
        self._number += 1
        return self._number

    def pong(self, number: int, now: float) -> bool:
        """Note a PONG; False if no PING with this number was ever sent."""
        self.sample = 0.0
        if self._sent is not None and number == self._asked:
            self.sample = sample = now - self._sent
            self._sent = None
            rising = self.round_trip and sample > self.round_trip
            self.round_trip = self.round_trip + (sample - self.round_trip) / 4 if rising else sample
        return 0 < number <= self._number
