"""How much of what we send may be under way at once, so that no queue builds up in front of a slow link.

Policy, in prose. Credit says what the peer can hold; it does not say what the way to the peer can carry. What is
written beyond that waits in sockets and routers, and all that is written later waits behind it: a small answer, a
PING. So while DATA flows, a sender marks positions in what it sends with PINGs; the PONG says that everything
before the mark was read, how long that took, and so how fast the way is. At most `allowance` bytes may be
unacknowledged; when they are, DATA waits for a PONG. Control frames never wait, nor does anybody who sends less
than `START` at a time.

The allowance follows `rate * (base + slack)`: the fastest of the latest delivery rates, the shortest round
trip, and `slack` for the queue that keeps the link busy between two marks. While the allowance is what limits, it
doubles once per round trip as long as less than half of `slack` is queued (or grows by a quarter, a while after
there was a queue), and grows to that value if more is; so a fast or long way is never held up for long. It shrinks
to that value when a round trip shows more than `slack` of queue.

A sender that is always busy would never see the shortest round trip again, for its own queue is part of each. So
every `BASE_AGE` seconds in which it was limited it pauses until all is acknowledged, sends a mark with nothing in
front of it, and goes on behind that. The link idles for a round trip then.

Invariants (asserted by `check`, held by tests):
  no room implies a mark is outstanding         its PONG lets DATA go on, or liveness ends the session
  marks come at no more than these rates        which together stay well below what a peer tolerates
  acknowledged <= marked <= sent
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from .limits import KIB
from .rates import TokenBucket

START: Final = 256 * KIB
"""Bytes: the first allowance."""

FLOOR: Final = 32 * KIB
"""Bytes: the least allowance."""

LEAST_MESSAGE: Final = 8 * KIB
"""Bytes: smaller messages cost more than they help. The allowance may be exceeded by so much."""

CEILING: Final = 1 << 40
"""Bytes: no limit any more."""

SLACK: Final = 0.06
"""Seconds of queue that are allowed, or half a round trip if that is more."""

MARK_APART: Final = 0.1
"""Seconds between marks, unless an eighth of the allowance is not marked yet."""

QUIET: Final = 1.0
"""Seconds after which a rest that was never marked, less than half an allowance, is taken to have arrived."""

MARKS_PER_SECOND: Final = 60.0
MARKS_BURST: Final = 60.0

RESERVE_PER_SECOND: Final = 10.0
"""Further marks, with bursts of twice that, for DATA that would be held for ever without one."""

BASE_AGE: Final = 10.0
"""Seconds after which the shortest round trip is measured anew, if the allowance is what limits."""

CAREFUL: Final = 4
"""Round trips without a queue, after one with, in which the allowance grows by a quarter instead of doubling."""

RATES: Final = 32
"""Latest delivery rates of which the fastest counts: one slow round trip proves nothing."""


class Mark(NamedTuple):
    """A PING on its way: what was sent before it and what had been acknowledged when it left."""

    number: int
    position: int
    sent_at: float
    acknowledged: int
    acknowledged_at: float
    busy: bool
    """The allowance or the way was the limit, not the source: its delivery rate means something."""


class InFlight:
    """One direction of one session. Positions are counts of bytes sent; now is monotonic seconds."""

    __slots__ = (
        "_bucket",
        "_careful",
        "_grown_at",
        "_limited",
        "_marked_at",
        "_pausing",
        "_rates",
        "_reserve",
        "_sent_at",
        "acknowledged",
        "acknowledged_at",
        "allowance",
        "base",
        "base_at",
        "marks",
        "sent",
    )

    def __init__(self, now: float) -> None:
        self.allowance = START
        self.sent = 0
        self.acknowledged = 0
        self.acknowledged_at = now
        self.base = 0.0
        """The shortest round trip; 0.0 until there was one."""
        self.base_at = now
        self.marks: deque[Mark] = deque()
        self._marked_at = now - MARK_APART
        self._sent_at = now
        self._grown_at = now
        self._limited = False
        self._careful = 0
        self._pausing = False
        self._rates: deque[float] = deque(maxlen=RATES)
        self._bucket = TokenBucket(MARKS_PER_SECOND, now, MARKS_BURST)
        self._reserve = TokenBucket(RESERVE_PER_SECOND, now)

    # -- Sending --------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Bytes of DATA that may be sent now; none or less: DATA is held back until a PONG comes."""
        return 0 if self._pausing else self.allowance - (self.sent - self.acknowledged)

    @property
    def message(self) -> int:
        """Bytes of DATA for the next message: less on a slow way, where what follows waits for all of it."""
        return max(min(self.room, self.allowance // 8), LEAST_MESSAGE)

    def begin(self, position: int, now: float) -> None:
        """DATA is about to be sent behind `position` bytes, which are nobody's concern if all was quiet."""
        if self.sent == self.acknowledged or (not self.marks and now - self._sent_at > QUIET):
            self.sent = self.acknowledged = position
            self.acknowledged_at = now

    def note(self, position: int, more: bool, now: float) -> bool:
        """DATA was sent up to `position`, and `more` waits. True asks for a PING: call `mark` with its number."""
        self.sent, self._sent_at = position, now
        if self.room <= 0:
            self._limited = self._limited or more
            if not self.marks:
                return self._must_mark(now)
        wanted = 8 * (position - self._marked) >= self.allowance or now - self._marked_at >= MARK_APART
        return wanted and self._bucket.allow(now)

    def mark(self, number: int, busy: bool, now: float) -> None:
        """A PING leaves behind everything sent so far."""
        self._marked_at = now
        self.marks.append(Mark(number, self.sent, now, self.acknowledged, self.acknowledged_at, busy))

    # -- What comes back ------------------------------------------------------------------------------

    def pong(self, number: int, more: bool, now: float) -> bool:
        """A PONG came, for a mark or for none; `more` DATA waits. True asks for a PING, as `note` does."""
        mark: Mark | None = None
        while self.marks and self.marks[0].number <= number:
            mark = self.marks.popleft()
        if mark is None:
            return False
        if mark.number == number:
            self._measure(mark, now)
        self.acknowledged, self.acknowledged_at = max(mark.position, self.acknowledged), now
        if self._pausing:
            return self._pause(now)
        limited, self._limited = self._limited, more and self.room <= 0
        if limited and now - self.base_at > BASE_AGE:
            self._pausing = True
            return self._pause(now)
        return self.room <= 0 and not self.marks and self._must_mark(now)

    def _pause(self, now: float) -> bool:
        """Until all is acknowledged; the mark that follows has nothing in front of it."""
        if self.sent == self.acknowledged:
            self._pausing = False
            self.base_at = now
            self._grown_at = now + 2 * self.base + SLACK  # until it is full again, the way looks wider than it is
            return self._bucket.allow(now)
        return self._marked < self.sent and self._must_mark(now)

    def quiet(self, round_trip: float, now: float) -> None:
        """A PING that was no mark took so long; 0.0: there was none. True as it is if nothing of ours is about."""
        old = now - self.base_at > BASE_AGE / 2 and self.sent == self.acknowledged
        if round_trip > 0 and (old or not self.base or round_trip < self.base):
            self.base, self.base_at = round_trip, now

    # -- The law --------------------------------------------------------------------------------------

    @property
    def _marked(self) -> int:
        """Up to where marks, or their PONGs, know of what was sent."""
        return max(self.marks[-1].position, self.acknowledged) if self.marks else self.acknowledged

    def _measure(self, mark: Mark, now: float) -> None:
        round_trip = now - mark.sent_at
        if not self.base or round_trip <= self.base or mark.position == mark.acknowledged:
            self.base, self.base_at = round_trip, now
        rate = (mark.position - mark.acknowledged) / max(now - mark.acknowledged_at, 1e-6)
        fastest = max(self._rates, default=0.0)
        if mark.busy or rate > fastest:
            self._rates.append(rate)
            fastest = max(self._rates)
        slack = max(SLACK, self.base / 2)
        target = int(fastest * (self.base + slack))
        if round_trip > self.base + slack:
            if mark.busy and target < self.allowance:
                self.allowance = max(FLOOR, target)
                self._careful = CAREFUL
        elif self._limited and mark.sent_at >= self._grown_at:
            if 2 * (round_trip - self.base) <= slack:
                target = max(target, self.allowance * 5 // 4 if self._careful else 2 * self.allowance)
                self._careful = max(self._careful - 1, 0)
            if target > self.allowance:
                self.allowance = min(target, 2 * self.allowance, CEILING)
                self._grown_at = now

    def _must_mark(self, now: float) -> bool:
        """DATA is held and nothing would set it free. Out of tokens, the round trip is too short for a queue."""
        if self._bucket.allow(now) or self._reserve.allow(now):
            return True
        self._pausing = False
        while self.room <= 0:
            self.allowance *= 2
        return False

    def check(self) -> None:
        """Assert the invariants of this module."""
        assert self.marks or self.room > 0
        assert self.acknowledged <= self._marked <= self.sent
