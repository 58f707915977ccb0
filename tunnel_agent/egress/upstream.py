"""An upstream: the on-premises HTTP/1.1 server behind one service."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from protocol.errors import StreamCode

from .call import Call, Receiver, UpstreamRequest
from .dial import Dialler
from .pool import Pool
from .request import InvalidRequest, prepare
from .resolve import Resolver
from .timeouts import Limits, Timeouts

if TYPE_CHECKING:
    import ssl

    from protocol.aio.wheel import Wheel


class _Probe(asyncio.Protocol):
    """Only connects."""

    _transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Upstream:
    """Sends requests to one upstream and keeps its connections. Call `close` at the end."""

    def __init__(
        self,
        host: str,
        port: int,
        wheel: Wheel,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """Nothing is connected yet. Must be made while the event loop runs.

        host: a name or an IP address without brackets. tls: from `dial.tls_context`, None for plain HTTP.
        server_name: the name in the upstream's certificate where it is not `host`.
        """
        self._loop = asyncio.get_running_loop()
        self.tls = tls
        self._timeouts = timeouts or Timeouts()
        self._dialler = Dialler(
            host,
            port,
            tls=tls,
            server_name=server_name,
            timeout=self._timeouts.connect,
            resolver=resolver,
        )
        self._pool = Pool(self._loop, wheel, self._dialler, self._timeouts, limits or Limits())

    def start(self, request: UpstreamRequest, receiver: Receiver, deadline: float | None = None) -> Call:
        """Send a request. `deadline`: seconds left until the answer's head must have come.

        The receiver is not called before this has returned. When the request is not `complete` and no connection
        was free, that counts as `Call.body` having returned False: on_upstream_writable follows.
        """
        call = Call(request, receiver)
        try:
            call.wire, call.framing = prepare(request)
        except InvalidRequest as error:
            call.fail_soon(self._loop, StreamCode.INVALID_REQUEST, str(error))
            return call
        call.queued_at = monotonic()
        now = self._loop.time()
        if deadline is not None:
            call.deadline_at = now + deadline
        call.total_at = now + self._timeouts.total
        self._pool.start(call)
        return call

    async def probe(self) -> None:
        """Open a connection besides the pool's, TLS included, and close it. Bounded by the connect timeout.

        Raises:
            DialFailed: that is not possible.
        """
        (await self._dialler.connect(_Probe)).close()

    async def close(self, patience: float = 2.0) -> None:
        """Fail what still waits (NOT_DISPATCHED) and runs (CANCELLED) and close all connections.

        Returns within `patience` seconds. Drain first; no receiver is called afterwards.
        """
        await self._pool.close(patience)

    @property
    def open(self) -> int:
        """Connections established, whatever they do."""
        return self._pool.slots.open

    @property
    def idle(self) -> int:
        return len(self._pool.slots.idle)

    @property
    def busy(self) -> int:
        """Connections that carry a call."""
        slots = self._pool.slots
        return slots.open - slots.closing - len(slots.idle)

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""
        return len(self._pool.slots.waiting)

    @property
    def connects(self) -> int:
        """Connections opened so far."""
        return self._pool.connects

    @property
    def connect_failures(self) -> int:
        return self._pool.connect_failures

    @property
    def reuse(self) -> int:
        """Requests sent on a connection that had carried another before."""
        return self._pool.reuse
