"""What the agent's admin listener serves besides health and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

if TYPE_CHECKING:
    from .snapshot import Snapshot


def routes(take: Callable[[], Snapshot]) -> Sequence[BaseRoute]:
    """take: called in the event loop for each request."""

    async def status(_request: Request) -> Response:
        body = msgspec.json.encode(take())
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return [Route("/api/status", status)]
