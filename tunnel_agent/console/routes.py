"""What the agent's admin listener serves besides health and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from protocol.ops.console.routes import Names, route

if TYPE_CHECKING:
    from .snapshot import Snapshot


def routes(take: Callable[[], Snapshot], names: Names) -> Sequence[BaseRoute]:
    """take: called in the event loop for each request."""

    async def status(_request: Request) -> Response:
        return Response(msgspec.json.encode(take()), media_type="application/json")

    return [route("/api/status", status, names)]
