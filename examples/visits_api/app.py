"""The application: routes over one database, with the ledger and latency before them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import ASGIApp

from examples.visits_api import answers
from examples.visits_api.front import Front
from examples.visits_api.ledger import Ledger, ledger_routes
from examples.visits_api.reads import Reads
from examples.visits_api.store import Store
from examples.visits_api.streams import stream_routes
from examples.visits_api.writes import Writes


def create_app(store: Store, *, latency: float = 0.0, test_hooks: bool = False) -> ASGIApp:
    """The ASGI application, to be served in the thread that made ``store``.

    ``latency`` (seconds) delays every answer, after its work is done. ``test_hooks`` adds ``/ledger`` and
    lets a request choose its latency with ``X-Test-Latency-Ms``. Whoever made the store closes it,
    after serving has ended.
    """
    api: list[BaseRoute] = [*Reads(store).routes(), *Writes(store).routes(), *stream_routes()]
    # A redirect would hide a path that something on the way had changed.
    routes: list[BaseRoute] = [Mount("/nomisapi", app=Router(routes=api, redirect_slashes=False))]
    if test_hooks:
        routes += ledger_routes(store)
    handlers = {answers.InvalidError: answers.on_invalid, HTTPException: answers.on_http_error}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Front(app, Ledger(store), latency, test_hooks)
