"""`GET /api/tail` on the admin listener: JSON lines for one operator, until either side ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from protocol.ops import log
from protocol.ops.model import nearest
from protocol.ops.values import quoted

from .filters import parse
from .listeners import LISTENERS_MAX, Listener, Tail, TooManyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from tunnel_hub.hub import Hub

STUCK: Final = 60.0
"""Seconds for which a reader may take nothing at all; then its place is free again."""

_log = log.get("tail")


class TailRoutes:
    """`routes` go to the admin listener."""

    def __init__(self, hub: Hub, tail: Tail, operator: Callable[[Request], str]) -> None:
        """operator: the name of who asks; it raises what answers everybody else."""
        self._hub = hub
        self._tail = tail
        self._operator = operator
        self.routes = [Route("/api/tail", self._serve)]

    async def _serve(self, request: Request) -> Response:
        operator = self._operator(request)
        try:
            wanted = parse(request.query_params)
            if wanted.service and wanted.service not in self._hub.services:
                known = nearest(wanted.service, self._hub.services)
                raise ValueError(f"no service is called {quoted(wanted.service)}; {known}")  # noqa: TRY301
        except ValueError as error:
            return _error(400, str(error))
        try:
            listener = self._tail.listen(wanted, operator)
        except TooManyError:
            return _error(503, f"{LISTENERS_MAX} readers watch this hub already; end one of them")
        return _Stream(self._tail, listener)


class _Stream(StreamingResponse):
    """The answer of one reader."""

    def __init__(self, tail: Tail, listener: Listener) -> None:
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        super().__init__(tail.lines(listener), media_type="application/x-ndjson", headers=headers)
        self._tail = tail
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def bounded(message: Message) -> None:
            async with asyncio.timeout(STUCK):
                await send(message)

        try:
            await super().__call__(scope, receive, bounded)
        except* TimeoutError:
            _log.warning("a reader of the tail took nothing and is cut off", operator=self._listener.operator)
        finally:
            self._tail.leave(self._listener)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status, headers={"cache-control": "no-store"})
