"""Credentials that lapse while something runs with them: revoked, expired, or gone from the configuration.

Ordinary exchanges end by themselves within SHORT; downloads, event streams and upgraded connections are cut. The
connection itself may stay: its next request is asked for its credentials anyway.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from protocol.ops import log

from .problems import HUB_PROBLEMS
from .running import exchanges

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.aio.wheel import Timer

    from .exchange import Exchange
    from .hub import Hub

EVERY: Final = 2.0
"""Seconds between two looks at all that runs."""

SHORT: Final = 2.0
"""Seconds that an exchange may still run whose credentials do not hold any more."""

_log = log.get("gateway")


class Lapses:
    """`start` once, `stop` at the end."""

    def __init__(self, hub: Hub, links: Iterable[Link]) -> None:
        """links: all sessions, as they are at each look."""
        self._hub = hub
        self._links = links
        self._timer: Timer | None = None

    def start(self) -> None:
        self._timer = self._hub.wheel.after(EVERY, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.start()
        if self._hub.gate is None:
            return
        now, since = time.time(), self._hub.loop.time() - SHORT
        cut: dict[str, int] = {}
        for exchange in exchanges(self._links):
            if exchange.request.received < since and not self._holds(exchange, now):
                exchange.cut(HUB_PROBLEMS["forbidden"], "The caller's credentials or rules hold no longer")
                cut[exchange.caller] = cut.get(exchange.caller, 0) + 1
        for caller, count in cut.items():
            _log.warning(
                "exchanges cut: the caller's credentials or rules hold no longer", caller=caller, count=count
            )
            self._hub.audit.write("exchanges cut", caller=caller, count=count)

    def _holds(self, exchange: Exchange, now: float) -> bool:
        gate, admitted, service = self._hub.gate, exchange.admitted, exchange.service
        if gate is None or service is None:
            return True
        if admitted is None:  # callers need not authenticate when it began
            return False
        request = exchange.request
        return gate.holds(admitted.grant, service.name, request.method, request.target, now)
