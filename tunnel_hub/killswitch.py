"""The kill switch while the hub runs: `enabled` of a service changed and SIGHUP came, or an operator switched it.

New requests are refused at once, and those that wait are dismissed. What an agent has is cut after CUT_AFTER:
downloads, event streams and upgraded connections too, and never as if it had ended well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from protocol.ops import log

from .problems import HUB_PROBLEMS
from .running import exchanges

if TYPE_CHECKING:
    from protocol.aio.link import Link
    from protocol.aio.wheel import Timer

    from .hub import Hub
    from .service import Service

CUT_AFTER: Final = 0.8
"""Seconds for what runs to end by itself: short of the second within which nothing may run any more."""

_log = log.get("killswitch")


class KillSwitch:
    """`turn` it for each service whose `enabled` changed."""

    def __init__(self, hub: Hub, links: Iterable[Link]) -> None:
        """links: all sessions, as they are when it is turned."""
        self._hub = hub
        self._links = links
        self._cuts: dict[Service, Timer] = {}

    def turn(self, service: Service, *, on: bool, **who: str) -> None:
        """Switch a service off or on again; its settings say so already. who: the operator and the reason."""
        _log.warning(f"service switched {'on' if on else 'off'}", service=service.name, **who)
        self._hub.audit.write(f"service switched {'on' if on else 'off'}", service=service.name, **who)
        cut = self._cuts.pop(service, None)
        if cut is not None:
            cut.cancel()
        if not on:
            service.dismiss()
            self._cuts[service] = self._hub.wheel.after(CUT_AFTER, lambda: self._cut(service))

    def _cut(self, service: Service) -> None:
        del self._cuts[service]
        count = 0
        for exchange in exchanges(self._links):
            if exchange.service is service:
                exchange.cut(HUB_PROBLEMS["switched_off"], "The service was switched off")
                count += 1
        if count:
            _log.warning("exchanges cut", service=service.name, count=count)
            self._hub.audit.write("exchanges cut", service=service.name, count=count)
