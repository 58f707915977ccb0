"""The admin listener: health, metrics and what else a program adds. Never on the callers' path.

Starlette on uvicorn inside the running event loop; uvicorn gets no signal handlers and no log of its own.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from protocol.ops import metrics, sockets
from protocol.ops.values import Address
from protocol.ops.version import Build

CONNECTIONS_MAX: Final = 64
"""Admin connections at once; above it 503."""

TAKE_TIMEOUT = 60.0
"""Seconds in which the other machine must acknowledge what it is sent."""

REQUEST_TIMEOUT = 10.0
"""Seconds from the connection to its first request's whole head."""

_NO_STORE: Final = {"cache-control": "no-store"}


class Component(NamedTuple):
    """One thing the program needs to be of use. `detail` is shown, so no secrets and no host names of others."""

    up: bool
    detail: Mapping[str, Any] = {}


class HealthSource(Protocol):
    """What the program tells about itself; called in the event loop, so neither may block."""

    def components(self) -> Mapping[str, Component]:
        """The health by part; one part down is the whole down."""
        ...

    def ready(self) -> bool:
        """Whether new work may be sent here: started and not draining."""
        ...


class Info(NamedTuple):
    """Who answers: the program's name, the configured id and the build."""

    name: str
    instance: str
    build: Build


class _Connection(HttpToolsProtocol):
    """Ends when no request comes on it: CONNECTIONS_MAX of those would keep the health checks out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(REQUEST_TIMEOUT, self._look)

    def _look(self) -> None:
        if self.cycle is None:
            self.transport.close()


class AdminListener:
    """`start` once, `stop` at the end."""

    def __init__(
        self,
        info: Info,
        source: HealthSource,
        registry: CollectorRegistry,
        *,
        routes: Sequence[BaseRoute] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`routes` are added to the program's own endpoints, behind them."""
        self._info = info
        self._source = source
        self._registry = registry
        self._clock = clock
        self._started = clock()
        self._server: uvicorn.Server | None = None
        self._ticking: asyncio.Task[None] | None = None
        self.app = Starlette(routes=[*self._routes(), *routes])

    async def start(self, address: Address, key: str) -> Address:
        """Listen at `address`, the value of `key` in the configuration; return where. Raises StartError."""
        return await self.start_on(sockets.listen(address, key))

    async def start_on(self, listener: socket.socket) -> Address:
        """Serve on a listening socket, which is the admin listener's from now on; return where."""
        # What it accepts inherits this: whoever is gone without a word is noticed.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(TAKE_TIMEOUT * 1000))
        config = uvicorn.Config(
            self.app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            http=_Connection,
            ws="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=1,
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        # The three parts of Server.serve without its signal handlers, which are the program's own.
        await server.startup(sockets=[listener])
        self._ticking = asyncio.create_task(server.main_loop(), name="admin")
        self._server = server
        return sockets.bound(listener)

    @property
    def listening(self) -> bool:
        """Whether it answers."""
        return self._ticking is not None and not self._ticking.done()

    async def stop(self, patience: float = 3.0) -> None:
        """Close the listener and what is connected, in at most `patience` seconds. Idempotent."""
        server, ticking = self._server, self._ticking
        if server is None or ticking is None:
            return
        self._server = self._ticking = None
        server.should_exit = True
        ticking.cancel()
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(ticking, return_exceptions=True)
                await server.shutdown()
        except TimeoutError:
            for task in server.server_state.tasks:
                task.cancel()
            for connection in list(server.server_state.connections):
                connection.transport.abort()

    def _routes(self) -> Iterable[Route]:
        yield Route("/health", self._health)
        yield Route("/health/liveness", self._liveness)
        yield Route("/health/readiness", self._readiness)
        yield Route("/ping", self._ping)
        yield Route("/info", self._about)
        yield Route("/metrics", self._metrics)

    async def _health(self, _request: Request) -> Response:
        components = self._source.components()
        up = all(component.up for component in components.values())
        shown = {
            name: {"status": _status(component.up), "details": dict(component.detail)}
            for name, component in components.items()
        }
        return _json({"status": _status(up), "components": shown}, 200 if up else 503)

    async def _liveness(self, _request: Request) -> Response:
        return _json({"status": "UP"})

    async def _readiness(self, _request: Request) -> Response:
        ready = self._source.ready()
        return _json({"status": _status(ready)}, 200 if ready else 503)

    async def _ping(self, _request: Request) -> Response:
        return Response("pong", media_type="text/plain", headers=_NO_STORE)

    async def _about(self, _request: Request) -> Response:
        name, instance, build = self._info
        return _json(
            {
                "name": name,
                "instance": instance,
                "version": build.version,
                "git": {"revision": build.revision},
                "python": build.python,
                "uptime_seconds": round(self._clock() - self._started, 3),
            }
        )

    async def _metrics(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        parts = [part async for part in metrics.exposition(self._registry, encode)]
        return Response(b"".join(parts), headers={"content-type": content_type, **_NO_STORE})


def _status(up: bool) -> str:
    return "UP" if up else "DOWN"


def _json(value: object, status: int = 200) -> Response:
    body = msgspec.json.encode(value, enc_hook=str)
    return Response(body, status, media_type="application/json", headers=_NO_STORE)
