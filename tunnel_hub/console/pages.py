"""The hub's console on the admin listener: which address answers what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from protocol.ops.console.console import Console
from protocol.ops.console.switched import REASON_MAX, reason_problem

from ..operation import UnknownNameError
from .actions import ACTIONS, Action
from .meanings import MEANINGS
from .views import Views

if TYPE_CHECKING:
    from protocol.ops.console.live import Live

    from ..operation import Operation
    from .snapshot import Source

TEMPLATES: Final = Path(__file__).parent / "templates"

NAVIGATION: Final = (
    ("/", "Overview"),
    ("/agents", "Agents"),
    ("/failures", "Failures"),
    ("/inspector", "Inspector"),
    ("/codes", "Codes"),
)

AGENTS_AT_ONCE: Final = 25
"""Agents looked at in one turn of the event loop."""

SEARCH_MAX: Final = 100
VIEW_MAX: Final = 500


class HubConsole:
    """Pages and JSON of one hub."""

    def __init__(self, console: Console, source: Source, operation: Operation, live: Live) -> None:
        self._console = console
        self._source = source
        self._operation = operation
        self._live = live
        self._views = Views(console, source)

    def routes(self) -> list[Route]:
        route, page = self._console.route, self._console.page_route
        return [
            page("/", self._overview),
            page("/agents", self._agents),
            page("/agents/{name:path}", self._agent),
            page("/failures", self._failures),
            page("/codes", self._codes),
            page("/switch/{kind}/{turn}/{name:path}", self._switch, ("GET", "POST")),
            page("/events", self._events),
            route("/api/status", self._status),
            *self._console.routes(),
        ]

    # -- To read ----------------------------------------------------------------------------------------

    async def _status(self, _request: Request) -> Response:
        agents = []
        for number, agent in enumerate(self._source.agents(), 1):
            agents.append(agent)
            if number % AGENTS_AT_ONCE == 0:
                await asyncio.sleep(0)  # callers wait meanwhile
        body = msgspec.json.encode(self._source.status(time.time(), agents))
        return Response(body, media_type="application/json")

    async def _overview(self, request: Request) -> Response:
        return self._show(request, "overview.html", "overview")

    async def _agents(self, request: Request) -> Response:
        wanted = _search(request)
        pages = self._views.page_count(wanted)
        page = min(_number(request.query_params.get("page", "1")), pages)
        view = "agents?" + urlencode({"page": page, "q": wanted})
        return self._show(request, "agents.html", view, wanted=wanted, page=page, pages=pages)

    async def _agent(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self._source.agent(name) is None:
            raise HTTPException(404, "There is no agent of this name.")
        return self._show(request, "agent.html", f"agent/{name}", name=name)

    async def _failures(self, request: Request) -> Response:
        wanted, code = _search(request), request.query_params.get("code", "")[:SEARCH_MAX]
        parts = self._views.failures(wanted, code)
        return self._console.page(request, "failures.html", parts=parts, live="", wanted=wanted, code=code)

    async def _codes(self, request: Request) -> Response:
        return self._console.page(request, "codes.html", meanings=MEANINGS, live="")

    async def _events(self, request: Request) -> Response:
        view = request.query_params.get("view", "")
        return self._live.stream(view, self._render(view))

    def _show(self, request: Request, template: str, view: str, **values: Any) -> Response:
        live = "/events?" + urlencode({"view": view})
        return self._console.page(request, template, parts=self._render(view)(), live=live, **values)

    def _render(self, view: str) -> Callable[[], Mapping[str, str]]:
        """What renders a view by its name. Raises HTTPException (404)."""
        kind, _, name = view.partition("/")
        if len(view) > VIEW_MAX:
            raise HTTPException(404, "There is no such view.")
        if view == "overview":
            return self._views.overview
        if kind == "agent" and self._source.agent(name) is not None:
            return partial(self._views.agent, name)
        if view.startswith("agents?"):
            query = Request({"type": "http", "query_string": view.partition("?")[2].encode(), "headers": []})
            return partial(self._views.agents, _number(query.query_params.get("page", "1")), _search(query))
        raise HTTPException(404, "There is no such view.")

    # -- To switch --------------------------------------------------------------------------------------

    async def _switch(self, request: Request) -> Response:
        """GET asks for confirmation, POST does it: for operators only."""
        kind, turn, name = (request.path_params[key] for key in ("kind", "turn", "name"))
        action = ACTIONS.get((kind, turn))
        if action is None or not self._known(kind, name):
            raise HTTPException(404, "There is nothing of this name to switch.")
        if request.method != "POST":
            return self._console.log_in_first(request) or self._confirm(request, action, name)
        operator, fields = await self._console.operators.form(request)
        reason = fields.get("reason", "").strip()
        if problem := reason_problem(reason):
            return self._confirm(request, action, name, problem, 400)
        if kind == "hub" and self._source.stopping:
            raise HTTPException(409, "The hub is stopping: it drains already, and cannot be taken back.")
        try:
            action.do(self._operation, name, operator, reason)
        except UnknownNameError:
            raise HTTPException(404, "There is nothing of this name to switch.") from None
        return RedirectResponse(f"/agents/{quote(name)}" if kind == "agent" else "/", 303)

    def _known(self, kind: str, name: str) -> bool:
        hub = self._source.hub
        if kind == "service":
            return name in hub.services
        return name in self._source.listener.registered if kind == "agent" else name == hub.id

    def _confirm(
        self, request: Request, action: Action, name: str, problem: str = "", status: int = 200
    ) -> Response:
        return self._console.page(
            request,
            "switch.html",
            status,
            title=action.title.format(name=name),
            consequences=action.consequences.format(name=name),
            button=action.button,
            danger=action.danger,
            problem=problem,
            reason_max=REASON_MAX,
            live="",
        )


def _search(request: Request) -> str:
    return request.query_params.get("q", "").strip()[:SEARCH_MAX]


def _number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1
