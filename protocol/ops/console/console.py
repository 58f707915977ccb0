"""The console of one program: its operators, the names it is known by, and how its pages and routes are made.

    console = Console("tunnel-hub", "hub-1", config.admin, audit, templates=Path(...))
    routes = [console.route("/", overview), ..., *console.routes()]
    console.use(config.admin)              # at every reload

`page` fills a template of the program's, which extends `frame.html`. Jinja2 is imported at the first page, so that
a program whose page nobody looks at does not pay for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from protocol.ops.audit import Audit
from protocol.ops.tables import Admin

from .operators import Operators, Refused
from .routes import Endpoint, Names, route

if TYPE_CHECKING:
    from jinja2 import Environment

HERE: Final = Path(__file__).parent
STATIC: Final = {
    "/console.css": "text/css; charset=utf-8",
    "/console.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}


class Console:
    """One per admin listener."""

    def __init__(
        self,
        program: str,
        instance: str,
        table: Admin,
        audit: Audit,
        *,
        templates: Path,
        filters: dict[str, Callable[..., Any]] | None = None,
        navigation: Sequence[tuple[str, str]] = (("/", "Overview"),),
    ) -> None:
        """templates: the program's own folder; navigation: path and name of each page in the menu."""
        self.program: Final = program
        self.instance: Final = instance
        self.audit: Final = audit
        self.operators: Final = Operators(f"{program}.{instance}", table, audit)
        self.names: Final = Names(table.hosts)
        self.navigation = list(navigation)
        self._templates = templates
        self._filters = filters or {}

    def use(self, table: Admin) -> None:
        """[admin] from now on."""
        self.operators.use(table)
        self.names.hosts = frozenset(table.hosts)

    def route(self, path: str, endpoint: Endpoint, methods: Sequence[str] = ("GET",)) -> Route:
        """A route for browsers and programs (`routes.route`)."""
        return route(path, endpoint, self.names, methods)

    def page_route(self, path: str, endpoint: Endpoint, methods: Sequence[str] = ("GET",)) -> Route:
        """The same for an endpoint that answers with a `page`: the first time, templates load beside the loop."""

        async def prepared(request: Request) -> Response:
            if "environment" not in self.__dict__:
                await asyncio.to_thread(self._load)
            return await endpoint(request)

        return self.route(path, prepared, methods)

    def routes(self) -> list[Route]:
        """Log-in, log-out, style and script."""
        return [
            self.page_route("/login", self._login, ("GET", "POST")),
            self.route("/logout", self._logout, ("POST",)),
            *(self.route(path, _static(path, kind)) for path, kind in STATIC.items()),
        ]

    # -- Pages ------------------------------------------------------------------------------------------

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A whole page of the program's."""
        frame = {
            "program": self.program,
            "instance": self.instance,
            "navigation": self.navigation,
            "path": request.url.path,
            "operator": self.operators.of(request),
            "operators": self.operators.configured,
            "csrf": self.operators.token(request),
        }
        return HTMLResponse(self.environment.get_template(template).render(frame | values), status)

    def fragment(self, template: str, **values: Any) -> str:
        """A part of a page, the same for everybody who looks."""
        return self.environment.get_template(template).render(values)

    def log_in_first(self, request: Request) -> Response | None:
        """Where to send a browser that wants to do what only operators may; None: it is one's.

        Raises:
            Refused: 403 when no operator is configured.
        """
        if self.operators.of(request) is not None:
            return None
        if not self.operators.configured:
            self.operators.require(request)
        return RedirectResponse(f"/login?next={request.url.path}", 303)

    @cached_property
    def environment(self) -> Environment:
        import jinja2  # noqa: PLC0415 - at the first page

        from . import words  # noqa: PLC0415

        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([self._templates, HERE / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(words.FILTERS | self._filters)
        return environment

    def _load(self) -> None:
        for name in self.environment.list_templates():
            self.environment.get_template(name)

    # -- Log-in -----------------------------------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        after = _local(request.query_params.get("next", "/"))
        if request.method != "POST":
            return self.page(request, "login.html", next=after, problem="")
        response = RedirectResponse(after, 303)
        try:
            await self.operators.log_in(request, response)
        except Refused as refused:
            if refused.status_code not in (401, 429):
                raise
            page = self.page(request, "login.html", refused.status_code, next=after, problem=refused.detail)
            page.headers.update(refused.headers or {})
            return page
        return response

    async def _logout(self, request: Request) -> Response:
        response = RedirectResponse("/", 303)
        await self.operators.log_out(request, response)
        return response


def _local(path: str) -> str:
    """A path of this listener; anything else is the front page."""
    plain = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if plain else "/"


def _static(path: str, kind: str) -> Endpoint:
    async def serve(_request: Request) -> Response:
        return Response((HERE / "static" / path[1:]).read_bytes(), media_type=kind)

    return serve
