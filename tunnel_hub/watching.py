"""What operators watch single requests with: the live tail and the request inspector, on the admin listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .inspector.actions import Actions
from .inspector.api import InspectorApi
from .tail.listeners import Tail
from .tail.routes import TailRoutes

if TYPE_CHECKING:
    from starlette.routing import Route

    from protocol.ops.console.operators import Operators
    from protocol.ops.console.routes import Names

    from .hub import Hub


class Watching:
    """`routes` go to the admin listener; `close` before that stops."""

    def __init__(self, hub: Hub, operators: Operators, names: Names, *, secure: bool) -> None:
        """secure: callers speak TLS to the hub."""
        self._hub = hub
        self._tail = Tail(hub)
        actions = Actions(hub, hub.inspector, "https" if secure else "http")
        self.routes: list[Route] = [
            *TailRoutes(hub, self._tail, operators, names).routes,
            *InspectorApi(actions, operators, names).routes,
        ]

    def close(self) -> None:
        """Streams end, and nothing is recorded any more. Idempotent."""
        self._tail.close()
        self._hub.inspector.close()
