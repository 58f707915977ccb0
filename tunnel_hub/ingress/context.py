"""What all connections of one ingress share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from protocol.aio.wheel import Wheel
from protocol.http.head import http_date

from .heads import Memo
from .limits import IngressLimits
from .request import StartExchange

if TYPE_CHECKING:
    from .connection import CallerConnection

OnRefused = Callable[[str, int, str, str, str], None]
"""Called with the caller's IP, the status, the problem code, what is known of the delivery and the request id of
each answer given without an exchange: refusals, timeouts and connections beyond the limit."""


class IngressContext:
    """Settings, the registry of connections, and the cached Date line."""

    __slots__ = (
        "_date_line",
        "_date_second",
        "closing",
        "connections",
        "empty",
        "hub_id",
        "limits",
        "loop",
        "make_request_id",
        "memo",
        "on_refused",
        "shortest",
        "start",
        "wheel",
    )

    def __init__(
        self,
        start: StartExchange,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        limits: IngressLimits,
        hub_id: str,
        make_request_id: Callable[[], str],
        on_refused: OnRefused,
    ) -> None:
        self.start = start
        self.loop = loop
        self.wheel = wheel
        self.limits = limits
        self.shortest = limits.shortest
        self.hub_id = hub_id
        self.make_request_id = make_request_id
        self.on_refused = on_refused
        self.connections: set[CallerConnection] = set()
        self.empty = asyncio.Event()
        """Set when the last connection is gone."""
        self.closing = False
        """Every answer from now on says `Connection: close`."""
        self._date_second = 0
        self._date_line = b""
        self.memo = Memo()

    def date_line(self) -> bytes:
        """The line `Date: ...` with its CRLF, made once a second."""
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self._date_line = b"Date: %b\r\n" % http_date(second)
        return self._date_line

    def forget(self, connection: CallerConnection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()
