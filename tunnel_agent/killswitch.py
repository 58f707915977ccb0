"""The data centre's kill switch while the agent runs: `enabled` changed and SIGHUP came, or an operator switched.

New requests are refused by the boundary at once. What has not reached the upstream is given back at once, what has
is cut after CUT_AFTER: downloads, event streams and upgraded connections too, and never as if it had ended well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from protocol.errors import StreamCode
from protocol.ops import log

from .exchange import SWITCHED_OFF, Exchange

if TYPE_CHECKING:
    from protocol.aio.wheel import Timer

    from .agent import Agent

CUT_AFTER: Final = 0.8
"""Seconds for what runs to end by itself: short of the second within which nothing may run any more."""

_log = log.get("killswitch")


class KillSwitch:
    """`turn` it for each service whose `enabled` changed."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._cuts: dict[str, Timer] = {}

    def turn(self, name: str, *, on: bool, **who: str) -> None:
        """Switch a service off or on again; the agent's table of services says so already.

        who: the operator and the reason.
        """
        _log.warning(f"service switched {'on' if on else 'off'}", service=name, **who)
        self._agent.audit.write(f"service switched {'on' if on else 'off'}", service=name, **who)
        cut = self._cuts.pop(name, None)
        if cut is not None:
            cut.cancel()
        if on:
            return
        for exchange in self._exchanges(name):
            if not exchange.dispatched:
                exchange.cut(StreamCode.NOT_DISPATCHED, SWITCHED_OFF)
        self._cuts[name] = self._agent.wheel.after(CUT_AFTER, lambda: self._cut(name))

    def _cut(self, name: str) -> None:
        self._cuts.pop(name, None)
        count = 0
        for exchange in self._exchanges(name):
            exchange.cut(StreamCode.CANCELLED, "the service was switched off at the agent")
            count += 1
        if count:
            _log.warning("exchanges cut", service=name, count=count)
            self._agent.audit.write("exchanges cut", service=name, count=count)

    def _exchanges(self, name: str) -> Iterator[Exchange]:
        """Those of the service on every session, the ones begun under an earlier configuration included."""
        for link in list(self._agent.links):
            for stream in list(link.session.streams.values()):
                owner = stream.owner
                if isinstance(owner, Exchange) and owner.service.name == name:
                    yield owner
