"""What operators watch single requests with: the live tail and the request inspector, on the admin listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .inspector.actions import Actions
from .inspector.api import InspectorApi
from .inspector.pages import InspectorPages
from .tail.listeners import Tail
from .tail.routes import TailRoutes

if TYPE_CHECKING:
    from starlette.routing import Route

    from protocol.ops.console.console import Console

    from .hub import Hub


class Watching:
    """`routes` go to the admin listener; `close` before that stops."""

    def __init__(self, hub: Hub, console: Console, *, secure: bool) -> None:
        """secure: callers speak TLS to the hub."""
        self._hub = hub
        self._tail = Tail(hub)
        actions = Actions(hub, hub.inspector, "https" if secure else "http")
        self.routes: list[Route] = [
            *TailRoutes(hub, self._tail, console).routes,
            *InspectorApi(actions, console).routes,
            *InspectorPages(actions, console).routes,
        ]

    def close(self) -> None:
        """Streams end, and nothing is recorded any more. Idempotent."""
        self._tail.close()
        self._hub.inspector.close()
