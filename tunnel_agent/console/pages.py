"""The agent's page on the admin listener: which address answers what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from protocol.ops.console.switched import REASON_MAX, reason_problem

if TYPE_CHECKING:
    from protocol.ops.console.console import Console
    from protocol.ops.console.live import Live
    from tunnel_agent.operation import Operation

    from .snapshot import Snapshot

TEMPLATES: Final = Path(__file__).parent / "templates"

PAGES_MAX: Final = 4
"""Pages open at once: those who look after one agent."""

PARTS: Final = ("headline", "tiles", "sessions", "services", "failures")

_CONSEQUENCES: Final = {
    "off": "The agent lets no request for {name} in any more, and tells the hubs so. What runs is cut within a "
    "second. It holds over reloads, until it is taken back or the agent restarts.",
    "on": "Requests for {name} are let in again, unless the agent's file has it switched off.",
}


class AgentConsole:
    """The page and JSON of one agent."""

    def __init__(self, console: Console, take: Callable[[], Snapshot], operation: Operation, live: Live) -> None:
        """take: called in the event loop whenever somebody looks."""
        self._console = console
        self._take = take
        self._operation = operation
        self._live = live

    def routes(self) -> list[Route]:
        page = self._console.page_route
        return [
            page("/", self._overview),
            page("/switch/{name}/{turn}", self._switch, ("GET", "POST")),
            page("/events", self._events),
            self._console.route("/api/status", self._status),
            *self._console.routes(),
        ]

    async def _status(self, _request: Request) -> Response:
        return Response(msgspec.json.encode(self._take()), media_type="application/json")

    async def _overview(self, request: Request) -> Response:
        return self._console.page(request, "overview.html", parts=self._parts(), live="/events")

    async def _events(self, _request: Request) -> Response:
        return self._live.stream("overview", self._parts)

    def _parts(self) -> Mapping[str, str]:
        """What renews itself, as HTML by its ids."""
        from .problems import meaning, problems  # noqa: PLC0415 - at the first page

        snapshot = self._take()
        values = {
            "agent": snapshot,
            "trouble": list(problems(snapshot)),
            "meaning": meaning,
            "operators": self._console.operators.configured,
        }
        return {name: self._console.fragment(f"_{name}.html", **values) for name in PARTS}

    async def _switch(self, request: Request) -> Response:
        """GET asks for confirmation, POST does it: for operators only."""
        name, turn = request.path_params["name"], request.path_params["turn"]
        if turn not in _CONSEQUENCES or all(service.name != name for service in self._take().services):
            raise HTTPException(404, "There is nothing of this name to switch.")
        if request.method != "POST":
            return self._console.log_in_first(request) or self._confirm(request, name, turn)
        operator, fields = await self._console.operators.form(request)
        reason = fields.get("reason", "").strip()
        if problem := reason_problem(reason):
            return self._confirm(request, name, turn, problem, 400)
        do = self._operation.switch_off if turn == "off" else self._operation.switch_on
        do(name, operator, reason)
        return RedirectResponse("/", 303)

    def _confirm(self, request: Request, name: str, turn: str, problem: str = "", status: int = 200) -> Response:
        return self._console.page(
            request,
            "switch.html",
            status,
            title=f"Switch {name} {turn}",
            consequences=_CONSEQUENCES[turn].format(name=name),
            button=f"Switch {turn}",
            danger=turn == "off",
            problem=problem,
            reason_max=REASON_MAX,
            live="",
        )
