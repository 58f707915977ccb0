"""The inspector's pages under the console's frame: switch it on, look, copy as curl, send again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from protocol.ops.values import quoted

from .addresses import NUMBER
from .recorder import BYTES_MAX, GRACE, NUMBER_MAX, SECONDS_MAX

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import Route

    from protocol.ops.console.console import Console

    from .actions import Actions
    from .seen import Seen

_BASE: Final = "/inspector"
_SERVICE: Final = _BASE + "/{service}"
_ONE: Final = _SERVICE + NUMBER


class InspectorPages:
    """`routes` go to the admin listener. Every page is for operators only."""

    def __init__(self, actions: Actions, console: Console) -> None:
        self._actions = actions
        self._console = console
        self.routes: list[Route] = [
            console.page_route(_BASE, self._overview),
            console.page_route(_SERVICE, self._service, ("GET", "POST")),
            console.page_route(_SERVICE + "/off", self._off, ("POST",)),
            console.page_route(_ONE, self._exchange),
            console.page_route(_ONE + "/replay", self._replay, ("GET", "POST")),
        ]

    async def _overview(self, request: Request) -> Response:
        if away := self._console.log_in_first(request):
            return away
        inspector = self._actions.inspector
        services = [(name, inspector.of(name)) for name in self._actions.hub.services]
        return self._page(request, "inspector.html", services=services, held=inspector.held, most=BYTES_MAX)

    async def _service(self, request: Request) -> Response:
        """GET shows the recording, or the form that begins one; POST begins it."""
        service = _name(request)
        if service not in self._actions.hub.services:
            raise HTTPException(404, f"There is no service {quoted(service)}.")
        if request.method != "POST":
            return self._console.log_in_first(request) or self._shown(request, service)
        operator, fields = await self._console.operators.form(request)
        try:
            self._actions.switch_on(operator, service, fields)
        except HTTPException as error:
            return self._shown(request, service, fields, error.detail, error.status_code)
        return RedirectResponse(f"{_BASE}/{quote(service)}", 303)

    async def _off(self, request: Request) -> Response:
        operator, _ = await self._console.operators.form(request)
        self._actions.switch_off(operator, _name(request))
        return RedirectResponse(f"{_BASE}/{quote(_name(request))}", 303)

    async def _exchange(self, request: Request) -> Response:
        if away := self._console.log_in_first(request):
            return away
        operator, service, number = self._console.operators.require(request), _name(request), _number(request)
        seen = self._actions.look(operator, service, number)
        curl = self._actions.curl(service, number)
        return self._page(request, "inspector_exchange.html", service=service, seen=seen, curl=curl)

    async def _replay(self, request: Request) -> Response:
        """GET asks for confirmation, POST sends."""
        service, number = _name(request), _number(request)
        if request.method != "POST":
            away = self._console.log_in_first(request)
            return away or self._confirm(request, service, self._actions.exchange(service, number))
        operator, fields = await self._console.operators.form(request)
        peer = request.client.host if request.client is not None else ""
        try:
            replayed = await self._actions.replay(operator, service, number, fields, peer)
        except HTTPException as error:
            if error.status_code == 404:
                raise
            seen = self._actions.exchange(service, number)
            return self._confirm(request, service, seen, error.detail, error.status_code)
        return self._page(request, "inspector_replayed.html", service=service, number=number, replayed=replayed)

    def _shown(
        self, request: Request, service: str, fields: Any = None, problem: str = "", status: int = 200
    ) -> Response:
        recorder = self._actions.inspector.of(service)
        return self._page(
            request,
            "inspector_service.html",
            status,
            service=service,
            recorder=recorder,
            seen=[] if recorder is None else list(reversed(recorder.seen)),
            fields=fields or {},
            problem=problem,
            minutes_max=int(SECONDS_MAX / 60),
            number_max=NUMBER_MAX,
            grace=GRACE,
        )

    def _confirm(
        self, request: Request, service: str, seen: Seen, problem: str = "", status: int = 200
    ) -> Response:
        return self._page(
            request,
            "inspector_replay.html",
            status,
            service=service,
            seen=seen,
            problem=problem,
            required=self._actions.hub.gate is not None,
        )

    def _page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        return self._console.page(request, template, status, live="", **values)


def _name(request: Request) -> str:
    return str(request.path_params["service"])


def _number(request: Request) -> int:
    return int(request.path_params["number"])
