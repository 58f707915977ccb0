"""The timeouts of one connection, on one timer that is not touched per request.

The connection only notes when something happened (`since`). The timer fires at least as often as the shortest
timeout is long and each time works out what is due, so no timeout is ever missed, and none fires early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tunnel_hub.problems import HUB_PROBLEMS

from .state import State

if TYPE_CHECKING:
    from protocol.aio.wheel import Timer

    from .connection import CallerConnection


PERIODS: Final = 2
"""Idle timeouts over which the average rate counts: what stands still is a stall, not a trickle."""


class _Pace:
    """Whether something moves fast enough: `rate` bytes a second on average over each `period` seconds."""

    __slots__ = ("_base", "_since")

    def __init__(self) -> None:
        self._since = 0.0  # 0: not looked at
        self._base = 0

    def stop(self) -> None:
        """It is not expected to move now."""
        self._since = 0.0

    def slow(self, now: float, total: int, period: float, rate: int) -> bool:
        """`total`: bytes that have moved so far."""
        if not self._since or total < self._base:
            self._since, self._base = now, total
        elif now - self._since >= period:
            moved, self._base = total - self._base, total
            took, self._since = now - self._since, now
            return moved < rate * took
        return False


class Watch:
    """Watches `connection` from `start` to `stop`."""

    __slots__ = ("_connection", "_progress", "_receiving", "_sending", "_stalled_since", "_timer")

    def __init__(self, connection: CallerConnection) -> None:
        self._connection = connection
        self._timer: Timer | None = None
        self._progress = (0, 0)
        self._stalled_since = 0.0
        self._receiving = _Pace()
        self._sending = _Pace()

    def start(self) -> None:
        context = self._connection.context
        self._timer = context.wheel.after(context.shortest, self._look)

    def stop(self) -> None:
        """For good; also lets go of the connection, so that it is freed without the garbage collector."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        del self._connection

    def _look(self) -> None:
        self._timer = None
        connection = self._connection
        context = connection.context
        now = context.loop.time()
        unsent = connection.unsent()
        if self._stalled(unsent, now) >= context.limits.send_idle_timeout:
            connection.give_up()
            return
        self._end_if_too_slow(connection, unsent, now)
        if connection.closed:
            return
        allowed = self._allowed(connection, unsent)
        delay = context.shortest
        if allowed is not None:
            left = connection.since + allowed - now
            if left <= 0:
                self._overdue(connection)
                if connection.closed:
                    return
            elif left < delay:
                delay = left
        self._timer = context.wheel.after(delay, self._look)

    def _end_if_too_slow(self, connection: CallerConnection, unsent: int, now: float) -> None:
        """End a connection that trickles: it would hold memory, and a connection to an upstream, for ever."""
        limits = connection.context.limits
        if not unsent:
            self._sending.stop()
        elif self._sending.slow(
            now, connection.answered_bytes() - unsent, PERIODS * limits.send_idle_timeout, limits.min_rate
        ):
            connection.give_up()
            return
        if connection.state is not State.BODY or not connection.wants_body():
            self._receiving.stop()
        elif self._receiving.slow(
            now, connection.received_bytes, PERIODS * limits.body_idle_timeout, limits.min_rate
        ):
            connection.fail_request(HUB_PROBLEMS["request_timeout"], "The request body arrives too slowly")

    def _stalled(self, unsent: int, now: float) -> float:
        """Seconds since the caller last took a byte of what waits for it, as far as these looks can tell."""
        progress = (unsent, self._connection.answered_bytes())
        if not unsent or progress != self._progress:
            self._progress = progress
            self._stalled_since = now
        return now - self._stalled_since

    @staticmethod
    def _allowed(connection: CallerConnection, unsent: int) -> float | None:
        """How long the present state may last without an event; None: as long as it takes."""
        limits, state = connection.context.limits, connection.state
        if state is State.BODY:
            return limits.body_idle_timeout if connection.wants_body() else None
        if unsent:
            return None
        if state is State.HEAD:
            if connection.refuse_all:
                return limits.linger_time
            return limits.header_timeout if connection.has_partial_head() else limits.idle_timeout
        return limits.linger_time if state is State.LINGER else None

    @staticmethod
    def _overdue(connection: CallerConnection) -> None:
        state = connection.state
        if state is State.BODY:
            connection.fail_request(HUB_PROBLEMS["request_timeout"], "The request body came to a halt")
        elif state is State.HEAD and connection.has_partial_head():
            connection.refuse(HUB_PROBLEMS["request_timeout"], "The request's head did not arrive in time")
        elif state is State.HEAD:
            connection.close_if_idle()
        else:
            connection.close_now()
