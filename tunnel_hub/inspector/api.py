"""`/api/inspector`: the inspector for programs. What changes something is a form, posted (`Operators.form`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from .addresses import NUMBER
from .recorder import BYTES_MAX, Inspector, Recorder

if TYPE_CHECKING:
    from starlette.requests import Request

    from protocol.ops.console.console import Console

    from .actions import Actions

_BASE = "/api/inspector"
_ONE = _BASE + "/{service}" + NUMBER


class InspectorApi:
    """`routes` go to the admin listener."""

    def __init__(self, actions: Actions, console: Console) -> None:
        self._actions = actions
        self._operators = console.operators
        route = console.route
        self.routes = [
            route(_BASE, self._list),
            route(_BASE + "/{service}", self._service),
            route(_BASE + "/{service}", self._on, ["POST"]),
            route(_BASE + "/{service}/off", self._off, ["POST"]),
            route(_ONE, self._exchange),
            route(_ONE + "/curl", self._curl),
            route(_ONE + "/replay", self._replay, ["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        self._operators.require(request)
        inspector = self._actions.inspector
        return _json({"recordings": [about(each) for each in inspector], **held(inspector)})

    async def _service(self, request: Request) -> Response:
        self._operators.require(request)
        recorder = self._actions.recorder(_service(request))
        return _json({**about(recorder), "exchanges": [brief(seen) for seen in recorder.seen]})

    async def _on(self, request: Request) -> Response:
        operator, fields = await self._operators.form(request)
        return _json(about(self._actions.switch_on(operator, _service(request), fields)), 201)

    async def _off(self, request: Request) -> Response:
        operator, _ = await self._operators.form(request)
        self._actions.switch_off(operator, _service(request))
        return Response(status_code=204)

    async def _exchange(self, request: Request) -> Response:
        operator = self._operators.require(request)
        return _json(self._actions.look(operator, _service(request), request.path_params["number"]))

    async def _curl(self, request: Request) -> Response:
        operator, service, number = (
            self._operators.require(request),
            _service(request),
            request.path_params["number"],
        )
        self._actions.look(operator, service, number)
        return PlainTextResponse(self._actions.curl(service, number))

    async def _replay(self, request: Request) -> Response:
        operator, fields = await self._operators.form(request)
        number = request.path_params["number"]
        peer = request.client.host if request.client is not None else ""
        return _json(await self._actions.replay(operator, _service(request), number, fields, peer))


def about(recorder: Recorder) -> dict[str, Any]:
    """A recording without what was recorded."""
    wanted = recorder.wanted
    return {
        "service": recorder.service.name,
        "operator": recorder.operator,
        "recording": recorder.recording,
        "ends": recorder.ends,
        "number": wanted.number,
        "paths": wanted.paths,
        "headers": wanted.headers,
        "bodies": wanted.bodies,
        "chosen": wanted.chosen,
        "recorded": recorder.recorded,
        "kept": len(recorder.seen),
        "skipped": recorder.skipped,
    }


def held(inspector: Inspector) -> dict[str, int]:
    """Memory in use, and the most it may be."""
    return {"bytes": inspector.held, "bytes_max": BYTES_MAX}


def brief(seen: Any) -> Mapping[str, Any]:
    """An exchange without its fields and bodies."""
    whole = msgspec.to_builtins(seen)
    return {name: value for name, value in whole.items() if not name.endswith(("_fields", "_body"))}


def _service(request: Request) -> str:
    return str(request.path_params["service"])


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
