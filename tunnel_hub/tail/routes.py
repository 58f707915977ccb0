"""`GET /api/tail` on the admin listener: JSON lines for one operator, until either side ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from protocol.ops import log
from protocol.ops.model import nearest
from protocol.ops.values import quoted

from .filters import parse
from .listeners import LISTENERS_MAX, Listener, Tail, TooManyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from protocol.ops.console.console import Console
    from tunnel_hub.hub import Hub

STUCK: Final = 60.0
"""Seconds for which a reader may take nothing at all; then its place is free again."""

_log = log.get("tail")


class TailRoutes:
    """`routes` go to the admin listener."""

    def __init__(self, hub: Hub, tail: Tail, console: Console) -> None:
        self._hub = hub
        self._tail = tail
        self._operators = console.operators
        self.routes = [console.route("/api/tail", self._serve)]

    async def _serve(self, request: Request) -> Response:
        operator = self._operators.require(request)
        try:
            wanted = parse(request.query_params)
            if wanted.service and wanted.service not in self._hub.services:
                known = nearest(wanted.service, self._hub.services)
                raise ValueError(f"no service is called {quoted(wanted.service)}; {known}")  # noqa: TRY301
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        try:
            listener = self._tail.listen(wanted, operator)
        except TooManyError:
            message = f"{LISTENERS_MAX} readers watch this hub already; end one of them"
            raise HTTPException(503, message) from None
        chosen = " ".join(f"{name}={value}" for name, value in sorted(request.query_params.items()))
        self._hub.audit.write("tail opened", operator=operator, chosen=chosen)
        return _Stream(self._tail, listener, lambda: self._operators.of(request) == operator)


class _Stream(StreamingResponse):
    """The answer of one reader."""

    def __init__(self, tail: Tail, listener: Listener, allowed: Callable[[], bool]) -> None:
        super().__init__(tail.lines(listener, allowed), media_type="application/x-ndjson")
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
