"""Listening for callers: sockets, the registry of connections, and an orderly end."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Callable
from typing import Final

from protocol.aio.wheel import Timer, Wheel
from protocol.ops import sockets
from protocol.ops.values import Address

from .connection import CallerConnection
from .context import IngressContext, OnRefused
from .limits import IngressLimits
from .request import StartExchange

BACKLOG: Final = 1024
TLS_HANDSHAKE_TIMEOUT: Final = 10.0
TURNS: Final = 1.0
"""Seconds that `close` waits for cut connections to be reported lost; the loop needs a turn or two."""


def new_request_id() -> str:
    """64 random bits, for answers that no exchange gives."""
    return secrets.token_hex(8)


def report_nothing(_peer: str, _status: int, _code: str, _delivered: str, _request_id: str) -> None:
    """The default `on_refused`."""


class Ingress:
    """The callers' side of a hub. Owns its listeners and connections, and no task.

    `start` for each socket; at the end `drain`, then `close`. The wheel is not the ingress's and must outlive it.
    """

    def __init__(
        self,
        start_exchange: StartExchange,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        limits: IngressLimits,
        hub_id: str,
        *,
        make_request_id: Callable[[], str] = new_request_id,
        on_refused: OnRefused = report_nothing,
    ) -> None:
        self._context = IngressContext(start_exchange, loop, wheel, limits, hub_id, make_request_id, on_refused)
        self._servers: list[asyncio.Server] = []
        self._idle_end: Timer | None = None

    @property
    def connections(self) -> int:
        """Open connections, those that are closing included."""
        return len(self._context.connections)

    @property
    def busy(self) -> bool:
        """Whether an answer is still on its way to a caller."""
        return any(connection.unsent() for connection in self._context.connections)

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> Address:
        """Serve callers on a listening socket, which is the ingress's from now on; returns where."""
        context = self._context
        server = await context.loop.create_server(
            lambda: CallerConnection(context),
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else TLS_HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=None if tls is None else context.limits.linger_time,
        )
        self._servers.append(server)
        return sockets.bound(listener)

    @property
    def listening(self) -> bool:
        """Whether callers can come."""
        return bool(self._servers) and all(server.is_serving() for server in self._servers)

    def drain(self, idle_grace: float = 1.0) -> None:
        """Accept no more connections; every answer from now on says `Connection: close`. Idempotent.

        An idle connection is closed only after `idle_grace` seconds, so that a request which is on its way to it
        is served instead of being cut.
        """
        context = self._context
        if self._idle_end is not None:
            return
        context.closing = True
        for server in self._servers:
            server.close()
        self._idle_end = context.wheel.after(idle_grace, self._close_idle)

    def send_away(self, *, on: bool) -> None:
        """Every answer says `Connection: close` from now on, or no more. Connections are accepted still."""
        self._context.closing = on

    async def close(self, patience: float = 2.0) -> None:
        """`drain`, wait until no connection is left but at most `patience` seconds, then reset the rest.

        Exchanges that are still running hear `on_caller_gone`.
        """
        self.drain()
        if not await self._emptied(patience):
            for connection in list(self._context.connections):
                connection.give_up()
            await self._emptied(TURNS)
        if self._idle_end is not None:
            self._idle_end.cancel()

    def _close_idle(self) -> None:
        for connection in list(self._context.connections):
            connection.close_if_idle()

    async def _emptied(self, seconds: float) -> bool:
        context = self._context
        if not context.connections:
            return True
        context.empty.clear()
        try:
            async with asyncio.timeout(seconds):
                await context.empty.wait()
        except TimeoutError:
            return False
        return True
