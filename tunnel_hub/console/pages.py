"""The hub's console on the admin listener: which address answers what."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol.ops.console.console import Console

if TYPE_CHECKING:
    from .snapshot import Source

TEMPLATES: Final = Path(__file__).parent / "templates"


class HubConsole:
    """Pages and JSON of one hub."""

    def __init__(self, console: Console, source: Source) -> None:
        self._console = console
        self._source = source

    def routes(self) -> list[Route]:
        route = self._console.route
        return [route("/api/status", self._status), *self._console.routes()]

    async def _status(self, _request: Request) -> Response:
        body = msgspec.json.encode(self._source.status(time.time()))
        return Response(body, media_type="application/json")
